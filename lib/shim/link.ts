// A program's connection to a container's shim: requests with answers, and the events in between.
import { constants } from 'node:os'
import { ContainerError, type FailureContext, type NativeFailure, toContainerError } from '../errors.js'
import type { NativeBinding } from '../native/binding.js'
import { isElsewhere, pidNamespace } from '../native/pid_namespace.js'
import type { ExitRecord } from '../state/records.js'
import { receive } from './frames.js'
import { Heartbeat } from './heartbeat.js'
import { after, marginMs, noAnswer, type Patience } from './patience.js'
import {
  type ContainerNews,
  type Event,
  type HelloEvent,
  type Message,
  type Notice,
  type Request,
  type ResultOf,
  type RunUsage,
  versionProblem,
  type Written,
} from './protocol.js'

const { ECONNRESET, ENOTCONN, EPIPE } = constants.errno

/** What a connection tells its container, in the order in which it happened. */
export interface ShimListener {
  onExit(
    process: { id: string; pid: number },
    exit: ExitRecord,
    written: Written,
    usage: RunUsage | null,
  ): void
  /** Less of a kept stream will come than its exit said: another process of the container has read it. */
  onWritten(id: string, written: Partial<Written>): void
  /** `start`: the request that made it. */
  onCreated(pid: number, starttime: number, start: number): void
  /** Of a run of the runtime that succeeded and logged something. */
  onRuntimeLog(command: string, log: string): void
  onDeleted(): void
  onClosed(): void
}

/** What goes with a request, and what becomes of its answer. */
export interface RequestParts<R extends Request, T> {
  /** Runs before any later event, and gives what the answer resolves with. */
  onResult?: (result: ResultOf<R>) => T
  body?: string
  fds?: number[]
  patience?: Patience
}

interface Pending {
  context: FailureContext
  onResult: (result: object) => void
  onError: (error: Error) => void
  /** Of its deadline. */
  stop: () => void
}

/** Thrown inside when another shim holds the container's lock: connect to that one. */
export class ShimBusy extends Error {}

/** How a connection's messages come in; a test has its own way. */
export type Receiver = typeof receive

export interface LinkParts {
  native: NativeBinding
  containerId: string
  /** Milliseconds that the shim may take to answer. */
  timeout: number
  receiver?: Receiver
}

/** A connection, which the shim is yet to accept: see `hello`. openLink() makes one that it has accepted. */
export class ShimLink {
  /** The shim's first word, or why it serves nobody here. */
  readonly hello: Promise<HelloEvent>
  readonly #native: NativeBinding
  readonly #containerId: string
  readonly #connection: number
  readonly #incoming: { close(): void }
  readonly #timeout: number
  readonly #pending = new Map<number, Pending>()
  readonly #heartbeat: Heartbeat
  /** Events from before somebody listens. */
  #early: ContainerNews[] = []
  #seq = 0
  #closed = false
  #listener: ShimListener | null = null
  readonly #onEnded: (() => void)[] = []
  /** Null once it is known whether this is a connection. */
  #greeting: { resolve: (hello: HelloEvent) => void; reject: (error: Error) => void } | null = null
  #shim: number | null = null

