// A process in a container: init, or one that exec started.
import { constants } from 'node:os'
import type { Readable, Writable } from 'node:stream'
import { BufferedOutput } from './output_buffer.js'
import { type FailureContext, type NativeFailure, toContainerError } from '../errors.js'
import {
  checkAbortSignal,
  checkClosed,
  checkFlag,
  checkSignal,
  checkSize,
  isAnonymousId,
  type Signal,
} from '../validate.js'
import type { LiveContainer, NativeBinding } from '../native/binding.js'
import type { Resources } from '../oci/resources.js'
import type { ProcessSpec } from '../oci/spec.js'
import { type Stats, toStats } from '../oci/stats.js'
import { type Patience, patienceOf } from '../shim/patience.js'
import type { FollowRequest, FollowResult, Request, RunUsage, Written } from '../shim/protocol.js'
import type { ExitRecord } from '../state/records.js'
import { type ExitStatus, toExitStatus } from './exit_status.js'
import type { KeptOutput, ProcessStreams, StdioNames, StdioOptions } from './stdio.js'

/**
 * The types of handles that lie above this file and name themselves here, so that nothing is imported from above:
 * `container` is declared in container/container.ts.
 */
// eslint-disable-next-line @typescript-eslint/no-empty-object-type
export interface HandleTypes {}

/** @internal What a container lends to its processes. */
export interface ProcessHost {
  native: NativeBinding
  /** The container's, in milliseconds. */
  timeout: number
  container: HandleTypes['container']
  /** ERR_SHIM_EXITED once the container's handle is closed. */
  mustBeOpen(): void
  request(request: Request, context: FailureContext): Promise<unknown>
  /** As request(), and again of the next shim if this one ends. */
  insist(request: Request, context: FailureContext, patience: Patience): Promise<unknown>
  /** Asks the kernel about the process's own cgroup. */
  askOwn<T>(process: Process, question: (own: LiveContainer) => Promise<T>): Promise<T>
  updateOwn(process: Process, resources: Resources): Promise<void>
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
  /** Path of its own cgroup, relative to the container's; null without one. */
  cgroup?: string | null
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

/** ERR_UNSUPPORTED of what is asked about an own cgroup that there is not. */
export function noOwnCgroup(context: FailureContext): Error {
  const text = 'it has no cgroup of its own; pass `cgroup: true` to exec()'
  return toContainerError({ code: 'ERR_UNSUPPORTED', text }, context)
}

interface Waiter {
  resolve: (status: ExitStatus) => void
  reject: (error: Error) => void
}

/** A process in a container. Its handle needs no closing; what it keeps open is given back at its exit. */
export class Process {
  /** `'init'`, or as exec() was given it, or a generated one: see `anonymous`. */
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
  /**
   * Path of its own cgroup, relative to the container's, if exec() was given `cgroup`; else null. For `cgroup: 'path'` it is
   * null too: that cgroup is shared.
   */
  readonly cgroup: string | null
  readonly #host: ProcessHost
  readonly #starttime: number
  readonly #streams: ProcessStreams | null
  #spec: ProcessSpec | (() => ProcessSpec)
  readonly #buffers: [BufferedOutput | null, BufferedOutput | null]
  #exit: ExitStatus | null = null
  #usage: RunUsage | null = null
  #onExit: (() => void)[] = []
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
    this.cgroup = parts.cgroup ?? null
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

  /** exec() was called without an id. Once such a process has exited, its container forgets it. */
  get anonymous(): boolean {
    return isAnonymousId(this.id)
  }

  /** @internal What it used, once it has exited; null for all but those of run(). */
  get usage(): RunUsage | null {
    return this.#usage
  }

  /** @internal Calls it at the exit, or now. */
  whenExited(work: () => void): void {
    if (this.#exit) work()
    else this.#onExit.push(work)
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
  exited(exit: ExitRecord, written: Written = nothingWritten, usage: RunUsage | null = null): void {
    if (this.#exit) return
    this.#exit = toExitStatus(exit)
    this.#usage = usage
    for (const work of this.#onExit.splice(0)) work()
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
   * Signals this very process, by pidfd: never another one that got its number. Default: `'SIGTERM'`.
   *
   * With `tree`, signals everything in its own cgroup, also after the process itself has exited. SIGKILL then resolves once
   * nothing is left, and no fork escapes it: by cgroup.kill (Linux 5.14), else by freezer. A container that may write
   * cgroupfs can move a process out of the own cgroup, and with it out of reach.
   * @throws {ContainerError} ERR_PROCESS_EXITED once it has exited; with `tree`, once nothing of it is left.
   * @throws {ContainerError} ERR_UNSUPPORTED for `tree` without an own cgroup: see `cgroup` of exec().
   * @throws {ContainerError} ERR_KILL_TIMEOUT if something is left at the end of the container's timeout.
   */
  async kill(signal: Signal = 'SIGTERM', options: { tree?: boolean } = {}): Promise<void> {
    checkClosed(options, 'options', { tree: true })
    if (checkFlag(options.tree, 'tree')) return this.#killTree(checkSignal(signal))
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

  async #killTree(signal: number): Promise<void> {
    this.#mustHaveCgroup()
    const request = { op: 'signal', process: this.id, signal } as const
    await this.#host.insist(request, this.#context(), patienceOf.killTree)
  }

  /** The host pids in its own cgroup, nested ones included. Errors as stats(). */
  async pids(): Promise<number[]> {
    return this.#host.askOwn(this, (own) => this.#host.native.pids(own))
  }

  /**
   * The metrics of its own cgroup. On v2 only CPU time and pressure, unless the container was created with
   * `subgroups: true`: the others are undefined.
   * @throws {ContainerError} ERR_UNSUPPORTED without an own cgroup: see `cgroup` of exec().
   * @throws {ContainerError} ERR_PROCESS_EXITED once nothing is left in it.
   */
  async stats(): Promise<Stats> {
    return toStats(await this.#host.askOwn(this, (own) => this.#host.native.stats(own)))
  }

  /**
   * Stops everything in its own cgroup. Resolves when the kernel says that all stand still. Errors as stats(); ERR_SYSCALL
   * with ETIMEDOUT if it does not come to rest within the container's timeout: then it runs on.
   */
  async pause(): Promise<void> {
    const { timeout } = this.#host
    await this.#host.askOwn(this, (own) => this.#host.native.pause(own, timeout))
  }

  /** Lets everything in its own cgroup run on, unless the container itself is paused. Errors as stats(). */
  async resume(): Promise<void> {
    await this.#host.askOwn(this, (own) => this.#host.native.resume(own))
  }

  /**
   * Limits its own cgroup. What `resources` leaves out stays as it is. Errors as stats().
   * @throws {ContainerError} ERR_UNSUPPORTED on v2 unless the container was created with `subgroups: true`, and for
   * `blockIO` on v1, where throttling is not hierarchical. Nothing is changed then.
   */
  async updateResources(resources: Resources): Promise<void> {
    await this.#host.updateOwn(this, resources)
  }

  /**
   * Resolves when nothing that it started is left in its own cgroup.
   * @throws {ContainerError} ERR_UNSUPPORTED without an own cgroup: see `cgroup` of exec().
   */
  async empty(): Promise<void> {
    this.#mustHaveCgroup()
    await this.#host.insist({ op: 'empty', process: this.id }, this.#context(), patienceOf.empty)
  }

  #mustHaveCgroup(): void {
    if (this.cgroup === null) throw noOwnCgroup(this.#context())
  }

  #context(): FailureContext {
    return { containerId: this.container.id, processId: this.id }
  }
}
