// What the kernel's files say in the shape of Stats, read and parsed here again: the yardstick where no runtime gives one.
import type { Stats } from '../../lib/index.js'
import { Cgroup, keyed } from './cgroups.js'
import { isCgroupV2 } from './machine.js'

/** A figure's place, as `memory.usage.limit`, and its value; lists are values as a whole. */
export type Flat = Map<string, unknown>

/** Every figure by its place. What is undefined is left out, empty objects stand for themselves. */
export function flatten(value: unknown, prefix = '', out: Flat = new Map()): Flat {
  if (typeof value === 'object' && value !== null && !Array.isArray(value) && !(value instanceof Date)) {
    const entries = Object.entries(value).filter(([, item]) => item !== undefined)
    if (entries.length === 0) out.set(prefix, {})
    for (const [key, item] of entries) flatten(item, prefix === '' ? key : `${prefix}.${key}`, out)
  } else {
    out.set(prefix, value)
  }
  return out
}

// A page less than 2^63: "no limit" of the v1 memory controller, as a double.
const unlimited = 9223372036854771000

function limit(text: string): number | null {
  return text === 'max' || Number(text) >= unlimited ? null : Number(text)
}

function list(text: string): number[] {
  return text
    .split(',')
    .filter(Boolean)
    .flatMap((part) => {
      const [first, last] = part.split('-').map(Number) as [number, number | undefined]
      return Array.from({ length: (last ?? first) - first + 1 }, (_, index) => first + index)
    })
}

function blkio(text: string): unknown[] {
  return text
    .split('\n')
    .map((line) => /^(\d+):(\d+) (?:([A-Za-z]+) )?(\d+)$/.exec(line))
    .filter((match) => match !== null)
    .map(([, major, minor, op, value]) => ({
      major: Number(major),
      minor: Number(minor),
      ...(op === undefined ? {} : { op }),
      value: Number(value),
    }))
}

function ioStat(text: string, keys: Record<string, string>): unknown[] {
  return text.split('\n').flatMap((line) => {
    const [device, ...figures] = line.split(' ')
    const [major, minor] = (device as string).split(':').map(Number)
    return figures
      .map((figure) => figure.split('='))
      .filter(([key]) => key !== undefined && key in keys)
      .map(([key, value]) => ({ major, minor, op: keys[key as string], value: Number(value) }))
  })
}

function pressure(text: string): Record<string, Record<string, number>> {
  const out: Record<string, Record<string, number>> = {}
  for (const line of text.split('\n')) {
    const [kind, ...figures] = line.split(' ')
    out[kind as string] = Object.fromEntries(
      figures.map((figure) => figure.split('=')).map(([key, value]) => [key as string, Number(value)]),
    )
  }
  return out
}

type Rows = [place: string, file: string, parse: (text: string) => unknown][]

function scaled(key: string, factor: number): (text: string) => unknown {
  return (text) => {
    const value = keyed(text)[key]
    return value === undefined ? undefined : value * factor
  }
}

const tick = 10_000_000
const second = (text: string): number[] =>
  text
    .split('\n')
    .slice(1)
    .map((line) => Number(line.split(' ')[1]))
const third = (text: string): number[] =>
  text
    .split('\n')
    .slice(1)
    .map((line) => Number(line.split(' ')[2]))
const words = (text: string): number[] => text.trim().split(' ').map(Number)

const memoryV1: Rows = (
  [
    ['usage', 'memory'],
    ['swap', 'memory.memsw'],
    ['kernel', 'memory.kmem'],
    ['kernelTCP', 'memory.kmem.tcp'],
  ] as const
).flatMap(([key, file]): Rows => [
  [`memory.${key}.usage`, `${file}.usage_in_bytes`, Number],
  [`memory.${key}.max`, `${file}.max_usage_in_bytes`, Number],
  [`memory.${key}.failcnt`, `${file}.failcnt`, Number],
  [`memory.${key}.limit`, `${file}.limit_in_bytes`, limit],
])

