// What happens to containers, as one stream in its order; the same on node:diagnostics_channel.
import { type Channel, channel } from 'node:diagnostics_channel'
import type { Container } from '../container/container.js'
import { ContainerError } from '../errors.js'
import type { NativeBinding } from '../native/binding.js'
import type { OomWatcher } from './oom.js'
import { checkAbortSignal, checkContainers, checkObject } from '../validate.js'
import type { ExitStatus, Process } from '../process/process.js'

/** What every event has. */
export interface ContainerEventBase {
  /** Whose event it is. */
  containerId: string
  /** The handle that tells. */
  container: Container
  /** When it happened; of an `'oom'` when the last of its kills was noticed. */
  at: Date
}

/** Something that happened to a container, by its `type`. */
export type ContainerEvent =
  | (ContainerEventBase & {
      /** The user's program runs: init's after start(), or one of exec(). */
      type: 'started'
      /** Its handle. */
      process: Process
    })
  | (ContainerEventBase & {
      /** A process of start() or exec() has ended. */
      type: 'exited'
      /** Its handle. */
      process: Process
      /** How it ended. */
      status: ExitStatus
    })
  | (ContainerEventBase & {
      /** The OOM killer ended processes of the container. */
      type: 'oom'
      /** How many, 1 or more. */
      count: number
    })
  | (ContainerEventBase & {
      /** By this handle: pause(), resume() or updateResources() has done its work. */
      type: 'paused' | 'resumed' | 'updated'
    })
  | (ContainerEventBase & {
      /** By any program. The last event of a container. */
      type: 'deleted'
    })

type Type = ContainerEvent['type']

const channels: Record<Type, Channel> = {
  started: channel('libcontainer:start'),
  exited: channel('libcontainer:exit'),
  oom: channel('libcontainer:oom'),
  paused: channel('libcontainer:pause'),
  resumed: channel('libcontainer:resume'),
  updated: channel('libcontainer:update'),
  deleted: channel('libcontainer:delete'),
}

/** How long `'deleted'` waits for the kernel's last word on OOM kills. */
const lastWordMs = 1000

/** What waits for the reader of a stream. Knows nothing of the stream, so that one that is dropped can be collected. */
class Queue {
  readonly hubs: Set<EventHub>
  readonly #native: NativeBinding | null
  #events: ContainerEvent[] = []
  /** Before it they are read: taking each from the front would move all that wait behind it. */
  #read = 0
  #ended = false
  #failure: { error: unknown } | null = null
  #held = false
  #waiting: (() => void)[] = []

  constructor(hubs: readonly EventHub[]) {
    this.hubs = new Set(hubs)
    this.#native = hubs[0]?.native ?? null
  }

  push(event: ContainerEvent): void {
    const last = this.#events.at(-1)
    if (event.type === 'oom' && last?.type === 'oom' && last.container === event.container) {
      last.count += event.count
      last.at = event.at
    } else {
      this.#events.push(event)
    }
    this.#waiting.shift()?.()
  }

  /** Nothing more of that container. */
  leave(hub: EventHub): void {
    if (this.hubs.delete(hub) && this.hubs.size === 0) this.end()
  }

