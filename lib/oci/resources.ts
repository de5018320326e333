// OCI runtime-spec `linux.resources`, as far as an update takes it, and its checks.
import { invalidType, invalidValue, outOfRange } from '../errors.js'
import { checkKeys, checkObject, checkTexts, type Keys } from '../validate.js'

/** OCI runtime-spec `linux.resources.blockIO.throttle...Device[]`. */
export interface ThrottleDevice {
  /** Major number of a whole disk: partitions are refused by the kernel. */
  major: number
  /** Minor number of it. */
  minor: number
  /** Bytes or operations a second; 0: no limit. */
  rate: number
}

/**
 * OCI runtime-spec `linux.resources` (config-linux.md, "Control groups"), the same JSON as `runc update -r -`. What is
 * left out stays as it is, and so does what is 0, unless its field says otherwise. -1 is "no limit" where the field has
 * one. Numbers are whole; a field of the specification that is not here is refused: `devices` and `network` cannot be
 * changed once a container exists (ERR_UNSUPPORTED).
 *
 * What one cgroup version has and the other has not is ERR_UNSUPPORTED that names the field.
 */
export interface Resources {
  /** v1 `memory.*`, v2 `memory.*`. */
  memory?: {
    /** Bytes; -1: no limit, and none on swap either unless `swap` says so. v1 `limit_in_bytes`, v2 `max`. */
    limit?: number
    /** Bytes below which memory is taken last; -1: no limit. v1 `soft_limit_in_bytes`, v2 `low`. */
    reservation?: number
    /**
     * Bytes of memory and swap together, not below `limit`; -1: no limit. v1 `memsw.limit_in_bytes`; v2 `swap.max`, which
     * is the difference of both.
     */
    swap?: number
    /** Bytes; v1 alone, and refused by the kernel since Linux 5.16. */
    kernel?: number
    /** Bytes of TCP buffers; v1 alone. */
    kernelTCP?: number
    /** 0 to 100; 0 counts. v1 alone. */
    swappiness?: number
    /** Processes that want too much memory wait instead of being killed; v1 alone. False counts. */
    disableOOMKiller?: boolean
    /** v1 `use_hierarchy`. False counts; v2 cannot do without. */
    useHierarchy?: boolean
    /** Refuse a limit at or below what is in use: ERR_SYSCALL with EBUSY. Else the kernel reclaims, and may kill. */
    checkBeforeUpdate?: boolean
  }
  /** v1 `cpu.*` and `cpuset.*`, v2 `cpu.*` and `cpuset.*`. */
  cpu?: {
    /** Relative weight, 2 to 262144 on v1; on v2 it becomes `cpu.weight` by the formula of the installed runtime. */
    shares?: number
    /** Microseconds of processor time in each period, 1000 or more; negative: no limit. */
    quota?: number
    /** Microseconds that may be saved up, at most the quota; 0 counts. Linux 5.14. */
    burst?: number
    /** Microseconds, 1000 to 1,000,000. */
    period?: number
    /** Microseconds of realtime in each realtime period; v1 alone. */
    realtimeRuntime?: number
    /** Microseconds; v1 alone. */
    realtimePeriod?: number
    /** Processors, such as `0-2,5`; empty: as it is. */
    cpus?: string
    /** Memory nodes, such as `0`; empty: as it is. */
    mems?: string
    /** 1: runs when nothing else wants to (SCHED_IDLE for the whole cgroup); 0 counts. Linux 5.15. */
    idle?: number
  }
  /** `pids.max`. */
  pids?: {
    /** Tasks; -1: no limit. 0 is what the installed runtime makes of it: runc 1.3 and later 1, others nothing. */
    limit: number
  }
  /** v1 `blkio.*`, v2 `io.*`. */
  blockIO?: {
    /** 10 to 1000. Wants BFQ or CFQ on v1, BFQ or io.cost on v2. */
    weight?: number
    /** 10 to 1000; v1's CFQ alone. */
    leafWeight?: number
    /** Weights of single devices. */
    weightDevice?: {
      /** Major number of the device. */
      major: number
      /** Minor number of the device. */
      minor: number
      /** 10 to 1000; 0: as for all devices. */
      weight?: number
      /** 10 to 1000; v1's CFQ alone. */
      leafWeight?: number
    }[]
    /** Bytes read a second. */
    throttleReadBpsDevice?: ThrottleDevice[]
    /** Bytes written a second. */
    throttleWriteBpsDevice?: ThrottleDevice[]
    /** Reads a second. */
    throttleReadIOPSDevice?: ThrottleDevice[]
    /** Writes a second. */
    throttleWriteIOPSDevice?: ThrottleDevice[]
  }
  /** `hugetlb.*`. */
  hugepageLimits?: {
    /** Such as `2MB` or `1GB`. */
    pageSize: string
    /** Bytes; 0 counts. */
    limit: number
  }[]
  /** `rdma.max`, by name of the device. */
  rdma?: Record<
    string,
    {
      /** Handles, 0 or more; 0 counts. */
      hcaHandles?: number
      /** Objects, 0 or more; 0 counts. */
      hcaObjects?: number
    }
  >
  /** v2 alone: file name to value, e.g. `{ 'memory.high': '100M' }`; written last, in the order given. */
  unified?: Record<string, string>
}

