// What a start hands to the runtime and what it takes from it: modes, pids, arguments, cgroups, the null device, the log.
import { type ChildProcess, spawn } from 'node:child_process'
import {
  chmodSync,
  closeSync,
  existsSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  rmdirSync,
  statSync,
  writeFileSync,
} from 'node:fs'
import { subscribe, unsubscribe } from 'node:diagnostics_channel'
import { join, relative } from 'node:path'
import { afterEach, describe, expect, test } from 'vitest'
import { load as loadBinding } from '../../lib/native/load.js'
import { Container } from '../../lib/index.js'
import { shimOf, useContainers } from '../support/containers.js'
import { expectCode, failure, run } from '../support/expect.js'
import { cannotRunContainers, cgroupRoot, runtimes } from '../support/machine.js'
import { isAlive, procStat, read } from '../support/processes.mjs'
import { eventually } from '../support/wait.js'
import { wrapRuntime } from '../support/wrapper.js'

const skip = cannotRunContainers()
const nobody = 'setpriv --reuid 1000 --regid 1000 --clear-groups'

describe.skipIf(skip).each(runtimes)('starts under attack, %s', (runtime) => {
  const ground = useContainers(runtime)
  let bystanders: ChildProcess[] = []
  afterEach(() => {
    for (const child of bystanders) child.kill('SIGKILL')
    bystanders = []
  })

  /** A process of the host's that nothing here has to do with. */
  function bystander(command: string, ...args: string[]): number {
    const child = spawn(command, args, { stdio: ['pipe', 'ignore', 'ignore'] })
    bystanders.push(child)
    return child.pid as number
  }

  async function withUmask<T>(mask: number, work: () => Promise<T>): Promise<T> {
    const before = process.umask(mask)
    try {
      return await work()
    } finally {
      process.umask(before)
    }
  }

  const lines = (path: string): string[] => readFileSync(path, 'utf8').trim().split('\n')

  test('the runtime and its hooks have the umask of the program', async () => {
    const said = ground.newPath('umask')
    const made = ground.newPath('made')
    const hook = { path: '/bin/sh', args: ['sh', '-c', `umask >> ${said}; : > ${made}`] }
    const bundle = ground.bundle((config) => {
      config.hooks = { createRuntime: [hook] }
    })
    await withUmask(0o027, () =>
      ground.running({ bundle, runtime: wrapRuntime(ground, 'create', `umask >> ${said}`) }),
    )
    expect(lines(said).map((text) => Number.parseInt(text, 8))).toEqual([0o027, 0o027])
    expect(statSync(made).mode & 0o777).toBe(0o640)
  })

  test('nothing that a run leaves in the state directory is open to others, whatever the umask', async () => {
    const seen = ground.newPath('seen')
    const bundle = ground.bundleOf(['/bin/sh'], { terminal: true })
    const wrapper = wrapRuntime(
      ground,
      'create',
      `$real "$@"; status=$?
       find "$(dirname "$log")" -perm /077 '(' ! -type d -o -perm /066 ')' -print > ${seen}
       find "$(dirname "$log")" -type f -path '*pid*' -print | while read file; do
         if ${nobody} cat "$file" > /dev/null 2>&1; then echo "$file" >> ${seen}; fi
       done
       exit $status`,
    )
    chmodSync(ground.directory, 0o711)
    // Files that the runtime made itself, in a directory that is closed, may have any mode.
    await withUmask(0, () => ground.running({ bundle, runtime: wrapper }))
    const open = readFileSync(seen, 'utf8')
      .split('\n')
      .filter((path) => path !== '' && !path.includes('/init/runtime/'))
    expect(open).toEqual([])
  })

  test('a local user who writes to the pid file kills nobody', async () => {
    const victim = bystander('sleep', '1000')
    chmodSync(ground.directory, 0o711)
    const wrapper = wrapRuntime(
      ground,
      'create',
      `$real "$@"; status=$?
       ${nobody} sh -c 'echo ${victim} > "$1"' sh "$(value --pid-file "$@")" 2> /dev/null
       exit $status`,
    )
    // Whether the start works is the next test's matter.
    await withUmask(0, () => ground.running({ runtime: wrapper })).catch(() => undefined)
    expect(isAlive(victim)).toBe(true)
    await (
      await Container.load(ground.root, (await Container.list(ground.root))[0] as string)
    ).delete({
      force: true,
    })
    expect(isAlive(victim)).toBe(true)
  })

  test.each([
    ['of a process that is not the one of its record', '$real "$@"'],
    ['of a process of which it has no record', ':'],
  ])('a pid file %s: refused, and that process lives', async (_, before) => {
    const victim = bystander('sleep', '1000')
    const wrapper = wrapRuntime(
      ground,
      'create',
      `${before}; printf ${victim} > "$(value --pid-file "$@")"; exit 0`,
    )
    const container = await ground.create({ runtime: wrapper })
    const error = await failure(container.start())
    expect(isAlive(victim)).toBe(true)
    expect(error).toMatchObject({ name: 'ContainerError', code: 'ERR_RUNTIME' })
    expect(error.message).toContain(String(victim))
    expect(await container.status()).toBe('created')
    expect(existsSync(ground.record(container.id))).toBe(false)
    await container.delete()
    expect(isAlive(victim)).toBe(true)
  })

  test('a takeover ends the run that was under way, and nobody who names its log', async () => {
    const pids = ground.newPath('pids')
    const wrapper = wrapRuntime(ground, 'create', `echo $$ > ${pids}; sleep 1000 & echo $! >> ${pids}; wait`)
    const container = await ground.create({ runtime: wrapper })
    const log = join(ground.root, container.id, 'log.json')
    const starting = container.start().catch((error: unknown) => error)
    await eventually('the run', () => existsSync(pids) && lines(pids).length === 2)
    const reader = bystander('tail', '-F', log)
    const carrier = bystander('sh', '-c', 'read line', '--log', log, 'create')
    await eventually('both run', () => (read(`/proc/${carrier}/cmdline`) ?? '').includes(log))
    process.kill(shimOf(container), 'SIGKILL')
    expect(await starting).toMatchObject({ code: 'ERR_SHIM_EXITED' })
    const loaded = await Container.load(ground.root, container.id)
    expect(await loaded.status()).toBe('created')
    expect([reader, carrier].map(isAlive)).toEqual([true, true])
    await eventually('the run has ended', () => !lines(pids).map(Number).some(isAlive))
    expect(readdirSync(join(ground.root, container.id)).filter((name) => name.startsWith(':'))).toEqual([])
  })

  test('a takeover waits for a runtime whose script was killed', async () => {
    const gate = ground.newPath('gate')
    const pids = ground.newPath('pids')
    const wrapper = wrapRuntime(
      ground,
      'create',
      `echo $$ > ${pids}
       sh -c 'echo $$ >> ${pids}; while [ ! -e ${gate} ]; do sleep 0.05; done; echo done >> ${pids}' "$@" & wait`,
    )
    const container = await ground.create({ runtime: wrapper })
    const starting = container.start().catch((error: unknown) => error)
    await eventually('the run', () => existsSync(pids) && lines(pids).length === 2)
    const [script, inner] = lines(pids).map(Number) as [number, number]
    process.kill(shimOf(container), 'SIGSTOP')
    process.kill(script, 'SIGKILL')
    process.kill(shimOf(container), 'SIGKILL')
    await starting
    await Container.load(ground.root, container.id)
    // It came to its end or was ended, before anything was said of the container.
    expect(isAlive(inner)).toBe(false)
  })

  test('who loses the race for a start hears nothing of the winner’s init', async () => {
    const gate = ground.newPath('gate')
    const pid = ground.newPath('pid')
    const winner = await ground.create({
      runtime: wrapRuntime(ground, 'create', `echo $$ > ${pid}; while [ ! -e ${gate} ]; do sleep 0.02; done`),
    })
    const started = winner.start()
    await eventually('the run', () => existsSync(pid))
    const loser = await Container.load(ground.root, winner.id)
    const shim = shimOf(winner)
    const { native } = loadBinding()
    const { send } = native
    const sent: string[] = []
    native.send = (connection, request, body, fds) => {
      sent.push(request)
      send(connection, request, body, fds)
    }
    let heard = 0
    try {
      // Its create has ended, and the loser has asked, before the shim looks at either.
      process.kill(shim, 'SIGSTOP')
      writeFileSync(gate, '')
      await eventually('the end of create', () => procStat(Number(readFileSync(pid, 'utf8')))?.state === 'Z')
      const losing = expectCode(
        loser.start({
          onCreated: () => {
            ++heard
          },
        }),
        'ERR_PROCESS_EXISTS',
      )
      await eventually('the request', () => sent.some((request) => request.includes('"op":"start"')))
      process.kill(shim, 'SIGCONT')
      await losing
    } finally {
      process.kill(shim, 'SIGCONT')
      native.send = send
    }
    expect((await started).state).toBe('running')
    expect(heard).toBe(0)
    expect(await loser.status()).toBe('running')
  })

  test.each(['-', '--help-', '--root=-', '-f-'])('an id that begins with %s is no flag', async (prefix) => {
    const container = await ground.create({ id: `${prefix.replace('=', '.')}${ground.newId()}` })
    const init = await container.start()
    expect(existsSync(ground.record(container.id))).toBe(true)
    expect((await run(container, 'echo inside')).stdout).toBe('inside\n')
    await init.kill('SIGKILL')
    await init.wait()
    await container.delete()
    expect(existsSync(ground.record(container.id))).toBe(false)
    expect(await Container.list(ground.root)).toEqual([])
  })

  test('an id that begins with - is undone and checkpointed as any other', async () => {
    const said = ground.newPath('said')
    const broken = await ground.create({
      id: `-${ground.newId()}`,
      runtime: wrapRuntime(ground, 'start', `echo "no" >&2; exit 1`),
    })
    await expectCode(broken.start(), 'ERR_RUNTIME')
    expect(existsSync(ground.record(broken.id))).toBe(false)
    const container = await ground.running({
      id: `-${ground.newId()}`,
      runtime: wrapRuntime(ground, 'checkpoint', `printf '%s\\n' "$@" > ${said}; exit 1`),
    })
    await expect(container.checkpoint({ name: 'a' })).rejects.toThrow()
    expect(lines(said).slice(-2)).toEqual(['--', container.id])
  })

  test.each([
    ['--root', (path: string) => ['--root', path]],
    ['--root=', (path: string) => [`--root=${path}`]],
  ])('a relative %s counts from where the program is at create()', async (_, args) => {
    const runtimeRoot = ground.newPath('runtime-root')
    mkdirSync(runtimeRoot)
    const container = await ground.create({ runtimeArgs: args(relative(process.cwd(), runtimeRoot)) })
    const state = JSON.parse(readFileSync(join(ground.root, container.id, 'state.json'), 'utf8')) as {
      runtimeArgs: string[]
    }
    expect(state.runtimeArgs).toEqual(args(runtimeRoot))
    await container.start()
    expect(readdirSync(runtimeRoot)).toContain(container.id)
    expect((await run(container, 'echo inside')).stdout).toBe('inside\n')
    await container.delete({ force: true })
    expect(readdirSync(runtimeRoot)).not.toContain(container.id)
    await ground.expectNothingLeft(container.id)
  })

  /** In every hierarchy. */
  const cgroups = (name: string): string[] =>
    existsSync(join(cgroupRoot, 'cgroup.controllers'))
      ? [join(cgroupRoot, name)]
      : readdirSync(cgroupRoot).map((hierarchy) => join(cgroupRoot, hierarchy, name))

  test.each([
    ['was there before stays', true],
    ['was made by it goes', false],
  ])('of a refused start a cgroup that %s', async (_, before) => {
    const name = `${ground.newId()}-cgroup`
    const directories = cgroups(name)
    const bundle = ground.bundle((config) => {
      config.linux.cgroupsPath = `/${name}`
    })
    const make = `mkdir ${directories.join(' ')}; exit 1`
    const wrapper = wrapRuntime(ground, 'create', before ? 'exit 1' : make)
    try {
      if (before) for (const path of directories) mkdirSync(path)
      const container = await ground.create({ bundle, runtime: wrapper })
      await expectCode(container.start(), 'ERR_RUNTIME')
      expect(directories.map(existsSync)).toEqual(directories.map(() => before))
      // By another shim, too.
      await container.delete({ force: true })
      expect(directories.map(existsSync)).toEqual(directories.map(() => before))
    } finally {
      for (const path of directories.filter(existsSync)) rmdirSync(path)
    }
  })

  test('a shim that takes over removes no cgroup that was there before the start', async () => {
    const name = `${ground.newId()}-cgroup`
    const [kept, ...made] = cgroups(name) as [string, ...string[]]
    const pid = ground.newPath('pid')
    const bundle = ground.bundle((config) => {
      config.linux.cgroupsPath = `/${name}`
    })
    const make = made.length > 0 ? `mkdir ${made.join(' ')}` : ':'
    const wrapper = wrapRuntime(ground, 'create', `${make}; echo $$ > ${pid}; sleep 1000; exit 1`)
    try {
      mkdirSync(kept)
      const container = await ground.create({ bundle, runtime: wrapper })
      const starting = container.start().catch((error: unknown) => error)
      await eventually('the run', () => existsSync(pid))
      process.kill(shimOf(container), 'SIGKILL')
      await starting
      await Container.load(ground.root, container.id)
      expect(existsSync(kept)).toBe(true)
      expect(made.filter(existsSync)).toEqual([])
    } finally {
      for (const path of [kept, ...made].filter(existsSync)) rmdirSync(path)
    }
  })

  const identity = (path: string): string => {
    const { dev, ino } = statSync(path)
    return `${dev}:${ino}`
  }

  test('no runtime and no program is given the host’s /dev/null', async () => {
    const given = ground.newPath('given')
    const look = 'for fd in 0 1 2; do stat -Lc "%d:%i %t:%T" /proc/$$/fd/$fd; done'
    const hosts = openSync('/dev/null', 'r+')
    try {
      for (const command of ['create', 'start', 'delete']) {
        const container = await ground.running({
          runtime: wrapRuntime(ground, command, `(${look}) >> ${given}`),
          bundle: ground.bundle(),
        })
        if (command !== 'create') {
          await container.delete({ force: true })
          continue
        }
        for (const stdio of ['ignore', '/dev/null', hosts] as const) {
          const job = await container.exec(
            `job-${String(stdio).replaceAll('/', '-')}`,
            { args: ['/bin/sleep', '1000'] },
            { stdin: stdio, stdout: stdio, stderr: stdio },
          )
          for (const fd of [0, 1, 2]) {
            expect(statSync(`/proc/${job.pid}/fd/${fd}`).rdev).toBe((1 << 8) | 3)
            expect(identity(`/proc/${job.pid}/fd/${fd}`), `${stdio} ${fd}`).not.toBe(identity('/dev/null'))
          }
        }
        // It may be opened again, by anybody.
        const { status } = await run(container, 'echo x > /proc/self/fd/0', {
          user: { uid: 1000, gid: 1000 },
        })
        expect(status.exitCode).toBe(0)
      }
    } finally {
      closeSync(hosts)
    }
    expect(lines(given)).toHaveLength(9)
    expect(lines(given).filter((line) => line.endsWith(' 1:3')).length).toBeGreaterThanOrEqual(5)
    expect(lines(given).filter((line) => line.startsWith(`${identity('/dev/null')} `))).toEqual([])
  })

  test('a start with a user namespace leaves the host’s /dev/null as it is', async () => {
    // Nobody else's: other containers of this machine may have namespaces, too.
    const hostID = 300_000 + (process.pid % 1000) * 65_536
    const bundle = ground.bundle((config) => {
      config.linux.namespaces.push({ type: 'user' })
      const mapping = [{ containerID: 0, hostID, size: 65_536 }]
      Object.assign(config.linux, { uidMappings: mapping, gidMappings: mapping })
    })
    chmodSync(ground.directory, 0o711)
    const container = await ground.running({ bundle })
    const { uid, gid } = statSync('/dev/null')
    expect(uid).not.toBe(hostID)
    expect(gid).not.toBe(hostID)
    expect((await run(container, 'echo x > /dev/null; echo done')).stdout).toBe('done\n')
  })

  test('a runtime’s log of what went well is told on its channel', async () => {
    const warn = (text: string): string =>
      `$real "$@" || exit; echo '{"level":"warning","msg":"${text}"}' >> "$log"; exit 0`
    const told: { containerId: string; command: string; log: string; warnings: string[] }[] = []
    const listen = (message: unknown): void => void told.push(message as (typeof told)[number])
    subscribe('libcontainer:runtime-log', listen)
    try {
      for (const command of ['create', 'start', 'delete']) {
        const container = await ground.running({
          runtime: wrapRuntime(ground, command, warn(`mind the ${command}`)),
        })
        await container.delete({ force: true })
        const mine = told.filter(({ containerId, warnings }) => {
          return containerId === container.id && warnings.some((text) => text.startsWith('mind'))
        })
        expect(mine.map((one) => [one.command, one.warnings.at(-1)])).toEqual([
          [command, `mind the ${command}`],
        ])
        expect(mine[0]?.log).toContain('"level":"warning"')
      }
    } finally {
      unsubscribe('libcontainer:runtime-log', listen)
    }
  })
})
