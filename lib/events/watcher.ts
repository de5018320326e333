// Watchers of a container's cgroup: counts that the native epoll thread keeps, read as an iteration, by flush(), or by
// a poll loop of the host's own.
import { channel } from 'node:diagnostics_channel'
import { type NativeFailure, toContainerError } from '../errors.js'
import type { LiveContainer, NativeBinding, WatchFact, WatchRequest } from '../native/binding.js'

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
  held: boolean
  /** Iterations that wait: given what there is, or the end. They keep the watcher alive. */
  waiting: ((count: number) => void)[]
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
  if (core.count > 0) core.waiting.shift()?.(taken(core))
  if (core.removed) for (const wake of core.waiting.splice(0)) wake(0)
}

function taken(core: Core): number {
  const { count } = core
  core.count = 0
  return count
}

function release(core: Core): void {
  if (core.closed) return
  core.closed = true
  if (core.held) core.native.unref()
  core.native.closeWatch(core.watch)
  coresOf(core.native).delete(core.watch)
  for (const wake of core.waiting.splice(0)) wake(0)
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
}

/** @internal Registers with the kernel, off this thread. */
export async function openWatch(
  native: NativeBinding,
  container: LiveContainer,
  containerId: string,
  request: WatchRequest,
): Promise<WatchParts> {
  coresOf(native)
  try {
    return { native, watch: await native.watch(container, request), containerId, kind: request.kind }
  } catch (error) {
    throw toContainerError(error as NativeFailure, { containerId })
  }
}

/**
 * Counts something that happens to a container. Nothing is queued and nothing is lost: what happens while nobody reads is
 * added up. A watcher keeps no program alive, unless ref() is called. One that is dropped without close() is collected,
 * and said on the diagnostics channel `libcontainer:leaked`.
 */
export abstract class Watcher<Event> implements AsyncIterable<Event>, AsyncDisposable {
  /** Whose events these are. */
  readonly containerId: string
  readonly #core: Core

  /** @internal Watchers are made by Container. */
  constructor(parts: WatchParts) {
    this.containerId = parts.containerId
    this.#core = {
      ...parts,
      count: 0,
      atMs: 0,
      removed: false,
      closed: false,
      held: false,
      waiting: [],
    }
    coresOf(parts.native).set(parts.watch, this.#core)
    dropped.register(this, this.#core, this.#core)
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

  /** While it is open, the program does not end for want of other work. */
  ref(): this {
    const core = this.#core
    if (!core.closed && !core.held) {
      core.held = true
      core.native.ref()
    }
    return this
  }

  /** Takes ref() back; so it begins. */
  unref(): this {
    const core = this.#core
    if (!core.closed && core.held) {
      core.held = false
      core.native.unref()
    }
    return this
  }

  /** Ends its iterations and gives its descriptors back; again is no error. */
  close(): Promise<void> {
    dropped.unregister(this.#core)
    release(this.#core)
    return Promise.resolve()
  }

  /** As close(). */
  [Symbol.asyncDispose](): Promise<void> {
    return this.close()
  }

  /**
   * What happens from now on, and what has not been read yet; ends when the watcher is closed or, with what is left told
   * first, when the cgroup is removed. Leaving the loop closes nothing. Two iterations share the events between them.
   */
  [Symbol.asyncIterator](): AsyncIterator<Event, undefined, undefined> {
    const core = this.#core
    let left = false
    const end = { value: undefined, done: true } as const
    const toResult = (count: number): IteratorResult<Event, undefined> =>
      count === 0 ? end : { value: this.toEvent(new Date(core.atMs), count), done: false }
    return {
      // By hand, since a generator is some turns of promises later, and this is what hosts wait for.
      next: () => {
        if (left || core.closed) return Promise.resolve(end)
        if (core.count > 0 || core.removed) return Promise.resolve(toResult(taken(core)))
        return new Promise((resolve) => {
          core.waiting.push((count) => {
            resolve(toResult(count))
          })
        })
      },
      return: () => {
        left = true
        return Promise.resolve(end)
      },
    }
  }
}
