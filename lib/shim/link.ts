// A program's connection to a container's shim: requests with answers, and the events in between.
import { ContainerError, type FailureContext, type NativeFailure, toContainerError } from '../errors.js'
import { receive } from './frames.js'
import type { NativeBinding } from '../native/binding.js'
import { isElsewhere, pidNamespace } from '../native/pid_namespace.js'

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
  /** There are more processes than these: asked for by `list`. */
  more?: boolean
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
  /** Of its deadline. */
  stop: () => void
}

/** How long an answer may take. */
export interface Patience {
  /** Milliseconds. Left out: the handle's timeout and a margin, which is long for what a shim does at once. */
  limitMs?: number
  /** It may take long: meanwhile the shim is asked whether it is there at all. */
  watched?: boolean
}

/** How much later than the shim's own timeout its answer may come. */
const marginMs = 2000
/** A shim that does not answer a ping for so long is stopped or overloaded, not busy with a long call. */
const leastSilenceMs = 5000
/** The shim's bound for undoing a start. */
const startUndoMs = 15_000
const maxDelayMs = 2 ** 31 - 1
const EAGAIN = 11

/** The client's deadlines. They are later than those of the shim, whose errors say more. */
export const patienceOf = {
  exec: (timeout: number): Patience => ({ limitMs: timeout + marginMs }),
  execUndo: { limitMs: marginMs } as Patience,
  start: (timeout: number): Patience => ({ limitMs: timeout + startUndoMs + marginMs, watched: true }),
  startUndo: { limitMs: startUndoMs + marginMs, watched: true } as Patience,
  /** Covers the end of the processes, the runtime's delete, and the removal of a state directory of any size. */
  delete: { limitMs: 5 * 60_000, watched: true } as Patience,
  /** As long as CRIU needs, while the shim is there. */
  checkpoint: { limitMs: 24 * 3_600_000, watched: true } as Patience,
}

/**
 * Calls `work` after so many milliseconds, unless the function that it returns is called before. What was received while
 * this thread was busy is read first.
 */
