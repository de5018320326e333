// The command line over real containers: what it prints, to whom, and with which exit code.
import { execFileSync, spawnSync } from 'node:child_process'
import { existsSync, readdirSync, readFileSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { Container } from '../../lib/index.js'
import { Cgroup } from '../support/cgroups.js'
import { type Answer, Command, commandFile, runCommand } from '../support/command.js'
import { shimOf, useContainers } from '../support/containers.js'
import { cannotRunContainers, isCgroupV2, packageRoot } from '../support/machine.js'
import { isAlive, shimsBelow } from '../support/processes.mjs'
import { Program } from '../support/programs.js'
import { eventually } from '../support/wait.js'

describe('the command', () => {
  const none = '/nonexistent'

  test('is what package.json says it is, with the licences of what is in it', () => {
    const { bin, dependencies } = JSON.parse(readFileSync(join(packageRoot, 'package.json'), 'utf8'))
    expect(join(packageRoot, bin.libcontainer)).toBe(commandFile)
    expect(Object.keys(dependencies)).toEqual(['bindings'])
    expect(statSync(commandFile).mode & 0o111).toBe(0o111)
    expect(execFileSync(commandFile, ['--version'], { encoding: 'utf8' })).toBe('0.1.0\n')
    const licences = readFileSync(join(packageRoot, 'dist/cli.licenses.txt'), 'utf8')
    for (const name of ['commander', 'string-width', 'strip-ansi', 'get-east-asian-width']) {
      expect(licences).toMatch(new RegExp(`^${name} \\d`, 'm'))
    }
    expect(licences.match(/Permission is hereby granted/g)?.length).toBeGreaterThanOrEqual(4)
  })

  test('refuses wrong words with 2, of exec with 125, and says what is wrong on stderr', async () => {
    const refused = [
      [['frob'], 2, "ERR_USAGE: unknown command 'frob'"],
      [['ps', '--frob'], 2, "ERR_USAGE: unknown option '--frob'"],
      [['ps', '--state', 'odd'], 2, 'ERR_USAGE'],
      [['stats', '--interval', '0'], 2, 'ERR_USAGE'],
      [['exec', 'web'], 125, "ERR_USAGE: missing required argument 'command'"],
      [['exec', '-u', 'root', 'web', 'id'], 125, "ERR_USAGE: option '-u, --user"],
      [['exec', 'web', 'id'], 125, 'ERR_CONTAINER_NOT_FOUND'],
      [['ps', 'web'], 1, "ERR_CONTAINER_NOT_FOUND: there is no container 'web' in '/nonexistent'"],
      [['stats', '../x'], 1, 'ERR_INVALID_ARG_VALUE'],
      [['top'], 1, 'ERR_NOT_A_TERMINAL'],
      [['top', '--sort', 'odd'], 2, 'ERR_USAGE'],
    ] as const
    await Promise.all(
      refused.map(async ([words, code, message]) => {
        const answer = await runCommand(none, words)
        expect(answer, words.join(' ')).toMatchObject({
          code,
          stdout: expect.stringMatching(
            words[0] === 'ps' || words[0] === 'stats' ? /^(CONTAINER.*\n)?$/ : /^$/,
          ),
        })
        expect(answer.stderr).toContain(`libcontainer: ${message}`)
      }),
    )
  })
})

describe.skipIf(cannotRunContainers())('the command over containers', () => {
  const ground = useContainers('runc')

  const ask = (...words: string[]): Promise<Answer> => runCommand(ground.root, words)
  // eslint-disable-next-line @typescript-eslint/no-explicit-any
  const json = async (...words: string[]): Promise<any> => JSON.parse((await ask(...words)).stdout)

  /** Directories of the processes that exec() has started. */
  const jobsOf = (id: string): string[] =>
    readdirSync(join(ground.root, id), { withFileTypes: true })
      .filter((entry) => entry.isDirectory() && entry.name !== 'init')
      .map(({ name }) => join(ground.root, id, name))

  test('ps tells of each state, in a table, as ids and as JSON, and touches no shim', async () => {
    const running = await ground.running({ labels: ['team=blue'] })
    const hostile = ['/bin/sh', '-c', '# \x1b[31m\r\n\u202e\nexit 3']
    const ended = await ground.create({ bundle: ground.bundleOf(hostile) })
    await (await ended.start()).wait()
    const created = await ground.create()
    await running.exec('job', { args: ['/bin/sleep', '1000'] })
    for (const container of [ended, created]) await container.close()
    await eventually('no shim', () => shimsBelow(join(ground.root, ended.id)).length === 0)

    const { code, stdout, stderr } = await ask('ps')
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' })
    const [title, ...lines] = stdout.trimEnd().split('\n')
    expect(title).toMatch(/^CONTAINER +STATE +PID +UP +PROCS +RUNTIME +COMMAND$/)
    const lineOf = (id: string): string => lines.find((line) => line.startsWith(`${id} `)) as string
    const pid = running.processes.get('init')?.pid as number
    expect(lines).toHaveLength(3)
    expect(lineOf(running.id)).toMatch(new RegExp(`running +${pid} +\\S+ +2 +runc +/bin/sleep 100000$`))
    expect(lineOf(ended.id)).toMatch(
      / exit 3 +– +– +0 +runc +\/bin\/sh -c '# \\x1b\[31m\\x0d\\n\\u202e\\nexit 3'$/,
    )
    expect(lineOf(created.id)).toMatch(/ created +– +– +0 +runc +–$/)
    // Aligned: every line has its last column where the title has it.
    for (const line of lines) expect(line.slice(0, title?.indexOf('COMMAND'))).toMatch(/ runc {5}$/)

    expect((await ask('ps', '--quiet', '--state', 'running,created')).stdout.trim().split('\n')).toEqual(
      [running.id, created.id].sort(),
    )
    const [one] = await json('ps', '--json', running.id)
    expect(one).toMatchObject({
      id: running.id,
      root: ground.root,
      state: 'running',
      pid,
      labels: ['team=blue'],
    })
    expect(Math.abs(Date.parse(one.startedAt) - Date.now())).toBeLessThan(60_000)
    expect(one.processes.map(({ id }: { id: string }) => id)).toEqual(['init', 'job'])
    const [other] = await json('ps', '--json', ended.id)
    expect(other).toMatchObject({ state: 'stopped', pid: null, exitStatus: { exitCode: 3, known: true } })
    expect(other.processes[0].args).toEqual(hostile)
    expect((await ask('ps', '--processes', running.id)).stdout).toMatch(
      / job +running +\d+ +\S+ +\/bin\/sleep 1000$/m,
    )
    expect(shimsBelow(join(ground.root, ended.id))).toEqual([])

    const partly = await ask('ps', '--quiet', running.id, 'nobody')
    expect(partly).toMatchObject({ code: 1, stdout: `${running.id}\n` })
    expect(partly.stderr).toContain("ERR_CONTAINER_NOT_FOUND: there is no container 'nobody'")
  })

  test('several roots: one of two containers of an id must be chosen', async () => {
    const container = await ground.create()
    const second = ground.newPath('root')
    const twin = await Container.create({ root: second, id: container.id, bundle: container.bundle })
    const both = `${ground.root}:${second}`
    expect((await runCommand(both, ['ps', '--quiet'])).stdout).toBe(`${container.id}\n`.repeat(2))
    expect((await runCommand(both, ['ps'])).stdout).toContain(second)
    const unclear = await runCommand(both, ['ps', container.id])
    expect(unclear).toMatchObject({ code: 1, stdout: expect.stringContaining('CONTAINER') })
    expect(unclear.stderr).toContain(`ERR_AMBIGUOUS: '${container.id}' is in ${ground.root} and ${second}`)
    const chosen = await runCommand(both, ['ps', '--json', '--root', second, container.id])
    expect(JSON.parse(chosen.stdout)).toMatchObject([{ root: second }])
    await twin.delete()
  })

  test('exec passes on streams, words and the exit code, and leaves nothing', async () => {
    const container = await ground.running()
    const { id } = container
    const script = 'cat; echo "$OWN/$A/$B" >&2; pwd; id -u; id -g; exit 7'
    process.env['LIBCONTAINER_TEST_B'] = 'from here'
    const all = await runCommand(
      ground.root,
      [
        'exec',
        '-i',
        '-e',
        'A=--b',
        '-e',
        'LIBCONTAINER_TEST_B',
        '-w',
        '/tmp',
        '-u',
        '1000:5',
        id,
        'sh',
        '-c',
        script.replace('$B', '$LIBCONTAINER_TEST_B'),
      ],
      'given\n',
    )
    expect(all).toEqual({
      code: 7,
      stdout: 'given\n/tmp\n1000\n5\n',
      stderr: 'from the container/--b/from here\n',
    })
    expect(await ask('exec', id, 'cat')).toEqual({ code: 0, stdout: '', stderr: '' })
    expect((await ask('exec', id, 'sh', '-c', 'kill -9 $$')).code).toBe(137)
    const missing = await ask('exec', id, 'not-there')
    expect(missing).toMatchObject({ code: 127, stdout: '' })
    expect(missing.stderr).toMatch(/^libcontainer: ERR_SYSCALL: .*ENOENT.*not-there'\n$/)
    expect((await ask('exec', id, '/etc/plain')).code).toBe(126)
    expect((await ask('exec', '-w', '/not-there', id, 'true')).code).toBe(125)
    expect(await ask('exec', '-i', '-t', id, 'sh')).toMatchObject({
      code: 125,
      stderr: expect.stringContaining('ERR_NOT_A_TERMINAL'),
    })
    await container.pause()
    expect(await ask('exec', id, 'true')).toMatchObject({
      code: 125,
      stderr: expect.stringContaining('ERR_CONTAINER_PAUSED'),
    })
    await container.resume()
    const told = await ask('exec', '--json', id, 'sh', '-c', 'echo out; echo err >&2; kill -TERM $$')
    expect(told.code).toBe(143)
    expect(JSON.parse(told.stdout)).toMatchObject({
      container: id,
      exitCode: 143,
      signal: 'SIGTERM',
      known: true,
      oomKilled: false,
      stdout: 'out\n',
      stderr: 'err\n',
    })
    const directories = readdirSync(join(ground.root, id), { withFileTypes: true })
    expect(directories.filter((entry) => entry.isDirectory()).map(({ name }) => name)).toEqual(['init'])
  })

  test('exec hands on much, in order, and ends what nobody reads any more', async () => {
    const { id } = await ground.running()
    const text = 'x'.repeat(3_000_000)
    const copied = await runCommand(ground.root, ['exec', '-i', id, 'cat'], text)
    expect(copied.code).toBe(0)
    expect(copied.stdout === text).toBe(true)
    // A pipeline whose reader leaves.
    const line = `'${process.execPath}' '${commandFile}' exec '${id}' yes | head -n 1; echo $\{PIPESTATUS[0]}`
    const env = { ...process.env, LIBCONTAINER_ROOT: ground.root }
    expect(execFileSync('bash', ['-c', line], { encoding: 'utf8', env })).toBe('y\n141\n')
  })

  test('exec waits for a reader that is slow, longer than wait() does', async () => {
    const { id } = await ground.running()
    const command = new Command(ground.root, ['exec', id, 'seq', '1', '40000'])
    // Nobody reads until its own wait() has given up on the stream: by then the process is gone.
    command.child.stdout?.pause()
    await eventually('it runs', () => existsSync(join(ground.root, id)) && jobsOf(id).length > 0)
    await eventually('its process has ended', () =>
      jobsOf(id).every((job) => existsSync(join(job, 'exitStatus'))),
    )
    await new Promise((resolve) => setTimeout(resolve, 3000))
    command.child.stdout?.resume()
    expect(await command.ended).toEqual({ code: 0, signal: null })
    expect(command.stdout).toBe(Array.from({ length: 40_000 }, (_, n) => `${n + 1}\n`).join(''))
  })

  test('a full disk is said in one line, with 1, and with 125 for exec', async () => {
    const { id } = await ground.running()
    const said = 'libcontainer: ERR_OUTPUT: cannot write to stdout: ENOSPC: no space left on device, write\n'
    const answers = [
      [['--version'], '>', 1, said],
      [['--help'], '>', 1, said],
      [['exec', '--help'], '>', 125, said],
      [['ps'], '>', 1, said],
      [['ps', '--json'], '>', 1, said],
      [['ps', '--quiet'], '>', 1, said],
      [['stats'], '>', 1, said],
      [['stats', '--json', '--interval', '0.1'], '>', 1, said],
      [['events'], '>', 1, said],
      [['events', '--json', id], '>', 1, said],
      [['top'], '>', 1, 'libcontainer: ERR_NOT_A_TERMINAL: top wants a terminal: `stats` is for scripts\n'],
      [['exec', id, 'echo', 'x'], '>', 125, said],
      [['exec', id, 'yes'], '>', 125, said],
      [['exec', '--json', id, 'true'], '>', 125, said],
      // What it does not lose is no failure, and what cannot be said is in the exit code.
      [['exec', id, 'sh', '-c', 'echo x >&2; exit 3'], '>', 3, 'x\n'],
      [['ps', '--frob'], '2>', 2, ''],
      [['ps', 'nobody'], '2>', 1, ''],
      [['exec', 'nobody', 'true'], '2>', 125, ''],
      [['exec', id, 'sh', '-c', 'echo x >&2; exit 3'], '2>', 125, ''],
      [['exec', id, 'sh', '-c', 'exit 3'], '2>', 3, ''],
    ] as const
    for (const [words, redirection, code, stderr] of answers) {
      const line = `'${process.execPath}' '${commandFile}' "$@" ${redirection} /dev/full`
      const answer = spawnSync('sh', ['-c', line, 'sh', ...words], {
        encoding: 'utf8',
        env: { ...process.env, LIBCONTAINER_ROOT: ground.root },
      })
      expect({ code: answer.status, stderr: answer.stderr }, `${words.join(' ')} ${redirection}`).toEqual({
        code,
        stderr,
      })
    }
    expect(jobsOf(id)).toEqual([])
  })

  test('a reader that has left is no error, whichever stream it was', async () => {
    const { id } = await ground.running()
    const ends = [
      [['--version'], 'stdout', 0],
      [['ps'], 'stdout', 0],
      [['stats', '--json', '--interval', '0.1'], 'stdout', 0],
      [['events'], 'stdout', 0],
      [['exec', '--json', id, 'true'], 'stdout', 0],
      [['exec', id, 'yes'], 'stdout', 141],
      [['exec', id, 'sh', '-c', 'yes >&2'], 'stderr', 141],
      [['exec', id, 'sh', '-c', 'trap "" PIPE; yes >&2; yes; exit 5'], 'stderr', 5],
      [['ps', 'nobody'], 'stderr', 1],
    ] as const
    for (const [words, name, code] of ends) {
      const command = new Command(ground.root, words)
      command.child[name]?.destroy()
      if (code === 5)
        await eventually(
          'the other stream',
          () => command.stdout.length > 0 && command.child.stdout?.destroy(),
        )
      expect(await command.ended, words.join(' ')).toEqual({ code, signal: null })
      expect(name === 'stdout' ? command.stderr : '', words.join(' ')).toBe('')
    }
  })

  test('exec passes signals on', async () => {
    const container = await ground.running()
    const script = 'trap "echo got it; exit 5" TERM; echo ready; while :; do sleep 0.1; done'
    const command = new Command(ground.root, ['exec', container.id, 'sh', '-c', script])
    await eventually('ready', () => command.stdout.includes('ready'))
    command.child.kill('SIGTERM')
    expect(await command.ended).toEqual({ code: 5, signal: null })
    expect(command.stdout).toBe('ready\ngot it\n')
  })

  test('stats: one line of JSON for a look, a table for people, and why there is nothing', async () => {
    const container = await ground.running()
    const busy = await ground.create({
      bundle: ground.bundle((config) => {
        config.process.args = ['/bin/sh', '-c', 'while :; do :; done']
        config.linux.resources.memory = { limit: 64 << 20 }
      }),
    })
    await busy.start()
    const created = await ground.create()
    const once = await json('stats', '--json')
    expect(once.map(({ id }: { id: string }) => id)).toEqual([container.id, busy.id].sort())
    const { stats, cpuPercent } = once.find(({ id }: { id: string }) => id === busy.id)
    expect(stats).toMatchObject({ memory: { usage: { limit: 64 << 20 } }, pids: { current: 1 } })
    expect(cpuPercent).toBe(null)

    const again = new Command(ground.root, ['stats', '--json', '--interval', '0.1', busy.id])
    const [measured] = await again.line('a percentage', ([one]) => typeof one.cpuPercent === 'number')
    expect(measured.cpuPercent).toBeGreaterThan(0)
    again.child.kill('SIGTERM')
    expect((await again.ended).signal).toBe('SIGTERM')

    const [title, ...lines] = (await ask('stats')).stdout.trimEnd().split('\n')
    expect(title).toMatch(/^CONTAINER +CPU % +CPU TIME +MEMORY +LIMIT +MEM % +PIDS/)
    expect(lines).toHaveLength(2)
    const line = lines.find((one) => one.startsWith(busy.id))
    expect(line).toMatch(/^\S+ +\d+\.\d +\d+\.\d\ds +[\d.]+[KM] +64\.0M +\d+\.\d +1 /)
    const hasPsi = isCgroupV2() && new Cgroup(busy.id).path('cpu.pressure') !== null
    expect(line).toMatch(hasPsi ? /(\d+\.\d( \/ |$)){3}/ : / – \/ – \/ –$/)

    const none = await ask('stats', '--json', created.id)
    expect(none.code).toBe(1)
    expect(JSON.parse(none.stdout)).toMatchObject([
      { id: created.id, error: { code: 'ERR_CONTAINER_NOT_STARTED' } },
    ])
    expect(none.stderr).toContain('libcontainer: ERR_CONTAINER_NOT_STARTED: ')
  })

  test('events: a whole life that others lead, and what of it came before is no news', async () => {
    const before = await ground.running()
    const command = new Command(ground.root, ['events', '--json'])
    // eslint-disable-next-line @typescript-eslint/no-explicit-any
    const of = (id: string, type: string, more: (line: any) => boolean = () => true): Promise<any> =>
      command.line(`${type} of ${id}`, (line) => line.type === type && line.id === id && more(line))
    const first = await command.line('its first word', () => true)
    expect(first).toMatchObject({ type: 'watching', containers: [before.id] })

    const container = await ground.create()
    await of(container.id, 'created')
    const init = await container.start()
    expect(await of(container.id, 'started')).toMatchObject({ process: 'init', pid: init.pid })
    const job = await container.exec('job', { args: ['/bin/sh', '-c', 'read x; exit 4'] }, { stdin: 'pipe' })
    expect(await of(container.id, 'started', ({ process }) => process === 'job')).toMatchObject({
      pid: job.pid,
    })
    job.stdin?.end('\n')
    expect(await of(container.id, 'exited')).toMatchObject({ process: 'job', status: { exitCode: 4 } })
    await container.pause()
    await of(container.id, 'paused')
    await container.resume()
    await of(container.id, 'resumed')
    await container.close()
    await (await Container.load(ground.root, container.id, { observe: true })).kill('SIGKILL')
    const end = await of(container.id, 'exited', ({ process }) => process === 'init')
    expect(end).toMatchObject({ status: { exitCode: 137, signal: 'SIGKILL', known: true } })
    // It lets go of what has ended, so that its shim leaves.
    await eventually('no shim', () => shimsBelow(join(ground.root, container.id)).length === 0)
    await (await Container.load(ground.root, container.id)).delete()
    await of(container.id, 'deleted')

    expect(command.lines.filter(({ id }) => id === before.id)).toEqual([])
    expect(
      command.lines
        .filter(({ id }) => id === container.id)
        .map(({ type, process }) => (process ? `${type} ${process}` : type)),
    ).toEqual([
      'created',
      'started init',
      'started job',
      'exited job',
      'paused',
      'resumed',
      'exited init',
      'deleted',
    ])
    command.child.kill('SIGINT')
    expect(await command.ended).toEqual({ code: 0, signal: null })
    expect(command.stderr).toBe('')
    expect(isAlive(shimOf(before))).toBe(true)
  })

  test('events of named containers end with them; for people they are lines', async () => {
    const container = await ground.running()
    const command = new Command(ground.root, ['events', container.id])
    await eventually('its first word', () => command.stdout.includes('watching'))
    await container.delete({ force: true })
    expect((await command.ended).code).toBe(0)
    expect(command.stdout).toMatch(new RegExp(`^\\S+Z  exited    ${container.id}  init SIGKILL$`, 'm'))
    expect(command.stdout).toMatch(new RegExp(`^\\S+Z  deleted   ${container.id}$`, 'm'))
  })

  test('an ephemeral container outlives those who looked, and ends with its own program', async () => {
    const options = ground.options({ ephemeral: true })
    const owner = new Program(
      'const container = await Container.create(args); await container.start(); say("up"); await sleep(1e6)',
      options,
    )
    await owner.next()
    const command = new Command(ground.root, ['events', '--json'])
    await command.line('its first word', () => true)
    expect((await ask('exec', options.id, 'echo', 'hello')).stdout).toBe('hello\n')
    expect(await json('ps', '--json', options.id)).toMatchObject([{ state: 'running' }])
    expect(await json('stats', '--json', options.id)).toMatchObject([{ stats: { pids: {} } }])
    owner.kill()
    await command.line('its end', ({ type }) => type === 'deleted')
    command.child.kill('SIGTERM')
    await command.ended
    expect(existsSync(join(ground.root, options.id))).toBe(false)
    await ground.expectNothingLeft(options.id)
  })
})
