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

const inheritable = [
  'user',
  'env',
  'cwd',
  'capabilities',
  'rlimits',
  'noNewPrivileges',
  'apparmorProfile',
  'selinuxLabel',
  'oomScoreAdj',
  'ioPriority',
  'scheduler',
  'execCPUAffinity',
] as const satisfies (keyof ProcessSpec)[]

const plainKeys = new Set<string>([...inheritable, 'args', 'terminal', 'consoleSize'])

const emptyIsUnsaid = new Set<string>(['rlimits', 'apparmorProfile', 'selinuxLabel'])

function isSaid(key: string, value: unknown): boolean {
  if (value === undefined || value === null) return false
  return !emptyIsUnsaid.has(key) || (value as string | unknown[]).length > 0
}

/**
 * What an exec takes from the container's own process where its caller says nothing. JSON of other tools writes null
 * for what it leaves out, or an empty list of limits, or an empty label; it must not mean "root" or "less confined".
 */
export class InheritedSpec {
  readonly own: Partial<ProcessSpec>
  /** Each key with its JSON, made once: an exec is made some thousand times a second. */
  readonly #members: [keyof ProcessSpec, string][] = []

  constructor(own: Partial<ProcessSpec>) {
    this.own = own
    for (const key of inheritable) {
      if (isSaid(key, own[key]))
        this.#members.push([key, `,${JSON.stringify(key)}:${JSON.stringify(own[key])}`])
    }
  }

  whole(spec: ProcessSpec): ProcessSpec {
    const out: Record<string, unknown> = { ...spec }
    for (const key of inheritable)
      out[key] = isSaid(key, spec[key]) ? spec[key] : (this.own[key] ?? undefined)
    return out as unknown as ProcessSpec
  }

  /** The JSON of `whole(spec)`; null where there is more in `spec` than the keys that are known here. */
  text(spec: ProcessSpec): string | null {
    for (const key in spec) {
      const value: unknown = spec[key as keyof ProcessSpec]
      if (!plainKeys.has(key) || (value !== undefined && !isSaid(key, value))) return null
    }
    let text = JSON.stringify(spec).slice(0, -1)
    for (const [key, member] of this.#members) {
      if (spec[key] === undefined) text += member
    }
    return `${text}}`
  }
}

/** The host's id for the container's root; 0 without a user namespace. */
export function rootId(
  mappings: { containerID: number; hostID: number; size: number }[] | undefined,
): number {
  return mappings?.find((mapping) => mapping.containerID === 0)?.hostID ?? 0
}
