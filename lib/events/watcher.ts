// Watchers of a container's cgroup: counts that the native epoll thread keeps, read as an iteration, by flush(), or by
// a poll loop of the host's own.
import { channel } from 'node:diagnostics_channel'
import { type NativeFailure, toContainerError } from '../errors.js'
import type { LiveContainer, NativeBinding, WatchFact, WatchRequest } from '../native/binding.js'
import { type CheckedWatchOptions, onAbort } from './options.js'

/** Told of every watcher that was collected without having been closed: `{ containerId, kind }`. */
const leaked = channel('libcontainer:leaked')

/** What the native side reports to; knows nothing of the watcher, so that one that is dropped can be collected. */
interface Core {
  readonly native: NativeBinding
  readonly watch: number
  readonly containerId: string
  readonly kind: string
  /** Not taken by an iteration yet. One slot, however much comes. */
  count: number
  atMs: number
  removed: boolean
  closed: boolean
  /** The reason of an abort, which has closed it. */
  failure: { error: unknown } | null
  /** Whether an iteration that waits keeps the program running. */
  persistent: boolean
  holds: boolean
  waiting: Waiter[]
  /** Takes back the listener on the abort signal. */
  forgetSignal: () => void
}

/** A pending next(). It keeps the watcher alive. */
interface Waiter {
  iteration: object
  /** `count` is 0 at the end. */
  resolve: (count: number) => void
  reject: (error: unknown) => void
}

const cores = new WeakMap<NativeBinding, Map<number, Core>>()

function coresOf(native: NativeBinding): Map<number, Core> {
  let map = cores.get(native)
  if (!map) {
    const created = new Map<number, Core>()
    map = created
    cores.set(native, created)
    native.listenToWatches((facts: WatchFact[]) => {
      for (const [watch, count, atMs, removed] of facts) {
        const core = created.get(watch)
        if (core) receive(core, count, atMs, removed)
      }
    })
  }
  return map
}

function receive(core: Core, count: number, atMs: number, removed: boolean): void {
  if (count > 0) {
    core.count += count
    core.atMs = atMs
  }
  core.removed ||= removed
  if (core.count > 0) core.waiting.shift()?.resolve(taken(core))
  if (core.removed) for (const { resolve } of core.waiting.splice(0)) resolve(0)
  updateHold(core)
}

function updateHold(core: Core): void {
  const holds = core.persistent && core.waiting.length > 0
  if (holds === core.holds) return
  core.holds = holds
  if (holds) core.native.ref()
  else core.native.unref()
}

function taken(core: Core): number {
  const { count } = core
  core.count = 0
  return count
}

function release(core: Core, failure: { error: unknown } | null = null): void {
  if (core.closed) return
  core.closed = true
  core.failure = failure
  core.native.closeWatch(core.watch)
  coresOf(core.native).delete(core.watch)
  for (const { resolve, reject } of core.waiting.splice(0)) {
    if (failure) reject(failure.error)
    else resolve(0)
  }
  updateHold(core)
  core.forgetSignal()
}

const dropped = new FinalizationRegistry((core: Core) => {
  release(core)
  leaked.publish({ containerId: core.containerId, kind: core.kind })
})

/** @internal */
export interface WatchParts {
  native: NativeBinding
  watch: number
  containerId: string
  kind: string
  options: CheckedWatchOptions
}

/** @internal Registers with the kernel, off this thread. */
export async function openWatch(
  native: NativeBinding,
  container: LiveContainer,
  containerId: string,
  request: WatchRequest,
  options: CheckedWatchOptions,
): Promise<WatchParts> {
  const { signal } = options
  signal?.throwIfAborted()
  coresOf(native)
  let watch: number
  try {
    watch = await native.watch(container, request)
  } catch (error) {
    throw toContainerError(error as NativeFailure, { containerId })
  }
  if (signal?.aborted) {
    native.closeWatch(watch)
    throw signal.reason
  }
  return { native, watch, containerId, kind: request.kind, options }
}

/**
 * Counts something that happens to a container. Nothing is queued and nothing is lost: what happens while nobody reads is
 * added up.
 *
 * While a `next()` is pending, as in `for await`, the watcher keeps the program running, unless it was made with
 * `persistent: false` or `unref()` was called. A watcher that nobody reads keeps no program running. A watcher that is
 * dropped without close() is collected, and reported on the diagnostics channel `libcontainer:leaked`.
 */