  end(failure: { error: unknown } | null = null): void {
    if (this.#ended) return
    this.#ended = true
    this.#failure = failure
    this.hold(false)
    for (const hub of this.hubs) hub.remove(this)
    this.hubs.clear()
    for (const wake of this.#waiting.splice(0)) wake()
  }

  discard(): void {
    this.end()
    this.#events = []
    this.#read = 0
    this.#failure = null
  }

  hold(held: boolean): void {
    if (held === this.#held || (held && this.#ended)) return
    this.#held = held
    if (held) this.#native?.ref()
    else this.#native?.unref()
  }

  #take(): ContainerEvent | undefined {
    const value = this.#events[this.#read]
    if (!value) return undefined
    ++this.#read
    if (2 * this.#read >= this.#events.length) {
      this.#events.splice(0, this.#read)
      this.#read = 0
    }
    return value
  }

  async next(): Promise<IteratorResult<ContainerEvent, undefined>> {
    for (;;) {
      const value = this.#take()
      if (value) return { value, done: false }
      if (this.#failure) {
        const { error } = this.#failure
        this.#failure = null
        throw error
      }
      if (this.#ended) return { value: undefined, done: true }
      await new Promise<void>((resolve) => this.#waiting.push(resolve))
    }
  }
}

/** Processes whose start was told, and those whose exit came before it was; of all containers, to be small for each. */
const startTold = new WeakSet<Process>()
const exitedEarly = new WeakSet<Process>()

/** One container's events, to all streams that want them and to the channels. */
export class EventHub {
  readonly native: NativeBinding
  readonly #container: Container
  readonly #openOom: () => Promise<OomWatcher>
  readonly #queues = new Set<Queue>()
  #oom: { watcher: OomWatcher | null; ready: Promise<void>; over: Promise<void> } | null = null
  #over = false

  constructor(container: Container, native: NativeBinding, openOom: () => Promise<OomWatcher>) {
    this.#container = container
    this.native = native
    this.#openOom = openOom
    hubs.set(container, this)
  }

  /** Somebody listens, so that OOM kills are worth being watched for. */
  get wanted(): boolean {
    return !this.#over && this.#heard
  }

  get #heard(): boolean {
    return this.#queues.size > 0 || channels.oom.hasSubscribers
  }

  add(queue: Queue): Promise<void> {
    if (this.#over) {
      queue.leave(this)
      return Promise.resolve()
    }
    this.#queues.add(queue)
    return this.watch()
  }

  remove(queue: Queue): void {
    this.#queues.delete(queue)
    if (!this.#heard) void this.#unwatch()
  }

  /** Watches for OOM kills if anybody wants to know and init runs; again is no error. */
  watch(): Promise<void> {
    if (!this.wanted || this.#oom) return this.#oom?.ready ?? Promise.resolve()
    const opened = this.#openOom()
    const oom = { watcher: null as OomWatcher | null, ready: Promise.resolve(), over: Promise.resolve() }
    this.#oom = oom
    oom.ready = opened.then(
      (watcher) => {
        if (this.#oom !== oom) return watcher.close()
        oom.watcher = watcher
        oom.over = this.#relay(watcher)
        return
      },
      (error: unknown) => {
        if (this.#oom === oom) this.#oom = null
        const code = error instanceof ContainerError ? error.code : ''
        // It does not run yet or any more, or nobody counts: then there is no such event.
        if (/^ERR_(CONTAINER_.*|UNSUPPORTED)$/.test(code)) return
        for (const queue of [...this.#queues]) queue.end({ error })
      },
    )
    return oom.ready
  }

  async #relay(watcher: OomWatcher): Promise<void> {
    for await (const { at, count } of watcher) this.#emit({ ...this.#told('oom', at), count })
    await watcher.close()
    if (this.#oom?.watcher === watcher) this.#oom = null
  }

  async #unwatch(): Promise<void> {
    const oom = this.#oom
    this.#oom = null
    await oom?.watcher?.close()
  }

  started(process: Process): void {
    if (startTold.has(process)) return
    startTold.add(process)
    this.#emit({ ...this.#told('started'), process })
    if (exitedEarly.delete(process)) this.exited(process)
  }

  /** Told after its start, whichever was heard of first. `known`: of a process that ran when the handle was made. */
  exited(process: Process, known = false): void {
    if (!known && !startTold.has(process)) {
      exitedEarly.add(process)
      return
    }
    const status = process.exitStatus as ExitStatus
    this.#emit({ ...this.#told('exited', status.exitedAt), process, status })
  }

  did(type: 'paused' | 'resumed' | 'updated'): void {
    this.#emit(this.#told(type))
  }

  deleted(): void {
    if (this.#over) return
    this.#over = true
    const told = this.#told('deleted')
    const end = (): void => {
      this.#emit(told)
      this.#end()
    }
    const oom = this.#oom
    if (!oom?.watcher) return end()
    const bound = new Promise<void>((resolve) => setTimeout(resolve, lastWordMs).unref())
    void Promise.race([oom.over, bound]).then(end, end)
  }

  /** The handle was closed: nothing more is heard. */
  closed(): void {
    if (this.#over) return // deleted: its last event may still be to come
    this.#over = true
    this.#end()
  }

  #end(): void {
    void this.#unwatch()
    for (const queue of [...this.#queues]) queue.leave(this)
    this.#queues.clear()
  }

  #told<T extends Type>(type: T, at = new Date()): ContainerEventBase & { type: T } {
    return { type, containerId: this.#container.id, container: this.#container, at }
  }

  #emit(event: ContainerEvent): void {
    const to = channels[event.type]
    if (to.hasSubscribers) to.publish(event)
    for (const queue of this.#queues) queue.push({ ...event })
  }
}

const hubs = new WeakMap<object, EventHub>()

const dropped = new FinalizationRegistry((queue: Queue) => queue.discard())

/**
 * What happens to containers from now on, in order for each of them; events wait for their reader, so nothing is lost: a
 * stream that nobody reads holds all of them, until it is closed or dropped. It keeps no program alive, unless ref() is
 * called.
 */
export class EventStream implements AsyncIterable<ContainerEvent>, AsyncDisposable {
  /**
   * Resolves when the kernel has been asked to tell of OOM kills too; all else is told from the call on. Where it cannot
   * be asked for want of descriptors or inotify watches the iteration throws what oom() would; where no memory controller
   * is there, no such events come.
   */
  readonly ready: Promise<void>
  readonly #queue: Queue

  /** @internal */
  constructor(of: readonly EventHub[], signal: AbortSignal | undefined) {
    const queue = new Queue(of)
    this.#queue = queue
    this.ready = Promise.all([...new Set(of)].map((hub) => hub.add(queue))).then(() => undefined)
    if (of.length === 0) queue.end()
    if (signal) {
      const abort = (): void => queue.end({ error: signal.reason })
      if (signal.aborted) abort()
      else signal.addEventListener('abort', abort, { once: true })
    }
    dropped.register(this, queue, queue)
  }

  /** While it is open, the program does not end for want of other work. */
  ref(): this {
    this.#queue.hold(true)
    return this
  }

  /** Takes ref() back; so it begins. */
  unref(): this {
    this.#queue.hold(false)
    return this
  }

  /** Ends it; what was not read is dropped. Again is no error. */
  close(): Promise<void> {
    dropped.unregister(this.#queue)
    this.#queue.discard()
    return Promise.resolve()
  }

  /** As close(). */
  [Symbol.asyncDispose](): Promise<void> {
    return this.close()
  }

  /** Leaving the loop closes the stream. Two iterations share the events between them. */
  [Symbol.asyncIterator](): AsyncIterator<ContainerEvent, undefined, undefined> {
    return {
      next: () => this.#queue.next(),
      return: async () => {
        await this.close()
        return { value: undefined, done: true }
      },
    }
  }
}

/**
 * One stream of what happens to any of these containers; it ends when all of them are deleted or their handles closed.
 * The iteration throws the reason of `signal` when that is aborted, after what was not read yet.
 */
export function events(
  containers: readonly Container[],
  options: { signal?: AbortSignal } = {},
): EventStream {
  checkObject(options, 'options')
  const signal = checkAbortSignal(options.signal)
  return new EventStream(
    checkContainers(containers, (container) => hubs.get(container)),
    signal,
  )
}
