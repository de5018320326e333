// What goes wrong, as it is said on stderr and by the exit code.
import { ContainerError } from 'libcontainer'

/** A failure of this program, exec's own aside. */
export const exitFailure = 1
/** Wrong words on the command line. */
export const exitUsage = 2

/** Said as it is, with a code as the library's errors have. */
export class Failure extends Error {
  readonly code: string

  constructor(code: string, message: string) {
    super(message)
    this.code = code
  }
}

export function codeOf(error: unknown): string | undefined {
  const code = (error as { code?: unknown } | null)?.code
  return typeof code === 'string' ? code : undefined
}

/** Deleted, or never there. */
export function isGone(error: unknown): boolean {
  return codeOf(error) === 'ERR_CONTAINER_NOT_FOUND'
}

/** `ERR_CODE: what happened`; with the stack for what should not have happened. */
export function describe(error: unknown): string {
  const code = codeOf(error)
  if (!(error instanceof Error)) return String(error)
  if (code === undefined) return error.stack ?? error.message
  const log = error instanceof ContainerError && error.runtimeLog ? `\n${error.runtimeLog}` : ''
  return `${code}: ${error.message}${log}`
}

export function complain(error: unknown): void {
  process.stderr.write(`libcontainer: ${describe(error)}\n`)
}

/** The same for `--json`. */
export function toJson(error: unknown): { code: string | null; message: string } {
  return { code: codeOf(error) ?? null, message: error instanceof Error ? error.message : String(error) }
}
