// updateResources(): every field in the kernel as the runtime would write it, all or nothing, and the record kept true.
import { execFile, execFileSync } from 'node:child_process'
import { readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { describe, expect, test } from 'vitest'
import type { Container, Resources } from '../../lib/index.js'
import { Cgroup } from '../support/cgroups.js'
import { type Ground, useContainers } from '../support/containers.js'
import { expectCode, failure } from '../support/expect.js'
import { cannotRunContainers, isCgroupV2, type RuntimeName, runtimes } from '../support/machine.js'
import { read } from '../support/processes.mjs'

const skip = cannotRunContainers()
const run = promisify(execFile)

const MiB = 1024 * 1024
const EBUSY = 16
const EINVAL = 22
const ENOSPC = 28
const slow = process.env['VM_LAYOUT'] !== undefined

/** A whole disk that the kernel takes limits for, as `major:minor`. */
function someDisk(): { major: number; minor: number } | null {
  for (const name of readdirSync('/sys/block')) {
    if (!/^(loop|[vs]d|nvme)/.test(name)) continue
    const [major, minor] = (read(join('/sys/block', name, 'dev')) ?? '').split(':').map(Number)
    if (Number.isInteger(major) && Number.isInteger(minor)) {
      return { major: major as number, minor: minor as number }
    }
  }
  return null
}

const disk = someDisk()

/** A request; what files of the kernel then say (where v1 and v2 have them); `byRuntime`: `runc update` takes it too. */
interface Row {
  name: string
  resources: Resources
  v1?: Record<string, string | RegExp>
  v2?: Record<string, string | RegExp>
  byRuntime?: true | 'runc'
}

/**
 * What cgroup v2 calls these shares in the installed version of the runtime: a straight line at first, since runc 1.3.2 and
 * crun 1.24 a curve through 1024 and 100.
 */
function weightsOf(runtime: RuntimeName): Record<512 | 2048, string> {
  const version = / version (\d+)\.(\d+)(?:\.(\d+))?/.exec(
    execFileSync(runtime, ['--version'], { encoding: 'utf8' }),
  )
  const [major = 0, minor = 0, patch = 0] = (version ?? []).slice(1).map((part) => Number(part ?? 0))
  const curve = runtime === 'runc' ? [1, 3, 2] : [1, 24, 0]
  const number = ([a = 0, b = 0, c = 0]: number[]): number => (a * 1000 + b) * 1000 + c
  return number([major, minor, patch]) < number(curve)
    ? { 512: '20', 2048: '79' }
    : { 512: '59', 2048: '174' }
}

const rowsOf = new Map<RuntimeName, Row[]>()

function rows(runtime: RuntimeName): Row[] {
  let known = rowsOf.get(runtime)
  if (known === undefined) rowsOf.set(runtime, (known = makeRows(weightsOf(runtime))))
  return known
}

function makeRows(weights: Record<512 | 2048, string>): Row[] {
  const out: Row[] = [
    {
      name: 'memory.limit, swap and reservation',
      resources: { memory: { limit: 64 * MiB, swap: 96 * MiB, reservation: 32 * MiB } },
      v1: {
        'memory.limit_in_bytes': `${64 * MiB}`,
        'memory.memsw.limit_in_bytes': `${96 * MiB}`,
        'memory.soft_limit_in_bytes': `${32 * MiB}`,
      },
      v2: { 'memory.max': `${64 * MiB}`, 'memory.swap.max': `${32 * MiB}`, 'memory.low': `${32 * MiB}` },
      byRuntime: true,
    },
    {
      name: 'memory.limit raised with its swap',
      resources: { memory: { limit: 128 * MiB, swap: 128 * MiB } },
      v1: { 'memory.limit_in_bytes': `${128 * MiB}`, 'memory.memsw.limit_in_bytes': `${128 * MiB}` },
      v2: { 'memory.max': `${128 * MiB}`, 'memory.swap.max': '0' },
      byRuntime: true,
    },
    {
      name: 'memory.swap without a limit',
      resources: { memory: { limit: 100 * MiB, swap: -1 } },
      v1: { 'memory.limit_in_bytes': `${100 * MiB}`, 'memory.memsw.limit_in_bytes': /^92233720368547/ },
      v2: { 'memory.max': `${100 * MiB}`, 'memory.swap.max': 'max' },
      byRuntime: true,
    },
    {
      name: 'memory.limit -1: no limit on swap either',
      resources: { memory: { limit: -1 } },
      v1: {
        'memory.limit_in_bytes': /^92233720368547/,
        'memory.memsw.limit_in_bytes': /^92233720368547/,
      },
      v2: { 'memory.max': 'max', 'memory.swap.max': 'max' },
    },
    {
      name: 'memory.checkBeforeUpdate with room enough',
      resources: { memory: { limit: 64 * MiB, swap: 64 * MiB, checkBeforeUpdate: true } },
      v1: { 'memory.limit_in_bytes': `${64 * MiB}`, 'memory.memsw.limit_in_bytes': `${64 * MiB}` },
      v2: { 'memory.max': `${64 * MiB}`, 'memory.swap.max': '0' },
    },
    {
      name: 'cpu.shares',
      resources: { cpu: { shares: 512 } },
      v1: { 'cpu.shares': '512' },
      v2: { 'cpu.weight': weights[512] },
      byRuntime: true,
    },
    {
      name: 'cpu.shares at both ends of the range',
      resources: { cpu: { shares: 262144 } },
      v1: { 'cpu.shares': '262144' },
      v2: { 'cpu.weight': '10000' },
      byRuntime: true,
    },
    {
      name: 'cpu.quota and period',
      resources: { cpu: { quota: 25_000, period: 50_000 } },
      v1: { 'cpu.cfs_quota_us': '25000', 'cpu.cfs_period_us': '50000' },
      v2: { 'cpu.max': '25000 50000' },
      byRuntime: true,
    },
    {
      name: 'cpu.period alone: the quota stays',
      resources: { cpu: { period: 200_000 } },
      v1: { 'cpu.cfs_quota_us': '25000', 'cpu.cfs_period_us': '200000' },
      v2: { 'cpu.max': '25000 200000' },
    },
    {
      name: 'cpu.burst above the quota that was, below the one to come',
      resources: { cpu: { quota: 80_000, burst: 60_000 } },
      v1: { 'cpu.cfs_quota_us': '80000', 'cpu.cfs_burst_us': '60000' },
      v2: { 'cpu.max': '80000 200000', 'cpu.max.burst': '60000' },
    },
    {
      name: 'cpu.burst 0 and no quota',
      resources: { cpu: { burst: 0, quota: -1 } },
      v1: { 'cpu.cfs_quota_us': '-1', 'cpu.cfs_burst_us': '0' },
      v2: { 'cpu.max': 'max 200000', 'cpu.max.burst': '0' },
    },
    {
      name: 'cpu.idle',
      resources: { cpu: { idle: 1 } },
      v1: { 'cpu.idle': '1' },
      v2: { 'cpu.idle': '1' },
    },
    {
      name: 'cpu.idle no more, and shares, in one request',
      resources: { cpu: { idle: 0, shares: 2048 } },
      v1: { 'cpu.idle': '0', 'cpu.shares': '2048' },
      v2: { 'cpu.idle': '0', 'cpu.weight': weights[2048] },
    },
    {
      name: 'cpu.cpus and mems',
      resources: { cpu: { cpus: '0', mems: '0' } },
      v1: { 'cpuset.cpus': '0', 'cpuset.mems': '0' },
      v2: { 'cpuset.cpus': '0', 'cpuset.mems': '0' },
      byRuntime: true,
    },
    {
      name: 'pids.limit',
      resources: { pids: { limit: 321 } },
      v1: { 'pids.max': '321' },
      v2: { 'pids.max': '321' },
      byRuntime: true,
    },
    {
      name: 'pids.limit -1',
      resources: { pids: { limit: -1 } },
      v1: { 'pids.max': 'max' },
      v2: { 'pids.max': 'max' },
      byRuntime: 'runc', // crun 1.8 writes the number itself, and fails
    },
    {
      name: 'hugepageLimits',
      resources: { hugepageLimits: [{ pageSize: '2MB', limit: 4 * MiB }] },
      v1: { 'hugetlb.2MB.limit_in_bytes': `${4 * MiB}`, 'hugetlb.2MB.rsvd.limit_in_bytes': `${4 * MiB}` },
      v2: { 'hugetlb.2MB.max': `${4 * MiB}`, 'hugetlb.2MB.rsvd.max': `${4 * MiB}` },
    },
    {
      name: 'memory: kernelTCP, swappiness, disableOOMKiller',
      resources: { memory: { kernelTCP: 8 * MiB, swappiness: 30, disableOOMKiller: true } },
      v1: {
        'memory.kmem.tcp.limit_in_bytes': `${8 * MiB}`,
        'memory.swappiness': '30',
        'memory.oom_control': /^oom_kill_disable 1$/m,
      },
    },
    {
      name: 'memory.disableOOMKiller false, useHierarchy',
      resources: { memory: { disableOOMKiller: false, useHierarchy: true } },
      v1: { 'memory.oom_control': /^oom_kill_disable 0$/m, 'memory.use_hierarchy': '1' },
      v2: {}, // what v2 does anyway: taken, and nothing to be done
    },
    {
      name: 'unified',
      resources: { unified: { 'memory.high': `${48 * MiB}`, 'pids.max': '99', 'cpu.max': '30000 60000' } },
      v2: { 'memory.high': `${48 * MiB}`, 'pids.max': '99', 'cpu.max': '30000 60000' },
    },
  ]
  if (disk !== null) {
    const name = `${disk.major}:${disk.minor}`
    out.push({
      name: 'blockIO, the four throttles',
      resources: {
        blockIO: {
          throttleReadBpsDevice: [{ ...disk, rate: 1_000_000 }],
          throttleWriteBpsDevice: [{ ...disk, rate: 2_000_000 }],
          throttleReadIOPSDevice: [{ ...disk, rate: 300 }],
          throttleWriteIOPSDevice: [{ ...disk, rate: 400 }],
        },
      },
      v1: {
        'blkio.throttle.read_bps_device': `${name} 1000000`,
        'blkio.throttle.write_bps_device': `${name} 2000000`,
        'blkio.throttle.read_iops_device': `${name} 300`,
        'blkio.throttle.write_iops_device': `${name} 400`,
      },
      v2: { 'io.max': `${name} rbps=1000000 wbps=2000000 riops=300 wiops=400` },
    })
    out.push({
      name: 'blockIO, one throttle lifted',
      resources: { blockIO: { throttleReadBpsDevice: [{ ...disk, rate: 0 }] } },
      v1: { 'blkio.throttle.read_bps_device': '', 'blkio.throttle.write_bps_device': `${name} 2000000` },
      v2: { 'io.max': `${name} rbps=max wbps=2000000 riops=300 wiops=400` },
    })
  }
  return out
}

/** Every control file that one of the rows names, as it stands. */
function snapshot(cgroup: Cgroup): Record<string, string | null> {
  const names = new Set(
    rows('runc').flatMap(({ v1, v2 }) => [...Object.keys(v1 ?? {}), ...Object.keys(v2 ?? {})]),
  )
  return Object.fromEntries([...names].map((name) => [name, cgroup.read(name)]))
}

/** `runc update -r FILE`, and crun's, which cannot read the socket that Node makes of a standard input. */
function updateByRuntime(ground: Ground, id: string, resources: Resources): void {
  const file = ground.newPath('resources')
  writeFileSync(file, JSON.stringify(resources))
  ground.runtimeCommand('update', '--resources', file, id)
}

function record(ground: Ground, id: string): Buffer {
  return readFileSync(join(ground.record(id), ground.runtime === 'runc' ? 'state.json' : 'status'))
}

// eslint-disable-next-line @typescript-eslint/no-explicit-any
function recorded(ground: Ground, id: string): any {
  return JSON.parse(record(ground, id).toString()).config.cgroups
}

describe.skipIf(skip).each(runtimes)('updateResources, %s', (runtime) => {
  const ground = useContainers(runtime)

  test('every field is in the kernel; what is left out stays', async () => {
    const container = await ground.running()
    const cgroup = new Cgroup(container.id)
    const unsupported: string[] = []
    for (const { name, resources, v1, v2 } of rows(runtime)) {
      const wanted = isCgroupV2() ? v2 : v1
      const before = snapshot(cgroup)
      if (wanted === undefined) {
        // A field that this cgroup version has not is refused, and says so.
        await expectCode(container.updateResources(resources), 'ERR_UNSUPPORTED')
        expect(snapshot(cgroup), name).toEqual(before)
        continue
      }
      if (Object.keys(wanted).some((file) => cgroup.path(file) === null)) {
        // This kernel lacks the file (or the controller): the refusal names it, and nothing is changed.
        const error = await expectCode(container.updateResources(resources), 'ERR_UNSUPPORTED')
        expect(String(error.message), name).toMatch(/there is no|not mounted|not enabled/)
        expect(snapshot(cgroup), name).toEqual(before)
        unsupported.push(name)
        continue
      }
      await container.updateResources(resources)
      for (const [file, value] of Object.entries(wanted)) {
        const expected = value instanceof RegExp ? expect.stringMatching(value) : value
        expect({ name, file, value: cgroup.read(file) }).toEqual({ name, file, value: expected })
      }
      const after = snapshot(cgroup)
      const changed = Object.keys(after).filter((file) => after[file] !== before[file])
      // cpu.weight has a second face; idle takes the weight along.
      const related = /^(cpu\.weight|cpu\.shares|memory\.oom_control)$/
      expect(
        changed.filter((file) => !(file in wanted) && !related.test(file)),
        name,
      ).toEqual([])
    }
    // Without these the test would prove little.
    expect(unsupported.filter((name) => /memory\.limit|cpu\.(shares|quota)|pids/.test(name))).toEqual([])
    // Nothing asked is nothing done, and no error.
    const before = snapshot(cgroup)
    await container.updateResources({})
    await container.updateResources({
      memory: {},
      cpu: {},
      blockIO: {},
      hugepageLimits: [],
      rdma: {},
      unified: {},
    })
    expect(snapshot(cgroup)).toEqual(before)
  })

  test('writes what the runtime itself would write for the same request', async () => {
    const ours = await ground.running()
    const theirs = await ground.running()
    const [mine, other] = [new Cgroup(ours.id), new Cgroup(theirs.id)]
    for (const { name, resources, byRuntime } of rows(runtime)) {
      if (byRuntime !== true && byRuntime !== runtime) continue
      await ours.updateResources(resources)
      updateByRuntime(ground, theirs.id, resources)
      expect({ name, files: snapshot(mine) }).toEqual({ name, files: snapshot(other) })
    }
  })

  test('realtime: what this machine’s kernel says to it', async () => {
    const container = await ground.running()
    const error = await failure(
      container.updateResources({ cpu: { realtimePeriod: 1_000_000, realtimeRuntime: 1000 } }).then(() => {
        throw Object.assign(new Error('done'), { code: 'done' })
      }),
    )
    // No CONFIG_RT_GROUP_SCHED and v2: no such file. With it the parent gives nothing to its children at first.
    expect(['ERR_UNSUPPORTED', 'ERR_SYSCALL', 'done']).toContain(error.code)
    if (error.code === 'ERR_SYSCALL')
      expect(error).toMatchObject({ path: expect.stringContaining('cpu.rt_') })
    if (isCgroupV2()) expect(String(error.message)).toContain('cpu.realtime')
  })

  test('a failure half-way puts back what was written, and names file, errno and a hint', async () => {
    const container = await ground.running()
    const cgroup = new Cgroup(container.id)
    await container.updateResources({
      memory: { limit: 64 * MiB, swap: 64 * MiB },
      cpu: { quota: 50_000, period: 100_000, shares: 700 },
      pids: { limit: 100 },
    })
    const cases: { resources: Resources; file: string; errno: number; hint: RegExp; only?: 'v1' | 'v2' }[] = [
      {
        // pids comes before cpu on v2, cpuset and memory on v1.
        resources: { pids: { limit: 50 }, memory: { limit: 32 * MiB, swap: 48 * MiB }, cpu: { quota: 10 } },
        file: isCgroupV2() ? 'cpu.max' : 'cpu.cfs_quota_us',
        errno: EINVAL,
        hint: /cpu\.quota \(.*\) was refused: .*at least 1000|from 1000/,
      },
      {
        resources: { memory: { limit: 48 * MiB, swap: 64 * MiB }, cpu: { shares: 300, period: 5_000_000 } },
        file: isCgroupV2() ? 'cpu.max' : 'cpu.cfs_period_us',
        errno: EINVAL,
        hint: /period .*1000000/,
      },
      {
        resources: { pids: { limit: 51 }, cpu: { burst: 90_000 } },
        file: isCgroupV2() ? 'cpu.max.burst' : 'cpu.cfs_burst_us',
        errno: EINVAL,
        hint: /burst must not be above the quota \((cpu\.cfs_quota_us: 50000|cpu\.max: 50000 100000)\)/,
      },
      {
        resources: { cpu: { cpus: '4000' }, pids: { limit: 52 } },
        file: 'cpuset.cpus',
        errno: expect.any(Number),
        hint: /cpu\.cpus \(4000\) was refused/,
      },
      {
        resources: { cpu: { cpus: ' ' }, pids: { limit: 53 } },
        file: 'cpuset.cpus',
        errno: ENOSPC,
        hint: /must have a CPU and a memory node/,
        only: 'v1',
      },
      {
        resources: { cpu: { shares: 900 }, memory: { limit: 96 * MiB } },
        file: 'memory.limit_in_bytes',
        errno: EINVAL,
        hint: /give memory\.swap too \(memory\.memsw\.limit_in_bytes: 67108864\)/,
        only: 'v1',
      },
      {
        resources: { unified: { 'pids.max': '60', 'memory.high': 'nonsense' } },
        file: 'memory.high',
        errno: EINVAL,
        hint: /unified\.memory\.high \(nonsense\) was refused/,
        only: 'v2',
      },
    ]
    const before = snapshot(cgroup)
    const stored = record(ground, container.id)
    for (const { resources, file, errno, hint, only } of cases) {
      if (only !== undefined && (only === 'v2') !== isCgroupV2()) continue
      const error = await expectCode(container.updateResources(resources), 'ERR_SYSCALL')
      expect(error).toMatchObject({
        errno,
        syscall: 'write',
        path: cgroup.path(file),
        containerId: container.id,
      })
      expect(String(error.message)).toMatch(hint)
      expect(snapshot(cgroup), file).toEqual(before)
      expect(record(ground, container.id).equals(stored), file).toBe(true)
    }
  })

  test('a limit below what is used', async () => {
    // 24 MiB of its own memory: a shell variable, made by a doubling.
    const fill =
      'x=0123456789abcdef; for i in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do x=$x$x; done'
    const container = await ground.create({
      bundle: ground.bundleOf(['/bin/sh', '-c', `${fill}; echo full; while :; do sleep 1000; done`]),
    })
    const init = await container.start({ stdout: 'pipe' })
    await new Promise((resolve) => init.stdout?.once('data', resolve))
    const cgroup = new Cgroup(container.id)
    const before = snapshot(cgroup)
    const usage = Number(cgroup.read('memory.usage_in_bytes') ?? cgroup.read('memory.current'))
    expect(usage).toBeGreaterThan(16 * MiB)
    const asked = { limit: 8 * MiB, swap: 8 * MiB }
    const checked = await expectCode(
      container.updateResources({ memory: { ...asked, checkBeforeUpdate: true } }),
      'ERR_SYSCALL',
    )
    expect(checked).toMatchObject({ errno: EBUSY })
    expect(String(checked.message)).toContain('memory.checkBeforeUpdate')
    expect(snapshot(cgroup)).toEqual(before)
    if (!isCgroupV2()) {
      // v1 refuses, for without swap nothing of it can be reclaimed; v2 would let the OOM killer make room.
      const refused = await expectCode(container.updateResources({ memory: asked }), 'ERR_SYSCALL')
      expect(refused).toMatchObject({ errno: EBUSY, path: expect.stringMatching(/limit_in_bytes$/) })
      expect(String(refused.message)).toMatch(/is used|could not be reclaimed/)
      expect(snapshot(cgroup)).toEqual(before)
    }
    expect(await container.status()).toBe('running')
  })

  test('values that make no sense: which field, and what is wrong with it', async () => {
    const container = await ground.running()
    const cgroup = new Cgroup(container.id)
    const before = snapshot(cgroup)
    const stored = record(ground, container.id)
    const type = ['TypeError', 'ERR_INVALID_ARG_TYPE'] as const
    const value = [expect.stringMatching(/^(TypeError|RangeError)$/), 'ERR_INVALID_ARG_VALUE'] as const
    const cases: [unknown, readonly [unknown, string], string][] = [
      [undefined, type, 'resources'],
      [null, type, 'resources'],
      ['memory', type, 'resources'],
      [[], type, 'resources'],
      [{ memory: 5 }, type, 'memory'],
      [{ memory: { limit: '64M' } }, type, 'memory.limit'],
      [{ memory: { limit: 64n } }, type, 'memory.limit'],
      [{ memory: { limit: NaN } }, value, 'memory.limit'],
      [{ memory: { limit: Infinity } }, value, 'memory.limit'],
      [{ memory: { limit: -Infinity } }, value, 'memory.limit'],
      [{ memory: { limit: 1.5 } }, value, 'memory.limit'],
      [{ memory: { limit: -2 } }, value, 'memory.limit'],
      [{ memory: { limit: 2 ** 63 } }, value, 'memory.limit'],
      [{ memory: { limit: 2 ** 64 } }, value, 'memory.limit'],
      [{ memory: { limit: 1e300 } }, value, 'memory.limit'],
      [{ memory: { limit: 64 * MiB, swap: 32 * MiB }, pids: { limit: 7 } }, value, 'memory.swap'],
      [{ memory: { swappiness: 101 } }, value, 'memory.swappiness'],
      [{ memory: { swappiness: -1 } }, value, 'memory.swappiness'],
      [{ memory: { disableOOMKiller: 'yes' } }, type, 'memory.disableOOMKiller'],
      [{ memory: { limits: 1 } }, value, 'memory.limits'],
      [{ cpu: { shares: -1 } }, value, 'cpu.shares'],
      [{ cpu: { shares: 0.5 } }, value, 'cpu.shares'],
      [{ cpu: { period: -1 } }, value, 'cpu.period'],
      [{ cpu: { period: 2 ** 65 } }, value, 'cpu.period'],
      [{ cpu: { idle: 2 } }, value, 'cpu.idle'],
      [{ cpu: { cpus: '0\n1' } }, value, 'cpu.cpus'],
      [{ cpu: { cpus: 0 } }, type, 'cpu.cpus'],
      [{ cpu: { mems: '../0' } }, value, 'cpu.mems'],
      [{ pids: { limit: '5' } }, type, 'pids.limit'],
      [{ pids: { limit: 2 ** 70 } }, value, 'pids.limit'],
      [{ blockIO: { weight: 5 } }, value, 'blockIO.weight'],
      [{ blockIO: { weight: 1001 } }, value, 'blockIO.weight'],
      [{ blockIO: { throttleReadBpsDevice: {} } }, type, 'blockIO.throttleReadBpsDevice'],
      [
        { blockIO: { throttleReadBpsDevice: [{ major: 8, minor: -1, rate: 1 }] } },
        value,
        'throttleReadBpsDevice[0]',
      ],
      [{ blockIO: { throttleReadBpsDevice: [{ major: 8, minor: 0, rate: -1 }] } }, value, '[0].rate'],
      [{ hugepageLimits: [{ pageSize: '../x', limit: 1 }] }, value, 'hugepageLimits[0].pageSize'],
      [{ hugepageLimits: [{ pageSize: '2MB', limit: -1 }] }, value, 'hugepageLimits[0].limit'],
      [{ rdma: { 'a b': { hcaHandles: 1 } } }, value, 'rdma.a b'],
      [{ unified: { 'memory.high': 5 } }, type, 'unified.memory.high'],
      [{ unified: 'x' }, type, 'unified'],
      [{ memroy: {} }, value, 'memroy'],
    ]
    if (isCgroupV2()) {
      for (const key of [
        '../cgroup.procs',
        '..',
        '.',
        '',
        'a/b',
        'memory',
        'memory..high',
        'memory.high\n',
      ]) {
        cases.push([{ unified: { [key]: '1' } }, value, 'unified'])
      }
    }
    for (const [resources, [name, code], field] of cases) {
      const error = await failure(container.updateResources(resources as Resources))
      const shown = JSON.stringify(resources, (_key, item: unknown) =>
        typeof item === 'bigint' || typeof item === 'number' ? String(item) : item,
      )
      // v1 leaves memory and swap to the kernel, which refuses them with EINVAL.
      if (field === 'memory.swap' && !isCgroupV2()) {
        expect(error, shown).toMatchObject({ code: 'ERR_SYSCALL', errno: EINVAL })
        continue
      }
      expect({ shown, name: error.name, code: error.code }).toEqual({ shown, name, code })
      expect(String(error.message), shown).toContain(field)
    }
    for (const fixed of ['devices', 'network']) {
      const error = await expectCode(container.updateResources({ [fixed]: {} }), 'ERR_UNSUPPORTED')
      expect(String(error.message)).toContain(fixed)
    }
    expect(snapshot(cgroup)).toEqual(before)
    expect(record(ground, container.id).equals(stored)).toBe(true)
  })

  test('a controller that is not there, and unified where it has no meaning', async () => {
    const container = await ground.running()
    const cgroup = new Cgroup(container.id)
    const before = snapshot(cgroup)
    const rdma = { rdma: { mlx5_0: { hcaHandles: 1 } }, pids: { limit: 9 } }
    const error = await failure(container.updateResources(rdma))
    if (cgroup.path('rdma.max') === null) {
      expect(error).toMatchObject({ name: 'ContainerError', code: 'ERR_UNSUPPORTED' })
      expect(String(error.message)).toContain('rdma')
      expect(String(error.message)).toContain('controller')
    } else {
      // The controller is there, the device is not.
      expect(error).toMatchObject({ code: 'ERR_SYSCALL', path: cgroup.path('rdma.max') })
      expect(String(error.message)).toContain('there is no such RDMA device')
    }
    expect(snapshot(cgroup)).toEqual(before)
    if (!isCgroupV2()) {
      const refused = container.updateResources({ unified: { 'pids.max': '5' }, pids: { limit: 9 } })
      expect(String((await expectCode(refused, 'ERR_UNSUPPORTED')).message)).toContain('unified')
      expect(snapshot(cgroup)).toEqual(before)
    }
  })

  test('of a container that is paused; of one that is not there', async () => {
    const container = await ground.running()
    const cgroup = new Cgroup(container.id)
    await container.pause()
    await container.updateResources({ pids: { limit: 8 }, cpu: { shares: 300 } })
    expect(cgroup.read('pids.max')).toBe('8')
    expect(await container.status()).toBe('paused')
    await container.resume()
    const created = await ground.create()
    await expectCode(created.updateResources({ pids: { limit: 1 } }), 'ERR_CONTAINER_NOT_STARTED')
    const init = container.processes.get('init')
    await container.kill('SIGKILL')
    await init?.wait()
    await expectCode(container.updateResources({ pids: { limit: 1 } }), 'ERR_CONTAINER_EXITED')
    await container.delete()
    await expectCode(container.updateResources({ pids: { limit: 1 } }), 'ERR_CONTAINER_NOT_FOUND')
  })

  test('many at once: the last of each is there, none is lost', async () => {
    const container = await ground.running()
    const cgroup = new Cgroup(container.id)
    await Promise.all(
      Array.from({ length: 30 }, (_, n) =>
        container.updateResources(n % 2 === 0 ? { pids: { limit: 1000 + n } } : { cpu: { shares: 100 + n } }),
      ),
    )
    const pids = Number(cgroup.read('pids.max'))
    expect(pids % 2 === 0 && pids >= 1000 && pids < 1030).toBe(true)
    if (runtime === 'runc') expect(recorded(ground, container.id).pids_limit).toBe(pids)
  })
})

describe.skipIf(skip)('the record of runc', () => {
  const ground = useContainers('runc')

  async function inKernel(container: Container): Promise<{ memory: number; pids: number }> {
    const stats = await container.stats()
    return { memory: stats.memory.usage.limit as number, pids: stats.pids.limit as number }
  }

  test('a native update survives runc’s next one, and the other way round', async () => {
    const container = await ground.running()
    await container.updateResources({ memory: { limit: 64 * MiB, swap: 64 * MiB } })
    ground.runtimeCommand('update', '--pids-limit', '123', container.id)
    expect(await inKernel(container)).toEqual({ memory: 64 * MiB, pids: 123 })

    ground.runtimeCommand('update', '--memory', `${80 * MiB}`, '--memory-swap', `${80 * MiB}`, container.id)
    await container.updateResources({ pids: { limit: 77 } })
    expect(await inKernel(container)).toEqual({ memory: 80 * MiB, pids: 77 })
    ground.runtimeCommand('update', '--cpu-share', '600', container.id)
    expect(await inKernel(container)).toEqual({ memory: 80 * MiB, pids: 77 })
  })

  test('has every field that was set, and everything else as it was', async () => {
    const container = await ground.running()
    const before = JSON.parse(record(ground, container.id).toString())
    await container.updateResources({
      memory: { limit: 64 * MiB, swap: 96 * MiB, reservation: 16 * MiB },
      cpu: { shares: 512, quota: 40_000, period: 80_000, cpus: '0', mems: '0' },
      pids: { limit: 42 },
    })
    const after = JSON.parse(record(ground, container.id).toString())
    expect(after.config.cgroups).toMatchObject({
      memory: 64 * MiB,
      memory_swap: 96 * MiB,
      memory_reservation: 16 * MiB,
      cpu_shares: 512,
      cpu_quota: 40_000,
      cpu_period: 80_000,
      cpuset_cpus: '0',
      cpuset_mems: '0',
      pids_limit: 42,
    })
    for (const [key, value] of Object.entries(before.config.cgroups)) {
      if (!/^(memory|cpu|pids)/.test(key)) expect(after.config.cgroups[key]).toEqual(value)
    }
    delete before.config.cgroups
    delete after.config.cgroups
    expect(after).toEqual(before)
    // runc itself can still read all of it.
    expect(ground.runtimeCommand('state', container.id)).toContain('"running"')
    expect(ground.runtimeCommand('ps', container.id)).toContain('sleep')
  })

  test('keeps unknown keys, and numbers that JavaScript could not hold', async () => {
    const container = await ground.running()
    const path = join(ground.record(container.id), 'state.json')
    const text = readFileSync(path, 'utf8')
    const newer = text
      .replace(
        '"cgroups":{',
        '"cgroups":{"of_a_newer_version":{"a":[1,2.50,"\\u00e9"]},"big":18446744073709551615,',
      )
      .replace(/^\{/, '{"unknown":9007199254740993,')
    expect(newer.length).toBeGreaterThan(text.length + 60)
    writeFileSync(path, newer)
    await container.updateResources({ pids: { limit: 42 } })
    expect(readFileSync(path, 'utf8')).toBe(newer.replace(/"pids_limit":-?\d+/, '"pids_limit":42'))
  })

  test('cut off or garbled: ERR_STATE_CORRUPT with its path, the kernel as before, and whole again it works', async () => {
    const container = await ground.running()
    await container.updateResources({ pids: { limit: 50 } })
    const cgroup = new Cgroup(container.id)
    const path = join(ground.record(container.id), 'state.json')
    const text = readFileSync(path, 'utf8')
    const parts = [0, 1, 20, text.indexOf('"config"') + 30, text.indexOf('cgroups') + 12, text.length - 1]
    for (const garbled of [
      ...parts.map((end) => text.slice(0, end)),
      '[]',
      'null',
      '\0'.repeat(100),
      `${text}x`,
    ]) {
      writeFileSync(path, garbled)
      const error = await expectCode(container.updateResources({ pids: { limit: 60 } }), 'ERR_STATE_CORRUPT')
      expect(error).toMatchObject({ path, containerId: container.id })
      expect(cgroup.read('pids.max')).toBe('50')
      expect(readFileSync(path, 'utf8')).toBe(garbled)
    }
    writeFileSync(path, text)
    await container.updateResources({ pids: { limit: 60 } })
    expect(cgroup.read('pids.max')).toBe('60')
    expect(recorded(ground, container.id).pids_limit).toBe(60)
  })

  // Under emulation a runc takes half a second; the race is the same.
  const rounds = slow ? 20 : 200
  test(`${rounds} times with \`runc update\` racing: both are in the kernel, and neither spoils the record`, async () => {
    const container = await ground.running()
    await container.updateResources({ memory: { limit: 64 * MiB, swap: 64 * MiB }, pids: { limit: 100 } })
    let previous = 64 * MiB
    for (let round = 1; round <= rounds; ++round) {
      const memory = (64 + round) * MiB
      const pids = 100 + round
      // Some come before runc has read the record, some while it has it, some just as it saves.
      const delay = round % 10
      await Promise.all([
        run('runc', ['update', '--pids-limit', String(pids), container.id]),
        new Promise((resolve) => setTimeout(resolve, delay)).then(() =>
          container.updateResources({ memory: { limit: memory, swap: memory } }),
        ),
      ])
      const kept = recorded(ground, container.id)
      expect({ round, ...(await inKernel(container)) }).toEqual({ round, memory, pids })
      expect({ round, pids: kept.pids_limit }).toEqual({ round, pids })
      // runc saves what it read before, and before 1.2 "not set" for every limit that it was not asked to change.
      expect([0, previous, memory]).toContain(kept.memory)
      previous = memory
    }
    expect(ground.runtimeCommand('state', container.id)).toContain('"running"')
  })
})

describe.skipIf(skip)('the record of crun', () => {
  const ground = useContainers('crun')

  test('is left alone: crun update keeps nothing either', async () => {
    const container = await ground.running()
    const files = (): Record<string, string> =>
      Object.fromEntries(
        readdirSync(ground.record(container.id)).map((name) => [
          name,
          readFileSync(join(ground.record(container.id), name), 'latin1'),
        ]),
      )
    const before = files()
    await container.updateResources({ pids: { limit: 42 }, memory: { limit: 64 * MiB, swap: 64 * MiB } })
    expect(files()).toEqual(before)
    expect(new Cgroup(container.id).read('pids.max')).toBe('42')
    updateByRuntime(ground, container.id, { cpu: { shares: 600 } })
    expect((await container.stats()).pids.limit).toBe(42)
  })
})