function after(ms: number, work: () => void): () => void {
  let over = false
  const timer = setTimeout(
    () =>
      setImmediate(() => {
        if (!over) work()
      }),
    Math.min(ms, maxDelayMs),
  )
  return () => {
    over = true
    clearTimeout(timer)
  }
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
  readonly #timeout: number
  readonly #pending = new Map<number, Pending>()
  /** Requests that are watched, and what is under way for them. */
  readonly #watched = new Set<number>()
  #stopBeat: (() => void) | null = null
  #pinged = false
  /** Events from before somebody listens. */
  #early: WireMessage[] = []
  #seq = 0
  #closed = false
  #listener: ShimListener | null = null
  readonly #onEnded: (() => void)[] = []
  #hello: { resolve: (hello: WireMessage) => void; reject: (error: Error) => void } | null = null
  #shim: number | null = null

  private constructor(
    native: NativeBinding,
    containerId: string,
    timeout: number,
    connection: number,
    receiver: Receiver,
  ) {
    this.#native = native
    this.#containerId = containerId
    this.#timeout = timeout
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
   * ERR_START_TIMEOUT when it does not say hello in `timeout` milliseconds; ERR_SHIM_EXITED when it ends before;
   * ERR_SYSCALL with EMFILE when it has no descriptor for another connection; ShimBusy when another one serves the
   * container.
   */
  static async open(
    native: NativeBinding,
    containerId: string,
    timeout: number,
    open: () => Promise<number>,
    receiver: Receiver = receive,
  ): Promise<{ link: ShimLink; processes: WireProcess[] }> {
    native.ref()
    const opening = { link: null as ShimLink | null, over: false }
    let stop = (): void => undefined
    try {
      const silent = new Promise<never>((_, reject) => {
        stop = after(timeout, () => {
          opening.over = true
          reject(noAnswer(containerId, { containerId }, null, timeout))
          opening.link?.close()
        })
      })
      const greeted = ShimLink.#greet(native, containerId, timeout, open, receiver, opening)
      greeted.catch(() => undefined)
      const { link, hello } = await Promise.race([greeted, silent])
      stop()
      return { link, processes: await link.#rest(hello) }
    } finally {
      stop()
      native.unref()
    }
  }

  static async #greet(
    native: NativeBinding,
    containerId: string,
    timeout: number,
    open: () => Promise<number>,
    receiver: Receiver,
    opening: { link: ShimLink | null; over: boolean },
  ): Promise<{ link: ShimLink; hello: WireMessage }> {
    let connection: number | null = null
    while (connection === null) {
      try {
        connection = await open()
      } catch (error) {
        // More wait to be accepted than the kernel lets wait. Of other calls, such as clone(2), it is another shortage.
        const { errno, syscall } = error as NativeFailure
        if (errno !== EAGAIN || syscall !== 'connect' || opening.over) throw error
        await new Promise((resolve) => setTimeout(resolve, 10))
      }
    }
    let link: ShimLink
    try {
      if (opening.over) throw noAnswer(containerId, { containerId }, null, timeout)
      link = new ShimLink(native, containerId, timeout, connection, receiver)
    } catch (error) {
      native.closeConnection(connection)
      throw error
    }
    opening.link = link
    const hello = await new Promise<WireMessage>((resolve, reject) => {
      link.#hello = { resolve, reject }
    })
    return { link, hello }
  }

  /** All processes: a shim tells of as many at a time as fit into a message of moderate size. */
  async #rest(hello: WireMessage): Promise<WireProcess[]> {
    const processes = hello.processes ?? []
    let page = hello
    try {
      while (page.more) {
        const last = processes.at(-1)?.id ?? ''
        page = await this.request(
          { op: 'list', after: last },
          { containerId: this.#containerId },
          (result) => result as unknown as WireMessage,
        ).answer
        for (const process of page.processes ?? []) processes.push(process)
      }
    } catch (error) {
      this.close()
      throw error
    }
    return processes
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

  /** From here on, and also of what came since the hello. */
  listen(listener: ShimListener): void {
    this.#listener = listener
    const early = this.#early
    this.#early = []
    for (const message of early) this.#tellOf(listener, message)
    if (this.#closed) listener.onClosed()
  }

  /**
   * The number by which a request can be cancelled, and its answer; `onResult` runs before any later event. Without an
   * answer in time: ERR_START_TIMEOUT, and what the shim then still does of it is undone as far as it can be.
   */
  request<T>(
    request: Record<string, unknown>,
    context: FailureContext,
    onResult: (result: Record<string, unknown>) => T,
    body: string | null = null,
    fds: number[] = [],
    patience: Patience = {},
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
      const limitMs = patience.limitMs ?? this.#timeout + marginMs
      const stop = after(limitMs, () => this.#giveUp(seq, limitMs, request['process']))
      this.#pending.set(seq, {
        context,
        onResult: (result) => resolve(onResult(result)),
        onError: reject,
        stop,
      })
      if (patience.watched) {
        this.#watched.add(seq)
        this.#beat()
      }
    })
    return { seq, answer }
  }

  #take(seq: number): Pending | undefined {
    const pending = this.#pending.get(seq)
    if (!pending) return undefined
    this.#pending.delete(seq)
    this.#watched.delete(seq)
    pending.stop()
    this.#native.unref()
    return pending
  }

  /** The caller no longer waits. A shim that reads the request later does not begin it, or takes an exec back. */
  #giveUp(seq: number, waitedMs: number, process?: unknown): void {
    const pending = this.#take(seq)
    if (!pending) return
    try {
      this.tell({ op: 'cancel', target: seq, undo: true, ...(typeof process === 'string' && { process }) })
    } catch {
      // It cannot be told: the connection is full, or no more.
    }
    pending.onError(noAnswer(this.#containerId, pending.context, this.#shim, waitedMs))
  }

  /** Pings the shim while requests are watched. A shim answers that whatever else it does. */
  #beat(): void {
    if (this.#stopBeat || this.#closed || this.#watched.size === 0) return
    const silenceMs = Math.max(this.#timeout, leastSilenceMs)
    this.#stopBeat = after(this.#timeout / 2, () => {
      this.#stopBeat = null
      if (this.#watched.size === 0) return
      try {
        this.tell({ op: 'ping' })
      } catch {
        // As good as no answer.
      }
      this.#pinged = true
      this.#stopBeat = after(silenceMs, () => {
        this.#stopBeat = null
        this.#pinged = false
        for (const seq of [...this.#watched]) this.#giveUp(seq, silenceMs)
      })
    })
  }

  /** The shim is there, whatever it says. */
  #heard(): void {
    if (!this.#pinged) return
    this.#pinged = false
    this.#stopBeat?.()
    this.#stopBeat = null
    this.#beat()
  }

  /** A request that is answered by an event, or not at all. */
  tell(request: Record<string, unknown>): void {
    if (!this.#closed) this.#native.send(this.#connection, JSON.stringify({ ...request, seq: 0 }), null, [])
  }

  /**
   * Awaits an answer, or has the shim undo the call when the signal or the hook says so: that is awaited for as long as
   * `undo` says.
   */
  async abortable<T>(
    seq: number,
    answer: Promise<T>,
    signal: AbortSignal | undefined,
    undo: Patience,
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
        const cancel = this.request({ op: 'cancel', target: seq }, context, () => undefined, null, [], undo)
        const heard = await cancel.answer.then(
          () => true,
          () => false,
        )
        if (!heard && this.#pending.has(seq)) {
          own.catch(() => undefined)
          this.#giveUp(seq, 0)
          throw error
        }
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
    this.#heard()
    if (message.event !== undefined) return this.#event(message)
    const pending = this.#take(message.seq ?? 0)
    if (!pending) return
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
        this.#shim = message.pid ?? null
        this.#hello?.resolve(message)
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
      default:
        if (this.#listener) this.#tellOf(this.#listener, message)
        else this.#early.push(message)
    }
  }

  #tellOf(listener: ShimListener, message: WireMessage): void {
    switch (message.event) {
      case 'exit':
        if (message.exit) {
          listener.onExit({ id: message.process ?? '', pid: message.pid ?? null }, message.exit, {
            terminal: message.terminalBytes ?? 0,
            stdout: message.stdoutBytes ?? 0,
            stderr: message.stderrBytes ?? 0,
          })
        }
        break
      case 'written':
        listener.onWritten(message.process ?? '', {
          ...(message.stdoutBytes !== undefined && { stdout: message.stdoutBytes }),
          ...(message.stderrBytes !== undefined && { stderr: message.stderrBytes }),
        })
        break
      case 'created':
        listener.onCreated(message.pid ?? 0, message.starttime ?? 0, message.start ?? null)
        break
      case 'runtimeLog':
        listener.onRuntimeLog(message.command ?? '', message.log ?? '')
        break
      case 'deleted':
        listener.onDeleted()
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
    this.#stopBeat?.()
    for (const seq of [...this.#pending.keys()]) {
      const pending = this.#take(seq)
      pending?.onError(this.#gone(pending.context))
    }
    this.#listener?.onClosed()
    for (const resolve of this.#onEnded) resolve()
  }
}

function noAnswer(
  containerId: string,
  context: FailureContext,
  shim: number | null,
  waitedMs: number,
): ContainerError {
  const which =
    shim === null
      ? `its shim (pgrep -fx 'libcontainer-shim .*/${containerId}' finds it)`
      : `its shim, process ${shim},`
  return new ContainerError(
    'ERR_START_TIMEOUT',
    `container '${containerId}': ${which} has not answered for ${waitedMs} ms; it may be overloaded, or stopped (kill -CONT)`,
    context,
  )
}
