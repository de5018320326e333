// What a container used and may use, as `runc events --stats` words it.

/** A figure that the kernel does not give is undefined, never 0. */
export type Figure = number | undefined
/** A limit that is not set is null; one that the kernel does not give is undefined. */
export type Limit = number | null | undefined

/** One line of a PSI file (Documentation/accounting/psi.rst, Linux 4.20): how much time was lost to waiting. */
export interface PressureLine {
  /** Percent of the last 10 s, 0 to 100. */
  avg10: number
  /** Percent of the last 60 s. */
  avg60: number
  /** Percent of the last 300 s. */
  avg300: number
  /** Microseconds, since the cgroup was made. */
  total: number
}

/** Pressure stall information of the container's v2 cgroup. */
export interface PressureStats {
  /** At least one process waited. */
  some?: PressureLine
  /** All that had something to do waited. The kernel gives none for processors before Linux 5.13. */
  full?: PressureLine
}

/** Use and limit of one kind of memory. */
export interface MemoryEntry {
  /** Bytes; null: no limit. */
  limit?: number | null
  /** Bytes in use now. */
  usage?: number
  /** Bytes, the most that was ever in use: v1 `max_usage_in_bytes`, v2 `memory.peak` (Linux 5.19). */
  max?: number
  /** How often the limit was hit; v1 alone. */
  failcnt?: number
}

/** A figure of one block device. */
export interface BlkioEntry {
  /** Major number of the device. */
  major: number
  /** Minor number of the device. */
  minor: number
  /** `Read`, `Write`, `Sync`, `Async`, `Discard` or `Total`; v2 has the first two alone. Missing where the kernel has none. */
  op?: string
  /** In the unit of the list that it is in. */
  value: number
}

/**
 * The keys, units and meanings of `.data` in `runc events --stats`, on cgroup v1 and v2 alike. Times are nanoseconds,
 * sizes bytes, unless a key says otherwise. Kernel documents: admin-guide/cgroup-v1/ and admin-guide/cgroup-v2.rst.
 *
 * What the kernel does not give is left out. On a hybrid machine each controller's figures come from where it is mounted.
 */
export interface Stats {
  /** When the figures had been read. */
  timestamp: Date
  /** Processor time: v1 `cpuacct.*` and `cpu.stat`; v2 `cpu.stat` (microseconds there, given as nanoseconds). */
  cpu: {
    /** What was used since the cgroup was made. */
    usage: {
      /** Nanoseconds on all processors together. */
      total?: number
      /** Nanoseconds for each processor; v1 alone, as are the next two. */
      percpu?: number[]
      /** Of these, in the kernel (`cpuacct.usage_all`). */
      percpu_kernel?: number[]
      /** Of these, in the programs. */
      percpu_user?: number[]
      /** Nanoseconds in the kernel; on v1 in steps of 10 ms. */
      kernel?: number
      /** Nanoseconds in the programs; on v1 in steps of 10 ms. */
      user?: number
    }
    /** What the quota took: see `cpu.quota` of {@link Resources}. */
    throttling: {
      /** Periods that have gone by while processes were runnable. */
      periods?: number
      /** Periods in which they were stopped for want of quota. */
      throttledPeriods?: number
      /** Nanoseconds for which they were stopped. */
      throttledTime?: number
    }
    /** v2, `cpu.pressure`. */
    psi?: PressureStats
  }
  /**
   * v1 `cpuset.*`, file by file: `cpus` and `mems` are lists of numbers, the others (`cpu_exclusive`, `mem_hardwall`,
   * `sched_load_balance`, ...) one number. Empty on v2, as in runc.
   */
  cpuset: Record<string, number | number[] | undefined>
  /** v1 `memory.*`; v2 `memory.*`. */
  memory: {
    /** Bytes of the page cache: of memory.stat v1 `cache`, v2 `file`. */
    cache?: number
    /** Memory without swap. */
    usage: MemoryEntry
    /** Memory and swap together, also on v2, where the kernel counts swap alone. */
    swap: MemoryEntry
    /** Kernel memory, v1 `memory.kmem.*`. */
    kernel: MemoryEntry
    /** TCP buffers, v1 `memory.kmem.tcp.*`. */
    kernelTCP: MemoryEntry
    /** memory.stat, key by key, in the kernel's own units. */
    raw?: Record<string, number>
    /** v2, `memory.pressure`. */
    psi?: PressureStats
  }
  /** Tasks, which are threads and not processes. */
  pids: {
    /** Tasks now. */
    current?: number
    /** The most that there may be; null: no limit. */
    limit?: number | null
  }
  /**
   * v1: the first complete set of BFQ, CFQ or throttle files, so most kernels give the first two lists alone. v2: the
   * first two, from io.stat.
   */
  blkio: {
    /** Bytes. */
    ioServiceBytesRecursive?: BlkioEntry[]
    /** Requests. */
    ioServicedRecursive?: BlkioEntry[]
    /** Requests that wait now. */
    ioQueueRecursive?: BlkioEntry[]
    /** Nanoseconds from dispatch to completion. */
    ioServiceTimeRecursive?: BlkioEntry[]
    /** Nanoseconds in the scheduler's queues. */
    ioWaitTimeRecursive?: BlkioEntry[]
    /** Requests that became part of another. */
    ioMergedRecursive?: BlkioEntry[]
    /** Milliseconds of the device's time. */
    ioTimeRecursive?: BlkioEntry[]
    /** Sectors of 512 bytes. */
    sectorsRecursive?: BlkioEntry[]
    /** v2, `io.pressure`. */
    psi?: PressureStats
  }
  /** By page size, such as `2MB`: reservations where the kernel counts them (Linux 5.7), else what is mapped. */
  hugetlb: Record<
    string,
    {
      /** Bytes in use now. */
      usage?: number
      /** Bytes, the most that was ever in use; v1 alone. */
      max?: number
      /** How often the limit was hit. */
      failcnt?: number
    }
  >
  /** `current` and `limit`, a list of devices each. Not in runc's output, which has no key for it; nor is `misc`. */
  rdma?: Record<
    string,
    {
      /** Name of the device, such as `mlx5_0`. */
      device: string
      /** Handles; null: no limit. */
      hca_handles?: number | null
      /** Objects; null: no limit. */
      hca_objects?: number | null
    }[]
  >
  /** v2's misc controller, by resource. */
  misc?: Record<
    string,
    {
      /** In use now. */
      usage?: number
      /** How often the limit was hit. */
      events?: number
      /** Null: no limit. */
      limit?: number | null
    }
  >
  /** Always empty; there because runc has the key. */
  intel_rdt: object
  /** Always null; there because runc has the key. */
  network_interfaces: null
}

/** @internal */
export function toStats(figures: object): Stats {
  return { timestamp: new Date(), ...figures } as Stats
}
