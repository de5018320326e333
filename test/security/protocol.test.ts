// Whatever holds up a shim or a process of it, no call waits without an end; and however much there is of something, it is
// served. Reported against this package, and found by looking for more of the kind.
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import {
  closeSync,
  constants,
  existsSync,
  linkSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readFileSync,
  rmdirSync,
  rmSync,
  writeFileSync,
} from 'node:fs'
import { connect, type Socket } from 'node:net'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { beforeAll, describe, expect, test } from 'vitest'
import { Container } from '../../lib/index.js'
import { client, frame } from '../support/client.js'
import { compileProgram } from '../support/compile.js'
import { shimOf, useContainers } from '../support/containers.js'
import { expectCode, failure, run } from '../support/expect.js'
import { cannotRunContainers, runtimes } from '../support/machine.js'
import { isAlive, procStat, read, shimsBelow } from '../support/processes.mjs'
import { Program } from '../support/programs.js'
import { eventually } from '../support/wait.js'
import { cgroupsNamed } from '../support/traces.mjs'

const skip = cannotRunContainers()
const patience = 25_000

/** The same promise; one that is never settled fails by itself, not by the test's end. */
async function settled<T>(what: string, promise: Promise<T>): Promise<T> {
  const over = new AbortController()
  const late = sleep(patience, undefined, { signal: over.signal }).then(
    () => Promise.reject(new Error(`never came to its end: ${what}`)),
    () => new Promise<never>(() => undefined),
  )
  try {
    return await Promise.race([promise, late])
  } finally {
    over.abort()
  }
}

/** Calls while the shim stands still; it goes on whatever becomes of them. */
async function whileStopped<T>(container: Container, work: () => Promise<T>): Promise<T> {
  const shim = shimOf(container)
  process.kill(shim, 'SIGSTOP')
  try {
    await eventually('the shim stands still', () => procStat(shim)?.state === 'T')
    return await work()
  } finally {
    process.kill(shim, 'SIGCONT')
  }
}

const childrenOf = (pid: number): number[] =>
  (read(`/proc/${pid}/task/${pid}/children`) ?? '').trim().split(' ').filter(Boolean).map(Number)

