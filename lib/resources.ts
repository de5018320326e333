// OCI runtime-spec `linux.resources`, as far as an update takes it.

export interface ThrottleDevice {
  major: number
  minor: number
  rate: number
}

/** What is left out stays as it is; the same JSON as `runc update -r -`. -1 is "no limit" where the field has one. */
export interface Resources {
  /** Bytes; `swap` is memory and swap together; `swappiness` 0 to 100. */
  memory?: {
    limit?: number
    reservation?: number
    swap?: number
    kernel?: number
    kernelTCP?: number
    swappiness?: number
    disableOOMKiller?: boolean
    useHierarchy?: boolean
    /** Refuse a limit at or below what is in use. */
    checkBeforeUpdate?: boolean
  }
  /** `quota`, `period`, `burst` and the realtime pair in microseconds; `cpus` and `mems` are lists such as `0-2,5`. */
  cpu?: {
    shares?: number
    quota?: number
    burst?: number
    period?: number
    realtimeRuntime?: number
    realtimePeriod?: number
    cpus?: string
    mems?: string
    idle?: number
  }
  pids?: { limit: number }
  blockIO?: {
    weight?: number
    leafWeight?: number
    weightDevice?: { major: number; minor: number; weight?: number; leafWeight?: number }[]
    throttleReadBpsDevice?: ThrottleDevice[]
    throttleWriteBpsDevice?: ThrottleDevice[]
    throttleReadIOPSDevice?: ThrottleDevice[]
    throttleWriteIOPSDevice?: ThrottleDevice[]
  }
  hugepageLimits?: { pageSize: string; limit: number }[]
  rdma?: Record<string, { hcaHandles?: number; hcaObjects?: number }>
  /** v2 only: file name to value, e.g. `{ 'memory.high': '100M' }`. */
  unified?: Record<string, string>
}
