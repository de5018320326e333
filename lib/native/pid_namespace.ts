// This program's pid namespace. A pid of another namespace names another process here.
import { readlinkSync } from 'node:fs'

let own: string | null | undefined

/** `pid:[4026531836]`, namespaces(7); null where /proc does not tell it. It never changes. */
export function pidNamespace(): string | null {
  if (own === undefined) {
    try {
      own = readlinkSync('/proc/self/ns/pid')
    } catch {
      own = null
    }
  }
  return own
}

/** Both are known, and are not the same. */
export function isElsewhere(recorded: string | null | undefined): boolean {
  const here = pidNamespace()
  return typeof recorded === 'string' && recorded !== '' && here !== null && recorded !== here
}