describe.skipIf(skip).each(runtimes)('no wait without an end, %s', (runtime) => {
  const ground = useContainers(runtime)
  let fuse = ''
  beforeAll(() => {
    fuse = compileProgram('silent_fuse', ground.directory)
  })

  test('every call to a shim that is stopped ends by ERR_START_TIMEOUT, and nothing of it is done later', async () => {
    const container = await ground.running({ timeout: 500 })
    await (await container.exec('old', { args: ['/bin/true'] })).wait()
    const terminal = await container.exec('terminal', { args: ['/bin/sleep', '1000'], terminal: true })
    await whileStopped(container, async () => {
      // eslint-disable-next-line @typescript-eslint/no-explicit-any
      const calls: [string, Promise<any>][] = [
        ['exec', failure(container.exec('job', { args: ['/bin/sleep', '1000'] }))],
        ['removeProcess', failure(container.removeProcess('old'))],
        ['resize', failure(terminal.resize({ columns: 80, rows: 24 }))],
        ['closeStdin', failure(terminal.closeStdin())],
        ['checkpoint', failure(container.checkpoint({ name: 'one' }))],
        ['delete', failure(container.delete({ force: true }))],
      ]
      for (const [name, call] of calls) {
        const error = await settled(name, call)
        expect(error, name).toMatchObject({ code: 'ERR_START_TIMEOUT', containerId: container.id })
        expect(error.message, name).toMatch(/its shim, process \d+, has not answered for \d+ ms/)
      }
      // Another handle: its connection is accepted by nobody.
      const other = await settled('load', Container.load(ground.root, container.id, { timeout: 500 }))
      expect(other.processes.get('init')?.state).toBe('running')
      expect(other.processes.get('terminal')?.exitStatus).toBeNull()
      await settled('exec', expectCode(other.exec('other', { args: ['/bin/true'] }), 'ERR_START_TIMEOUT'))
      await other.close()
    })
    await eventually('all is read', async () => (await run(container, 'echo alive')).stdout === 'alive\n')
    expect(existsSync(join(ground.root, container.id, 'old'))).toBe(true)
    expect(existsSync(join(ground.root, container.id, 'job'))).toBe(false)
    expect(await container.checkpoints()).toEqual([])
    expect(await container.status()).toBe('running')
    const pids = await container.pids()
    expect(pids.sort()).toEqual([container.processes.get('init')?.pid, terminal.pid].sort())
    await container.removeProcess('old')
    await container.delete({ force: true })
  })

  test('start() at a shim that is stopped', async () => {
    const container = await ground.create({ timeout: 500, ephemeral: true })
    await whileStopped(container, async () => {
      await settled('start', expectCode(container.start(), 'ERR_START_TIMEOUT'))
    })
    await eventually('it may be tried again', () =>
      container.start().then(
        () => true,
        (error: { code?: string }) => {
          if (error.code === 'ERR_PROCESS_EXISTS') return false
          throw error
        },
      ),
    )
    expect(await container.status()).toBe('running')
  })

  test('an aborted call at a shim that is stopped rejects with the reason', async () => {
    const container = await ground.running({ timeout: 60_000 })
    const reason = new Error('enough')
    await whileStopped(container, async () => {
      const abort = new AbortController()
      const job = container.exec('job', { args: ['/bin/sleep', '1000'] }, { signal: abort.signal })
      const other = await settled('load', Container.load(ground.root, container.id, { timeout: 500 }))
      const connecting = other.exec('other', { args: ['/bin/true'] }, { signal: abort.signal })
      const failures = Promise.all([failure(job), failure(connecting)])
      abort.abort(reason)
      expect(await settled('exec', failures)).toEqual([reason, reason])
      await other.close()
    })
    await eventually('all is read', async () => (await run(container, 'echo alive')).stdout === 'alive\n')
    expect(existsSync(join(ground.root, container.id, 'job'))).toBe(false)
    expect(await container.pids()).toEqual([container.processes.get('init')?.pid])
  })

  test('a shim whose socket has no room for another connection', async () => {
    const container = await ground.running()
    const sockets: Socket[] = []
    await whileStopped(container, async () => {
      let refused = false
      while (!refused && sockets.length < 5000) {
        const socket = connect(join(ground.root, container.id, 'shim.sock'))
        sockets.push(socket)
        refused = await new Promise<boolean>((resolve) => {
          socket.once('connect', () => resolve(false)).once('error', () => resolve(true))
        })
      }
      expect(refused).toBe(true)
      const other = await settled('load', Container.load(ground.root, container.id, { timeout: 500 }))
      expect(other.processes.get('init')?.state).toBe('running')
      await settled('exec', expectCode(other.exec('other', { args: ['/bin/true'] }), 'ERR_START_TIMEOUT'))
      await other.close()
    })
    for (const socket of sockets) socket.destroy()
    expect((await run(container, 'echo alive')).stdout).toBe('alive\n')
  })

  /** A container whose /etc/passwd is on a file system that answers no open(2) once it is told to hold. */
  async function withSilentPasswd(
    work: (
      container: Container,
      hold: () => Promise<void>,
      held: () => number,
      go: () => void,
    ) => Promise<void>,
  ): Promise<void> {
    const file = ground.newPath('passwd')
    writeFileSync(file, '')
    const server: ChildProcess = spawn(fuse, [file], { stdio: ['pipe', 'pipe', 'inherit'] })
    let said = ''
    server.stdout?.on('data', (chunk: Buffer) => {
      said += chunk.toString()
    })
    try {
      await eventually('the mount', () => said.includes('mounted') || server.exitCode !== null)
      expect(server.exitCode).toBeNull()
      const container = await ground.running({
        timeout: 60_000,
        bundle: ground.bundle((config) => {
          config.process.env = ['PATH=/usr/bin:/bin']
          config.mounts.push({
            destination: '/etc/passwd',
            type: 'bind',
            source: file,
            options: ['bind', 'ro'],
          })
        }),
      })
      const held = (): number => said.split('held').length - 1
      await work(
        container,
        async () => {
          server.stdin?.write('hold\n')
          // Until it is: a read of its own is answered no more.
          await eventually('it holds', async () => {
            const before = held()
            const look = spawn('cat', [file], { stdio: 'ignore' })
            await Promise.race([once(look, 'exit'), eventually('held', () => held() > before)])
            return held() > before
          })
        },
        held,
        () => server.stdin?.write('go\n'),
      )
    } finally {
      const gone = once(server, 'exit')
      server.stdin?.end()
      await gone
    }
  }

  test('an exec whose child cannot die: abort and timeout answer, and the child is reaped when it ends', async () => {
    await withSilentPasswd(async (container, hold, held) => {
      await run(container, 'true')
      const shim = shimOf(container)
      const before = childrenOf(shim).length
      await hold()
      const abort = new AbortController()
      const waiting = held()
      const job = container.exec('job', { args: ['/bin/true'] }, { signal: abort.signal })
      await eventually('the child waits', () => held() > waiting)
      const reason = new Error('enough')
      abort.abort(reason)
      expect(await settled('the aborted exec', failure(job))).toBe(reason)

      const other = await Container.load(ground.root, container.id, { timeout: 500 })
      const error = await settled(
        'the exec with a timeout',
        expectCode(other.exec('job', { args: ['/bin/true'] }), 'ERR_START_TIMEOUT'),
      )
      expect(error.message).toMatch(/process \d+ does not end by SIGKILL yet and is reaped later/)
      expect(other.processes.has('job')).toBe(false)
      await other.close()
      // No record of it, on disk or in the shim, and everybody else is served.
      expect(existsSync(join(ground.root, container.id, 'job'))).toBe(false)
      expect(childrenOf(shim).length).toBe(before + 2)
      const fine = await run(container, 'echo alive', { env: ['PATH=/bin', 'HOME=/'] })
      expect(fine.stdout).toBe('alive\n')
      const again = await container.exec('job', { args: ['/bin/true'], env: ['HOME=/'] })
      expect((await again.wait()).exitCode).toBe(0)
      expect(shimOf(container)).toBe(shim)
    })
    // With its file system gone, what waited ends and is reaped.
    for (const pid of shimsBelow(ground.root))
      await eventually('all are reaped', () => childrenOf(pid).every((child) => isAlive(child)))
  })

  test('an exec whose child is caught in a frozen cgroup within the container', async (context) => {
    await withSilentPasswd(async (container, hold, held, go) => {
      const freezer = cgroupsNamed(container.id).find((path) => existsSync(join(path, 'freezer.state')))
      if (freezer === undefined) return context.skip('cgroup v2 lets frozen processes die')
      const shim = shimOf(container)
      const within = join(freezer, 'within')
      mkdirSync(within)
      try {
        await hold()
        const waiting = held()
        const known = childrenOf(shim)
        const abort = new AbortController()
        const job = container.exec('job', { args: ['/bin/sleep', '1000'] }, { signal: abort.signal })
        await eventually('the child waits', () => held() > waiting)
        const [child] = childrenOf(shim).filter((pid) => !known.includes(pid)) as [number]
        writeFileSync(join(within, 'cgroup.procs'), String(child))
        writeFileSync(join(within, 'freezer.state'), 'FROZEN')
        go()
        await eventually(
          'it is frozen',
          () => readFileSync(join(within, 'freezer.state'), 'utf8').trim() === 'FROZEN',
        )
        const reason = new Error('enough')
        abort.abort(reason)
        expect(await settled('the aborted exec', failure(job))).toBe(reason)
        await eventually('it is dead and reaped', () => procStat(child) === null)
        expect(existsSync(join(ground.root, container.id, 'job'))).toBe(false)
      } finally {
        writeFileSync(join(within, 'freezer.state'), 'THAWED')
        await eventually('its cgroup is empty', () => read(join(within, 'cgroup.procs')) === '')
        rmdirSync(within)
      }
      expect((await run(container, 'echo alive')).stdout).toBe('alive\n')
    })
  })
})

