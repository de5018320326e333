// The paths among the runtime's global flags.
import { resolve } from 'node:path'

/** The flags of runc and crun that take a path. Go's flags may begin with one dash. */
const pathFlag = /^(--?(?:root|log|criu))(?:=(.*))?$/s

function absolute(flag: string, value: string): string {
  // `--criu=criu` is the name of a program, no path.
  if (value === '' || (flag.endsWith('criu') && !value.includes('/'))) return value
  // crun's log may begin with its kind: `file:PATH`, or one of two that take no path.
  const kind = /^(?:file|journald|syslog):/.exec(value)?.[0] ?? ''
  if (flag.endsWith('log') && kind !== '') {
    return kind === 'file:' ? kind + resolve(value.slice(kind.length)) : value
  }
  return resolve(value)
}

/**
 * Makes every relative path absolute, from this program's working directory. The runtime itself runs in the container's
 * state directory, and programs that load the container later may run anywhere.
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
