// Standard streams: what is passed to the shim, and what stays here as Node streams.
import { fstatSync } from 'node:fs'
import type { Readable, Writable } from 'node:stream'
import { type Incoming, openReadable, openWritable } from './fd_streams.js'
import { checkFlag, checkKeys, checkPath, checkRange, didYouMean, show } from '../validate.js'
import {
  type FailureContext,
  invalidType,
  invalidValue,
  type NativeFailure,
  toContainerError,
} from '../errors.js'
import { HandOver } from './hand_over.js'
import type { NativeBinding } from '../native/binding.js'
import type { StdioSpec } from '../shim/protocol.js'

/**
 * A path (FIFO or file) survives this program; a number is an open descriptor; `'ignore'` is /dev/null; `'inherit'`
 * is this program's own stream of the same number; `'pipe'` gives a Node stream.
 *
 * `'keep'`, of output alone: the shim keeps the last 64 KiB, `{ keep: n }` the last n bytes (1 to 16 MiB), beside the
 * container's state, and the process's stream gives any program what is kept, then what comes: also one that loads the
 * container later, after the process has exited, after the shim was killed. Who writes waits for nobody but for a reader
 * that has begun to read and is further behind than is kept.
 *
 * A path begins with `/`, `./` or `../`, and is made absolute. A file of output is created with mode 0600 and appended to. If a path, a number or `'inherit'`
 * leads to a regular file, the shim copies the bytes, so that the container never holds the file: see `direct`. A FIFO of
 * output waits for its first reader (ERR_START_TIMEOUT after the timeout); later readers may come and go without harm. A
 * FIFO of input ends by closeStdin() alone, so that writers may come and go.
 */
export type Stdio = string | number | 'pipe' | 'inherit' | 'ignore' | 'keep' | KeptOutput

/** `'keep'` with a size of one's own. */
export interface KeptOutput {
  /** Bytes that are kept, 1 to 16 MiB. */
  keep: number
}

/** Where a process's standard streams lead. */
export interface StdioOptions {
  /** `'ignore'` when left out. Not `'keep'`, which is of output. */
  stdin?: Stdio
  /** `'ignore'` when left out. With a terminal: all that is written to it. */
  stdout?: Stdio
  /** `'ignore'` when left out. With a terminal nothing comes here. */
  stderr?: Stdio
}

const names = ['stdin', 'stdout', 'stderr'] as const
const words = ['pipe', 'inherit', 'ignore', 'keep'] as const

const defaultBufferBytes = 65536
const maxBufferBytes = 16 * 1024 * 1024

/** How many bytes of a stream are kept; 0 where none are. */
export function bufferBytes(stdio: Stdio): number {
  if (stdio === 'keep') return defaultBufferBytes
  return typeof stdio === 'object' ? stdio.keep : 0
}

function checkKeep(value: object, name: string): Stdio {
  checkKeys(value, name, { keep: true })
  const { keep } = value as { keep?: unknown }
  return { keep: checkRange(keep, `${name}.keep`, 1, maxBufferBytes, 'number of bytes') }
}

export function checkStdio(value: unknown, name: string): Stdio {
  if (value === undefined || value === null) return 'ignore'
  const keeps = typeof value === 'object' && 'keep' in value
  if (name === 'stdin' && (value === 'keep' || keeps)) {
    throw invalidValue(`stdin cannot be kept: only output is`)
  }
  if (keeps) return checkKeep(value, name)
  if (typeof value === 'number') {
    if (!Number.isInteger(value) || value < 0)
      throw invalidValue(`${name} must be an open descriptor, not ${value}`)
    try {
      fstatSync(value)
    } catch (cause) {
      throw Object.assign(invalidValue(`${name} must be an open descriptor, and ${value} is not`), { cause })
    }
    return value
  }
  if (typeof value !== 'string') {
    throw invalidType(
      `${name} must be 'pipe', 'inherit', 'ignore', 'keep', a path or a descriptor, not ${show(value)}`,
    )
  }
  if ((words as readonly string[]).includes(value)) return value
  // A misspelt word must not become a file of that name.
  if (!/^\.{0,2}\//.test(value)) {
    throw invalidValue(
      `${name} must be one of ${words.join(', ')}, or a path that begins with /, ./ or ../, not ${show(value)}` +
        didYouMean(value, words),
    )
  }
  return checkPath(value, name)
}

/** All three streams, before anything is opened or made. */
export function checkStreams(options: StdioOptions & { direct?: boolean }): Stdio[] {
  checkFlag(options.direct, 'direct')
  return names.map((name) => checkStdio(options[name], name))
}

/** How a stream is named on disk and in `process.stdio`: a path is itself, `'ignore'` is /dev/null. */
function nameOf(stdio: Stdio): string {
  if (stdio === 'ignore') return '/dev/null'
  if (typeof stdio === 'object') return 'keep'
  return typeof stdio === 'number' ? `fd:${stdio}` : stdio
}

/** What the standard streams of a process were when it was started. */
export interface StdioNames {
  /** Of standard input. */
  stdin: string
  /** Of standard output. */
  stdout: string
  /** Of standard error. */
  stderr: string
}

