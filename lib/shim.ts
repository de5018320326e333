// A program's connection to a container's shim: requests with answers, and the events in between.
import { ContainerError, type FailureContext, type NativeFailure, toContainerError } from './errors.js'
import { receive } from './frames.js'
import type { NativeBinding } from './native.js'
import { isElsewhere, pidNamespace } from './pid_namespace.js'

/** How a process ended, as the shim words it. */
export interface WireExit {
  exitCode: number
  signal: number
  exitedAtMs: number
  oomKilled: boolean
  known: boolean
}

export interface WireProcess {
  id: string
  pid: number
  starttime: number
  exit?: WireExit
}

interface WireMessage {
  seq?: number
  result?: Record<string, unknown>
  error?: NativeFailure
  event?: string
  process?: string
  processes?: WireProcess[]
  /** In which the pids of a hello count. */
  pidNamespace?: string
  start?: number
  command?: string
  log?: string
  pid?: number
  starttime?: number
  terminalBytes?: number
  stdoutBytes?: number
  stderrBytes?: number
  exit?: WireExit
}

/** How much a process had written when it exited, where the shim copies it. */
export interface WireWritten {
  terminal: number
  stdout: number
  stderr: number
}

/** What a connection tells its container, in the order in which it happened. */
export interface ShimListener {
  /** `pid`: null from a shim of an earlier version of this package. */
  onExit(process: { id: string; pid: number | null }, exit: WireExit, written: WireWritten): void
  /** Less of a kept stream will come than its exit said: another process of the container has read it. */
  onWritten(id: string, written: Partial<WireWritten>): void
  /** `start`: the request that made it; null from a shim of version 0.1. */
  onCreated(pid: number, starttime: number, start: number | null): void
  /** Of a run of the runtime that succeeded and logged something. */
  onRuntimeLog(command: string, log: string): void
  onDeleted(): void
  onClosed(): void
}

export type WireStdio =
  | { kind: 'fd'; shared?: true; direct?: true }
  | { kind: 'path'; path: string; direct?: true }
  | { kind: 'keep'; bytes: number }
  | { kind: 'null' }

interface Pending {
  context: FailureContext
  onResult: (result: Record<string, unknown>) => void
  onError: (error: Error) => void
}

/** Thrown inside when another shim holds the container's lock: connect to that one. */
export class ShimBusy extends Error {}

/** How a connection's messages come in; a test has its own way. */
export type Receiver = typeof receive

export class ShimLink {
  readonly #native: NativeBinding
  readonly #containerId: string
  readonly #connection: number
  readonly #incoming: { close(): void }
  readonly #pending = new Map<number, Pending>()
  #seq = 0
  #closed = false
  #listener: ShimListener | null = null
  readonly #onEnded: (() => void)[] = []
  #hello: { resolve: (processes: WireProcess[]) => void; reject: (error: Error) => void } | null = null

  private constructor(native: NativeBinding, containerId: string, connection: number, receiver: Receiver) {
    this.#native = native
    this.#containerId = containerId
    this.#connection = connection
    const fd = native.reader(connection)
    try {
      this.#incoming = receiver(fd, (text) => this.#receive(text))
    } catch (error) {
      native.closeFd(fd)
      throw error
    }
  }

  /**
   * `open` gives the connection's number. Resolves once the shim has said hello, with the processes it knows.
   * ERR_SHIM_EXITED when it ends before; ShimBusy when another one serves the container.
   */
  static async open(
    native: NativeBinding,
    containerId: string,
    timeout: number,
    open: () => Promise<number>,
    receiver: Receiver = receive,
  ): Promise<{ link: ShimLink; processes: WireProcess[] }> {
    native.ref()
    let timer: NodeJS.Timeout | undefined
    try {
      const connection = await open()
      let link: ShimLink
      try {
        link = new ShimLink(native, containerId, connection, receiver)
      } catch (error) {
        native.closeConnection(connection)
        throw error
      }
      const hello = new Promise<WireProcess[]>((resolve, reject) => {
        link.#hello = { resolve, reject }
        timer = setTimeout(() => {
          reject(
            new ContainerError('ERR_START_TIMEOUT', `container '${containerId}': its shim did not answer`, {
              containerId,
            }),
          )
          link.close()
        }, timeout)
      })
      return { link, processes: await hello }
    } finally {
      clearTimeout(timer)
      native.unref()
    }
  }

  get closed(): boolean {
    return this.#closed
  }

  /** No request waits for its answer. */
  get idle(): boolean {
    return this.#pending.size === 0
  }