const v1: Rows = [
  ['cpu.usage.total', 'cpuacct.usage', Number],
  ['cpu.usage.percpu', 'cpuacct.usage_percpu', words],
  ['cpu.usage.percpu_user', 'cpuacct.usage_all', second],
  ['cpu.usage.percpu_kernel', 'cpuacct.usage_all', third],
  ['cpu.usage.user', 'cpuacct.stat', scaled('user', tick)],
  ['cpu.usage.kernel', 'cpuacct.stat', scaled('system', tick)],
  ['cpu.throttling.periods', 'cpu.stat', scaled('nr_periods', 1)],
  ['cpu.throttling.throttledPeriods', 'cpu.stat', scaled('nr_throttled', 1)],
  ['cpu.throttling.throttledTime', 'cpu.stat', scaled('throttled_time', 1)],
  ['cpuset.cpus', 'cpuset.cpus', list],
  ['cpuset.mems', 'cpuset.mems', list],
  ...[
    'cpu_exclusive',
    'mem_hardwall',
    'mem_exclusive',
    'memory_migrate',
    'memory_spread_page',
    'memory_spread_slab',
    'memory_pressure',
    'sched_load_balance',
    'sched_relax_domain_level',
  ].map((key): Rows[number] => [`cpuset.${key}`, `cpuset.${key}`, Number]),
  ['memory.cache', 'memory.stat', scaled('cache', 1)],
  ['memory.raw', 'memory.stat', keyed],
  ...memoryV1,
]

const v2: Rows = [
  ['cpu.usage.total', 'cpu.stat', scaled('usage_usec', 1000)],
  ['cpu.usage.user', 'cpu.stat', scaled('user_usec', 1000)],
  ['cpu.usage.kernel', 'cpu.stat', scaled('system_usec', 1000)],
  ['cpu.throttling.periods', 'cpu.stat', scaled('nr_periods', 1)],
  ['cpu.throttling.throttledPeriods', 'cpu.stat', scaled('nr_throttled', 1)],
  ['cpu.throttling.throttledTime', 'cpu.stat', scaled('throttled_usec', 1000)],
  ['cpu.psi', 'cpu.pressure', pressure],
  ['memory.cache', 'memory.stat', scaled('file', 1)],
  ['memory.raw', 'memory.stat', keyed],
  ['memory.usage.usage', 'memory.current', Number],
  ['memory.usage.limit', 'memory.max', limit],
  ['memory.usage.max', 'memory.peak', Number],
  ['memory.psi', 'memory.pressure', pressure],
  ['blkio.ioServiceBytesRecursive', 'io.stat', (text) => ioStat(text, { rbytes: 'Read', wbytes: 'Write' })],
  ['blkio.ioServicedRecursive', 'io.stat', (text) => ioStat(text, { rios: 'Read', wios: 'Write' })],
  ['blkio.psi', 'io.pressure', pressure],
]

const pids: Rows = [
  ['pids.current', 'pids.current', Number],
  ['pids.limit', 'pids.max', limit],
]

const blkioSets: [keyof Stats['blkio'], string][][] = [
  [
    ['sectorsRecursive', 'blkio.bfq.sectors_recursive'],
    ['ioServiceTimeRecursive', 'blkio.bfq.io_service_time_recursive'],
    ['ioWaitTimeRecursive', 'blkio.bfq.io_wait_time_recursive'],
    ['ioMergedRecursive', 'blkio.bfq.io_merged_recursive'],
    ['ioQueueRecursive', 'blkio.bfq.io_queued_recursive'],
    ['ioTimeRecursive', 'blkio.bfq.time_recursive'],
    ['ioServicedRecursive', 'blkio.bfq.io_serviced_recursive'],
    ['ioServiceBytesRecursive', 'blkio.bfq.io_service_bytes_recursive'],
  ],
  [
    ['ioServicedRecursive', 'blkio.bfq.io_serviced_recursive'],
    ['ioServiceBytesRecursive', 'blkio.bfq.io_service_bytes_recursive'],
  ],
  [
    ['ioServicedRecursive', 'blkio.throttle.io_serviced_recursive'],
    ['ioServiceBytesRecursive', 'blkio.throttle.io_service_bytes_recursive'],
  ],
]

