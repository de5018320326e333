// pressure(): a container that waits for processor or memory is told of by the kernel's own triggers.
import { describe, expect, test } from 'vitest'
import { Container, type PressureEvent, type PressureOptions, type PressureWatcher } from '../../lib/index.js'
import { Cgroup } from '../support/cgroups.js'
import { useContainers } from '../support/containers.js'
import { expectCode, run } from '../support/expect.js'
import { cannotRunContainers, isCgroupV2, runtimes } from '../support/machine.js'
import { runOut, smallBundle } from '../support/memory.js'
import { statusLine } from '../support/processes.mjs'
import { eventually } from '../support/wait.js'

const skip = cannotRunContainers()

const busy = ['/bin/sh', '-c', 'while :; do :; done']

async function all(watcher: PressureWatcher): Promise<PressureEvent[]> {
  const out: PressureEvent[] = []
  for await (const event of watcher) out.push(event)
  return out
}

/** The first event, or null after the end. */
async function first(watcher: PressureWatcher): Promise<PressureEvent | null> {
  for await (const event of watcher) return event
  return null
}

/** Whether this container has a cgroup with PSI: on v2, and on a hybrid machine by a runtime that uses its v2 mount. */
function hasPsi(container: Container): boolean {
  return new Cgroup(container.id).path('cpu.pressure') !== null
}

describe.skipIf(skip).each(runtimes)('pressure, %s', (runtime) => {
  const ground = useContainers(runtime)

  test('of the processor: told while programs wait for it, by PSI', async () => {
    const container = await ground.running({ bundle: ground.bundle() })
    const options: PressureOptions = {
      resource: 'cpu',
      kind: 'some',
      stallUsec: 50_000,
      windowUsec: 2_000_000,
    }
    if (!hasPsi(container)) {
      await expectCode(container.pressure(options), 'ERR_UNSUPPORTED')
      return
    }
    const watcher = await container.pressure(options)
    expect(watcher).toMatchObject({
      containerId: container.id,
      resource: 'cpu',
      kind: 'some',
      removed: false,
    })
    const before = Date.now()
    const jobs = await Promise.all([1, 2, 3, 4, 5].map((i) => container.exec(`busy-${i}`, { args: busy })))
    const event = await first(watcher)
    expect(event).toMatchObject({ containerId: container.id, resource: 'cpu', kind: 'some', count: 1 })
    expect(event?.at.getTime()).toBeGreaterThanOrEqual(before)
    await eventually('more of it', () => watcher.flush() > 0)
    for (const job of jobs) await job.kill('SIGKILL')
    const rest = all(watcher)
    await container.delete({ force: true })
    await rest
    expect(watcher.removed).toBe(true)
  })

  test('of memory: by PSI, or by the level of v1', async () => {
    const container = await ground.running({ bundle: smallBundle(ground) })
    const watcher = await container.pressure({
      resource: 'memory',
      kind: 'some',
      stallUsec: 100,
      windowUsec: 2_000_000,
    })
    const told = first(watcher)
    let over = false
    void told.then(() => (over = true))
    // Reclaim of what was read from files, and in the end OOM kills.
    for (let i = 0; i < 50 && !over; ++i) {
      await run(container, 'head -c 64m /dev/zero > /file; cat /file /file >/dev/null; rm -f /file')
      await runOut(container)
    }
    expect(await told).toMatchObject({ resource: 'memory', kind: 'some' })
    const rest = all(watcher)
    await container.delete({ force: true })
    await rest
    expect(watcher.removed).toBe(true)
  })

  test('memory.high: each breach is counted', async () => {
    const container = await ground.running({ bundle: smallBundle(ground) })
    const options = { resource: 'memory', kind: 'high' } as const
    if (!isCgroupV2()) {
      await expectCode(container.pressure(options), 'ERR_UNSUPPORTED')
      return
    }
    const watcher = await container.pressure(options)
    const cgroup = new Cgroup(container.id)
    cgroup.write('memory.high', String(4 * 1024 * 1024))
    await run(container, 'head -c 4m /dev/zero > /tmp/file')
    expect((await first(watcher))?.count).toBeGreaterThan(0)
    cgroup.write('memory.high', 'max')
    const counted = Number(/^high (\d+)$/m.exec(cgroup.read('memory.events') ?? '')?.[1])
    expect(watcher.flush()).toBe(counted)
    await watcher.close()
  })

  test('bad input, and containers that do not run', async () => {
    const container = await ground.create()
    const good = { resource: 'cpu', kind: 'some', stallUsec: 1000, windowUsec: 1_000_000 }
    await expectCode(container.pressure(good as PressureOptions), 'ERR_CONTAINER_NOT_STARTED')
    const refused = async (options: unknown, name: string, code: string): Promise<void> => {
      await expect(
        container.pressure(options as PressureOptions),
        JSON.stringify(options),
      ).rejects.toMatchObject({ name, code })
    }
    for (const resource of ['disk', '', 'CPU']) {
      await refused({ ...good, resource }, 'TypeError', 'ERR_INVALID_ARG_VALUE')
    }
    await refused({ ...good, kind: 'most' }, 'TypeError', 'ERR_INVALID_ARG_VALUE')
    await refused({ resource: 'cpu', kind: 'high' }, 'TypeError', 'ERR_INVALID_ARG_VALUE')
    for (const wrong of [null, undefined, 1, 'cpu', { ...good, resource: 1 }, { ...good, kind: undefined }]) {
      await refused(wrong, 'TypeError', 'ERR_INVALID_ARG_TYPE')
    }
    await refused({ ...good, stallUsec: '1' }, 'TypeError', 'ERR_INVALID_ARG_TYPE')
    for (const windowUsec of [0, 499_999, 10_000_001, 1e9, NaN, 600_000.5, -1]) {
      await refused({ ...good, windowUsec }, 'RangeError', 'ERR_INVALID_ARG_VALUE')
    }
    for (const stallUsec of [0, -1, 1_000_001, Infinity, 1.5]) {
      await refused({ ...good, stallUsec }, 'RangeError', 'ERR_INVALID_ARG_VALUE')
    }
    await container.start()
    // Without CAP_SYS_RESOURCE the kernel takes multiples of 2 s (Linux 6.5).
    if (hasPsi(container)) {
      const odd = container.pressure({ ...good, windowUsec: 500_000 } as PressureOptions)
      const CAP_SYS_RESOURCE = 24n
      if ((BigInt(`0x${statusLine(process.pid, 'CapEff')}`) >> CAP_SYS_RESOURCE) & 1n)
        await (await odd).close()
      else expect(await expectCode(odd, 'ERR_SYSCALL')).toMatchObject({ syscall: 'write', errno: 22 })
    }
    const init = container.processes.get('init')
    await container.kill('SIGKILL')
    await init?.wait()
    await expectCode(container.pressure(good as PressureOptions), 'ERR_CONTAINER_EXITED')
  })
})
