// The OCI process and what is read of a config.json, with their checks.
import { invalidValue } from '../errors.js'
import {
  checkBoolean,
  checkKeys,
  checkObject,
  checkSize,
  checkString,
  checkStrings,
  checkTexts,
  type Keys,
  show,
} from '../validate.js'

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

/** A terminal's size in characters: `columns` and `rows`, or OCI's `width` and `height`. Each is 0 to 65535. */
export type ConsoleSize =
  | {
      /** Characters in a line. */
      columns: number
      /** Lines. */
      rows: number
      /** Not together with `columns` and `rows`. */
      height?: undefined
      /** Not together with `columns` and `rows`. */
      width?: undefined
    }
  | {
      /** Lines. */
      height: number
      /** Characters in a line. */
      width: number
      /** Not together with `height` and `width`. */
      columns?: undefined
      /** Not together with `height` and `width`. */
      rows?: undefined
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
  /** The terminal's first size, as resize() takes it or as OCI writes it. Default: 0 by 0. */
  consoleSize?: ConsoleSize
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
  /** sched_setattr(2). */
  scheduler?: {
    /** `SCHED_OTHER`, `SCHED_BATCH`, `SCHED_IDLE`, `SCHED_FIFO`, `SCHED_RR` or `SCHED_DEADLINE`. */
    policy: string
    /** -20 to 19. */
    nice?: number
    /** Of the realtime policies, 1 to 99. */
    priority?: number
    /** Such as `SCHED_FLAG_RESET_ON_FORK`. */
    flags?: string[]
    /** Of `SCHED_DEADLINE`, nanoseconds. */
    runtime?: number
    /** Of `SCHED_DEADLINE`, nanoseconds. */
    deadline?: number
    /** Of `SCHED_DEADLINE`, nanoseconds. */
    period?: number
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

/** The host's id for the container's root; 0 without a user namespace. */
export function rootId(
  mappings: { containerID: number; hostID: number; size: number }[] | undefined,
): number {
  return mappings?.find((mapping) => mapping.containerID === 0)?.hostID ?? 0
}

const specKeys: Keys<ProcessSpec> = {
  args: true,
  terminal: true,
  consoleSize: true,
  user: true,
  env: true,
  cwd: true,
  capabilities: true,
  rlimits: true,
  noNewPrivileges: true,
  apparmorProfile: true,
  selinuxLabel: true,
  oomScoreAdj: true,
  ioPriority: true,
  scheduler: true,
  execCPUAffinity: true,
}
type Part<Name extends keyof ProcessSpec> = Keys<NonNullable<ProcessSpec[Name]>>
const parts: { [Name in keyof ProcessSpec]?: Readonly<Record<string, true>> } = {
  consoleSize: { columns: true, rows: true, height: true, width: true } satisfies Part<'consoleSize'>,
  user: { uid: true, gid: true, umask: true, additionalGids: true } satisfies Part<'user'>,
  capabilities: {
    bounding: true,
    effective: true,
    inheritable: true,
    permitted: true,
    ambient: true,
  } satisfies Part<'capabilities'>,
  ioPriority: { class: true, priority: true } satisfies Part<'ioPriority'>,
  scheduler: {
    policy: true,
    nice: true,
    priority: true,
    flags: true,
    runtime: true,
    deadline: true,
    period: true,
  } satisfies Part<'scheduler'>,
  execCPUAffinity: { initial: true, final: true } satisfies Part<'execCPUAffinity'>,
}
const rlimitKeys: Keys<OciRlimit> = { type: true, soft: true, hard: true }

/** Unknown keys at every depth. What is of another type is the shim's to refuse. */
function checkSpecKeys(spec: Record<string, unknown>): void {
  checkKeys(spec, 'spec', specKeys)
  for (const [name, keys] of Object.entries(parts)) {
    const part = spec[name]
    if (typeof part === 'object' && part !== null) checkKeys(part, `spec.${name}`, keys)
  }
  if (!Array.isArray(spec['rlimits'])) return
  spec['rlimits'].forEach((limit: unknown, index) => {
    if (typeof limit === 'object' && limit !== null) checkKeys(limit, `spec.rlimits[${index}]`, rlimitKeys)
  })
}

/** The size as OCI has it, which is how it goes to the shim and to the disk. */
function checkConsoleSize(value: unknown): { height: number; width: number } {
  const name = 'spec.consoleSize'
  checkObject(value, name)
  const { columns, rows, height, width } = value as Record<string, unknown>
  const isOurs = columns !== undefined || rows !== undefined
  if (isOurs && (height !== undefined || width !== undefined)) {
    throw invalidValue(`${name} must have columns and rows, or height and width, not both: ${show(value)}`)
  }
  return isOurs
    ? { height: checkSize(rows, `${name}.rows`), width: checkSize(columns, `${name}.columns`) }
    : { height: checkSize(height, `${name}.height`), width: checkSize(width, `${name}.width`) }
}

/** Only what decides between a clear error here and a garbled message there; the shim checks every field. */
export function checkProcessSpec(value: unknown): ProcessSpec {
  checkObject(value, 'spec')
  checkTexts(value, 'spec')
  const spec = value as Record<string, unknown>
  checkSpecKeys(spec)
  const args = checkStrings(spec['args'], 'spec.args')
  if (args.length === 0 || args[0] === '') throw invalidValue('spec.args must name a program')
  if (spec['env'] !== undefined && spec['env'] !== null) {
    checkStrings(spec['env'], 'spec.env').forEach((entry) => {
      if (!/^[^=]+=/.test(entry)) throw invalidValue(`spec.env must hold NAME=value, not ${show(entry)}`)
    })
  }
  if (spec['cwd'] !== undefined && spec['cwd'] !== null) {
    checkString(spec['cwd'], 'spec.cwd')
    if (!spec['cwd'].startsWith('/'))
      throw invalidValue(`spec.cwd must be absolute, not ${show(spec['cwd'])}`)
    if (spec['cwd'].includes('\0')) throw invalidValue('spec.cwd must not hold a NUL byte')
  }
  if (spec['terminal'] !== undefined && spec['terminal'] !== null)
    checkBoolean(spec['terminal'], 'spec.terminal')
  const size = spec['consoleSize']
  const oci = size === undefined || size === null ? {} : { consoleSize: checkConsoleSize(size) }
  return { ...spec, ...oci } as unknown as ProcessSpec
}

/** Checks what this package uses of a config.json; the runtime checks the rest. */
export function checkConfigProcess(value: unknown): ProcessSpec {
  checkObject(value, 'process')
  const { args, terminal } = value as Record<string, unknown>
  const words = checkStrings(args, 'process.args')
  if (words.length === 0 || words[0] === '') throw invalidValue('process.args must name a program')
  if (terminal !== undefined && terminal !== null) checkBoolean(terminal, 'process.terminal')
  return value as ProcessSpec
}
