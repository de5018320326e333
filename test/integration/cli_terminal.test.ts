// The command line in a real terminal, tmux's: what is seen of `top`, what keys do, and how the terminal is given back.
import { execFileSync } from 'node:child_process'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterEach, describe, expect, test } from 'vitest'
import { Cgroup } from '../support/cgroups.js'
import { commandFile } from '../support/command.js'
import { useContainers } from '../support/containers.js'
import { cannotRunContainers, isCgroupV2, which } from '../support/machine.js'
import { descriptors, isAlive, pids, read, shimsBelow } from '../support/processes.mjs'
import { Terminal } from '../support/tmux.js'
import { eventually } from '../support/wait.js'

function cannotRun(): boolean {
  if (cannotRunContainers()) return true
  if (which('tmux')) return false
  const message = 'tests of the command line in a terminal need tmux (apt-get install tmux)'
  if (process.env['CI']) throw new Error(message)
  process.stderr.write(`skipped: ${message}\n`)
  return true
}

describe.skipIf(cannotRun())('in a terminal', () => {
  const ground = useContainers('runc')
  let terminal: Terminal | null = null

  afterEach(() => {
    terminal?.close()
    terminal = null
  })

  function open(env: Record<string, string> = {}, columns = 120, rows = 30): Terminal {
    terminal = new Terminal(
      ground.newPath('tmux'),
      { columns, rows },
      { LIBCONTAINER_ROOT: ground.root, LC_ALL: 'C.UTF-8', ...env },
    )
    return terminal
  }

  const command = (...words: string[]): string => [process.execPath, commandFile, ...words].join(' ')

  /** The program that runs in the terminal. */
  function pidOf(word: string): Promise<number> {
    return eventually('the program', () =>
      pids().find((pid) => {
        const words = (read(`/proc/${pid}/cmdline`) ?? '').split('\0')
        const own = read(`/proc/${pid}/environ`)?.includes(`LIBCONTAINER_ROOT=${ground.root}\0`)
        return words[1] === commandFile && words[2] === word && own
      }),
    )
  }

  const lineOf = (screen: string, id: string): string =>
    screen.split('\n').find((line) => line.includes(id)) ?? ''

  /** Ids in the order of the screen. */
  const order = (screen: string, ids: readonly string[]): string[] =>
    screen.split('\n').flatMap((line) => ids.filter((id) => line.slice(2).startsWith(`${id} `)))

  test('top: sees what comes, runs, pauses, is killed for want of memory and goes; sorts and filters', async () => {
    const busy = await ground.create({
      labels: ['team=blue'],
      bundle: ground.bundleOf(['/bin/sh', '-c', 'while :; do :; done']),
    })
    await busy.start()
    const eater = await ground.create({
      bundle: ground.bundle((config) => {
        config.process.args = ['/bin/sleep', '100000']
        config.linux.resources.memory = { limit: 16 << 20, swap: 16 << 20 }
      }),
    })
    await eater.start()
    const created = await ground.create()
    const ids = [busy.id, eater.id, created.id]
    const screen = open()
    screen.type(command('top', '--delay', '0.2'))

    let seen = await screen.shows(
      (text) => /CPU%▼/.test(text) && /●.* [1-9]\d*\.\d .*[▁-█]/.test(lineOf(text, busy.id)),
    )
    expect(seen).toMatch(/3 containers {2}2 running {2}1 created/)
    expect(order(seen, ids)).toEqual(ids)
    expect(lineOf(seen, eater.id)).toMatch(/● \S+ +running .* 16\.0M {2}[━╸]*─+ /)
    expect(lineOf(seen, created.id)).toMatch(/○ \S+ +created +–/)
    expect(seen.split('\n').filter((line) => line.length > 120)).toEqual([])

    // What has not been chosen is not acted on.
    screen.keys('p')
    await screen.shows('select a container first')
    screen.keys('Down', 'p')
    await screen.shows(`${busy.id} is paused`)
    seen = await screen.shows((text) => /‖ \S+ +paused/.test(lineOf(text, busy.id)))
    expect(await busy.status()).toBe('paused')
    screen.keys('Space')
    await screen.shows((text) => /● \S+ +running/.test(lineOf(text, busy.id)))
    expect(await busy.status()).toBe('running')

    // An OOM kill is told beside the container, and in no other's line.
    await (
      await eater.exec('eater', { args: ['/bin/sh', '-c', 'x=$(head -c 40000000 /dev/zero | tr "\\0" x)'] })
    ).wait()
    await screen.shows((text) =>
      / [1-9] /.test(
        lineOf(text, eater.id)
          .replace(/^.*16\.0M/, '')
          .replace(/^ +[━─╸]+ +\d+/, ''),
      ),
    )

    screen.keys('n')
    seen = await screen.shows(/CONTAINER▼/)
    expect(order(seen, ids)).toEqual([...ids].sort())
    screen.keys('r')
    seen = await screen.shows(/CONTAINER▲/)
    expect(order(seen, ids)).toEqual([...ids].sort().reverse())

    screen.keys('/', ...'BLUE')
    seen = await screen.shows('filter: BLUE')
    expect(order(seen, ids)).toEqual([busy.id])
    screen.keys('Enter', 'Enter')
    seen = await screen.shows(/── .* ──/)
    expect(seen).toContain("/bin/sh -c 'while :; do :; done'")
    expect(seen).toContain('team=blue')

    screen.keys('k')
    await screen.shows(`kill ${busy.id}:`)
    screen.keys('k')
    await screen.shows((text) => /■ \S+ +SIGKILL/.test(lineOf(text, busy.id)))
    await busy.delete()
    await screen.shows('No container is like that')
    screen.keys('/', 'Escape')
    await screen.shows((text) => /2 containers/.test(text) && !text.includes(busy.id))
    const later = await ground.create()
    await screen.shows(later.id)

    screen.keys('?')
    await screen.shows('Ctrl-L')
    screen.keys('q')
    await screen.shows(later.id)
    const pid = await pidOf('top')
    // Nothing is held of what is gone.
    const held = (): string[] => [...descriptors(pid).values()].filter((what) => what.includes(busy.id))
    await eventually('no descriptor of it', () => held().length === 0)
    screen.keys('q')
    await screen.shows((text) => !text.includes('CONTAINER'))
    screen.type('echo code=$?')
    await screen.shows('code=0')
    expect(shimsBelow(join(ground.root, busy.id))).toEqual([])
  })

  test('top: pressure, as the kernel has it, and no column where it has none', async () => {
    const busy = await ground.running({ bundle: ground.bundle() })
    const idle = await ground.running()
    // More of them than processors, so that some always wait.
    for (let i = 0; i < 6; ++i) {
      await busy.exec(`busy-${i}`, { args: ['/bin/sh', '-c', 'while :; do :; done'] })
    }
    // Of a v2 cgroup: on a hybrid machine stats() has none, as the runtime's own figures.
    const file = isCgroupV2() ? new Cgroup(busy.id).path('cpu.pressure') : null
    const screen = open({}, 140)
    screen.type(command('top', '--delay', '0.2'))
    if (file === null) {
      await screen.shows((text) => /CPU%▼/.test(text) && text.includes(busy.id) && !text.includes('PRESSURE'))
    } else {
      /** Of CPU, memory and I/O, as they stand below the title. */
      const shown = (text: string, id: string): number[] => {
        const end = lineOf(text, 'PRESSURE').indexOf('PRESSURE') + 'PRESSURE'.length
        const cells = /^ *(\d+) +(\d+) +(\d+)$/.exec(lineOf(text, id).slice(end - 11, end))
        return (cells ?? []).slice(1).map(Number)
      }
      const real = (): number => Number(/some avg10=([\d.]+)/.exec(read(file) ?? '')?.[1])
      await screen.shows((text) => {
        const [ofCpu = 0] = shown(text, busy.id)
        return ofCpu >= 10 && Math.abs(ofCpu - real()) <= 10
      })
      screen.keys('x')
      const sorted = await screen.shows((text) => /PRESSURE▼/.test(text))
      expect(order(sorted, [idle.id, busy.id])).toEqual([busy.id, idle.id])
    }
    screen.keys('q')
    await screen.shows((text) => !text.includes('CONTAINER'))
  })

  test('top: fits itself to a window of any size', async () => {
    const container = await ground.running()
    const screen = open()
    screen.type(command('top', '--delay', '0.2'))
    await screen.shows((text) => /READ\/WRITE/.test(text) && text.includes(container.id))
    screen.keys('Down', 'Enter')
    await screen.shows(/top of graph/)
    screen.resize(50, 9)
    const small = await screen.shows((text) => !/LIMIT|graph/.test(text) && /CPU%▼/.test(text))
    expect(small).toContain(container.id.slice(0, 8))
    expect(small).toContain('q quit')
    expect(small.split('\n').filter((line) => line.length > 50)).toEqual([])
    screen.resize(8, 2)
    await screen.shows(/^● \S{1,5}…?$/m)
    screen.resize(1, 1)
    screen.resize(200, 50)
    const large = await screen.shows((text) => /top of graph/.test(text) && /COMMAND/.test(text))
    expect(lineOf(large, '/bin/sleep 100000')).toContain(container.id)
    screen.keys('C-c')
    await screen.shows((text) => !text.includes('CONTAINER'))
  })

  test.each([
    ['SIGTERM', 143],
    ['SIGHUP', 129],
    ['a crash', 1],
  ] as const)('top gives the terminal back: %s', async (how, code) => {
    await ground.running()
    const bomb = ground.newPath('bomb.cjs')
    writeFileSync(bomb, 'process.on("SIGUSR2", () => { throw new Error("it went off") })')
    const screen = open({ NODE_OPTIONS: `--require ${bomb}` })
    screen.type('echo "before: $(stty -g | md5sum)"; echo earlier words')
    const before = /before: (\w{32})/.exec(await screen.shows(/before: \w{32}/))?.[1]
    screen.type(command('top', '--delay', '0.2'))
    await screen.shows(/CPU%▼/)
    expect(screen.say('#{alternate_on} #{cursor_flag} #{wrap_flag}')).toBe('1 0 0')
    process.kill(await pidOf('top'), how === 'a crash' ? 'SIGUSR2' : how)
    await screen.shows((text) => text.includes('earlier words') && !text.includes('CPU%'))
    expect(screen.say('#{alternate_on} #{cursor_flag} #{wrap_flag}')).toBe('0 1 1')
    screen.type('echo "code=$? after: $(stty -g | md5sum)"')
    const after = await screen.shows(/code=\d+ after: \w+/)
    expect(/code=\d+/.exec(after)?.[0]).toBe(`code=${code}`)
    expect(/after: (\w+)/.exec(after)?.[1]).toBe(before)
    if (how === 'a crash') expect(after).toContain('libcontainer: Error: it went off')
  })

  test('top: without colours, and without Unicode', async () => {
    await ground.running()
    const screen = open({ NO_COLOR: '1', LC_ALL: 'C' })
    screen.type(command('top', '--delay', '0.2'))
    const seen = await screen.shows((text) => /CPU%v/.test(text) && /^\* /m.test(text))

    expect(seen).toMatch(/^[\u0000-\u007f]*$/)
    // tmux itself says "default colour" of what has none: 39 and 49.

    for (const [, codes] of screen.screen({ styled: true }).matchAll(/\x1b\[([\d;]*)m/g)) {
      expect(codes).toMatch(/^(0|1|7|39|49|;)*$/)
    }
    screen.keys('q')
    await screen.shows((text) => !text.includes('CPU%v'))
  })

  test('exec -it: a shell of the size of the terminal, its keys, and its exit code', async () => {
    const container = await ground.running()
    const screen = open({}, 90, 20)
    screen.type(command('exec', '-it', container.id, 'sh', '-i'))
    await screen.shows(/^\/ #$/m)
    screen.type('stty size; echo "TERM=$TERM"')
    await screen.shows(/^20 90$/m)
    expect(await screen.shows(/^TERM=\w/m)).toContain(`TERM=${screen.say('#{default-terminal}') || 'screen'}`)
    screen.resize(77, 22)
    await eventually('the new size', () => {
      screen.type('clear; stty size')
      return /^22 77$/m.test(screen.screen())
    })
    screen.type('sleep 1000; echo interrupted with $?')
    const sleeps = (): boolean =>
      pids().some(
        (pid) =>
          read(`/proc/${pid}/cmdline`) === 'sleep\x001000\0' &&
          read(`/proc/${pid}/cgroup`)?.includes(container.id),
      )
    await eventually('sleep in the foreground', sleeps)
    screen.keys('C-c')
    await eventually('its end', () => !sleeps())
    screen.type('exit 3')
    await screen.shows(/^[#$]$/m)
    screen.type('echo code=$?')
    await screen.shows('code=3')
    await eventually('the process is forgotten', async () => {
      const names = execFileSync('ls', [join(ground.root, container.id)], { encoding: 'utf8' })
      return !names.includes('cli-')
    })

    // Killed while a shell is open, it leaves a terminal that the shell before it makes good, and no process.
    screen.type(command('exec', '-it', container.id, 'sh', '-i'))
    const pid = await pidOf('exec')
    await eventually('the shell', async () => (await container.pids()).length === 2)
    process.kill(pid, 'SIGTERM')
    process.kill(pid, 'SIGHUP')
    await eventually('its end', () => !isAlive(pid))
    await eventually('no process', async () => (await container.pids()).length === 1)
  })
})
