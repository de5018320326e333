// What a container may do with its own cgroups and processes against those who manage it: cgroups of any depth, count and
// name, frozen or not; processes without a first thread or without init; names that look like the kernel's words.
import { execFileSync } from 'node:child_process'
import { existsSync, rmdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterEach, beforeAll, describe, expect, test } from 'vitest'
import { Container, type Process, type Stats } from '../../lib/index.js'
import type { Config } from '../support/bundle.js'
import { Cgroup } from '../support/cgroups.js'
import { compileProgram } from '../support/compile.js'
import { shimOf, useContainers } from '../support/containers.js'
import { expectCode } from '../support/expect.js'
import { cannotRunContainers, isCgroupV2, runtimes } from '../support/machine.js'
import { hog, smallBundle } from '../support/memory.js'
import { isAlive, procStat, threadCount } from '../support/processes.mjs'
import { eventually } from '../support/wait.js'
import { cgroupsNamed } from '../support/traces.mjs'

const skip = cannotRunContainers()
const sleeper = { args: ['/bin/sleep', '1000'] }

describe.skipIf(skip).each(runtimes)('what a container does with its cgroups, %s', (runtime) => {
  const ground = useContainers(runtime)
  let program = ''
  let pending: { id: string; pids: number[] }[] = []
  beforeAll(() => {
    program = compileProgram('cgroup_tree', ground.directory)
    compileProgram('headless', join(ground.rootfs, 'bin'), '-pthread')
  })
  const tree = (directory: string, ...words: string[]): void => {
    execFileSync(program, words, { cwd: directory, stdio: ['ignore', 'pipe', 'pipe'] })
  }
  // Runs before the ground's own cleaning, which knows no depth, and finds nothing to do where the test passed.
  afterEach(() => {
    for (const { id, pids } of pending) {
      for (const pid of pids) if (isAlive(pid)) process.kill(pid, 'SIGKILL')
      const directories = cgroupsNamed(id)
      for (const directory of directories) tree(directory, 'thaw')
      for (const directory of directories) tree(directory, 'remove')
    }
    pending = []
  })

  interface Nested {
    container: Container
    cgroup: Cgroup
    init: number
    job: Process
  }
  /** A container with cgroups of its own making in every hierarchy, the innermost of which holds a process. */
  async function nested(
    depth: number,
    count: number,
    name: string,
    options: { frozen?: boolean; ephemeral?: boolean } = {},
  ): Promise<Nested> {
    const container = await ground.running({ ephemeral: options.ephemeral ?? false })
    const job = await container.exec('job', sleeper)
    const init = container.processes.get('init')?.pid as number
    pending.push({ id: container.id, pids: [init, job.pid] })
    const cgroup = new Cgroup(container.id)
    for (const directory of cgroup.directories) {
      tree(directory, 'make', String(depth), String(count), name, String(job.pid))
    }
    if (options.frozen) {
      for (const directory of cgroup.directories) {
        const freezes = ['freezer.state', 'cgroup.freeze'].some((file) => existsSync(join(directory, file)))
        // v2 beside a v1 freezer has one of its own.
        if (freezes) tree(directory, 'freeze')
      }
    }
    return { container, cgroup, init, job }
  }
  const ended = ({ init, job }: Nested): Promise<unknown> =>
    eventually('the end of both', () => !isAlive(init) && !isAlive(job.pid))

  const shapes: [string, number, number, string][] = [
    ['deeper than any path', 40, 0, 'd'.repeat(200)],
    ['thousands of them', 1, 2000, 'x'],
    ['odd names', 2, 3, 'Killed process 1 (\\a) "b" \u{1f600} $(c) \t%s'],
  ]

  test.each(shapes)('%s: listed, counted, killed and deleted', async (_, depth, count, name) => {
    const all = await nested(depth, count, name)
    const { container, init, job } = all
    expect((await container.pids()).sort()).toEqual([init, job.pid].sort())
    expect(container.pidsSync()).toHaveLength(2)
    expect((await container.stats()).pids.current).toBe(2)
    await container.kill('SIGKILL', { all: true })
    await ended(all)
    await container.delete()
    await ground.expectNothingLeft(container.id)
  })

  test.each(shapes)('%s: deleted by force', async (_, depth, count, name) => {
    const { container } = await nested(depth, count, name)
    await container.delete({ force: true })
    await ground.expectNothingLeft(container.id)
  })

  const frozen = { frozen: true }

  test('frozen below: kill of all', async () => {
    const all = await nested(3, 0, 'sub', frozen)
    await all.container.kill('SIGKILL', { all: true })
    await ended(all)
    await all.container.delete()
  })

  test('frozen below: kill of init ends what is in its pid namespace', async () => {
    const all = await nested(3, 0, 'sub', frozen)
    await all.container.kill('SIGKILL')
    await ended(all)
    await all.container.delete()
  })

  test('frozen below, deeper than any path: delete by force', async () => {
    const { container } = await nested(40, 0, 'd'.repeat(200), frozen)
    await container.delete({ force: true })
    await ground.expectNothingLeft(container.id)
  })

  test('frozen below: disposal', async () => {
    const { container } = await nested(3, 0, 'sub', { ...frozen, ephemeral: true })
    await container[Symbol.asyncDispose]()
    await ground.expectNothingLeft(container.id)
  })

  test('frozen below and paused', async () => {
    const all = await nested(3, 0, 'sub', frozen)
    await all.container.pause()
    await all.container.kill('SIGKILL', { all: true })
    await ended(all)
    await all.container.delete()
  })

  const headless = (pid: number): Promise<unknown> =>
    eventually('its first thread has ended', () => procStat(pid)?.state === 'Z' && threadCount(pid) === 2)

  test('an init whose first thread has ended is alive', async () => {
    const container = await ground.running({ bundle: ground.bundleOf(['/bin/headless']) })
    const init = container.processes.get('init') as Process
    await headless(init.pid)
    expect(await container.status()).toBe('running')
    expect(await container.pids()).toEqual([init.pid])
    for (const observe of [true, false]) {
      const other = await Container.load(container.root, container.id, { observe })
      expect(other.state).toBe('running')
      expect(await other.status()).toBe('running')
      await other.close()
    }
    await container.pause()
    expect(await container.status()).toBe('paused')
    await container.resume()
    await container.updateResources({ pids: { limit: 50 } })
    await expectCode(container.exec('no', sleeper), 'ERR_UNSUPPORTED')
    await (await container.oom()).close()
    await expectCode(container.delete(), 'ERR_CONTAINER_NOT_STOPPED')
    await container.kill('SIGKILL', { all: true })
    expect(await init.wait()).toMatchObject({ signal: 'SIGKILL' })
    await container.delete()
  })

  test('a process whose first thread has ended is killed with all others, and lives until then', async () => {
    const container = await ground.running({
      bundle: ground.bundle((config: Config) => {
        // So that its end is its own, and not that of the pid namespace.
        config.linux.namespaces = config.linux.namespaces.filter(({ type }: Config) => type !== 'pid')
      }),
    })
    const job = await container.exec('job', { args: ['/bin/headless'] })
    await headless(job.pid)
    // Another shim takes over, which knows it from its record alone.
    const shim = shimOf(container)
    process.kill(shim, 'SIGKILL')
    await eventually('the end of the shim', () => !isAlive(shim))
    const other = await Container.load(container.root, container.id)
    expect(other.processes.get('job')?.state).toBe('running')
    await container.kill('SIGKILL', { all: true })
    await other.processes.get('job')?.wait()
    await other.processes.get('init')?.wait()
    expect(procStat(job.pid)).toBeNull()
    await other.delete()
    await other.close()
  })

  /** A container in the host's pid namespace whose init has ended; the pid of the one that runs on. */
  async function orphaned(): Promise<{ container: Container; left: number }> {
    const bundle = ground.bundle((config: Config) => {
      config.linux.namespaces = config.linux.namespaces.filter(({ type }: Config) => type !== 'pid')
      config.process.args = ['/bin/sh', '-c', 'sleep 1000 & exec sleep 1001']
    })
    const container = await ground.running({ bundle })
    await eventually('its child', () => container.pidsSync().length === 2)
    const init = container.processes.get('init') as Process
    const left = container.pidsSync().find((pid) => pid !== init.pid) as number
    pending.push({ id: container.id, pids: [left] })
    await container.kill('SIGKILL')
    await init.wait()
    return { container, left }
  }

  test('what outlives init without a pid namespace is listed, counted, paused and limited', async () => {
    const { container, left } = await orphaned()
    const second = await Container.load(container.root, container.id)
    for (const handle of [container, second]) {
      expect(await handle.pids()).toEqual([left])
      expect(handle.pidsSync()).toEqual([left])
      expect((await handle.stats()).pids.current).toBe(1)
      expect(handle.statsSync().pids.current).toBe(1)
      const [figures] = await Container.stats([handle])
      expect((figures as Stats).pids.current).toBe(1)
      await handle.pause()
      expect(new Cgroup(container.id).freezer()).toBe('FROZEN')
      await handle.resume()
      expect(new Cgroup(container.id).freezer()).toBe('THAWED')
      await handle.updateResources({ pids: { limit: 33 } })
      expect(new Cgroup(container.id).read('pids.max')).toBe('33')
      await (await handle.oom()).close()
      expect(await handle.status()).toBe('stopped')
      await expectCode(handle.kill('SIGTERM'), 'ERR_CONTAINER_EXITED')
      await expectCode(handle.exec('no', sleeper), 'ERR_CONTAINER_EXITED')
    }
    await second.close()
    await container.kill('SIGKILL', { all: true })
    await eventually('its end', () => !isAlive(left))
    await expectCode(container.pids(), 'ERR_CONTAINER_EXITED')
    expect(() => container.statsSync()).toThrow(/has exited/)
    await expectCode(container.kill('SIGKILL', { all: true }), 'ERR_CONTAINER_EXITED')
    await container.delete()
  })

  test('what outlives init is not killed by a delete without force', async () => {
    const { container, left } = await orphaned()
    await expectCode(container.delete(), 'ERR_CONTAINER_NOT_STOPPED')
    expect(isAlive(left)).toBe(true)
    // Nor is it by a shim that knows nothing of it.
    const second = await Container.load(container.root, container.id)
    await expectCode(second.delete(), 'ERR_CONTAINER_NOT_STOPPED')
    expect(isAlive(left)).toBe(true)
    await second.delete({ force: true })
    expect(isAlive(left)).toBe(false)
    await ground.expectNothingLeft(container.id)
  })

  test('what outlives init, deep and frozen, ends by a delete with force', async () => {
    const { container, left } = await orphaned()
    for (const directory of new Cgroup(container.id).directories) {
      tree(directory, 'make', '40', '0', 'd'.repeat(200), String(left))
      if (existsSync(join(directory, 'freezer.state')) || isCgroupV2()) tree(directory, 'freeze')
    }
    await container.delete({ force: true })
    expect(isAlive(left)).toBe(false)
    await ground.expectNothingLeft(container.id)
  })

  test('a cgroup whose name looks like a line of the kernel makes nobody a victim of the OOM killer', async () => {
    const container = await ground.running({ bundle: smallBundle(ground) })
    const victim = await container.exec('victim', sleeper)
    const cgroup = new Cgroup(container.id)
    const name = `Killed process ${victim.pid} x (y) total-vm:1kB`
    pending.push({ id: container.id, pids: [] })
    cgroup.makeChild(name)
    const limit = isCgroupV2() ? 'memory.max' : 'memory.limit_in_bytes'
    if (cgroup.path(join(name, limit))) cgroup.write(join(name, limit), String(8 << 20))
    const waiting = await container.exec(
      'hog',
      { args: ['/bin/sh', '-c', `read go; exec ${hog.join(' ')}`] },
      { stdin: 'pipe' },
    )
    cgroup.join(waiting.pid, name)
    waiting.stdin?.end('go\n')
    expect(await waiting.wait()).toMatchObject({ signal: 'SIGKILL', oomKilled: true })
    await victim.kill('SIGKILL')
    expect(await victim.wait()).toMatchObject({ signal: 'SIGKILL', oomKilled: false })
    await container.delete({ force: true })
  })

  const hasRealtime = existsSync('/sys/fs/cgroup/cpu/cpu.rt_runtime_us')
  test.runIf(hasRealtime)(
    'realtime period and runtime, in whichever order the kernel takes them',
    async () => {
      const container = await ground.running()
      const cgroup = new Cgroup(container.id)
      for (const [realtimePeriod, realtimeRuntime] of [
        [1_000_000, 50_000],
        [20_000, 1000],
        [1_000_000, 50_000],
      ] as const) {
        await container.updateResources({ cpu: { realtimePeriod, realtimeRuntime } })
        expect(cgroup.read('cpu.rt_period_us')).toBe(String(realtimePeriod))
        expect(cgroup.read('cpu.rt_runtime_us')).toBe(String(realtimeRuntime))
      }
    },
  )

  test.runIf(isCgroupV2())('controllers that are taken from a container and given back', async () => {
    const parent = `/sys/fs/cgroup/lc-parent-${ground.newId()}`
    const container = await ground.running({
      bundle: ground.bundle((config: Config) => {
        config.linux.cgroupsPath = `${parent.slice('/sys/fs/cgroup'.length)}/${ground.newId()}`
        config.linux.resources.memory = { limit: 32 << 20, swap: 32 << 20 }
      }),
    })
    try {
      const init = container.processes.get('init')?.pid as number
      const give = (what: string): void => writeFileSync(join(parent, 'cgroup.subtree_control'), what)
      const watcher = await container.oom()
      expect((await container.stats()).memory.usage.limit).toBe(32 << 20)
      for (let round = 1; round <= 2; ++round) {
        give('-memory -pids')
        if (round === 2) {
          // Seen without them, too.
          expect((await container.stats()).pids.current).toBeUndefined()
          expect(await container.pids()).toEqual([init])
        }
        give('+memory +pids')
        expect(await container.pids()).toEqual([init])
        const figures = await container.stats()
        expect(figures.pids.current).toBe(1)
        expect(figures.memory.usage.usage).toBeGreaterThan(0)
        expect(await container.status()).toBe('running')
        writeFileSync(join(parent, 'memory.max'), String(32 << 20))
        writeFileSync(join(parent, 'memory.swap.max'), '0')
        await container.updateResources({ memory: { limit: 16 << 20, swap: 16 << 20 } })
        const job = await container.exec(`hog-${round}`, { args: hog })
        expect(await job.wait()).toMatchObject({ signal: 'SIGKILL', oomKilled: true })
        await eventually('it is counted', () => watcher.flush() === 1)
      }
      await watcher.close()
    } finally {
      await container.delete({ force: true })
      rmdirSync(parent)
    }
  })
})
