// What one container's handle tells: to all streams that want its events, and to node:diagnostics_channel.
import { type Channel, channel } from 'node:diagnostics_channel'
import { ContainerError } from '../errors.js'
import type { NativeBinding } from '../native/binding.js'
import type { ExitStatus } from '../process/exit_status.js'
import type { HandleTypes, Process } from '../process/process.js'
import type { ContainerEvent, ContainerEventBase, ContainerEventType } from './event.js'
import type { OomWatcher } from './oom.js'
import type { EventQueue, EventSource } from './queue.js'

const channels: Record<ContainerEventType, Channel> = {
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

/** Processes whose start was told, and those whose exit came before it was; of all containers, to be small for each. */
const startTold = new WeakSet<Process>()
const exitedEarly = new WeakSet<Process>()

const hubs = new WeakMap<object, EventHub>()

/** That of a container's handle; undefined for anything else. */
export function hubOf(container: object): EventHub | undefined {
  return hubs.get(container)
}

/** One container's events, to all streams that want them and to the channels. */
export class EventHub implements EventSource {
  readonly native: NativeBinding
  readonly #container: HandleTypes['container']
  readonly #openOom: () => Promise<OomWatcher>
  readonly #queues = new Set<EventQueue>()
  #oom: { watcher: OomWatcher | null; ready: Promise<void>; over: Promise<void> } | null = null
  #over = false

  constructor(
    container: HandleTypes['container'],
    native: NativeBinding,
    openOom: () => Promise<OomWatcher>,
  ) {
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

  add(queue: EventQueue): Promise<void> {
    if (this.#over) {
      queue.leave(this)
      return Promise.resolve()
    }
    this.#queues.add(queue)
    return this.watch()
  }

  remove(queue: EventQueue): void {
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
    this.#emit({ ...this.#told('started'), process, anonymous: process.anonymous })
    if (exitedEarly.delete(process)) this.exited(process)
  }

  /** Told after its start, whichever was heard of first. `known`: of a process that ran when the handle was made. */
  exited(process: Process, known = false): void {
    if (!known && !startTold.has(process)) {
      exitedEarly.add(process)
      return
    }
    const status = process.exitStatus as ExitStatus
    this.#emit({ ...this.#told('exited', status.exitedAt), process, status, anonymous: process.anonymous })
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

  #told<T extends ContainerEventType>(type: T, at = new Date()): ContainerEventBase & { type: T } {
    return { type, containerId: this.#container.id, container: this.#container, at }
  }

  #emit(event: ContainerEvent): void {
    const to = channels[event.type]
    if (to.hasSubscribers) to.publish(event)
    for (const queue of this.#queues) queue.push({ ...event })
  }
}