/** Of the first set that is there whole and has figures; of the first that is there at all where none has any. */
function readBlkio(cgroup: Cgroup, out: Flat): void {
  let silent: (typeof blkioSets)[number] = []
  for (const set of blkioSets) {
    const tables = set.map(([key, file]) => [key, cgroup.read(file)] as const)
    if (tables.some(([, text]) => text === null)) continue
    if (blkio(tables[0]?.[1] as string).length === 0) {
      if (silent.length === 0) silent = set
      continue
    }
    for (const [key, text] of tables) out.set(`blkio.${key}`, blkio(text as string))
    return
  }
  for (const [key] of silent) out.set(`blkio.${key}`, [])
}

function readHugetlb(cgroup: Cgroup, out: Flat): void {
  for (const size of ['64KB', '2MB', '32MB', '1GB']) {
    const base = `hugetlb.${size}`
    const number = (...files: string[]): number | undefined => {
      const text = files.map((file) => cgroup.read(file)).find((found) => found !== null)
      return text === undefined ? undefined : Number(text)
    }
    const figures = {
      usage: number(
        `${base}.rsvd.usage_in_bytes`,
        `${base}.usage_in_bytes`,
        `${base}.rsvd.current`,
        `${base}.current`,
      ),
      max: number(`${base}.rsvd.max_usage_in_bytes`, `${base}.max_usage_in_bytes`),
      failcnt:
        number(`${base}.rsvd.failcnt`, `${base}.failcnt`) ??
        keyed(cgroup.read(`${base}.events`) ?? '')['max'],
    }
    if (figures.usage !== undefined) flatten(figures, base, out)
  }
}

function readMisc(cgroup: Cgroup, out: Flat): void {
  const current = cgroup.read('misc.current')
  if (current === null) return
  for (const [name, usage] of Object.entries(keyed(current))) {
    const max = new RegExp(`^${name} +(\\S+)$`, 'm').exec(cgroup.read('misc.max') ?? '')
    const events = keyed(cgroup.read('misc.events') ?? '')[`${name}.max`]
    flatten({ usage, events, limit: max ? limit(max[1] as string) : undefined }, `misc.${name}`, out)
  }
  if (current === '') out.set('misc', {})
}

function readRdma(cgroup: Cgroup, out: Flat): void {
  for (const [key, file] of [
    ['current', 'rdma.current'],
    ['limit', 'rdma.max'],
  ] as const) {
    const text = cgroup.read(file)
    if (text === null) continue
    const devices = text
      .split('\n')
      .filter(Boolean)
      .map((line) => {
        const [, device, handles, objects] = /^(\S+) hca_handle=(\S+) hca_object=(\S+)$/.exec(line) ?? []
        return { device, hca_handles: limit(handles as string), hca_objects: limit(objects as string) }
      })
    out.set(`rdma.${key}`, devices)
  }
}

/** Every figure that the kernel gives of the container now, by its place in Stats. */
export function readFigures(cgroup: Cgroup): Flat {
  const out: Flat = new Map()
  const has = (controller: string): boolean =>
    cgroup.path(`${controller === 'memory' ? 'memory.usage_in_bytes' : controller}`) !== null
  const rows = [...pids]
  // Each controller is on one of the two; on a hybrid machine some may be here and some there.
  if (!isCgroupV2()) rows.push(...v1)
  rows.push(
    ...v2.filter(([place]) => {
      if (isCgroupV2()) return true
      if (place.startsWith('memory')) return !has('memory')
      if (place.startsWith('cpu')) return !has('cpuacct.usage')
      return !has('blkio.throttle.io_serviced')
    }),
  )
  for (const [place, file, parse] of rows) {
    const text = cgroup.read(file)
    const value = text === null ? undefined : parse(text)
    if (value !== undefined) flatten(value, place, out)
  }
  // v2 counts swap alone; Stats has memory and swap together, as v1 counts them.
  const swap = cgroup.read('memory.swap.current')
  if (swap !== null && cgroup.read('memory.usage_in_bytes') === null) {
    out.set('memory.swap.usage', Number(swap) + Number(cgroup.read('memory.current')))
    const most = limit(cgroup.read('memory.swap.max') as string)
    const memory = out.get('memory.usage.limit') as number | null
    out.set('memory.swap.limit', most === null || memory === null ? null : most + memory)
  }
  readBlkio(cgroup, out)
  readHugetlb(cgroup, out)
  readMisc(cgroup, out)
  readRdma(cgroup, out)
  return out
}