type Known = Readonly<Record<string, true>>
type Member<Name extends keyof Resources> = NonNullable<Resources[Name]>

const resourceKeys: Keys<Resources> = {
  memory: true,
  cpu: true,
  pids: true,
  blockIO: true,
  hugepageLimits: true,
  rdma: true,
  unified: true,
}
/** What the specification has and an update cannot change: refused by name, further on. */
const unchangeable = { devices: true, network: true } as const
const memoryKeys: Keys<Member<'memory'>> = {
  limit: true,
  reservation: true,
  swap: true,
  kernel: true,
  kernelTCP: true,
  swappiness: true,
  disableOOMKiller: true,
  useHierarchy: true,
  checkBeforeUpdate: true,
}
const cpuKeys: Keys<Member<'cpu'>> = {
  shares: true,
  quota: true,
  burst: true,
  period: true,
  realtimeRuntime: true,
  realtimePeriod: true,
  cpus: true,
  mems: true,
  idle: true,
}
const blockIOKeys: Keys<Member<'blockIO'>> = {
  weight: true,
  leafWeight: true,
  weightDevice: true,
  throttleReadBpsDevice: true,
  throttleWriteBpsDevice: true,
  throttleReadIOPSDevice: true,
  throttleWriteIOPSDevice: true,
}
const weightKeys: Keys<NonNullable<Member<'blockIO'>['weightDevice']>[number]> = {
  major: true,
  minor: true,
  weight: true,
  leafWeight: true,
}
const throttleKeys: Keys<ThrottleDevice> = { major: true, minor: true, rate: true }
const hugepageKeys: Keys<Member<'hugepageLimits'>[number]> = { pageSize: true, limit: true }
const rdmaKeys: Keys<Member<'rdma'>[string]> = { hcaHandles: true, hcaObjects: true }

/** What is of another type is refused further on. */
function checkMembers(value: unknown, name: string, known: Known): void {
  if (typeof value === 'object' && value !== null && !Array.isArray(value)) checkKeys(value, name, known)
}

function checkItems(value: unknown, name: string, known: Known): void {
  if (!Array.isArray(value)) return
  value.forEach((item, index) => checkMembers(item, `${name}[${index}]`, known))
}

function checkResourceKeys(resources: Record<string, unknown>): void {
  checkKeys(resources, 'resources', { ...resourceKeys, ...unchangeable })
  const { memory, cpu, pids, blockIO, hugepageLimits, rdma } = resources
  checkMembers(memory, 'resources.memory', memoryKeys)
  checkMembers(cpu, 'resources.cpu', cpuKeys)
  checkMembers(pids, 'resources.pids', { limit: true })
  checkMembers(blockIO, 'resources.blockIO', blockIOKeys)
  for (const [key, item] of entriesOf(blockIO)) {
    checkItems(item, `resources.blockIO.${key}`, key === 'weightDevice' ? weightKeys : throttleKeys)
  }
  checkItems(hugepageLimits, 'resources.hugepageLimits', hugepageKeys)
  for (const [key, item] of entriesOf(rdma)) checkMembers(item, `resources.rdma.${key}`, rdmaKeys)
}

function entriesOf(value: unknown): [string, unknown][] {
  return typeof value === 'object' && value !== null && !Array.isArray(value) ? Object.entries(value) : []
}

export function checkResources(value: unknown): void {
  checkObject(value, 'resources')
  checkResourceKeys(value as Record<string, unknown>)
  checkTexts(value, 'resources')
  checkNumbers(value, 'resources')
}

/** JSON has no NaN and no infinity, and what is above 2^53 has lost digits before it came here. */
function checkNumbers(value: unknown, name: string): void {
  if (typeof value === 'number') {
    if (!Number.isInteger(value)) throw invalidValue(`${name} must be a whole number, not ${value}`)
    if (Math.abs(value) > 2 ** 63) {
      throw outOfRange(`${name} is out of range: ${value}`)
    }
  } else if (typeof value === 'bigint') {
    throw invalidType(`${name} must be a number, not a bigint`)
  } else if (typeof value === 'object' && value !== null) {
    for (const [key, item] of Object.entries(value)) checkNumbers(item, `${name}.${key}`)
  }
}