// One runtime: nothing of this is about containers.
describe.skipIf(skip)('any number', () => {
  const ground = useContainers('runc')

  test('more processes than a frame can tell of', { timeout: 300_000 }, async () => {
    // Two hundred thousand files: of memory, since a disk takes minutes to remove them.
    const root = mkdtempSync('/dev/shm/libcontainer-test-')
    const id = ground.newId()
    try {
      const container = await ground.running({ root, id })
      const init = container.processes.get('init')?.pid as number
      await (await container.exec('first', { args: ['/bin/true'] })).wait()
      // Records of execs that have ended, as that one's, on disk; the next shim takes them over.
      const directory = join(root, id)
      const shim = shimOf(container)
      await container.close()
      process.kill(shim, 'SIGKILL')
      await eventually('the shim is gone', () => !isAlive(shim))
      const count = 46_000
      const files = ['process.json', 'pid', 'starttime', 'exitStatus']
      for (let n = 0; n < count; ++n) {
        const record = join(directory, `${n}`.padEnd(240, '-'))
        mkdirSync(record, { mode: 0o711 })
        for (const file of files) linkSync(join(directory, 'first', file), join(record, file))
      }
      const loaded = await Container.load(root, id, { timeout: 60_000 })
      expect(loaded.processes.size).toBe(count + 2)
      expect(
        [...loaded.processes.values()].filter((process) => process.exitStatus === null).map(({ pid }) => pid),
      ).toEqual([init])
      expect((await run(loaded, 'echo alive')).stdout).toBe('alive\n')

      // What it tells: all of them, each once, and more than a frame may hold.
      const { socket, hear } = await client(join(directory, 'shim.sock'))
      type Page = { processes: { id: string }[]; more?: boolean }
      let page = (await hear()) as unknown as Page
      const told = page.processes.map((process) => process.id)
      let bytes = JSON.stringify(page).length
      for (let seq = 1; page.more; ++seq) {
        socket.write(frame(JSON.stringify({ op: 'list', after: told.at(-1), seq })))
        const { result } = (await hear()) as unknown as { result: Page }
        page = result
        bytes += JSON.stringify(page).length
        told.push(...page.processes.map((process) => process.id))
      }
      socket.destroy()
      expect(bytes).toBeGreaterThan(16 << 20)
      expect(told.length).toBe(count + 3) // and the exec of above
      expect(new Set(told).size).toBe(told.length)

      await loaded.removeProcess('7'.padEnd(240, '-'))
      await loaded.delete({ force: true })
      expect(existsSync(directory)).toBe(false)
    } finally {
      try {
        const left = await Container.load(root, id, { timeout: 60_000 }).catch(() => null)
        await left?.delete({ force: true })
        await eventually('its shim is gone', () => shimsBelow(root).length === 0)
      } finally {
        for (const pid of shimsBelow(root)) process.kill(pid, 'SIGKILL')
        rmSync(root, { recursive: true })
      }
    }
  })

  test(
    'an ephemeral container outlives a flood of execs under ulimit -n 1024, its shim stalled',
    { timeout: 120_000 },
    async () => {
      const fifo = ground.newPath('fifo')
      let reader: number | null = null
      const program = new Program(
        `const { openSync } = require('node:fs')
       const { execFileSync } = require('node:child_process')
       execFileSync('mkfifo', [args.fifo])
       const container = await Container.create(args.options)
       const init = await container.start()
       const children = (pid) => require('node:fs').readFileSync('/proc/' + pid + '/stat', 'utf8')
       const shim = Number(children(init.pid).replace(/^.*\\) /, '').split(' ')[1])
       say({ pid: init.pid, shim })
       const fd = openSync('/dev/null', 'r+')
       const outcomes = {}
       let serial = 0
       // Each waits for a reader of its output, and its other streams wait in the shim.
       const one = () => container.exec('job-' + ++serial, { args: ['/bin/true'] }, { stdin: fd, stderr: fd, stdout: args.fifo }).then(
         (job) => job.wait().then(() => 'ran'), (error) => error.code + ' ' + error.errno + ' ' + error.syscall)
       const all = []
       process.kill(shim, 'SIGSTOP')
       for (let n = 0; n < 400; ++n) all.push(one())
       process.kill(shim, 'SIGCONT')
       for (let n = 0; n < 20; ++n) {
         for (let i = 0; i < 100; ++i) all.push(one())
         await sleep(20)
       }
       say('flooded') // whoever reads it opens the FIFO: this program may have no descriptor left
       for (const outcome of await Promise.all(all)) outcomes[outcome] = (outcomes[outcome] ?? 0) + 1
       const job = await container.exec('after', { args: ['/bin/true'] })
       say({ outcomes, status: await container.status(), after: (await job.wait()).exitCode, init: container.processes.get('init').state })
       await container[Symbol.asyncDispose]()`,
        { fifo, options: ground.options({ ephemeral: true, timeout: 60_000 }) },
        undefined,
        ['prlimit', '--nofile=1024:1024'],
      )
      try {
        await program.next()
        expect(await settled('the flood', program.next())).toBe('flooded')
        reader = openSync(fifo, constants.O_RDONLY | constants.O_NONBLOCK)
        const said = await settled('its end', program.next())
        expect(said).toMatchObject({ status: 'running', after: 0, init: 'running' })
        // Those that found room ran; the others were told that there is none.
        expect(said.outcomes.ran).toBeGreaterThan(0)
        const others = Object.keys(said.outcomes).filter((outcome) => outcome !== 'ran')
        expect(others.length).toBeGreaterThan(0)
        for (const outcome of others) expect(outcome).toMatch(/^ERR_SYSCALL 24 /)
        expect((await program.ended).code).toBe(0)
      } finally {
        program.kill()
        if (reader !== null) closeSync(reader)
      }
    },
  )
})
