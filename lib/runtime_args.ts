// The paths among the runtime's global flags.
import { resolve } from 'node:path'

/** Of runc and crun alike; Go's flags may begin with one dash. A program's name is no path: `--criu=criu`. */
const pathFlag = /^(--?(?:root|log|criu))(?:=(.*))?$/s

function absolute(flag: string, value: string): string {
  if (value === '' || (flag.endsWith('criu') && !value.includes('/'))) return value
  // crun's log may be told by its kind: `file:PATH`, and two that are no paths.
  const kind = /^(?:file|journald|syslog):/.exec(value)?.[0] ?? ''
  if (flag.endsWith('log') && kind !== '') {
    return kind === 'file:' ? kind + resolve(value.slice(kind.length)) : value
  }
  return resolve(value)
}

/**
 * With every relative path made absolute, as this program's working directory is now: the runtime runs in the container's
 * state directory, and other programs will load the container from wherever they are.
 */
export function resolvePaths(args: readonly string[]): string[] {
  const out: string[] = []
  let flag: string | null = null
  for (const arg of args) {
    if (flag !== null) {
      out.push(absolute(flag, arg))
      flag = null
      continue
    }
    const [, name, value] = pathFlag.exec(arg) ?? []
    if (name !== undefined && value !== undefined) out.push(`${name}=${absolute(name, value)}`)
    else out.push(arg)
    if (name !== undefined && value === undefined) flag = name
  }
  return out
}
