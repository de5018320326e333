// stats(): key by key what `runc events --stats` says, and what the kernel's own files say, of containers that have used
// processor, memory, page cache, swap limits, disk and processes.
import { closeSync, existsSync, openSync, readdirSync, statSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setImmediate as turn } from 'node:timers/promises'
import { describe, expect, test } from 'vitest'
import { Container, ContainerError, type Stats } from '../../lib/index.js'
import { Cgroup } from '../support/cgroups.js'
import { type Ground, useContainers } from '../support/containers.js'
import { expectCode } from '../support/expect.js'
import { cannotRunContainers, isCgroupV2, runtimes } from '../support/machine.js'
import { read } from '../support/processes.mjs'
import { type Flat, flatten, readFigures } from '../support/stats.js'
import { eventually } from '../support/wait.js'

const skip = cannotRunContainers()

const memory = 96 * 1024 * 1024
const both = 128 * 1024 * 1024

/** How a container may use a disk, past the page cache so that it is charged for it at once: 64 blocks of 4096. */
interface Disk {
  /** In a shell in the container. */
  command: string
  major: number
  minor: number
  op: 'Read' | 'Write'
  /** The device must be in the container. */
  node: boolean
}

function canRead(path: string): boolean {
  try {
    closeSync(openSync(path, 'r'))
    return true
  } catch {
    return false
  }
}

/** A device that may be read, else a file on the disk that the root filesystem is on; null where there is neither. */
function findDisk(): Disk | null {
  for (const name of readdirSync('/sys/block')) {
    // loop, ram and zram have no device behind them.
    if (!existsSync(join('/sys/block', name, 'device')) || !canRead(join('/dev', name))) continue
    const [major, minor] = (read(join('/sys/block', name, 'dev')) as string).split(':').map(Number)
    const command = 'dd if=/dev/disk of=/dev/null bs=4k count=64 iflag=direct'
    return { command, major: major as number, minor: minor as number, op: 'Read', node: true }
  }
  const dev = BigInt(statSync(tmpdir()).dev)
  const major = Number((dev >> 8n) & 0xfffn)
  const minor = Number((dev & 0xffn) | ((dev >> 12n) & 0xfff00n))
  // Not a partition: the kernel accounts to whole disks, whose numbers are these.
  if (major === 0 || !existsSync(`/sys/dev/block/${major}:${minor}/queue`)) return null
  const command = 'dd if=/dev/zero of=/file-on-disk bs=4k count=64 oflag=direct'
  return { command, major, minor, op: 'Write', node: false }
}

const disk = findDisk()
if (disk === null)
  process.stderr.write('stats: no disk here to be charged for; blkio figures stay without I/O\n')

/** Uses some of everything, says so on its stdout, and stands still. */
const work = [
  // Processor: in user space and in the kernel.
  'i=0; while [ $i -lt 30000 ]; do i=$((i+1)); done; dd if=/dev/zero of=/dev/null bs=64k count=200 2>/dev/null',
  // Memory of its own, and page cache.
  'x=$(dd if=/dev/zero bs=1024 count=3000 2>/dev/null | tr "\\0" a); dd if=/dev/zero of=/tmp/file bs=1M count=6 2>/dev/null',
  disk === null ? ':' : `${disk.command} 2>/dev/null || exit 4`,
  // Processes.
  'sleep 100000 & sleep 100000 & sleep 100000 & echo done; wait',
].join('; ')

async function worker(ground: Ground): Promise<Container> {
  const bundle = ground.bundle((config) => {
    config.process.args = ['/bin/sh', '-c', work]
    config.linux.resources.memory = { limit: memory, swap: both }
    config.linux.resources.pids = { limit: 77 }
    config.linux.resources.cpu = { quota: 80_000, period: 100_000 }
    if (disk !== null) {
      const { major, minor } = disk
      // v1 counts what passes the throttle, which since Linux 6.16 is not there before somebody sets a limit.
      const limit = [{ major, minor, rate: 2 ** 32 }]
      config.linux.resources.blockIO = { throttleReadBpsDevice: limit, throttleWriteBpsDevice: limit }
      if (!disk.node) return
      config.linux.devices = [{ path: '/dev/disk', type: 'b', major, minor, fileMode: 0o660, uid: 0, gid: 0 }]
    }
  })
  const container = await ground.create({ bundle })
  const init = await container.start({ stdout: 'pipe' })
  await new Promise<void>((resolve, reject) => {
    init.stdout?.once('data', resolve)
    init.stdout?.once('close', () => reject(new Error('the container ended before its work was done')))
  })
  // The kernel counts one when its 100 ms are over, also when the work was done before.
  await eventually('the first period of the quota', async () => {
    return ((await container.stats()).cpu.throttling.periods ?? 0) > 0
  })
  return container
}

