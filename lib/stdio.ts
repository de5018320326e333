// Standard streams: what is passed to the shim, and what stays here as Node streams.
import { readSync } from 'node:fs'
import type { Readable, Writable } from 'node:stream'
import { type Incoming, isBun, openReadable, openWritable } from './descriptors.js'
import { checkStdio, keptBytes, type Stdio, type StdioOptions } from './options.js'
import { type FailureContext, type NativeFailure, toContainerError } from './errors.js'
import type { NativeBinding } from './native.js'
import type { WireStdio } from './shim.js'

const names = ['stdin', 'stdout', 'stderr'] as const

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

/** The reading end of a `'pipe'`, and how much of it has been handed to its reader. */
class Output {
  readonly stream: Incoming
  readonly #native: NativeBinding
  readonly #fd: number
  #forced = 0

  constructor(native: NativeBinding, fd: number) {
    this.#native = native
    this.#fd = fd
    this.stream = openReadable(fd)
  }

  /**
   * Hands over what was written before the exit, even past the high water mark: it is no more than the kernel's own
   * buffer holds, and a reader that waits for the exit first must not wait for ever. `total` is known of a terminal,
   * whose output the shim copies; of a pipe, what lies in it now is what was written before.
   */
  async drain(total: number | null): Promise<void> {
    if (isBun) return this.#drainBun(total)
    let missing = total === null ? this.#pending() : total - this.#delivered()
    while (missing > 0 && this.#open()) {
      const got = this.#force(missing)
      if (got < 0) break
      if (got === 0) await new Promise((resolve) => setTimeout(resolve, 1))
      missing = total === null ? missing - got : total - this.#delivered()
      if (got === 0 && total === null) break
    }
    await this.settle()
  }

  /** Bun may have read ahead, so that nothing can be read past it: what no reader takes now it gets later. */
  async #drainBun(total: number | null): Promise<void> {
    const wanted = total ?? this.stream.bytesRead + this.#pending()
    while (this.#open() && this.stream.readableFlowing === true && this.stream.bytesRead < wanted) {
      await new Promise((resolve) => setTimeout(resolve, 1))
    }
    await this.settle()
  }

  #open(): boolean {
    return !this.stream.destroyed && !this.stream.readableEnded
  }

  #delivered(): number {
    return this.stream.bytesRead + this.#forced
  }

  #pending(): number {
    return this.#open() ? this.#native.pendingBytes(this.#fd) : 0
  }

  /** Reads by the descriptor itself, on the one thread that reads it, so the order holds; -1 at its end. */
  #force(limit: number): number {
    const chunk = Buffer.allocUnsafe(Math.min(limit, 65536))
    try {
      const got = readSync(this.#fd, chunk)
      if (got === 0) return -1
      this.#forced += got
      this.stream.push(chunk.subarray(0, got))
      return got
    } catch (error) {
      return (error as NodeJS.ErrnoException).code === 'EAGAIN' ? 0 : -1
    }
  }

  /** A reader that flows, or that was called and comes in a moment, has the data before wait() resolves. */
  async settle(): Promise<void> {
    for (let turn = 0; this.#open() && this.stream.readableLength > 0; ++turn) {
      if (
        this.stream.readableFlowing !== true &&
        turn >= (this.stream.listenerCount('readable') > 0 ? 20 : 1)
      )
        break
      await new Promise((resolve) => setImmediate(resolve))
    }
  }
}

/** The streams of one process to be started. */
export class ProcessStreams {
  readonly names: StdioNames
  readonly wire: WireStdio[] = []
  /** Descriptors for the shim, in the order of `wire`. */
  readonly fds: number[] = []
  stdin: Writable | null = null
  readonly #native: NativeBinding
  readonly #terminal: boolean
  readonly #context: FailureContext
  readonly #theirs: number[] = []
  readonly #outputs: (Output | null)[] = [null, null]

  private constructor(
    native: NativeBinding,
    options: StdioOptions,
    terminal: boolean,
    context: FailureContext,
  ) {
    this.#native = native
    this.#terminal = terminal
    this.#context = context
    const stdio = names.map((name) => checkStdio(options[name], name))
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
    options: StdioOptions,
    terminal: boolean,
    context: FailureContext,
  ): ProcessStreams {
    names.forEach((name) => checkStdio(options[name], name))
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
      this.wire.push({ kind: 'null' })
    } else if (stdio === 'inherit' || typeof stdio === 'number') {
      this.wire.push({ kind: 'fd' })
      this.fds.push(stdio === 'inherit' ? index : stdio)
    } else if (stdio === 'pipe') {
      this.wire.push({ kind: 'fd' })
      this.#pipe(index)
    } else if (stdio === 'keep' || typeof stdio === 'object') {
      this.wire.push({ kind: 'keep', bytes: keptBytes(stdio) })
    } else {
      this.wire.push({ kind: 'path', path: stdio })
    }
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
    if (index === 0) this.stdin = openWritable(ours)
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

  /** What lies in the streams goes to whoever reads them now. */
  async settle(): Promise<void> {
    const [stdout, stderr] = this.#outputs
    await Promise.all([stdout?.settle() ?? Promise.resolve(), stderr?.settle() ?? Promise.resolve()])
  }

  /** False where there is no stream of which the exit makes a difference. */
  get open(): boolean {
    return this.stdin !== null || this.#outputs.some((output) => output !== null)
  }

  /** After the exit: resolves once the readers have what was written before it. */
  async drain(terminalBytes: number): Promise<void> {
    if (this.stdin && !this.stdin.destroyed) this.stdin.destroy()
    const [stdout, stderr] = this.#outputs
    await Promise.all([
      stdout?.drain(this.#terminal ? terminalBytes : null) ?? Promise.resolve(),
      stderr?.drain(null) ?? Promise.resolve(),
    ])
  }
}
