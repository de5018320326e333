// ContainerError, and how what the kernel and the shim say becomes one.
import { constants } from 'node:os'
import { getSystemErrorMap } from 'node:util'

/**
 * Why an operation failed; docs/errors.md says what each means and what to do. Bad arguments are TypeError or RangeError
 * with Node's own `ERR_INVALID_ARG_TYPE` and `ERR_INVALID_ARG_VALUE` instead, and an aborted call rejects with its
 * signal's reason.
 */
export type ContainerErrorCode =
  | 'ERR_CONTAINER_EXISTS'
  | 'ERR_CONTAINER_NOT_FOUND'
  | 'ERR_CONTAINER_EXITED'
  | 'ERR_CONTAINER_NOT_STARTED'
  | 'ERR_CONTAINER_NOT_STOPPED'
  | 'ERR_CONTAINER_PAUSED'
  | 'ERR_START_TIMEOUT'
  | 'ERR_SHIM_EXITED'
  | 'ERR_PROCESS_EXISTS'
  | 'ERR_PROCESS_NOT_FOUND'
  | 'ERR_PROCESS_EXITED'
  | 'ERR_NOT_A_TERMINAL'
  | 'ERR_CHECKPOINT_EXISTS'
  | 'ERR_CHECKPOINT_NOT_FOUND'
  | 'ERR_KILL_TIMEOUT'
  | 'ERR_RUNTIME'
  | 'ERR_STATE_CORRUPT'
  | 'ERR_UNSUPPORTED'
  | 'ERR_SYSCALL'

/** What is known of a failure beside its code and message. */
export interface ContainerErrorDetails {
  /** As the property of ContainerError. */
  containerId?: string | undefined
  /** As the property of ContainerError. */
  processId?: string | undefined
  /** As the property of ContainerError. */
  errno?: number | undefined
  /** As the property of ContainerError. */
  syscall?: string | undefined
  /** As the property of ContainerError. */
  path?: string | undefined
  /** As the property of ContainerError. */
  runtimeLog?: string | undefined
  /** As the property of ContainerError. */
  result?: object | undefined
  /** What it came of, if that was an error of its own. */
  cause?: unknown
}

/** An operation on a container that failed; the state afterwards is the state before. */
export class ContainerError extends Error {
  /** Tells it from other errors, also from one of a second copy of the package. */
  override readonly name = 'ContainerError'
  /** Stable; messages are for people and may change. */
  readonly code: ContainerErrorCode
  /** The container that it was about; missing where it was about none. */
  declare readonly containerId?: string
  /** The process that it was about; missing where it was about none. */
  declare readonly processId?: string
  /** The kernel's errno, positive, where the kernel said no. */
  declare readonly errno?: number
  /** The system call that said no. */
  declare readonly syscall?: string
  /** The file, program or directory that it was about. */
  declare readonly path?: string
  /** What the OCI runtime logged, bounded to its last 64 KiB. */
  declare readonly runtimeLog?: string
  /** ERR_KILL_TIMEOUT of run(): the RunResult. */
  declare readonly result?: object

  /** For fakes in tests of programs that use this package; it makes its own. */
  constructor(code: ContainerErrorCode, message: string, details: ContainerErrorDetails = {}) {
    super(message, details.cause === undefined ? undefined : { cause: details.cause })
    this.code = code
    if (details.containerId !== undefined) this.containerId = details.containerId
    if (details.processId !== undefined) this.processId = details.processId
    if (details.errno !== undefined) this.errno = details.errno
    if (details.syscall !== undefined) this.syscall = details.syscall
    if (details.path !== undefined) this.path = details.path
    if (details.runtimeLog !== undefined) this.runtimeLog = details.runtimeLog
    if (details.result !== undefined) this.result = details.result
  }
}

/** What the native parts say of a failure, by exception or by message. */
export interface NativeFailure {
  code?: string
  errno?: number
  syscall?: string
  path?: string
  text?: string
  runtimeLog?: string
  /** The machine could not be asked, for want of descriptors or memory: that says nothing of what was asked for. */
  shortage?: boolean
}

