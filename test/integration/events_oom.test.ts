// oom(): every process that the kernel killed for want of memory is told of, once, by whichever way a host asks.
import { execFileSync, spawnSync } from 'node:child_process'
import { mkdirSync, readFileSync, rmdirSync, writeFileSync } from 'node:fs'
import { dirname } from 'node:path'
import { beforeAll, describe, expect, test } from 'vitest'
import type { OomEvent, OomWatcher } from '../../lib/index.js'
import { Cgroup } from '../support/cgroups.js'
import { compileProgram } from '../support/compile.js'
import { useContainers } from '../support/containers.js'
import { expectCode, run } from '../support/expect.js'
import { cannotRunContainers, isCgroupV2, runtimes } from '../support/machine.js'
import { hog, oomKills, runOut, smallBundle } from '../support/memory.js'
import { descriptors } from '../support/processes.mjs'
import { Program, runProgram } from '../support/programs.js'
import { eventually } from '../support/wait.js'
import { cgroupsNamed } from '../support/traces.mjs'

const skip = cannotRunContainers()

/** What an iteration gives until it ends. */
async function all(watcher: OomWatcher): Promise<OomEvent[]> {
  const out: OomEvent[] = []
  for await (const event of watcher) out.push(event)
  return out
}

const sum = (events: OomEvent[]): number => events.reduce((total, { count }) => total + count, 0)

/** Opens the container of its arguments and watches it. */
const watching = `
const container = await Container.load(args.root, args.id)
const watcher = await container.oom()
`

