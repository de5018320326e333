// What run() takes and gives.
import type { Readable } from 'node:stream'
import { invalidType, invalidValue } from '../errors.js'
import type { ExitStatus } from '../process/exit_status.js'
import { checkClosed, checkMember, checkRange, type Keys, show } from '../validate.js'
import { execKeys, type ExecOptions } from './options.js'

/** What a program may be fed: then it reads end of file. */
export type RunInput = string | Uint8Array | Readable | AsyncIterable<string | Uint8Array>

/** How run() runs a program, feeds it, and collects what it writes. */
export interface RunOptions extends Omit<ExecOptions, 'stdin' | 'stdout' | 'stderr' | 'direct'> {
  /** The program's standard input. It may leave it unread. Default: `/dev/null`. */
  input?: RunInput
  /** Bytes of stdout, and of stderr, that are kept; 0 to 2^31 - 1. Default: 1 MiB. */
  maxBuffer?: number
  /** What happens to a program that writes more: `'kill'` sends SIGKILL, `'truncate'` reads on and drops. Default: `'kill'`. */
  onOverflow?: 'kill' | 'truncate'
  /** How output is decoded, across chunks; `'buffer'` leaves it as bytes. Default: `'utf8'`. */
  encoding?: BufferEncoding | 'buffer'
  /** Called with each chunk as it comes, whether it is kept or not. A throw kills the program and comes out of run(). */
  onStdout?: (chunk: Buffer) => void
  /** As `onStdout`. */
  onStderr?: (chunk: Buffer) => void
}

/** How a program of run() ended, and what it wrote and used. */
export interface RunResult<Output extends string | Buffer = string> extends ExitStatus {
  /** What was kept of it. */
  stdout: Output
  /** What was kept of it. */
  stderr: Output
  /** More than `maxBuffer` was written to one of them. */
  truncated: boolean
  /** `signal` ended it, before anything else did. */
  aborted: boolean
  /** From execve(2) to its exit, in milliseconds. */
  durationMs: number
  /** CPU time of it and all that it started. Undefined where the kernel does not count. */
  cpuUsec: number | undefined
  /** The largest resident set of it and of the children that it waited for: getrusage(2). 0 if its shim was killed. */
  maxRssBytes: number
  /** The most memory that it and all that it started had at a time. Undefined where the kernel does not count. */
  memoryPeakBytes: number | undefined
}

/** The type of output that options ask for. */
export type OutputOf<Options> = Options extends Readonly<Record<'encoding', 'buffer'>> ? Buffer : string

const defaultMaxBuffer = 1024 * 1024
const maxMaxBuffer = 2 ** 31 - 1

const { stdin: _stdin, stdout: _stdout, stderr: _stderr, direct: _direct, ...inheritedKeys } = execKeys
const runKeys: Keys<RunOptions> = {
  ...inheritedKeys,
  input: true,
  maxBuffer: true,
  onOverflow: true,
  encoding: true,
  onStdout: true,
  onStderr: true,
}

export interface CheckedRun {
  input: RunInput | undefined
  maxBuffer: number
  onOverflow: 'kill' | 'truncate'
  encoding: BufferEncoding | 'buffer'
  onStdout: ((chunk: Buffer) => void) | undefined
  onStderr: ((chunk: Buffer) => void) | undefined
  /** For exec(), whose checks they are to pass. */
  exec: ExecOptions
}

function isInput(value: unknown): value is RunInput {
  if (typeof value === 'string' || value instanceof Uint8Array) return true
  return typeof value === 'object' && value !== null && Symbol.asyncIterator in value
}

function checkCallback(value: unknown, name: string): ((chunk: Buffer) => void) | undefined {
  if (value !== undefined && typeof value !== 'function')
    throw invalidType(`${name} must be a function, not ${show(value)}`)
  return value as ((chunk: Buffer) => void) | undefined
}

function checkEncoding(value: unknown): BufferEncoding | 'buffer' {
  if (value === undefined) return 'utf8'
  if (value === 'buffer') return value
  if (typeof value !== 'string') throw invalidType(`encoding must be a string, not ${show(value)}`)
  if (!Buffer.isEncoding(value))
    throw invalidValue(`encoding must be one of Node's or 'buffer', not ${show(value)}`)
  return value
}

export function checkRunOptions(options: RunOptions): CheckedRun {
  checkClosed(options, 'options', runKeys)
  const { input, maxBuffer, onOverflow, encoding, onStdout, onStderr, ...exec } = options
  if (input !== undefined && !isInput(input)) {
    throw invalidType(`input must be a string, a Uint8Array or an async iterable, not ${show(input)}`)
  }
  if (exec.cgroup === false)
    throw invalidValue('cgroup cannot be false: what run() starts has a cgroup of its own')
  return {
    input,
    maxBuffer:
      maxBuffer === undefined
        ? defaultMaxBuffer
        : checkRange(maxBuffer, 'maxBuffer', 0, maxMaxBuffer, 'number of bytes'),
    onOverflow:
      onOverflow === undefined ? 'kill' : checkMember(onOverflow, 'onOverflow', ['kill', 'truncate']),
    encoding: checkEncoding(encoding),
    onStdout: checkCallback(onStdout, 'onStdout'),
    onStderr: checkCallback(onStderr, 'onStderr'),
    exec,
  }
}
