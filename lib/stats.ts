// What a container used and may use, as `runc events --stats` words it.

/** A figure that the kernel does not give is undefined, never 0. */
export type Figure = number | undefined
/** A limit that is not set is null; one that the kernel does not give is undefined. */
export type Limit = number | null | undefined

export interface PressureLine {
  /** Percent of the last 10, 60 and 300 s. */
  avg10: number
  avg60: number
  avg300: number
  /** Microseconds. */
  total: number
}

export interface PressureStats {
  some?: PressureLine
  full?: PressureLine
}

export interface MemoryEntry {
  /** Bytes, as are usage and max. */
  limit?: number | null
  usage?: number
  max?: number
  failcnt?: number
}

export interface BlkioEntry {
  major: number
  minor: number
  op?: string
  value: number
}

/**
 * The keys, units and meanings of `.data` in `runc events --stats`, on cgroup v1 and v2 alike. Times are nanoseconds,
 * sizes bytes, unless a key says otherwise. Kernel documents: cgroup-v1/ and cgroup-v2.rst.
 */
export interface Stats {
  /** When the figures had been read. */
  timestamp: Date
  cpu: {
    usage: {
      total?: number
      percpu?: number[]
      percpu_kernel?: number[]
      percpu_user?: number[]
      kernel?: number
      user?: number
    }
    throttling: { periods?: number; throttledPeriods?: number; throttledTime?: number }
    psi?: PressureStats
  }
  cpuset: Record<string, number | number[] | undefined>
  memory: {
    cache?: number
    usage: MemoryEntry
    /** Memory and swap together, also on v2. */
    swap: MemoryEntry
    kernel: MemoryEntry
    kernelTCP: MemoryEntry
    /** memory.stat, key by key. */
    raw?: Record<string, number>
    psi?: PressureStats
  }
  pids: { current?: number; limit?: number | null }
  blkio: {
    ioServiceBytesRecursive?: BlkioEntry[]
    ioServicedRecursive?: BlkioEntry[]
    ioQueueRecursive?: BlkioEntry[]
    ioServiceTimeRecursive?: BlkioEntry[]
    ioWaitTimeRecursive?: BlkioEntry[]
    ioMergedRecursive?: BlkioEntry[]
    ioTimeRecursive?: BlkioEntry[]
    sectorsRecursive?: BlkioEntry[]
    psi?: PressureStats
  }
  /** By page size: `2MB`. */
  hugetlb: Record<string, { usage?: number; max?: number; failcnt?: number }>
  rdma?: Record<string, { device: string; hca_handles?: number | null; hca_objects?: number | null }[]>
  misc?: Record<string, { usage?: number; events?: number; limit?: number | null }>
  intel_rdt: object
  network_interfaces: null
}

/** @internal */
export function toStats(figures: object): Stats {
  return { timestamp: new Date(), ...figures } as Stats
}