describe.skipIf(skip).each(runtimes)('oom, %s', (runtime) => {
  const ground = useContainers(runtime)
  let readable: (fd: number, ms?: number) => boolean

  beforeAll(() => {
    const binary = compileProgram('readable', ground.directory)
    readable = (fd, ms = 0) =>
      spawnSync(binary, [String(ms)], { stdio: [fd, 'ignore', 'inherit'] }).status === 0
  })

  test('told by iteration, by flush and by descriptor, as often as the kernel counts', async () => {
    const container = await ground.running({ bundle: smallBundle(ground) })
    const cgroup = new Cgroup(container.id)
    const watcher = await container.oom()
    const other = await container.oom()
    expect(watcher.containerId).toBe(container.id)
    expect(watcher.removed).toBe(false)
    expect(readable(watcher.fd)).toBe(false)
    expect(watcher.flush()).toBe(0)
    const before = Date.now()
    for (let i = 0; i < 3; ++i) await runOut(container)
    expect(oomKills(cgroup)).toBe(3)
    expect(readable(watcher.fd, 10_000)).toBe(true)
    expect(watcher.flush()).toBe(3)
    expect(readable(watcher.fd)).toBe(false)
    expect(watcher.flush()).toBe(0)

    let told = 0
    for await (const event of watcher) {
      expect(event.containerId).toBe(container.id)
      expect(event.count).toBeGreaterThan(0)
      expect(event.at.getTime()).toBeGreaterThanOrEqual(before)
      expect(event.at.getTime()).toBeLessThanOrEqual(Date.now())
      told += event.count
      if (told === 3) break
    }
    // One that nobody read has one event for all of it; one that comes now has none.
    const late = await container.oom()
    await runOut(container)
    expect(late.flush()).toBe(1)
    expect(other.flush()).toBe(4)
    await other.close()
    await other.close()
    expect(other.fd).toBe(-1)
    expect(other.flush()).toBe(0)
    expect(await all(other)).toEqual([])

    const rest = Promise.all([all(watcher), all(late)])
    await container.delete({ force: true })
    const [first, second] = await rest
    expect([sum(first), sum(second)]).toEqual([1, 1])
    expect(watcher.removed).toBe(true)
    expect(readable(watcher.fd)).toBe(true)
    await watcher.close()
    await late.close()
  })

  test('the OOM that ends the container is told of before the end', async () => {
    // The cgroup may be gone before anyone looks: a container whose init is killed, and who is deleted at once.
    for (let i = 0; i < 5; ++i) {
      const container = await ground.running({
        bundle: smallBundle(ground, [
          '/bin/sh',
          '-c',
          'while ! [ -e /tmp/go ]; do sleep 0.01; done; exec tail /dev/zero',
        ]),
      })
      const watcher = await container.oom()
      const told = all(watcher)
      const exit = container.processes.get('init')?.wait()
      await run(container, 'touch /tmp/go')
      expect(await exit).toMatchObject({ signal: 'SIGKILL', oomKilled: true })
      await container.delete({ force: true })
      expect(sum(await told)).toBe(1)
      expect(watcher.removed).toBe(true)
      await watcher.close()
    }
  })

  test('a removal, and a kill by hand, are none', async () => {
    const container = await ground.running({ bundle: smallBundle(ground) })
    const watcher = await container.oom()
    const told = all(watcher)
    const job = await container.exec('job', { args: ['/bin/sleep', '1000'] })
    await job.kill('SIGKILL')
    expect(await job.wait()).toMatchObject({ signal: 'SIGKILL', oomKilled: false })
    await container.delete({ force: true })
    expect(await told).toEqual([])
    expect(watcher.removed).toBe(true)
  })

  test.runIf(isCgroupV2())('a group kill counts everyone whom it ends', async () => {
    const container = await ground.running({ bundle: smallBundle(ground) })
    const cgroup = new Cgroup(container.id)
    cgroup.write('memory.oom.group', '1')
    const watcher = await container.oom()
    const told = all(watcher)
    await container.exec('one', { args: ['/bin/sleep', '1000'] })
    await container.exec('hog', { args: hog })
    const exit = await container.processes.get('init')?.wait()
    expect(exit).toMatchObject({ signal: 'SIGKILL', oomKilled: true })
    await container.delete({ force: true })
    expect(sum(await told)).toBeGreaterThanOrEqual(3)
  })

  test('kills in cgroups that the container made', async () => {
    const container = await ground.running({ bundle: smallBundle(ground) })
    const cgroup = new Cgroup(container.id)
    cgroup.makeChild('below')
    const watcher = await container.oom()
    const job = await container.exec('job', { args: ['/bin/sh', '-c', 'sleep 0.3; exec tail /dev/zero'] })
    cgroup.join(job.pid, 'below')
    expect(await job.wait()).toMatchObject({ signal: 'SIGKILL', oomKilled: true })
    expect(watcher.flush()).toBe(1)
    await watcher.close()
    cgroup.removeChild('below')
  })

  test('one that is made again under the same name is another one', async () => {
    const id = ground.newId()
    const bundle = smallBundle(ground)
    const first = await ground.running({ id, bundle })
    const old = await first.oom()
    await runOut(first)
    await first.delete({ force: true })
    const second = await ground.running({ id, bundle })
    const young = await second.oom()
    await runOut(second)
    await runOut(second)
    expect(young.flush()).toBe(2)
    expect(old.flush()).toBe(1)
    await eventually('the removal was seen', () => old.removed)
    expect(young.removed).toBe(false)
    // Closing the old one takes nothing from the young one.
    await old.close()
    const told = all(young)
    await second.delete({ force: true })
    expect(sum(await told)).toBe(2)
    expect(young.removed).toBe(true)
  })

  // Only where the clock is nobody else's: in a machine that runs this alone, make vm-clock.
  test.runIf(process.env['VM_CLOCK'] === '1')('whatever is done to the clock meanwhile', async () => {
    const container = await ground.running({ bundle: smallBundle(ground) })
    const watcher = await container.oom()
    const told = all(watcher)
    const hourMs = 3_600_000
    const turnClock = (ms: number): void => {
      execFileSync('date', ['-s', `@${Math.round((Date.now() + ms) / 1000)}`])
    }
    turnClock(-hourMs)
    try {
      await runOut(container)
      turnClock(2 * hourMs)
      await runOut(container)
      await runOut(container)
    } finally {
      turnClock(-hourMs)
    }
    expect(watcher.flush()).toBe(3)
    await container.delete({ force: true })
    expect(sum(await told)).toBe(3)
    expect(watcher.removed).toBe(true)
  })

  test('of a container that does not run there is nothing to watch', async () => {
    const container = await ground.create({ bundle: smallBundle(ground) })
    await expectCode(container.oom(), 'ERR_CONTAINER_NOT_STARTED')
    await container.start()
    const init = container.processes.get('init')
    await container.kill('SIGKILL')
    // Registering while it dies: a watcher, or the truth; never a watcher that never ends.
    const racing = container.oom().then(
      (watcher) => watcher,
      (error: unknown) => error as { code: string },
    )
    await init?.wait()
    await expectCode(container.oom(), 'ERR_CONTAINER_EXITED')
    const raced = await racing
    const told = 'code' in raced ? expect(raced.code).toBe('ERR_CONTAINER_EXITED') : all(raced)
    await container.delete()
    await told
    await expectCode(container.oom(), 'ERR_CONTAINER_NOT_FOUND')
  })

  test('registering again and again while containers die', async () => {
    for (let i = 0; i < 4; ++i) {
      const container = await ground.running({ bundle: smallBundle(ground) })
      const gone = container.delete({ force: true })
      let watchers = 0
      const told: Promise<OomEvent[]>[] = []
      for (;;) {
        try {
          told.push(all(await container.oom()))
          ++watchers
        } catch (error) {
          expect((error as { code: string }).code).toMatch(/^ERR_CONTAINER_(EXITED|NOT_FOUND)$/)
          break
        }
      }
      await gone
      expect((await Promise.all(told)).flat()).toEqual([])
      expect(told.length).toBe(watchers)
    }
  })

  test('a program that reads a watcher runs until it leaves the loop', async () => {
    const container = await ground.running({ bundle: smallBundle(ground) })
    const held = new Program(
      `${watching}
      say('ready')
      for await (const event of watcher) { say(event.count); await watcher.close() }`,
      { root: ground.root, id: container.id },
    )
    expect(await held.next()).toBe('ready')
    await runOut(container)
    expect(await held.next()).toBe(1)
    expect(await held.ended).toMatchObject({ code: 0 })
  })

  test('one that is dropped is collected, gives its descriptors back, and is said', async () => {
    const container = await ground.running({ bundle: smallBundle(ground) })
    const said = await runProgram(
      `const { subscribe } = require('node:diagnostics_channel')
      const container = await Container.load(args.root, args.id)
      const keep = await container.oom()
      const count = () => require('node:fs').readdirSync('/proc/self/fd').length
      const before = count()
      subscribe('libcontainer:leaked', (message) => say(message))
      for (let i = 0; i < 3; ++i) (await container.oom()).fd
      say(count() - before)
      for (let i = 0; i < 200 && count() > before; ++i) { gc(); await sleep(10) }
      say(count() - before)
      await keep.close()
      await container.close()`,
      { root: ground.root, id: container.id },
    )
    const leaked = { containerId: container.id, kind: 'oom' }
    expect(said).toHaveLength(5)
    expect(said[0]).toBe(3)
    expect(said[4]).toBe(0)
    expect(said.slice(1, 4)).toEqual([leaked, leaked, leaked])
  })

  test('each worker thread has its own', async () => {
    const container = await ground.running({ bundle: smallBundle(ground) })
    const program = new Program(
      `const { Worker } = require('node:worker_threads')
      const code = \`
        const { workerData, parentPort } = require('node:worker_threads')
        const { Container } = require(workerData.package)
        void (async () => {
          const container = await Container.load(workerData.root, workerData.id)
          const watcher = await container.oom()
          parentPort.postMessage('ready')
          for await (const { count } of watcher) { parentPort.postMessage(count); if (workerData.ends) break }
          if (workerData.ends) process.exit()
        })()\`
      const workers = [true, false].map((ends) => new Worker(code, {
        eval: true, workerData: { ...args, ends, package: require.resolve('./dist/index.js') } }))
      for (const worker of workers) worker.on('message', say)
      await require('node:events').once(workers[0], 'exit')
      say('exit')
      await new Promise((done) => process.stdin.once('data', done).resume())
      await workers[1].terminate()
      say('terminated')
      process.exit()`,
      { root: ground.root, id: container.id },
      ['pipe', 'pipe', 'pipe'],
    )
    expect([await program.next(), await program.next()]).toEqual(['ready', 'ready'])
    await runOut(container)
    const said = [await program.next(), await program.next(), await program.next()]
    expect(said.sort()).toEqual([1, 1, 'exit'])
    await runOut(container)
    expect(await program.next()).toBe(1)
    program.child.stdin?.write('go\n')
    expect(await program.next()).toBe('terminated')
    expect(await program.ended).toMatchObject({ code: 0 })
  })

  test('closing gives everything back', async () => {
    const container = await ground.running({ bundle: smallBundle(ground) })
    const first = await container.oom()
    await first.close()
    const before = descriptors(process.pid).size
    const watchers = await Promise.all(Array.from({ length: 50 }, () => container.oom()))
    for (const watcher of watchers) expect(watcher.fd).toBeGreaterThan(0)
    await Promise.all(watchers.map((watcher) => watcher.close()))
    // What earlier tests left may be collected meanwhile.
    expect(descriptors(process.pid).size).toBeLessThanOrEqual(before)
  })

  test('out of descriptors: the error says so, and later it goes', async () => {
    const container = await ground.running({ bundle: smallBundle(ground) })
    const [said, count] = await runProgram(
      `const { openSync, closeSync } = require('node:fs')
      const container = await Container.load(args.root, args.id)
      await (await container.oom()).close()
      const held = []
      try { for (;;) held.push(openSync('/dev/null')) } catch {}
      say(await container.oom().then(() => null, ({ code, errno, syscall }) => ({ code, errno, syscall })))
      held.forEach((fd) => closeSync(fd))
      const watcher = await container.oom()
      say(watcher.flush())
      await watcher.close()
      await container.close()`,
      { root: ground.root, id: container.id },
      ['prlimit', '--nofile=64'],
    )
    expect(said).toMatchObject({ code: 'ERR_SYSCALL', errno: 24 })
    expect(said.syscall).toMatch(/^(open|eventfd|openat)/)
    expect(count).toBe(0)
  })
})

