// A process in a container: init, or one that exec started.
import { constants } from 'node:os'
import type { Readable, Writable } from 'node:stream'
import { BufferedOutput } from './output_buffer.js'
import { type FailureContext, type NativeFailure, toContainerError } from '../errors.js'
import { checkAbortSignal, checkClosed, checkSignal, checkSize, type Signal } from '../validate.js'
import type { NativeBinding } from '../native/binding.js'
import type { ProcessSpec } from '../oci/spec.js'
import type { FollowRequest, FollowResult, Request, Written } from '../shim/protocol.js'
import type { ExitRecord } from '../state/records.js'
import type { KeptOutput, ProcessStreams, StdioNames, StdioOptions } from './stdio.js'

/**
 * The types of handles that lie above this file and name themselves here, so that nothing is imported from above:
 * `container` is declared in container/container.ts.
 */
// eslint-disable-next-line @typescript-eslint/no-empty-object-type
export interface HandleTypes {}

/** How a process ended. */
export interface ExitStatus {
  /** 0..255; 128 + n for signal n; 255 when truly unknown. */
  exitCode: number
  /** The signal that ended it; null where it exited by itself, or that is not known. */
  signal: NodeJS.Signals | null
  /** When it ended; where `known` is false, when that was noticed. */
  exitedAt: Date
  /**
   * The OOM killer ended this very process. The kernel's log names whom it killed, in v1, v2 and nested cgroups alike, and
   * the shim reads it. Where it may not (no CAP_SYSLOG, a pid namespace that is not the machine's first), the container's
   * counter has to do (`oom_kill` of v1 memory.oom_control or v2 memory.events): a SIGKILL is then taken for the OOM
   * killer's when the counter has risen, also when that was for a process of the container that is no handle's. Unknown,
   * and false, for a kill between the end of one shim and the start of the next.
   */
  oomKilled: boolean
  /** False only where the kernel no longer tells. */
  known: boolean
}

/** @internal What a container lends to its processes. */
export interface ProcessHost {
  native: NativeBinding
  container: HandleTypes['container']
  /** ERR_SHIM_EXITED once the container's handle is closed. */
  mustBeOpen(): void
  request(request: Request, context: FailureContext): Promise<unknown>
  /** A connection, so that the exit will be told. */
  watch(): Promise<void>
  follow(request: FollowRequest, context: FailureContext, fd: number): Promise<FollowResult>
}

/** @internal */
export interface ProcessParts {
  id: string
  pid: number
  starttime: number
  /** Or how to make it, when somebody asks. */
  spec: ProcessSpec | (() => ProcessSpec)
  stdio: StdioNames
  streams: ProcessStreams | null
}

export function signalName(number: number): NodeJS.Signals | null {
  if (number === 0) return null
  // SIGIOT and SIGPOLL are other names of SIGABRT and SIGIO; the field's name is the one that comes out.
  const aliases = new Set(['SIGIOT', 'SIGPOLL'])
  for (const [name, value] of Object.entries(constants.signals)) {
    if (value === number && !aliases.has(name)) return name as NodeJS.Signals
  }
  return `SIG${number}` as NodeJS.Signals
}

export function toExitStatus(exit: ExitRecord): ExitStatus {
  return {
    exitCode: exit.exitCode,
    signal: signalName(exit.signal),
    exitedAt: new Date(exit.exitedAtMs),
    oomKilled: exit.oomKilled,
    known: exit.known,
  }
}

/**
 * The stream that there is for `name` of these StdioOptions. What gives none is `Stream | null` too and not null alone, of
 * which `process.stderr?.resume()` in code for processes of any kind would be an error.
 */
export type StreamFor<Options, Name extends keyof StdioOptions, Stream> =
  Options extends Readonly<Record<Name, 'pipe' | 'keep' | KeptOutput>> ? Stream : Stream | null

/** Options that TypeScript infers are not checked for names that are none: these take nothing. */
export type OnlyKnown<Options, Known> = { [Name in Exclude<keyof Options, keyof Known>]: never }

/** A process as start() and exec() give it: TypeScript knows by the options which of its streams are sure to be there. */
export type StartedProcess<Options> = Process & {
  /** There for `'pipe'`. */
  readonly stdin: StreamFor<Options, 'stdin', Writable>
  /** There for `'pipe'` and `'keep'`. */
  readonly stdout: StreamFor<Options, 'stdout', Readable>
  /** There for `'pipe'` and `'keep'`. */
  readonly stderr: StreamFor<Options, 'stderr', Readable>
}

const nothingWritten: Written = { terminal: 0, stdout: 0, stderr: 0 }