  constructor({ native, containerId, timeout, receiver = receive }: LinkParts, connection: number) {
    this.#native = native
    this.#containerId = containerId
    this.#timeout = timeout
    this.#connection = connection
    this.hello = new Promise((resolve, reject) => {
      this.#greeting = { resolve, reject }
    })
    this.hello.catch(() => undefined)
    this.#heartbeat = new Heartbeat({
      timeout,
      ping: () => this.#tryTell({ op: 'ping' }),
      onSilence: (watched, silenceMs) => {
        for (const seq of watched) this.#giveUp(seq, silenceMs)
      },
    })
    const fd = native.reader(connection)
    try {
      this.#incoming = receiver(fd, (text) => this.#receive(text))
    } catch (error) {
      native.closeFd(fd)
      throw error
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

  /** From here on, and also of what came since the hello. */
  listen(listener: ShimListener): void {
    this.#listener = listener
    const early = this.#early
    this.#early = []
    for (const message of early) this.#tellOf(listener, message)
    if (this.#closed) listener.onClosed()
  }

  /**
   * The number by which a request can be cancelled, and its answer. Without an answer in time: ERR_START_TIMEOUT, and
   * what the shim then still does of it is undone as far as it can be.
   */
  request<R extends Request, T = ResultOf<R>>(
    request: R,
    context: FailureContext,
    { onResult, body, fds = [], patience = {} }: RequestParts<R, T> = {},
  ): { seq: number; answer: Promise<T> } {
    const seq = ++this.#seq
    const answer = new Promise<T>((resolve, reject) => {
      if (this.#closed) return reject(this.#gone(context))
      try {
        this.#native.send(this.#connection, JSON.stringify({ ...request, seq }), body ?? null, fds)
      } catch (error) {
        const failure = error as NativeFailure
        const isGone = [EPIPE, ECONNRESET, ENOTCONN].includes(failure.errno ?? 0)
        return reject(isGone ? this.#gone(context) : toContainerError(failure, context))
      }
      this.#native.ref()
      const limitMs = patience.limitMs ?? this.#timeout + marginMs
      const process = 'process' in request ? request.process : undefined
      this.#pending.set(seq, {
        context,
        onResult: (result) => resolve(onResult ? onResult(result as ResultOf<R>) : (result as T)),
        onError: reject,
        stop: after(limitMs, () => this.#giveUp(seq, limitMs, process)),
      })
      if (patience.watched) this.#heartbeat.watch(seq)
    })
    return { seq, answer }
  }

  #take(seq: number): Pending | undefined {
    const pending = this.#pending.get(seq)
    if (!pending) return undefined
    this.#pending.delete(seq)
    this.#heartbeat.unwatch(seq)
    pending.stop()
    this.#native.unref()
    return pending
  }

  /** The caller no longer waits. A shim that reads the request later does not begin it, or takes an exec back. */
  #giveUp(seq: number, waitedMs: number, process?: string): void {
    const pending = this.#take(seq)
    if (!pending) return
    this.#tryTell({ op: 'cancel', target: seq, undo: true, ...(process !== undefined && { process }) })
    pending.onError(noAnswer(this.#containerId, pending.context, this.#shim, waitedMs))
  }

  /** Sends what is not answered, or by an event. */
  tell(notice: Notice): void {
    if (!this.#closed) this.#native.send(this.#connection, JSON.stringify({ ...notice, seq: 0 }), null, [])
  }

  #tryTell(notice: Notice): void {
    try {
      this.tell(notice)
    } catch {
      // It cannot be told, as good as no answer: the connection is full, or no more.
    }
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
        const cancel = this.request({ op: 'cancel', target: seq }, context, { patience: undo })
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
    const message = JSON.parse(text) as Message
    this.#heartbeat.heard()
    if ('event' in message) return this.#event(message)
    const pending = this.#take(message.seq)
    if (!pending) return
    if (message.error) pending.onError(toContainerError(message.error, pending.context))
    else pending.onResult(message.result)
  }

  #event(event: Event): void {
    switch (event.event) {
      case 'hello':
        return this.#greeted(event)
      case 'busy':
        return this.#refused(new ShimBusy())
      case 'failed':
        return this.#refused(toContainerError(event.error, { containerId: this.#containerId }))
      default:
        if (this.#listener) this.#tellOf(this.#listener, event)
        else this.#early.push(event)
    }
  }

  #greeted(hello: HelloEvent): void {
    const problem = versionProblem(hello, this.#containerId) ?? this.#elsewhere(hello.pidNamespace)
    if (problem) return this.#refused(problem)
    this.#shim = hello.pid
    this.#greeting?.resolve(hello)
    this.#greeting = null
  }

  #refused(error: Error): void {
    this.#greeting?.reject(error)
    this.#greeting = null
    this.close()
  }

  #tellOf(listener: ShimListener, event: ContainerNews): void {
    switch (event.event) {
      case 'exit': {
        const { process: id, pid, exit, terminalBytes, stdoutBytes = 0, stderrBytes = 0 } = event
        const written = { terminal: terminalBytes, stdout: stdoutBytes, stderr: stderrBytes }
        return listener.onExit({ id, pid }, exit, written, event.usage ?? null)
      }
      case 'written': {
        const { process: id, stdoutBytes: stdout, stderrBytes: stderr } = event
        const written = { ...(stdout !== undefined && { stdout }), ...(stderr !== undefined && { stderr }) }
        return listener.onWritten(id, written)
      }
      case 'created':
        return listener.onCreated(event.pid, event.starttime, event.start)
      case 'runtimeLog':
        return listener.onRuntimeLog(event.command, event.log)
      case 'deleted':
        return listener.onDeleted()
    }
  }

  #elsewhere(namespace: string | undefined): ContainerError | null {
    if (!isElsewhere(namespace)) return null
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
    this.#greeting?.reject(this.#gone({ containerId: this.#containerId }))
    this.#greeting = null
    this.#heartbeat.end()
    for (const seq of [...this.#pending.keys()]) {
      const pending = this.#take(seq)
      pending?.onError(this.#gone(pending.context))
    }
    this.#listener?.onClosed()
    for (const resolve of this.#onEnded) resolve()
  }
}