/** Figures of the moment are left out: pressure averages fall by themselves while nothing happens. */
function still(figures: Flat): Flat {
  return new Map([...figures].filter(([place]) => !place.includes('.psi.')))
}

/** What `look` says at a moment at which the container's own figures do not move. */
async function atRest<T>(
  container: Container,
  look: () => T | Promise<T>,
): Promise<{ stats: Stats; seen: T }> {
  return eventually('figures that stand still', async () => {
    const before = await container.stats()
    const seen = await look()
    const stats = await container.stats()
    const [a, b] = [before, stats].map((each) => [...still(flatten(each))].filter(([k]) => k !== 'timestamp'))
    return JSON.stringify(a) === JSON.stringify(b) ? { stats, seen } : null
  })
}

/** As Go prints it: an object's zeros are left out. */
function asGo(value: unknown): string {
  return JSON.stringify(value, (_key, item: unknown) =>
    typeof item === 'object' && item !== null && !Array.isArray(item)
      ? Object.fromEntries(Object.entries(item).filter(([, each]) => each !== 0))
      : item,
  )
}

/** runc's words for "no limit". */
function isUnlimited(value: unknown): boolean {
  return typeof value === 'number' && value >= 9223372036854771000
}

describe.skipIf(skip)('stats beside runc’s', () => {
  const ground = useContainers('runc')

  test('every key of `runc events --stats`, and no other figure than runc has', async () => {
    const container = await worker(ground)
    await container.pause()
    const { stats, seen } = await atRest(container, () => {
      const { type, id, data } = JSON.parse(ground.runtimeCommand('events', '--stats', container.id))
      expect({ type, id }).toEqual({ type: 'stats', id: container.id })
      return data as Record<string, unknown>
    })
    expect(stats.timestamp).toBeInstanceOf(Date)
    expect(Math.abs(stats.timestamp.getTime() - Date.now())).toBeLessThan(600_000)

    const ours = still(flatten(stats))
    const theirs = still(flatten(seen))
    const differences: string[] = []
    // v2 gives none of these, and runc says 0 for what it was not told: here they are undefined.
    const invented = /^(cpuset\.|memory\.(usage|swap|kernel|kernelTCP)\.(failcnt|limit)$)/
    for (const [place, value] of theirs) {
      const mine = ours.get(place)
      if (isCgroupV2() && value === 0 && mine === undefined && invented.test(place)) continue
      if (isUnlimited(value) ? mine === null : asGo(mine) === asGo(value)) continue
      // Go leaves zeros out, so an object of which all is left out is empty there and is not here.
      if (JSON.stringify(value) === '{}' && [...ours.keys()].some((key) => key.startsWith(`${place}.`)))
        continue
      differences.push(`${place}: runc ${JSON.stringify(value)}, here ${JSON.stringify(mine)}`)
    }
    // What runc has not: zeros, limits that are not set, and figures that this version of runc does not read yet.
    const newer = /^(timestamp$|memory\.usage\.max$|rdma|misc|.*\.psi)/
    for (const [place, value] of ours) {
      if (theirs.has(place) || newer.test(place)) continue
      const nothing = value === 0 || value === null || ['{}', '[]'].includes(JSON.stringify(value))
      const zeros = Array.isArray(value) && value.every((item) => item === 0)
      if (!nothing && !zeros) differences.push(`${place}: runc has none, here ${JSON.stringify(value)}`)
    }
    expect(differences).toEqual([])
    // The test is worth something only when there was something to compare.
    expect(theirs.size).toBeGreaterThan(isCgroupV2() ? 40 : 60)
    expect(Object.keys(stats)).toEqual([
      'timestamp',
      ...Object.keys(seen).filter((key) => !['intel_rdt', 'network_interfaces'].includes(key)),
      ...(['rdma', 'misc'] as const).filter((key) => stats[key] !== undefined),
      'intel_rdt',
      'network_interfaces',
    ])
  })
})

