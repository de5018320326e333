// The parts of the OCI runtime specification that the package reads and takes.

/** OCI runtime-spec `process.user`. */
export interface OciUser {
  uid?: number
  gid?: number
  umask?: number
  additionalGids?: number[]
}

/** OCI runtime-spec `process.capabilities`: five lists of names such as `CAP_KILL`. */
export interface OciCapabilities {
  bounding?: string[]
  effective?: string[]
  inheritable?: string[]
  permitted?: string[]
  ambient?: string[]
}

/** OCI runtime-spec `process.rlimits[]`. */
export interface OciRlimit {
  type: string
  soft: number
  hard: number
}

/**
 * OCI runtime-spec `process`, every field optional but `args`. What is left out (but `terminal` and
 * `consoleSize`) comes from the container's own process.
 */
export interface ProcessSpec {
  /** The program and its arguments; a name without `/` is looked up in `PATH` of `env`, in the container. */
  args: string[]
  /** A pseudo-terminal as standard streams; false. */
  terminal?: boolean
  /** Characters. */
  consoleSize?: { height: number; width: number }
  user?: OciUser
  /** `NAME=value`; the last of two with one name counts. */
  env?: string[]
  /** Absolute, in the container. */
  cwd?: string
  capabilities?: OciCapabilities
  rlimits?: OciRlimit[]
  noNewPrivileges?: boolean
  apparmorProfile?: string
  selinuxLabel?: string
  /** -1000 to 1000. */
  oomScoreAdj?: number
  ioPriority?: { class: string; priority?: number }
  scheduler?: { policy: string; nice?: number; priority?: number; flags?: string[]; [key: string]: unknown }
  execCPUAffinity?: { initial?: string; final?: string }
}

/** What is read of a bundle's config.json. */
export interface OciConfig {
  process?: ProcessSpec
  linux?: {
    uidMappings?: { containerID: number; hostID: number; size: number }[]
    gidMappings?: { containerID: number; hostID: number; size: number }[]
    [key: string]: unknown
  }
  [key: string]: unknown
}

/**
 * The whole process of an exec: what the caller left out comes from the container's own. JSON of other tools writes
 * null for what it leaves out, or an empty list of limits, or an empty label; it must not mean "root" or "less
 * confined". Every key by its name: an exec is made some thousand times a second, and V8 keeps such an object flat.
 */
export function inheritSpec(spec: ProcessSpec, own: Partial<ProcessSpec>): ProcessSpec {
  return {
    ...spec,
    user: spec.user ?? own.user ?? undefined,
    env: spec.env ?? own.env ?? undefined,
    cwd: spec.cwd ?? own.cwd ?? undefined,
    capabilities: spec.capabilities ?? own.capabilities ?? undefined,
    rlimits: (spec.rlimits?.length === 0 ? null : spec.rlimits) ?? own.rlimits ?? undefined,
    noNewPrivileges: spec.noNewPrivileges ?? own.noNewPrivileges ?? undefined,
    apparmorProfile: (spec.apparmorProfile || own.apparmorProfile) ?? undefined,
    selinuxLabel: (spec.selinuxLabel || own.selinuxLabel) ?? undefined,
    oomScoreAdj: spec.oomScoreAdj ?? own.oomScoreAdj ?? undefined,
    ioPriority: spec.ioPriority ?? own.ioPriority ?? undefined,
    scheduler: spec.scheduler ?? own.scheduler ?? undefined,
    execCPUAffinity: spec.execCPUAffinity ?? own.execCPUAffinity ?? undefined,
  } as ProcessSpec
}

/** The host's id for the container's root; 0 without a user namespace. */
export function rootId(
  mappings: { containerID: number; hostID: number; size: number }[] | undefined,
): number {
  return mappings?.find((mapping) => mapping.containerID === 0)?.hostID ?? 0
}