  /** Resolves once the connection is closed, and all that came over it before is known. */
  ended(): Promise<void> {
    if (this.#closed) return Promise.resolve()
    return new Promise((resolve) => this.#onEnded.push(resolve))
  }

  listen(listener: ShimListener): void {
    this.#listener = listener
  }

  /** The number by which a request can be cancelled, and its answer; `onResult` runs before any later event. */
  request<T>(
    request: Record<string, unknown>,
    context: FailureContext,
    onResult: (result: Record<string, unknown>) => T,
    body: string | null = null,
    fds: number[] = [],
  ): { seq: number; answer: Promise<T> } {
    const seq = ++this.#seq
    const answer = new Promise<T>((resolve, reject) => {
      if (this.#closed) return reject(this.#gone(context))
      try {
        this.#native.send(this.#connection, JSON.stringify({ ...request, seq }), body, fds)
      } catch (error) {
        const { errno } = error as NativeFailure
        // EPIPE, ECONNRESET, ENOTCONN: the other side is no more.
        return reject(
          errno === 32 || errno === 104 || errno === 107
            ? this.#gone(context)
            : toContainerError(error as NativeFailure, context),
        )
      }
      this.#native.ref()
      this.#pending.set(seq, { context, onResult: (result) => resolve(onResult(result)), onError: reject })
    })
    return { seq, answer }
  }

  /** A request that is answered by an event, or not at all. */
  tell(request: Record<string, unknown>): void {
    if (!this.#closed) this.#native.send(this.#connection, JSON.stringify({ ...request, seq: 0 }), null, [])
  }

  /** Awaits an answer, or has the shim undo the call when the signal or the hook says so. */
  async abortable<T>(
    seq: number,
    answer: Promise<T>,
    signal: AbortSignal | undefined,
    hook?: { failure: Promise<never> },
  ): Promise<T> {
    let onAbort: (() => void) | undefined
    const aborted = new Promise<never>((_, reject) => {
      if (!signal) return
      onAbort = () => reject(signal.reason as Error)
      signal.addEventListener('abort', onAbort, { once: true })
      if (signal.aborted) onAbort()
    })
    aborted.catch(() => undefined)
    let answered = false
    const own = answer.finally(() => {
      answered = true
    })
    own.catch(() => undefined)
    try {
      return await Promise.race(hook ? [own, aborted, hook.failure] : [own, aborted])
    } catch (error) {
      if (!answered) {
        const context = { containerId: this.#containerId }
        await this.request({ op: 'cancel', target: seq }, context, () => undefined).answer.catch(
          () => undefined,
        )
      }
      // What was done before the word reached the shim is done: a process that runs has a handle.
      const late = await own.then(
        (value) => ({ value }),
        () => null,
      )
      if (late) return late.value
      throw error
    } finally {
      if (onAbort) signal?.removeEventListener('abort', onAbort)
    }
  }

  close(): void {
    if (this.#closed) return
    this.#end()
  }

  #receive(text: string | null): void {
    if (this.#closed) return
    if (text === null) return this.#end()
    const message = JSON.parse(text) as WireMessage
    if (message.event !== undefined) return this.#event(message)
    const pending = this.#pending.get(message.seq ?? 0)
    if (!pending) return
    this.#pending.delete(message.seq as number)
    this.#native.unref()
    if (message.error) pending.onError(toContainerError(message.error, pending.context))
    else pending.onResult(message.result ?? {})
  }

  #event(message: WireMessage): void {
    switch (message.event) {
      case 'hello':
        if (isElsewhere(message.pidNamespace)) {
          this.#hello?.reject(this.#elsewhere(message.pidNamespace ?? ''))
          this.#hello = null
          this.close()
          break
        }
        this.#hello?.resolve(message.processes ?? [])
        this.#hello = null
        break
      case 'busy':
        this.#hello?.reject(new ShimBusy())
        this.#hello = null
        this.close()
        break
      case 'failed':
        this.#hello?.reject(toContainerError(message.error ?? {}, { containerId: this.#containerId }))
        this.#hello = null
        this.close()
        break
      case 'exit':
        if (message.exit) {
          this.#listener?.onExit({ id: message.process ?? '', pid: message.pid ?? null }, message.exit, {
            terminal: message.terminalBytes ?? 0,
            stdout: message.stdoutBytes ?? 0,
            stderr: message.stderrBytes ?? 0,
          })
        }
        break
      case 'written':
        this.#listener?.onWritten(message.process ?? '', {
          ...(message.stdoutBytes !== undefined && { stdout: message.stdoutBytes }),
          ...(message.stderrBytes !== undefined && { stderr: message.stderrBytes }),
        })
        break
      case 'created':
        this.#listener?.onCreated(message.pid ?? 0, message.starttime ?? 0, message.start ?? null)
        break
      case 'runtimeLog':
        this.#listener?.onRuntimeLog(message.command ?? '', message.log ?? '')
        break
      case 'deleted':
        this.#listener?.onDeleted()
        break
    }
  }

  #elsewhere(namespace: string): ContainerError {
    return new ContainerError(
      'ERR_UNSUPPORTED',
      `container '${this.#containerId}': its shim runs in ${namespace}, and this program in ${pidNamespace() ?? 'another'}: ` +
        'the pids of the one mean other processes in the other. Use a root of its own for each pid namespace',
      { containerId: this.#containerId },
    )
  }

  #gone(context: FailureContext): ContainerError {
    return new ContainerError(
      'ERR_SHIM_EXITED',
      `container '${this.#containerId}': its shim has ended`,
      context,
    )
  }

  #end(): void {
    this.#closed = true
    this.#incoming.close()
    this.#native.closeConnection(this.#connection)
    this.#hello?.reject(this.#gone({ containerId: this.#containerId }))
    this.#hello = null
    const pending = [...this.#pending.values()]
    this.#pending.clear()
    for (const { context, onError } of pending) {
      this.#native.unref()
      onError(this.#gone(context))
    }
    this.#listener?.onClosed()
    for (const resolve of this.#onEnded) resolve()
  }
}