/** The reading end of a `'pipe'`, and how much of it was written before the exit. */
class Output {
  readonly stream: Incoming
  readonly #native: NativeBinding
  readonly #fd: number
  #end: HandOver | null = null

  constructor(native: NativeBinding, fd: number) {
    this.#native = native
    this.#fd = fd
    this.stream = openReadable(native, fd)
  }

  /**
   * The process has exited. `total` is known of a terminal, whose output the shim copies; of a pipe, what lies in it
   * now is what was written before. Nothing is read here: the stream takes it when its reader wants it.
   */
  exited(total: number | null): void {
    const { stream } = this
    this.#end = new HandOver({
      stream,
      total: total ?? stream.bytesRead + this.#pending(),
      taken: () => stream.bytesRead,
      // A pipe is the container's too, which may have read some of it back; of a terminal the shim writes the rest.
      isDry: () => total === null && this.#pending() === 0,
    })
  }

  /** Resolves once a reader has what was written before the exit. */
  async handedOver(): Promise<void> {
    await this.#end?.done()
  }

  #pending(): number {
    const { destroyed, readableEnded } = this.stream
    return destroyed || readableEnded ? 0 : this.#native.pendingBytes(this.#fd)
  }
}

/** The streams of one process to be started. */
export class ProcessStreams {
  readonly names: StdioNames
  readonly specs: StdioSpec[] = []
  /** Descriptors for the shim, in the order of `specs`. */
  readonly fds: number[] = []
  stdin: Writable | null = null
  readonly #native: NativeBinding
  readonly #terminal: boolean
  readonly #direct: boolean
  readonly #context: FailureContext
  readonly #theirs: number[] = []
  readonly #outputs: (Output | null)[] = [null, null]

  private constructor(
    native: NativeBinding,
    options: StdioOptions & { direct?: boolean },
    terminal: boolean,
    context: FailureContext,
  ) {
    this.#native = native
    this.#direct = options.direct === true
    this.#terminal = terminal
    this.#context = context
    const stdio = checkStreams(options)
    this.names = {
      stdin: nameOf(stdio[0] as Stdio),
      stdout: nameOf(stdio[1] as Stdio),
      stderr: nameOf(stdio[2] as Stdio),
    }
    stdio.forEach((value, index) => this.#add(value, index))
  }

  /** Checks all three before anything is opened, then makes the pipes. */
  static open(
    native: NativeBinding,
    options: StdioOptions & { direct?: boolean },
    terminal: boolean,
    context: FailureContext,
  ): ProcessStreams {
    return new ProcessStreams(native, options, terminal, context)
  }

  get stdout(): Readable | null {
    return this.#outputs[0]?.stream ?? null
  }

  get stderr(): Readable | null {
    return this.#outputs[1]?.stream ?? null
  }

  #add(stdio: Stdio, index: number): void {
    if (stdio === 'ignore') {
      this.specs.push({ kind: 'null' })
    } else if (stdio === 'inherit' || typeof stdio === 'number') {
      this.specs.push({ kind: 'fd', shared: true, ...this.#file })
      this.fds.push(stdio === 'inherit' ? index : stdio)
    } else if (stdio === 'pipe') {
      this.specs.push({ kind: 'fd' })
      this.#pipe(index)
    } else if (stdio === 'keep' || typeof stdio === 'object') {
      this.specs.push({ kind: 'keep', bytes: bufferBytes(stdio) })
    } else {
      this.specs.push({ kind: 'path', path: stdio, ...this.#file })
    }
  }

  get #file(): { direct?: true } {
    return this.#direct ? { direct: true } : {}
  }

  #pipe(index: number): void {
    let ends: [number, number]
    try {
      ends = this.#native.pipe()
    } catch (error) {
      this.discard()
      throw toContainerError(error as NativeFailure, this.#context)
    }
    const [theirs, ours] = index === 0 ? ends : [ends[1], ends[0]]
    this.fds.push(theirs)
    this.#theirs.push(theirs)
    if (index === 0) this.stdin = openWritable(this.#native, ours)
    else this.#outputs[index - 1] = new Output(this.#native, ours)
  }

  /** The shim has its copies; an end kept open here would keep the process's own end of file away. */
  closeTheirs(): void {
    for (const fd of this.#theirs.splice(0)) this.#native.closeFd(fd)
  }

  /** Everything is undone: the start failed, or the handle lets go. */
  discard(): void {
    this.closeTheirs()
    this.stdin?.destroy()
    for (const output of this.#outputs) output?.stream.destroy()
  }

  /** False where there is no stream of which the exit makes a difference. */
  get open(): boolean {
    return this.stdin !== null || this.#outputs.some((output) => output !== null)
  }

  /** The process has exited, having written so much to its terminal, if it has one. */
  exited(terminalBytes: number): void {
    if (this.stdin && !this.stdin.destroyed) this.stdin.destroy()
    const [stdout, stderr] = this.#outputs
    stdout?.exited(this.#terminal ? terminalBytes : null)
    stderr?.exited(null)
  }

  /** After the exit: resolves once the readers have what was written before it. */
  async handedOver(): Promise<void> {
    const [stdout, stderr] = this.#outputs
    await Promise.all([stdout?.handedOver(), stderr?.handedOver()])
  }
}