interface Waiter {
  resolve: (status: ExitStatus) => void
  reject: (error: Error) => void
}

/** A process in a container. Its handle needs no closing; what it keeps open is given back at its exit. */
export class Process {
  /** `'init'`, or as exec() was given it. */
  readonly id: string
  /** On the host. Once it has exited the number may be another process's. */
  readonly pid: number
  /** Paths as given; `/dev/null` for `'ignore'`; `keep`; `pipe`, `inherit` or `fd:N` for what belonged to a program. */
  readonly stdio: StdioNames
  /** Of `'pipe'` in the program that started it; else null. */
  readonly stdin: Writable | null
  /** Of `'pipe'` in the program that started it; of `'keep'` in every program; else null. */
  readonly stdout: Readable | null
  /** As stdout. All output of a terminal comes on stdout. */
  readonly stderr: Readable | null
  readonly #host: ProcessHost
  readonly #starttime: number
  readonly #streams: ProcessStreams | null
  #spec: ProcessSpec | (() => ProcessSpec)
  readonly #buffers: [BufferedOutput | null, BufferedOutput | null]
  #exit: ExitStatus | null = null
  #waiters = new Set<Waiter>()

  /** @internal Processes are made by Container. */
  constructor(host: ProcessHost, parts: ProcessParts) {
    this.#host = host
    this.id = parts.id
    this.pid = parts.pid
    this.#starttime = parts.starttime
    this.#spec = parts.spec
    this.stdio = parts.stdio
    this.#streams = parts.streams
    this.stdin = parts.streams?.stdin ?? null
    this.#buffers = [this.#buffered(parts.stdio.stdout, 1), this.#buffered(parts.stdio.stderr, 2)]
    this.stdout = parts.streams?.stdout ?? this.#buffers[0]
    this.stderr = parts.streams?.stderr ?? this.#buffers[1]
  }