describe.skipIf(skip || !isCgroupV2())('inotify', () => {
  const ground = useContainers('runc')

  async function withSysctl(name: string, value: string, work: () => Promise<void>): Promise<void> {
    const path = `/proc/sys/fs/inotify/${name}`
    const before = readFileSync(path, 'utf8')
    writeFileSync(path, value)
    try {
      await work()
    } finally {
      writeFileSync(path, before)
    }
  }

  test('that is used up: the error names the sysctl', async () => {
    const container = await ground.running({ bundle: smallBundle(ground) })
    const refusal = `
      const container = await Container.load(args.root, args.id)
      say(await container.oom().then(() => null, ({ code, errno, syscall, message }) => ({ code, errno, syscall, message })))
      await container.close()`
    const where = { root: ground.root, id: container.id }
    await withSysctl('max_user_instances', '0', async () => {
      const [error] = await runProgram(refusal, where)
      expect(error).toMatchObject({ code: 'ERR_SYSCALL', errno: 24, syscall: 'inotify_init1' })
      expect(error.message).toContain('fs.inotify.max_user_instances')
    })
    await withSysctl('max_user_watches', '0', async () => {
      const [error] = await runProgram(refusal, where)
      expect(error).toMatchObject({ code: 'ERR_SYSCALL', errno: 28, syscall: 'inotify_add_watch' })
      expect(error.message).toContain('fs.inotify.max_user_watches')
    })
  })

  test('whose queue overflows: everything is read anew, and nothing is lost', async () => {
    const containers = await Promise.all([1, 2, 3].map(() => ground.running({ bundle: smallBundle(ground) })))
    // Makes and removes directories beside the containers', which is told of by the watched parent directory.
    const [directory] = cgroupsNamed((containers[0] as { id: string }).id) as [string]
    await withSysctl('max_queued_events', '1', async () => {
      const program = new Program(
        `const watchers = []
        for (const id of args.ids) watchers.push(await (await Container.load(args.root, id)).oom())
        say('ready')
        let ended = 0
        for (const watcher of watchers) void (async () => {
          for await (const { containerId, count } of watcher) say({ containerId, count })
          say({ containerId: watcher.containerId, removed: watcher.removed })
          await watcher.close()
          if (++ended === watchers.length) process.exit()
        })()`,
        { root: ground.root, ids: containers.map(({ id }) => id) },
      )
      expect(await program.next()).toBe('ready')
      const noise = `${dirname(directory)}/noise-${containers[0]?.id}`
      const makeNoise = (): void => {
        for (let i = 0; i < 200; ++i) {
          mkdirSync(noise)
          rmdirSync(noise)
        }
      }
      await Promise.all(containers.map(async (container) => (await runOut(container), makeNoise())))
      await Promise.all(containers.map(async (container) => (makeNoise(), container.delete({ force: true }))))
      makeNoise()
      const kills = new Map<string, number>()
      const removed = new Set<string>()
      while (removed.size < containers.length) {
        const said = await program.next()
        if (said.removed === true) removed.add(said.containerId as string)
        else
          kills.set(
            said.containerId as string,
            (kills.get(said.containerId as string) ?? 0) + Number(said.count),
          )
      }
      for (const { id } of containers) expect(kills.get(id)).toBe(1)
      expect(await program.ended).toMatchObject({ code: 0 })
    })
  })
})
