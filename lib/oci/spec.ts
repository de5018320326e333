// The parts of the OCI runtime specification that the package reads and takes.
import { toExactText } from './exact_json.js'

/**
 * OCI runtime-spec `process.user`. Ids are the container's own, 0 to 4294967294: names are nowhere looked up, and
 * anything else is refused, lest it end as 0.
 */
export interface OciUser {
  /** 0 when left out. */
  uid?: number
  /** 0 when left out. */
  gid?: number
  /** 0 to 0o777; left out: the container's, else 0o022. */
  umask?: number
  /** Supplementary groups; left out: none, whatever /etc/group says. */
  additionalGids?: number[]
}

/**
 * OCI runtime-spec `process.capabilities`: five lists of names such as `CAP_KILL`; a list that is left out is empty. A
 * name that is unknown is refused. See capabilities(7).
 */
export interface OciCapabilities {
  /** What the process and its children may ever get. */
  bounding?: string[]
  /** What it can do now. */
  effective?: string[]
  /** What may be kept over execve(2) by files that have it too; best left empty. */
  inheritable?: string[]
  /** What it may make effective. */
  permitted?: string[]
  /** What another user than root keeps over execve(2): must be in `permitted` and `inheritable`. */
  ambient?: string[]
}

/** OCI runtime-spec `process.rlimits[]`; see setrlimit(2). */
export interface OciRlimit {
  /** Such as `RLIMIT_NOFILE`, each at most once. */
  type: string
  /** What holds; at most `hard`. */
  soft: number
  /** How far the process may raise it. */
  hard: number
}

/**
 * OCI runtime-spec `process` (config.md, "Process"), every field optional but `args`. What is left out (but `terminal`
 * and `consoleSize`) comes from the container's own process, as with `runc exec -p`. So does what is null, and an empty
 * `rlimits`, `apparmorProfile` or `selinuxLabel`: none of them means "less confined".
 *
 * What a caller passes is strict. What comes from the container's config.json is taken as its runtime takes it: unknown
 * capabilities are ignored, and whole numbers keep all their digits.
 */
export interface ProcessSpec {
  /** The program and its arguments; a name without `/` is looked up in `PATH` of `env`, in the container. */
  args: string[]
  /** A pseudo-terminal as standard streams; false. Its output comes on `stdout`, that of stderr too. */
  terminal?: boolean
  /** The terminal's first size; 0 by 0 when left out. */
  consoleSize?: {
    /** Rows, 0 to 65535. */
    height: number
    /** Columns, 0 to 65535. */
    width: number
  }
  /** As whom it runs. Taken as a whole: a user without `additionalGids` has none. */
  user?: OciUser
  /** `NAME=value`; the last of two with one name counts. */
  env?: string[]
  /** Absolute, in the container; it must exist, and lie within the container's root. */
  cwd?: string
  /** What of root's rights it has; `{}` is none. Taken as a whole. */
  capabilities?: OciCapabilities
  /** Limits of the process; one that is not named stays as it is. */
  rlimits?: OciRlimit[]
  /** prctl(2) PR_SET_NO_NEW_PRIVS: no file gives it more rights, setuid or otherwise. */
  noNewPrivileges?: boolean
  /** Name of a loaded profile. ERR_UNSUPPORTED where the kernel has no AppArmor. */
  apparmorProfile?: string
  /** Label of the process. ERR_UNSUPPORTED where the kernel has no SELinux. */
  selinuxLabel?: string
  /** -1000 to 1000, proc(5) oom_score_adj: the higher, the sooner the OOM killer takes it. */
  oomScoreAdj?: number
  /** ioprio_set(2). */
  ioPriority?: {
    /** `IOPRIO_CLASS_RT`, `IOPRIO_CLASS_BE` or `IOPRIO_CLASS_IDLE`. */
    class: string
    /** 0, the first, to 7; 0. */
    priority?: number
  }
  /** sched_setattr(2); also `runtime`, `deadline` and `period` in nanoseconds, of `SCHED_DEADLINE`. */
  scheduler?: {
    /** `SCHED_OTHER`, `SCHED_BATCH`, `SCHED_IDLE`, `SCHED_FIFO`, `SCHED_RR` or `SCHED_DEADLINE`. */
    policy: string
    /** -20 to 19. */
    nice?: number
    /** Of the realtime policies, 1 to 99. */
    priority?: number
    /** Such as `SCHED_FLAG_RESET_ON_FORK`. */
    flags?: string[]
    [key: string]: unknown
  }
  /** Processors it is bound to, as lists such as `0-2,5`. Left out here and there: all that the cgroup allows. */
  execCPUAffinity?: {
    /** Before it joins the container's cgroup. */
    initial?: string
    /** From then on. */
    final?: string
  }
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

const isInheritable = new Set<string>(inheritable)
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
      if (isSaid(key, own[key])) this.#members.push([key, `,${JSON.stringify(key)}:${toExactText(own[key])}`])
    }
  }

  whole(spec: ProcessSpec): ProcessSpec {
    const out: Record<string, unknown> = { ...spec }
    for (const key of inheritable)
      out[key] = isSaid(key, spec[key]) ? spec[key] : (this.own[key] ?? undefined)
    return out as unknown as ProcessSpec
  }

  /** What of `spec` its caller typed, and does not come from here: the shim is strict about that alone. */
  typed(spec: ProcessSpec): string[] {
    return inheritable.filter((key) => isSaid(key, spec[key]))
  }

  /** The JSON of `whole(spec)` and `how`, whose keys win. */
  text(spec: ProcessSpec, how: object): string {
    let said: object = spec
    for (const key in spec) {
      const value: unknown = spec[key as keyof ProcessSpec]
      if (plainKeys.has(key) && (value === undefined || !isInheritable.has(key) || isSaid(key, value)))
        continue
      const isKept = ([name, item]: [string, unknown]): boolean =>
        !(name in how) && (!isInheritable.has(name) || isSaid(name, item))
      said = Object.fromEntries(Object.entries(spec).filter(isKept))
      break
    }
    let text = JSON.stringify(said).slice(0, -1)
    for (const [key, member] of this.#members) {
      if (!isSaid(key, spec[key])) text += member
    }
    return `${text},${JSON.stringify(how).slice(1)}`
  }
}

/** The host's id for the container's root; 0 without a user namespace. */
export function rootId(
  mappings: { containerID: number; hostID: number; size: number }[] | undefined,
): number {
  return mappings?.find((mapping) => mapping.containerID === 0)?.hostID ?? 0
}
