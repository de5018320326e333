// System calls that fail in a program's own calls, one after the other: in the thread that the addon has for them, where
// nothing of Node's runs. All that they say is true, or they say why they cannot.
import { copyFileSync, utimesSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import type { Container } from '../../lib/index.js'
import { Cgroup } from '../support/cgroups.js'
import { useContainers } from '../support/containers.js'
import { callsOf, faultsIn, resourceFaults, tryFault } from '../support/faults.js'
import { cannotRunContainers, isSanitized, packageRoot } from '../support/machine.js'
import { descriptors, isAlive, shimsBelow } from '../support/processes.mjs'
import { Program } from '../support/programs.js'
import { eventually } from '../support/wait.js'

const skip = cannotRunContainers()

const errors: Record<string, string> = {
  ...resourceFaults,
  access: 'ENOMEM',
  faccessat: 'ENOMEM',
  faccessat2: 'ENOMEM',
  stat: 'ENOMEM',
  newfstatat: 'ENOMEM',
  read: 'EIO',
  pread64: 'EIO',
  pwrite64: 'ENOMEM',
  getdents64: 'EIO',
  poll: 'ENOMEM',
  socket: 'EMFILE',
  connect: 'ENOMEM',
  flock: 'ENOMEM',
  pidfd_open: 'EMFILE',
  pidfd_send_signal: 'ENOMEM',
  fchmod: 'EIO',
  fchown: 'EIO',
  memfd_create: 'EMFILE',
  sendfile: 'ENOMEM',
  vfork: 'EAGAIN',
}
// By write() the thread wakes Node's, and libuv ends a process in which that fails.
delete errors['write']
if (isSanitized) delete errors['mmap']
/** Of hundreds of calls of one name, as a read of all figures makes them, not each. */
const most = 10

/** Of the program that a test runs: `lane`, the thread of the addon's work, and what is tried in one turn of it. */
const prelude = `
  const fs = require('node:fs')
  // Node's own threads are there before: the one that comes next is the addon's.
  await Promise.all(Array.from({ length: 4 }, () => fs.promises.readFile('/dev/null')))
  const before = fs.readdirSync('/proc/self/task')
  await Container.list(args.root)
  const lanes = fs.readdirSync('/proc/self/task').filter((thread) => !before.includes(thread))
  // Nothing is open already, whoever asks.
  Container.limitDescriptors(0)
  const tried = async (work) => {
    try { return (await work()) ?? 'ok' } catch (error) {
      if (error.name !== 'ContainerError') return { stack: error.stack }
      return { code: error.code, errno: error.errno, syscall: error.syscall }
    }
  }
  const truth = async (options) => {
    const c = await Container.load(args.root, args.id, options)
    const processes = [...c.processes].map(([id, { pid, exitStatus }]) => {
      const { exitCode, signal, known, exitedAt } = exitStatus ?? {}
      return [id, pid, ...(exitStatus ? [exitCode, signal, known, exitedAt.getTime()] : [])]
    })
    const { state } = c
    await c.close()
    return { state, processes: processes.sort() }
  }
  const rounds = async (round) => {
    await round(0)
    say(lanes)
    let n = 0
    for await (const line of require('node:readline').createInterface({ input: process.stdin })) say(await round(++n))
    process.exit(0)
  }
`

const failed = expect.objectContaining({
  code: 'ERR_SYSCALL',
  errno: expect.any(Number),
  syscall: expect.any(String),
})

describe.skipIf(skip)('faults in the calls of a program', () => {
  const ground = useContainers('runc')

  /** Init, one that runs, and two that have exited. */
  async function inhabited(): Promise<Container> {
    const container = await ground.running()
    await (await container.exec('code', { args: ['/bin/sh', '-c', 'exit 5'] })).wait()
    await (await container.exec('shot', { args: ['/bin/sh', '-c', 'kill -9 $$'] })).wait()
    await container.exec('job', { args: ['/bin/sh', '-c', 'trap "" USR1; exec sleep 1000'] })
    return container
  }

  /** What load() has to say of it. */
  function truthOf(container: Container, state: string): object {
    const processes = [...container.processes.values()].map(({ id, pid, exitStatus }) => {
      const { exitCode, signal, known, exitedAt } = exitStatus ?? {}
      return [id, pid, ...(exitStatus ? [exitCode, signal, known, exitedAt?.getTime()] : [])]
    })
    return { state, processes: processes.sort() }
  }

  /** Each system call of the addon's thread in turn while the program does `code`; `check` gets what it says of it. */
  async function eachFault(
    container: Container,
    code: string,
    more: object,
    check: (said: Record<string, unknown>, what: string) => void,
    prepare: () => Promise<void> = async () => undefined,
  ): Promise<{ failures: number }> {
    const program = new Program(`${prelude}\n${code}`, { root: ground.root, id: container.id, ...more }, [
      'pipe',
      'pipe',
      'pipe',
    ])
    try {
      const [lane, ...others] = ((await program.next()) as string[]).map(Number)
      expect(lane).toBeGreaterThan(0)
      expect(others).toEqual([])
      const pid = program.child.pid as number
      const round = async (): Promise<Record<string, unknown>> => {
        program.child.stdin?.write('\n')
        return (await program.next()) as Record<string, unknown>
      }
      await prepare()
      check(await round(), '')
      await prepare()
      const counts = await callsOf(lane as number, ground.newPath('trace'), round)
      const before = descriptors(pid)
      let tries = 0
      let hits = 0
      let failures = 0
      for (const { call, n, error, what } of faultsIn(counts, errors, most)) {
        await prepare()
        const { value: said, injected } = await tryFault(lane as number, call, n, error, round).catch(
          async (cause: Error) => {
            throw new Error(`${what}: ${cause.message} ${JSON.stringify(await program.ended)}`, { cause })
          },
        )
        ++tries
        hits += injected
        if (Object.values(said).some((answer) => (answer as { code?: string }).code !== undefined)) ++failures
        check(said, what)
        await prepare()
        check(await round(), `after ${what}`)
        await eventually('as few descriptors', () => descriptors(pid).size <= before.size).catch(() => {
          const left = [...descriptors(pid)].filter(([fd]) => !before.has(fd))
          throw new Error(`descriptors after ${what}: ${JSON.stringify(left)}`)
        })
      }
      expect(hits).toBeGreaterThan(tries * 0.8)
      program.child.stdin?.end()
      expect(await program.ended).toMatchObject({ code: 0 })
      return { failures }
    } finally {
      program.child.kill('SIGKILL')
    }
  }

  test('pause, resume, update, kill, stats, pids, status and load: true, or an error', async () => {
    const container = await inhabited()
    const cgroup = new Cgroup(container.id)
    const good = {
      load: truthOf(container, 'running'),
      observed: truthOf(container, 'running'),
      paused: 'ok',
      frozen: true,
      whilePaused: truthOf(container, 'paused'),
      status: 'paused',
      resumed: 'ok',
      thawed: true,
      updated: 'ok',
      limits: [true, true],
      stats: 'ok',
      pids: 'ok',
      killed: 'ok',
    }
    const { failures } = await eachFault(
      container,
      `const c = await Container.load(args.root, args.id)
       const frozen = () => /FROZEN|frozen 1/.test(fs.readFileSync(args.freezer, 'utf8'))
       const limits = (wanted) => [
         Number(fs.readFileSync(args.limit, 'utf8')) === wanted,
         JSON.parse(fs.readFileSync(args.record, 'utf8')).config.cgroups.pids_limit === wanted,
       ]
       let limit = 1000
       await c.updateResources({ pids: { limit } })
       await rounds(async (n) => {
         const said = {}
         said.load = await tried(() => truth())
         said.observed = await tried(() => truth({ observe: true }))
         said.paused = await tried(() => c.pause())
         said.frozen = frozen() === (said.paused === 'ok')
         if (said.paused !== 'ok') await c.pause()
         said.whilePaused = await tried(() => truth())
         said.status = await tried(() => c.status())
         said.resumed = await tried(() => c.resume())
         said.thawed = frozen() === (said.resumed !== 'ok')
         if (said.resumed !== 'ok') await c.resume()
         said.updated = await tried(() => c.updateResources({ pids: { limit: 1000 + n % 1000 } }))
         if (said.updated === 'ok') limit = 1000 + n % 1000
         said.limits = limits(limit)
         said.stats = await tried(async () => {
           const { pids, memory, cpu } = await c.stats()
           if (!(pids.current >= 2 && pids.limit === limit && memory.usage.usage > 0 && cpu.usage.total > 0)) throw new Error('figures')
         })
         said.pids = await tried(async () => {
           const pids = await c.pids()
           for (const id of ['init', 'job']) if (!pids.includes(c.processes.get(id).pid)) throw new Error(id)
         })
         const victim = await c.exec('victim', { args: ['/bin/sleep', '1000'] })
         said.killed = await tried(() => c.kill('SIGUSR1', { all: true }))
         if (said.killed !== 'ok') await victim.kill('SIGKILL').catch(() => undefined)
         if ((await victim.wait()).signal !== 'SIGUSR1' && said.killed === 'ok') said.killed = 'not killed'
         await c.removeProcess('victim')
         return said
       })`,
      {
        freezer: cgroup.path('freezer.state') ?? cgroup.path('cgroup.events'),
        limit: cgroup.path('pids.max'),
        record: join(ground.record(container.id), 'state.json'),
      },
      (said, what) => {
        for (const [name, value] of Object.entries(good)) {
          const told =
            typeof value === 'string' || name === 'load' || name === 'observed' || name === 'whilePaused'
          const allowed = told && what !== '' && !what.startsWith('after') ? [value, failed] : [value]
          expect(allowed, `${what}: ${name} of ${JSON.stringify(said)}`).toContainEqual(said[name])
        }
      },
    )
    expect(failures).toBeGreaterThan(0)
  }, 120_000)

  test('a load for which a shim is to be started', async () => {
    const container = await inhabited()
    const directory = join(ground.root, container.id)
    const truth = truthOf(container, 'running')
    await container.close()
    const shim = ground.newPath('shim')
    copyFileSync(join(packageRoot, 'build/Release/libcontainer-shim'), shim)
    let version = 0
    // Where no shim can be started, what is on disk is told: none has to fail.
    await eachFault(
      container,
      `await rounds(async () => ({ load: await tried(() => truth({ shim: args.shim })) }))`,
      { shim },
      ({ load }, what) => {
        const allowed = what === '' || what.startsWith('after') ? [truth] : [truth, failed]
        expect(allowed, what).toContainEqual(load)
        for (const { id, pid, state } of container.processes.values()) {
          expect([id, isAlive(pid)], what).toEqual([id, state === 'running'])
        }
      },
      async () => {
        for (const pid of shimsBelow(directory)) process.kill(pid, 'SIGKILL')
        await eventually('no shim', () => shimsBelow(directory).length === 0)
        // Another file: its copy in memory is made anew.
        utimesSync(shim, ++version, version)
      },
    )
    expect(shimsBelow(directory)).toHaveLength(1)
  }, 120_000)
})
