// What an exec takes from the container's own process.
import { toExactText } from './exact_json.js'
import type { ProcessSpec } from './spec.js'

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
