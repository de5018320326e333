// Runs a program in a container to its end: input in, output out, nothing left.
import { Readable, type Writable } from 'node:stream'
import { StringDecoder } from 'node:string_decoder'
import { finished } from 'node:stream/promises'
import { ContainerError, type FailureContext, invalidValue } from '../errors.js'
import type { ProcessSpec } from '../oci/spec.js'
import type { ExitStatus } from '../process/exit_status.js'
import type { Process } from '../process/process.js'
import { exec } from './exec.js'
import {
  type CheckedRun,
  checkRunOptions,
  type RunInput,
  type RunOptions,
  type RunResult,
} from './run_options.js'
import type { Session } from './session.js'

const usecPerMs = 1000

/** What is kept of one output stream. */
class Collector {
  readonly #chunks: Buffer[] = []
  readonly #most: number
  #size = 0
  truncated = false

  constructor(most: number) {
    this.#most = most
  }

  /** False for a chunk of which not all is kept. */
  take(chunk: Buffer): boolean {
    const room = this.#most - this.#size
    if (room > 0) {
      const kept = chunk.length > room ? chunk.subarray(0, room) : chunk
      this.#chunks.push(kept)
      this.#size += kept.length
    }
    if (chunk.length > room) this.truncated = true
    return chunk.length <= room
  }

  result(encoding: BufferEncoding | 'buffer'): string | Buffer {
    const whole = this.#chunks.length === 1 ? (this.#chunks[0] as Buffer) : Buffer.concat(this.#chunks)
    if (encoding === 'buffer') return whole
    // The character that the bound has cut in two is left out.
    return this.truncated ? new StringDecoder(encoding).write(whole) : whole.toString(encoding)
  }
}

/** One call of run(), once its program runs. */
class Run {
  readonly #session: Session
  readonly #process: Process
  readonly #options: CheckedRun
  readonly #stdout: Collector
  readonly #stderr: Collector
  /** Of a callback or of the input: it comes out of run(). */
  #error: { error: unknown } | null = null

  constructor(session: Session, process: Process, options: CheckedRun) {
    this.#session = session
    this.#process = process
    this.#options = options
    this.#stdout = new Collector(options.maxBuffer)
    this.#stderr = new Collector(options.maxBuffer)
  }

  async result(): Promise<RunResult<string | Buffer>> {
    const { input, onStdout, onStderr } = this.#options
    this.#collect(this.#process.stdout as Readable, this.#stdout, onStdout)
    this.#collect(this.#process.stderr as Readable, this.#stderr, onStderr)
    if (input !== undefined) void this.#feed(input, this.#process.stdin as Writable)
    const status = await this.#process.wait()
    await this.#process.close()
    if (this.#error) throw this.#error.error
    const result = this.#resultOf(status)
    if (this.#process.usage?.left) throw this.#leftOver(result)
    return result
  }

  #collect(stream: Readable, collector: Collector, callback: ((chunk: Buffer) => void) | undefined): void {
    stream.on('data', (chunk: Buffer) => {
      if (callback && !this.#error) {
        try {
          callback(chunk)
        } catch (error) {
          this.#fail(error)
        }
      }
      const isWhole = collector.take(chunk)
      if (!isWhole && this.#options.onOverflow === 'kill') this.#kill()
    })
    stream.on('error', () => undefined)
  }

  /** The program may end, or close its input, before it has read all. */
  async #feed(input: RunInput, stdin: Writable): Promise<void> {
    stdin.on('error', () => undefined)
    if (typeof input === 'string' || input instanceof Uint8Array) {
      stdin.end(input)
      return
    }
    const source = input instanceof Readable ? input : Readable.from(input)
    const isOver = (): boolean => stdin.destroyed || this.#process.exitStatus !== null
    source.on('error', (error) => {
      if (!isOver()) this.#fail(error)
    })
    this.#process.whenExited(() => source.destroy())
    stdin.on('close', () => source.destroy())
    source.pipe(stdin)
    await finished(stdin).catch(() => undefined)
  }

  #fail(error: unknown): void {
    this.#error ??= { error }
    this.#kill()
  }

  #kill(): void {
    this.#process.kill('SIGKILL', { tree: true }).catch(() => undefined)
  }

  #resultOf(status: ExitStatus): RunResult<string | Buffer> {
    const { encoding } = this.#options
    const { usage } = this.#process
    return {
      ...status,
      stdout: this.#stdout.result(encoding),
      stderr: this.#stderr.result(encoding),
      truncated: this.#stdout.truncated || this.#stderr.truncated,
      aborted: usage?.aborted ?? false,
      durationMs: (usage?.durationUsec ?? 0) / usecPerMs,
      cpuUsec: usage?.cpuUsec,
      maxRssBytes: usage?.maxRssBytes ?? 0,
      memoryPeakBytes: usage?.memoryPeakBytes,
    }
  }

  #leftOver(result: object): ContainerError {
    const { id: containerId, timeout } = this.#session
    const processId = this.#process.id
    const context: FailureContext = { containerId, processId }
    return new ContainerError(
      'ERR_KILL_TIMEOUT',
      `container '${containerId}', process '${processId}': not all that it started has ended ${timeout} ms after SIGKILL`,
      { ...context, result },
    )
  }
}

/** See {@link Container.run}. */
export async function run(
  session: Session,
  spec: ProcessSpec,
  options: RunOptions,
): Promise<RunResult<string | Buffer>> {
  const checked = checkRunOptions(options)
  if (spec.terminal)
    throw invalidValue('spec.terminal cannot be true: run() collects stdout and stderr apart')
  const stdin = checked.input === undefined ? 'ignore' : 'pipe'
  const process = await exec(
    session,
    null,
    spec,
    { ...checked.exec, stdin, stdout: 'pipe', stderr: 'pipe' },
    { bound: true, sweep: true },
  )
  return new Run(session, process, checked).result()
}