  #buffered(name: string, stream: 1 | 2): BufferedOutput | null {
    if (name !== 'keep') return null
    return new BufferedOutput(this.#host.native, (at, fd) =>
      this.#host.follow({ op: 'follow', process: this.id, stream, at }, this.#context(), fd),
    )
  }

  /** The handle that it belongs to. */
  get container(): HandleTypes['container'] {
    return this.#host.container
  }

  /** The whole OCI process, with what an exec took from the container's own. */
  get spec(): ProcessSpec {
    if (typeof this.#spec === 'function') this.#spec = this.#spec()
    return this.#spec
  }

  /** What this handle knows: `'stopped'` once the exit was told. A paused container's processes are `'running'`. */
  get state(): 'running' | 'stopped' {
    return this.#exit ? 'stopped' : 'running'
  }

  /** Null while it runs. */
  get exitStatus(): ExitStatus | null {
    return this.#exit
  }

  /** @internal */
  get starttime(): number {
    return this.#starttime
  }

  /** @internal Less of a buffered stream will come than the exit said. */
  wrote(written: Partial<Written>): void {
    if (written.stdout !== undefined) this.#buffers[0]?.wrote(written.stdout)
    if (written.stderr !== undefined) this.#buffers[1]?.wrote(written.stderr)
  }

  /** @internal The shim, or the disk, says that it ended. */
  exited(exit: ExitRecord, written: Written = nothingWritten): void {
    if (this.#exit) return
    this.#exit = toExitStatus(exit)
    this.#streams?.exited(written.terminal)
    this.#buffers[0]?.exited(written.stdout)
    this.#buffers[1]?.exited(written.stderr)
    void this.#release([...this.#waiters], this.#exit)
  }

  /** Tells the waiters of the exit, once the readers have the output from before it. */
  #release(waiters: readonly Waiter[], status: ExitStatus): void | Promise<void> {
    const release = (): void => {
      for (const waiter of waiters) {
        if (!this.#waiters.delete(waiter)) continue
        this.#host.native.unref()
        waiter.resolve(status)
      }
    }
    if (waiters.length === 0) return
    const [stdout, stderr] = this.#buffers
    if (!this.#streams?.open && !stdout && !stderr) return release()
    return Promise.all([this.#streams?.handedOver(), stdout?.handedOver(), stderr?.handedOver()]).then(
      release,
    )
  }

  /** @internal Nobody will tell of the exit any more. */
  abandon(error: Error): void {
    const waiters = this.#waiters
    this.#waiters = new Set()
    for (const waiter of waiters) {
      this.#host.native.unref()
      waiter.reject(error)
    }
  }

  /**
   * Resolves with the exit status, also for a process loaded after its exit.
   *
   * Once the program has begun to read a stream, by `'data'`, `'readable'`, `for await`, `pipe()`, `pipeline()` or
   * `resume()`, `wait()` resolves when all that was written before the exit has been handed to that reader. The reader may
   * pause meanwhile. `wait()` does not wait for a stream that:
   * - nobody has begun to read when the exit is known: the output stays in the pipe, for a reader that comes later;
   * - is paused for good: its reader takes nothing for one second while there is something to take. A reader that itself
   *   awaits `wait()`, or a destination of `pipe()` that takes no more, counts as such;
   * - is destroyed.
   *
   * What a background child writes after the exit delays nothing, and still arrives on the stream. An aborted wait ends
   * nothing but itself.
   * @throws {ContainerError} ERR_SHIM_EXITED if the container's handle is closed while the process runs.
   */
  wait(options: { signal?: AbortSignal } = {}): Promise<ExitStatus> {
    try {
      checkClosed(options, 'options', { signal: true })
      const signal = checkAbortSignal(options.signal)
      const status = this.#exit
      if (signal?.aborted && !status) return Promise.reject(signal.reason as Error)
      return new Promise<ExitStatus>((resolve, reject) => {
        const waiter: Waiter = { resolve, reject }
        if (signal) {
          const onAbort = (): void => {
            if (this.#waiters.delete(waiter)) this.#host.native.unref()
            reject(signal.reason as Error)
          }
          signal.addEventListener('abort', onAbort, { once: true })
          const clear = (): void => signal.removeEventListener('abort', onAbort)
          waiter.resolve = (status) => (clear(), resolve(status))
          waiter.reject = (error) => (clear(), reject(error))
        }
        this.#waiters.add(waiter)
        this.#host.native.ref()
        if (status) {
          void this.#release([waiter], status)
        } else {
          this.#host.watch().catch((error: unknown) => {
            if (this.#waiters.delete(waiter)) this.#host.native.unref()
            waiter.reject(error as Error)
          })
        }
      })
    } catch (error) {
      return Promise.reject(error)
    }
  }

  /**
   * Signals this very process, by pidfd: never another one that got its number; SIGTERM.
   * ERR_PROCESS_EXITED once it has exited.
   */
  async kill(signal: Signal = 'SIGTERM'): Promise<void> {
    const number = checkSignal(signal)
    const context = this.#context()
    if (this.#exit) throw toContainerError({ code: 'ERR_PROCESS_EXITED', text: 'it has exited' }, context)
    this.#host.mustBeOpen()
    try {
      this.#host.native.signalProcess(this.pid, this.#starttime, number)
    } catch (error) {
      const failure = error as NativeFailure
      throw toContainerError(
        failure.errno === constants.errno.ESRCH ? { ...failure, code: 'ERR_PROCESS_EXITED' } : failure,
        context,
      )
    }
  }

  /**
   * Ends the program's standard input. On a terminal it sends the end-of-file character, and sends it again after part of
   * a line, since the first one only hands that part over. A file of input ends by itself. A second call is no error.
   */
  async closeStdin(): Promise<void> {
    if (this.#exit) return
    this.#host.mustBeOpen()
    if (this.stdin) {
      const stdin = this.stdin
      if (stdin.writableEnded || stdin.destroyed) return
      await new Promise<void>((resolve) => {
        stdin.once('close', resolve)
        stdin.end(() => resolve())
      })
      return
    }
    await this.#host.request({ op: 'closeStdin', process: this.id }, this.#context())
  }

  /** The size of its terminal, in characters, 0 to 65535. ERR_NOT_A_TERMINAL without one; ERR_PROCESS_EXITED. */
  async resize(size: { columns: number; rows: number }): Promise<void> {
    checkClosed(size, 'size', { columns: true, rows: true })
    const columns = checkSize(size.columns, 'size.columns')
    const rows = checkSize(size.rows, 'size.rows')
    const context = this.#context()
    if (!this.spec.terminal) {
      throw toContainerError({ code: 'ERR_NOT_A_TERMINAL', text: 'it has no terminal' }, context)
    }
    if (this.#exit) throw toContainerError({ code: 'ERR_PROCESS_EXITED', text: 'it has exited' }, context)
    this.#host.mustBeOpen()
    await this.#host.request({ op: 'resize', process: this.id, columns, rows }, context)
  }

  /** Lets go of its streams; the process runs on. A terminal whose output was a pipe is hung up (SIGHUP). */
  async close(): Promise<void> {
    this.#streams?.discard()
    for (const buffer of this.#buffers) buffer?.destroy()
  }

  #context(): FailureContext {
    return { containerId: this.container.id, processId: this.id }
  }
}