export abstract class Watcher<Event> implements AsyncIterable<Event>, AsyncDisposable {
  /** Whose events these are. */
  readonly containerId: string
  readonly #core: Core

  /** @internal Watchers are made by Container. */
  constructor(parts: WatchParts) {
    const { native, watch, containerId, kind, options } = parts
    this.containerId = containerId
    const core: Core = {
      native,
      watch,
      containerId,
      kind,
      count: 0,
      atMs: 0,
      removed: false,
      closed: false,
      failure: null,
      persistent: options.persistent,
      holds: false,
      waiting: [],
      forgetSignal: () => undefined,
    }
    this.#core = core
    coresOf(native).set(watch, core)
    dropped.register(this, core, core)
    core.forgetSignal = onAbort(options.signal, (error) => release(core, { error }))
  }

  /** @internal */
  protected abstract toEvent(at: Date, count: number): Event

  /**
   * A descriptor for a poll loop of the host's own: readable while flush() would give more than 0, and for good once the
   * cgroup is gone. It stays the watcher's: only wait for it. Made when first asked for; -1 once closed. ERR_SYSCALL
   * when there is none to be had.
   */
  get fd(): number {
    const { native, watch, closed, containerId } = this.#core
    if (closed) return -1
    try {
      return native.watchFd(watch)
    } catch (error) {
      throw toContainerError(error as NativeFailure, { containerId })
    }
  }

  /** The cgroup is gone; an iteration has ended, or will with what is left to tell. */
  get removed(): boolean {
    return this.#core.removed
  }

  /** How many since the last flush, an iteration or none; reads the kernel's counter. 0 once closed. */
  flush(): number {
    const { native, watch, closed } = this.#core
    return closed ? 0 : native.flushWatch(watch)
  }

  /** Lets a pending `next()` keep the program running. This is the default. */
  ref(): this {
    this.#core.persistent = true
    updateHold(this.#core)
    return this
  }

  /** Lets the program end while a `next()` is pending, as `persistent: false` does. */
  unref(): this {
    this.#core.persistent = false
    updateHold(this.#core)
    return this
  }

  /** Ends its iterations and closes its descriptors. A second call does nothing. */
  close(): Promise<void> {
    dropped.unregister(this.#core)
    release(this.#core)
    this.#core.failure = null
    return Promise.resolve()
  }

  /** As close(). */
  [Symbol.asyncDispose](): Promise<void> {
    return this.close()
  }

  /**
   * Iterates over what happens from now on, and what has not been read yet. It ends when the watcher is closed or, after
   * what is left to tell, when the cgroup is removed. After an abort each iteration gives what was not read yet, then
   * rejects once with the signal's reason. Leaving the loop closes nothing. Two iterations share the events between them.
   */
  [Symbol.asyncIterator](): AsyncIterator<Event, undefined, undefined> {
    const core = this.#core
    const iteration = {}
    let over = false
    const end = { value: undefined, done: true } as const
    const toResult = (count: number): IteratorResult<Event, undefined> =>
      count === 0 ? end : { value: this.toEvent(new Date(core.atMs), count), done: false }
    return {
      // By hand, since a generator is some turns of promises later, and this is what hosts wait for.
      next: () => {
        if (over || (core.closed && !core.failure)) return Promise.resolve(end)
        if (core.count > 0) return Promise.resolve(toResult(taken(core)))
        return new Promise((resolve, reject) => {
          const fail = (error: unknown): void => {
            over = true
            reject(error as Error)
          }
          if (core.failure) return fail(core.failure.error)
          if (core.removed) return resolve(end)
          core.waiting.push({ iteration, resolve: (count) => resolve(toResult(count)), reject: fail })
          updateHold(core)
        })
      },
      return: () => {
        over = true
        const own = core.waiting.filter((waiter) => waiter.iteration === iteration)
        core.waiting = core.waiting.filter((waiter) => waiter.iteration !== iteration)
        for (const waiter of own) waiter.resolve(0)
        updateHold(core)
        return Promise.resolve(end)
      },
    }
  }
}