/** Whose operation failed. */
export interface FailureContext {
  containerId?: string | undefined
  processId?: string | undefined
}

/** `ENOENT: no such file or directory`. Node's table knows only what its own functions give. */
function nameErrno(errno: number): string {
  const known = getSystemErrorMap().get(-errno)
  if (known) return `${known[0]}: ${known[1]}`
  if (errno === constants.errno.ENOEXEC) return 'ENOEXEC: exec format error'
  return Object.entries(constants.errno).find(([, value]) => value === errno)?.[0] ?? `errno ${errno}`
}

function describe(failure: NativeFailure): string {
  const parts: string[] = []
  if (failure.text) parts.push(failure.text)
  if (failure.errno !== undefined) {
    const call = failure.syscall ? `${failure.syscall} ` : ''
    const path = failure.path === undefined ? '' : ` '${failure.path}'`
    parts.push(`${nameErrno(failure.errno)}, ${call.trimEnd()}${path}`)
  } else if (failure.path !== undefined) {
    parts.push(`'${failure.path}'`)
  }
  return parts.join(': ') || failure.code || 'unknown failure'
}

/** A bad argument: TypeError with Node's ERR_INVALID_ARG_VALUE. */
export function invalidValue(message: string): TypeError {
  return Object.assign(new TypeError(message), { code: 'ERR_INVALID_ARG_VALUE' })
}

/** A bad argument: TypeError with Node's ERR_INVALID_ARG_TYPE. */
export function invalidType(message: string): TypeError {
  return Object.assign(new TypeError(message), { code: 'ERR_INVALID_ARG_TYPE' })
}

/** A bad argument: RangeError with Node's ERR_INVALID_ARG_VALUE. */
export function outOfRange(message: string): RangeError {
  return Object.assign(new RangeError(message), { code: 'ERR_INVALID_ARG_VALUE' })
}

/** A file that is not what it should be: ERR_STATE_CORRUPT. The message is the path, then `what`. */
export function corrupt(containerId: string, path: string, what: string, cause?: unknown): ContainerError {
  const message = `container '${containerId}': '${path}' ${what}`
  return new ContainerError('ERR_STATE_CORRUPT', message, { containerId, path, cause })
}

/** The error to throw for what the shim or the addon reported. */
export function toContainerError(failure: NativeFailure, context: FailureContext = {}): Error {
  if (failure.code === 'ERR_INVALID_ARG_VALUE') return invalidValue(describe({ text: failure.text ?? '' }))
  if (failure.code === 'ERR_INVALID_ARG_TYPE') return invalidType(describe({ text: failure.text ?? '' }))
  const who = [
    context.containerId === undefined ? '' : `container '${context.containerId}'`,
    context.processId === undefined ? '' : `process '${context.processId}'`,
  ]
    .filter(Boolean)
    .join(', ')
  return new ContainerError(
    (failure.code as ContainerErrorCode | undefined) ?? 'ERR_SYSCALL',
    `${who ? `${who}: ` : ''}${describe(failure)}`,
    { ...context, ...failure },
  )
}

/** `'ENOENT'`, of an error thrown by Node's own functions. */
export function errnoOf(error: unknown): string | undefined {
  return (error as NodeJS.ErrnoException | undefined)?.code
}

/** An error thrown by Node's own fs functions, as a ContainerError; anything else is passed on. */
export function fromNodeError(error: unknown, context: FailureContext = {}): unknown {
  if (!(error instanceof Error) || typeof (error as NodeJS.ErrnoException).errno !== 'number') return error
  const { errno, syscall, path } = error as NodeJS.ErrnoException
  const failure: NativeFailure = { code: 'ERR_SYSCALL', errno: Math.abs(errno as number) }
  if (syscall !== undefined) failure.syscall = syscall
  if (path !== undefined) failure.path = path
  return toContainerError(failure, context)
}