describe.skipIf(skip).each(runtimes)('stats of %s', (runtime) => {
  const ground = useContainers(runtime)

  test('every figure is that of the kernel’s files, and every such file is read', async () => {
    const container = await worker(ground)
    const cgroup = new Cgroup(container.id)
    await container.pause()
    const { stats, seen } = await atRest(container, () => readFigures(cgroup))
    const ours = flatten(stats)
    for (const key of ['timestamp', 'intel_rdt', 'network_interfaces']) ours.delete(key)
    // Averages of pressure sink while they are looked at; that they are there, all of them, is what counts.
    expect([...ours.keys()].filter((key) => key.includes('.psi.')).sort()).toEqual(
      [...seen.keys()].filter((key) => key.includes('.psi.')).sort(),
    )
    const nothing = ([, value]: [string, unknown]): boolean => JSON.stringify(value) !== '{}'
    expect(Object.fromEntries([...still(ours)].filter(nothing))).toEqual(
      Object.fromEntries([...still(seen)].filter(nothing)),
    )

    // And these are figures of a container that has used all of it.
    expect(stats.cpu.usage.total).toBeGreaterThan(10_000_000)
    expect((stats.cpu.usage.user ?? 0) + (stats.cpu.usage.kernel ?? 0)).toBeGreaterThan(0)
    expect(stats.cpu.throttling.periods).toBeGreaterThan(0)
    expect(stats.memory.cache).toBeGreaterThanOrEqual(6 * 1024 * 1024)
    expect(stats.memory.usage).toMatchObject({ limit: memory })
    expect(stats.memory.usage.usage).toBeGreaterThan(6 * 1024 * 1024)
    expect(stats.memory.swap.limit).toBe(both)
    expect(stats.memory.swap.usage).toBeGreaterThanOrEqual(stats.memory.usage.usage as number)
    expect(stats.pids).toEqual({ current: 4, limit: 77 })
    if (disk !== null) {
      const bytes = stats.blkio.ioServiceBytesRecursive?.find(
        ({ major, minor, op }) => major === disk.major && minor === disk.minor && op === disk.op,
      )
      expect(bytes?.value).toBeGreaterThanOrEqual(64 * 4096)
    }
    expect(stats.intel_rdt).toEqual({})
    expect(stats.network_interfaces).toBeNull()
    expect(container.statsSync()).toMatchObject({ pids: stats.pids, cpuset: stats.cpuset })
  })

  test('a limit that is not set is null; one that is set later is seen', async () => {
    const container = await ground.running()
    const before = await container.stats()
    expect(before.memory.usage.limit).toBeNull()
    expect(before.memory.swap.limit).toBeNull()
    expect(before.pids.limit).toBeNull()
    await container.updateResources({ memory: { limit: memory, swap: both }, pids: { limit: 5 } })
    const after = await container.stats()
    expect(after.memory.usage.limit).toBe(memory)
    expect(after.memory.swap.limit).toBe(both)
    expect(after.pids).toEqual({ current: 1, limit: 5 })
    if (isCgroupV2()) {
      expect(before.memory.kernel.limit).toBeUndefined() // v2 has no such limit
      expect(after.memory.usage.failcnt).toBeUndefined()
    } else {
      expect(after.memory.usage.failcnt).toBe(0)
    }
  })

  test('figures grow with what is used, never fall, and are never half', async () => {
    const container = await ground.running({
      bundle: ground.bundleOf(['/bin/sh', '-c', 'while :; do :; done']),
    })
    const keys = [...flatten(container.statsSync()).keys()]
    let last = 0
    for (let round = 0; round < 200; ++round) {
      const stats = round % 2 === 0 ? container.statsSync() : await container.stats()
      expect(stats.cpu.usage.total).toBeGreaterThanOrEqual(last)
      last = stats.cpu.usage.total as number
    }
    expect(last).toBeGreaterThan(0)
    expect([...flatten(container.statsSync()).keys()].filter((key) => !key.startsWith('blkio'))).toEqual(
      keys.filter((key) => !key.startsWith('blkio')),
    )
    // It dies in the middle of it all.
    const whole = keys.filter((key) => !key.startsWith('blkio') && !key.startsWith('memory.raw'))
    const init = container.processes.get('init')
    let ended = false
    const asking = Promise.all(
      Array.from({ length: 4 }, async () => {
        while (!ended) {
          const answer: unknown = await container.stats().catch((error: unknown) => error)
          await turn() // an answer that needs no kernel would else leave no turn to anything else
          if (answer instanceof Error) expect(answer).toMatchObject({ code: 'ERR_CONTAINER_EXITED' })
          else expect([...flatten(answer).keys()]).toEqual(expect.arrayContaining(whole))
        }
      }),
    )
    await container.kill('SIGKILL')
    await init?.wait()
    await container.delete()
    await expect(container.stats()).rejects.toMatchObject({ name: 'ContainerError' })
    ended = true
    await asking
  })

  test('of many at once: each its figures or its own error, in their order', async () => {
    const running = await Promise.all(Array.from({ length: 5 }, () => ground.running()))
    const created = await ground.create()
    const stopped = await ground.running({ bundle: ground.bundleOf(['/bin/true']) })
    await stopped.processes.get('init')?.wait()
    const deleted = await ground.running()
    await deleted.delete({ force: true })
    // Its end is not known to this handle.
    const gone = await ground.running()
    const other = await Container.load(gone.root, gone.id)
    await gone.updateResources({ pids: { limit: 9 } })
    await other.delete({ force: true })

    const asked = [
      running[0],
      created,
      running[1],
      stopped,
      running[2],
      deleted,
      running[3],
      gone,
      running[4],
    ]
    const answers = await Container.stats(asked as Container[])
    expect(answers.map((answer) => (answer instanceof ContainerError ? answer.code : 'figures'))).toEqual([
      'figures',
      'ERR_CONTAINER_NOT_STARTED',
      'figures',
      'ERR_CONTAINER_EXITED',
      'figures',
      'ERR_CONTAINER_NOT_FOUND',
      'figures',
      expect.stringMatching(/^ERR_CONTAINER_(EXITED|NOT_FOUND)$/),
      'figures',
    ])
    answers.forEach((answer, index) => {
      if (answer instanceof ContainerError) expect(answer.containerId).toBe(asked[index]?.id)
      else expect(answer.pids.current).toBe(1)
    })
    // The same container twice is two answers; none is none.
    expect(await Container.stats([running[0], running[0]] as Container[])).toHaveLength(2)
    expect(await Container.stats([])).toEqual([])
  })

  test('survives a program that is out of descriptors', async () => {
    const containers = await Promise.all(Array.from({ length: 3 }, () => ground.running()))
    const { runProgram } = await import('../support/programs.js')
    const [said] = await runProgram(
      `const { execFileSync } = require('node:child_process')
       const all = await Promise.all(args.ids.map((id) => Container.load(args.root, id)))
       const limit = require('node:fs').readdirSync('/proc/self/fd').length + 12
       execFileSync('prlimit', ['--pid', String(process.pid), '--nofile=' + limit + ':' + limit])
       const seen = []
       for (let round = 0; round < 5; ++round) {
         for (const answer of await Container.stats(all)) seen.push(answer.message ?? answer.pids.current)
         for (const each of all) {
           seen.push(each.statsSync().pids.current, (await each.stats()).pids.current, each.pidsSync().length)
         }
       }
       say(seen)
       for (const each of all) await each.close()`,
      { root: ground.root, ids: containers.map(({ id }) => id) },
    )
    expect(said).toEqual(Array.from({ length: 60 }, () => 1))
  })

  test('keeps as many descriptors as it may, gives back the rest at once, and answers the same', async () => {
    const containers = await Promise.all(Array.from({ length: 3 }, () => ground.running()))
    const { runProgram } = await import('../support/programs.js')
    const [said] = await runProgram(
      `const fs = require('node:fs')
       const kept = () => fs.readdirSync('/proc/self/fd').filter((fd) => {
         try { return fs.readlinkSync('/proc/self/fd/' + fd).startsWith('/sys/fs/cgroup') } catch { return false }
       }).length
       const all = await Promise.all(args.ids.map((id) => Container.load(args.root, id)))
       const ask = async () => {
         const answers = [...(await Container.stats(all)), ...all.map((each) => each.statsSync())]
         return answers.every((answer) => answer.pids?.current === 1)
       }
       const told = { good: await ask(), free: kept() }
       Container.limitDescriptors(10)
       Object.assign(told, { cut: kept(), goodCut: await ask(), ten: kept() })
       Container.limitDescriptors(0)
       Object.assign(told, { none: kept(), goodNone: await ask(), still: kept() })
       say(told)
       for (const each of all) await each.close()`,
      { root: ground.root, ids: containers.map(({ id }) => id) },
    )
    expect(said).toMatchObject({ good: true, goodCut: true, none: 0, goodNone: true, still: 0 })
    const { free, cut, ten } = said as { free: number; cut: number; ten: number }
    expect(free).toBeGreaterThan(10)
    expect(cut).toBeLessThanOrEqual(10)
    expect(ten).toBeLessThanOrEqual(10)
    expect(ten).toBeGreaterThan(0)
  })

  test('of a container that was never started, has exited, was deleted', async () => {
    const created = await ground.create()
    await expectCode(created.stats(), 'ERR_CONTAINER_NOT_STARTED')
    expect(() => created.statsSync()).toThrow(expect.objectContaining({ code: 'ERR_CONTAINER_NOT_STARTED' }))
    const container = await ground.running({ bundle: ground.bundleOf(['/bin/true']) })
    await container.processes.get('init')?.wait()
    await expectCode(container.stats(), 'ERR_CONTAINER_EXITED')
    await container.delete()
    await expectCode(container.stats(), 'ERR_CONTAINER_NOT_FOUND')
  })
})

describe.skipIf(skip)('stats of both runtimes', () => {
  const runc = useContainers('runc')
  const crun = useContainers('crun')

  test('equal containers have equal keys', async () => {
    const [one, two] = [await worker(runc), await worker(crun)]
    const keys = (stats: Stats): string[] => [...flatten(stats).keys()].sort()
    expect(keys(await two.stats())).toEqual(keys(await one.stats()))
  })
})
