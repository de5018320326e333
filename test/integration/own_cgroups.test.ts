// Processes with a cgroup of their own: what is seen of it, what ends it, and that it goes with the last process.
import { execFileSync } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, mkdirSync, readFileSync, rmdirSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { Container, events, type Process } from '../../lib/index.js'
import { compileProgram } from '../support/compile.js'
import { shimOf, useContainers } from '../support/containers.js'
import { expectCode, failure } from '../support/expect.js'
import { cannotRunContainers, isCgroupV2, runtimes } from '../support/machine.js'
import { cgroupsNamed, ownCgroups } from '../support/traces.mjs'
import { eventually } from '../support/wait.js'

const sh = (script: string): string[] => ['/bin/sh', '-c', script]

async function expectRefused(call: Promise<unknown>): Promise<void> {
  expect(await failure(call)).toMatchObject({ code: 'ERR_INVALID_ARG_VALUE' })
}

describe.skipIf(cannotRunContainers()).each(runtimes)('own cgroups in a container of %s', (runtime) => {
  const ground = useContainers(runtime)

  async function expectGone(container: Container): Promise<void> {
    await eventually('no own cgroup is left', () => ownCgroups(container.id).length === 0)
  }

  /** A process with an own cgroup that has two children, of which one is in a session of its own. */
  async function family(container: Container, id: string): Promise<Process> {
    const process = await container.exec(id, sh('sleep 1000 & setsid sleep 1000 & wait'), { cgroup: true })
    await eventually('its children are there', async () => (await process.pids()).length === 3)
    return process
  }

  test('pids and stats are its own, and the container counts them too', async () => {
    const container = await ground.running()
    const process = await family(container, 'job')
    expect(process.cgroup).toMatch(/^lc\.[0-9a-f]{16}$/)
    const pids = await process.pids()
    expect(pids).toContain(process.pid)
    const all = await container.pids()
    for (const pid of pids) expect(all).toContain(pid)
    expect(all).toHaveLength(4)
    const stats = await process.stats()
    expect(stats.cpu?.usage.total).toBeGreaterThan(0)
    if (!isCgroupV2()) {
      expect(stats.pids?.current).toBe(3)
      expect(stats.memory?.usage?.usage).toBeGreaterThan(0)
    }
    await process.kill('SIGKILL', { tree: true })
    expect(await process.wait()).toMatchObject({ signal: 'SIGKILL' })
    await expectGone(container)
    await expectCode(process.pids(), 'ERR_PROCESS_EXITED')
    await expectCode(process.kill('SIGKILL', { tree: true }), 'ERR_PROCESS_EXITED')
    await process.empty()
  })

  test('kill without tree is for the process alone; empty() waits for the last one', async () => {
    const container = await ground.running()
    const process = await family(container, 'job')
    let isEmpty = false
    const empty = process.empty().then(() => (isEmpty = true))
    await process.kill('SIGKILL')
    expect(await process.wait()).toMatchObject({ signal: 'SIGKILL' })
    const left = await process.pids()
    expect(left).toHaveLength(2)
    expect(isEmpty).toBe(false)
    await process.kill('SIGTERM', { tree: true })
    await empty
    await expectGone(container)
  })

  test('forks that race do not escape', async () => {
    compileProgram('fork_bomb', join(ground.rootfs, 'bin'))
    const container = await ground.running()
    await container.updateResources({ pids: { limit: 400 } })
    for (let round = 0; round < 5; ++round) {
      const process = await container.exec(['/bin/fork_bomb'], { cgroup: true, stdout: 'pipe' })
      const [chunk] = (await once(process.stdout, 'data')) as [Buffer]
      expect(chunk.toString()).toBe('grown\n')
      await process.kill('SIGKILL', { tree: true })
      expect(await container.pids()).toHaveLength(1)
      await process.empty()
    }
    await expectGone(container)
  })

  test('pause and resume', async () => {
    const container = await ground.running()
    const process = await container.exec(sh('while :; do echo x; sleep 0.01; done'), {
      cgroup: true,
      stdout: 'pipe',
    })
    let size = 0
    process.stdout.on('data', (chunk: Buffer) => (size += chunk.length))
    await eventually('it writes', () => size > 0)
    await process.pause()
    expect(await container.status()).toBe('running')
    const other = await container.run(['/bin/true'])
    expect(other.exitCode).toBe(0)
    await process.resume()
    const before = size
    await eventually('it writes again', () => size > before)
    await process.pause()
    await process.kill('SIGKILL', { tree: true })
    expect(await process.wait()).toMatchObject({ signal: 'SIGKILL' })
    await expectGone(container)
  })

  test('a paused container: the tree can be killed', async () => {
    const container = await ground.running()
    const process = await family(container, 'job')
    await container.pause()
    await process.kill('SIGKILL', { tree: true })
    expect(await process.wait()).toMatchObject({ signal: 'SIGKILL' })
    await container.resume()
    expect(await container.pids()).toHaveLength(1)
  })

  test.skipIf(isCgroupV2())('limits, before the program runs and later', async () => {
    const container = await ground.running()
    const options = { cgroup: { resources: { pids: { limit: 7 }, memory: { limit: 32 << 20 } } } }
    const process = await container.exec(['/bin/sleep', '1000'], options)
    expect(await process.stats()).toMatchObject({
      pids: { limit: 7 },
      memory: { usage: { limit: 32 << 20 } },
    })
    await process.updateResources({ pids: { limit: 9 }, cpu: { shares: 512, cpus: '0' } })
    expect(await process.stats()).toMatchObject({ pids: { limit: 9 } })
    const cpuset = ownCgroups(container.id).find((path) => path.includes('/cpuset/')) as string
    expect(readFileSync(join(cpuset, 'cgroup.procs'), 'utf8').trim()).toBe(String(process.pid))
    const error = await failure(process.updateResources({ blockIO: { weight: 100 } }))
    expect((error as { code?: string }).code).toBe('ERR_UNSUPPORTED')
    await process.kill('SIGKILL', { tree: true })
    await process.wait()
    await expectGone(container)
    // One that cannot be limited so is not started, and leaves nothing.
    await expectCode(
      container.exec(['/bin/sleep', '1000'], { cgroup: { resources: { cpu: { cpus: '4000' } } } }),
      'ERR_SYSCALL',
    )
    await expectGone(container)
  })

  test.skipIf(isCgroupV2())('its memory limit ends its own processes, which is counted', async () => {
    const container = await ground.running()
    const eater = sh('sh -c "x=\\$(head -c 60000000 /dev/zero | tr \\\\\\\\0 x)"; exit 137')
    const result = await container.run(eater, {
      cgroup: { resources: { memory: { limit: 16 << 20, swap: 16 << 20 } } },
    })
    expect(result).toMatchObject({ exitCode: 137, signal: null, oomKilled: false })
    expect(result.oomKills).toBeGreaterThan(0)
    expect(result.containerOomKills).toBeGreaterThan(0)
    expect(result.memoryPeakBytes).toBeLessThanOrEqual(16 << 20)
  })

  test.skipIf(!isCgroupV2())('v2: limits need subgroups, and then hold', async () => {
    const plain = await ground.running()
    const resources = { pids: { limit: 7 } }
    await expectCode(plain.exec(['/bin/sleep', '1000'], { cgroup: { resources } }), 'ERR_UNSUPPORTED')
    await expectGone(plain)
    expect(await plain.pids()).toHaveLength(1)
    const process = await plain.exec(['/bin/sleep', '1000'], { cgroup: true })
    await expectCode(process.updateResources(resources), 'ERR_UNSUPPORTED')
    const container = await ground.running({ subgroups: true })
    const limited = await container.exec(['/bin/sleep', '1000'], { cgroup: { resources } })
    expect(await limited.stats()).toMatchObject({ pids: { current: 1, limit: 7 } })
    const ordinary = await container.exec(['/bin/sleep', '1000'])
    expect(await container.pids()).toHaveLength(3)
    // crun 1.8 dies of a signal in `ps` when the container's own cgroup holds no process, whoever moved it away.
    const listed = runtime === 'runc' ? ground.runtimeCommand('ps', container.id) : null
    for (const { pid } of [ordinary, limited]) if (listed !== null) expect(listed).toContain(String(pid))
    ground.runtimeCommand('update', '--pids-limit', '50', container.id)
    expect((await container.stats()).pids?.limit).toBe(50)
    expect(ground.runtimeCommand('exec', container.id, '/bin/echo', 'x')).toBe('x\n')
    await container.pause()
    await container.resume()
    ground.runtimeCommand('kill', '--all', container.id, 'KILL')
    expect(await limited.wait()).toMatchObject({ signal: 'SIGKILL' })
    await container.processes.get('init')?.wait()
  })

  test('a cgroup that is there is joined, or is the parent of the own one', async () => {
    const container = await ground.running()
    const directories = cgroupsNamed(container.id)
    for (const directory of directories) {
      // A v1 cpuset takes no process before it has processors and memory.
      if (!directory.includes('/cpuset/')) mkdirSync(join(directory, 'sub', 'path'), { recursive: true })
    }
    const joined = await container.exec(['/bin/sleep', '1000'], { cgroup: 'sub/path' })
    expect(joined.cgroup).toBe(null)
    await expectCode(joined.pids(), 'ERR_UNSUPPORTED')
    const text = readFileSync(`/proc/${joined.pid}/cgroup`, 'utf8')
    expect(text).toMatch(isCgroupV2() ? /^0::.*\/sub\/path$/m : /:memory:.*\/sub\/path$/m)
    const inside = await container.run(['/bin/cat', '/proc/self/cgroup'], { cgroup: 'sub' })
    expect(inside.stdout).toMatch(/\/sub\/lc\.[0-9a-f]{16}$/m)
    for (const path of ['/sub', 'sub/../..', 'sub/', '', '.']) {
      await expectRefused(container.exec(['/bin/true'], { cgroup: path }))
    }
    const error = await failure(container.exec(['/bin/true'], { cgroup: 'nowhere' }))
    expect(error).toMatchObject({ code: 'ERR_SYSCALL', errno: 2 })
    expect(error.message).toContain('nowhere')
    await joined.kill('SIGKILL')
    await joined.wait()
    for (const directory of directories) {
      if (!existsSync(join(directory, 'sub'))) continue
      await eventually('it is empty', () => {
        try {
          rmdirSync(join(directory, 'sub', 'path'))
          rmdirSync(join(directory, 'sub'))
          return true
        } catch {
          return !existsSync(join(directory, 'sub'))
        }
      })
    }
  })

  test("the runtime's own commands go on working", async () => {
    const container = await ground.running()
    const process = await family(container, 'job')
    const listed = ground.runtimeCommand('ps', container.id)
    for (const pid of await process.pids()) expect(listed).toContain(String(pid))
    ground.runtimeCommand('update', '--pids-limit', '60', container.id)
    expect((await container.stats()).pids?.limit).toBe(60)
    execFileSync(runtime, ['kill', container.id, 'KILL'])
    await container.processes.get('init')?.wait()
    expect(await process.wait()).toMatchObject({ signal: 'SIGKILL' })
    await eventually('the runtime sees that it is stopped', () =>
      ground.runtimeCommand('state', container.id).includes('stopped'),
    )
    await container.delete()
    await ground.expectNothingLeft(container.id)
  })

  test('delete with own cgroups that are full', async () => {
    const container = await ground.running()
    await family(container, 'one')
    const pending = container.run(sh('sleep 1000 & setsid sleep 1000 & wait'))
    await eventually('it runs', async () => (await container.pids()).length >= 7)
    await container.delete({ force: true })
    expect(await pending).toMatchObject({ signal: 'SIGKILL' })
    await ground.expectNothingLeft(container.id)
  })

  test('another program, and another shim, know of it', async () => {
    const container = await ground.running()
    const process = await family(container, 'job')
    const left = await container.exec(sh('setsid sleep 1000 & sleep 0.1'), { cgroup: true })
    await left.wait()
    const other = await Container.load(container.root, container.id)
    const same = other.processes.get('job') as Process
    expect(same.cgroup).toBe(process.cgroup)
    expect(await same.pids()).toEqual(await process.pids())
    const empty = same.empty()
    globalThis.process.kill(shimOf(container), 'SIGKILL')
    await same.kill('SIGKILL', { tree: true })
    await empty
    expect(await process.wait()).toMatchObject({ known: expect.any(Boolean) as boolean })
    // What an anonymous process has left is looked after too.
    expect(ownCgroups(container.id).length).toBeGreaterThan(0)
    for (const pid of await container.pids()) {
      if (pid !== container.processes.get('init')?.pid) globalThis.process.kill(pid, 'SIGKILL')
    }
    await expectGone(container)
    await other.close()
  })

  test('a timeout holds across a takeover', async () => {
    const container = await ground.running()
    const process = await container.exec('job', sh('setsid sleep 1000 & sleep 1000'), {
      cgroup: true,
      timeout: 6000,
    })
    globalThis.process.kill(shimOf(container), 'SIGKILL')
    const status = await process.wait()
    expect(status).toMatchObject({ timedOut: true })
    await expectGone(container)
    expect(await container.pids()).toHaveLength(1)
  })

  test('an exec without an own cgroup: a timeout ends the process alone', async () => {
    const container = await ground.running()
    const process = await container.exec(sh('setsid sleep 1000 & echo; sleep 1000'), { timeout: 300 })
    expect(await process.wait()).toMatchObject({ signal: 'SIGKILL', timedOut: true, oomKills: undefined })
    await expectCode(process.kill('SIGKILL', { tree: true }), 'ERR_UNSUPPORTED')
    expect(await container.pids()).toHaveLength(2)
  })

  test('anonymous processes: in the map and on disk while they run, then nowhere', async () => {
    const container = await ground.running()
    const seen: { type: string; anonymous?: boolean }[] = []
    const stream = events([container])
    const reading = (async () => {
      for await (const event of stream) {
        if (event.type === 'started' || event.type === 'exited')
          seen.push({ type: event.type, anonymous: event.anonymous })
        if (seen.length === 2) break
      }
    })()
    const process = await container.exec(['/bin/sleep', '1000'])
    expect(process.id).toMatch(/^~[0-9a-f]{16}$/)
    expect(process.anonymous).toBe(true)
    expect(container.processes.get(process.id)).toBe(process)
    expect(existsSync(join(container.root, container.id, process.id))).toBe(true)
    const other = await Container.load(container.root, container.id)
    const same = other.processes.get(process.id) as Process
    expect(same.pid).toBe(process.pid)
    await process.kill('SIGKILL')
    expect(await process.wait()).toMatchObject({ signal: 'SIGKILL' })
    expect(await same.wait()).toMatchObject({ signal: 'SIGKILL' })
    for (const handle of [container, other]) expect([...handle.processes.keys()]).toEqual(['init'])
    await eventually('its record is gone', () => !existsSync(join(container.root, container.id, process.id)))
    await reading
    expect(seen).toEqual([
      { type: 'started', anonymous: true },
      { type: 'exited', anonymous: true },
    ])
    await other.close()
    await expectRefused(container.exec(['/bin/true'], { stdout: 'keep' }))
    await expectRefused(container.exec('~0123456789abcdef', { args: ['/bin/true'] }))
    expect((await failure(container.exec('echo hello' as never))).message).toContain('["echo", "hello"]')
  })

  test('the terminal of an anonymous process is read to its end', async () => {
    const container = await ground.running()
    const process = await container.exec(
      { args: sh('head -c 300000 /dev/zero'), terminal: true },
      { stdout: 'pipe' },
    )
    let size = 0
    for await (const chunk of process.stdout) size += (chunk as Buffer).length
    expect(size).toBe(300000)
  })
})
