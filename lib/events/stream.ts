// What happens to containers, as one stream in its order.
import type { ContainerEvent } from './event.js'
import type { EventHub } from './hub.js'
import { type CheckedWatchOptions, checkWatchOptions, onAbort, type WatchOptions } from './options.js'
import { EventQueue } from './queue.js'

const dropped = new FinalizationRegistry((queue: EventQueue) => queue.discard())

/**
 * What happens to containers from now on, in order for each container.
 *
 * Events wait for their reader, so nothing is lost: a stream that nobody reads keeps all of them until it is closed or
 * dropped. While a `next()` is pending, as in `for await`, the stream keeps the program running, unless it was made with
 * `persistent: false` or `unref()` was called. A stream that nobody reads keeps no program running.
 */
export class EventStream implements AsyncIterable<ContainerEvent>, AsyncDisposable {
  /**
   * Resolves when the kernel has been asked to tell of OOM kills too; all else is told from the call on. If it cannot be
   * asked for want of descriptors or inotify watches, the iteration throws what oom() would. Without a memory controller
   * the stream has no `'oom'` events.
   */
  readonly ready: Promise<void>
  readonly #queue: EventQueue

  /** @internal */
  constructor(of: readonly EventHub[], { persistent, signal }: CheckedWatchOptions) {
    const queue = new EventQueue(of, persistent)
    this.#queue = queue
    this.ready = Promise.all([...new Set(of)].map((hub) => hub.add(queue))).then(() => undefined)
    if (of.length === 0) queue.end()
    queue.atEnd(onAbort(signal, (error) => queue.end({ error })))
    dropped.register(this, queue, queue)
  }

  /** Lets a pending `next()` keep the program running. This is the default. */
  ref(): this {
    this.#queue.persist(true)
    return this
  }

  /** Lets the program end while a `next()` is pending, as `persistent: false` does. */
  unref(): this {
    this.#queue.persist(false)
    return this
  }

  /** Ends the stream and drops what was not read. A second call does nothing. */
  close(): Promise<void> {
    dropped.unregister(this.#queue)
    this.#queue.discard()
    return Promise.resolve()
  }

  /** As close(). */
  [Symbol.asyncDispose](): Promise<void> {
    return this.close()
  }

  /**
   * Iterates over the events. Leaving the loop closes the stream. Two iterations share the events between them.
   *
   * After an abort each iteration gives what was not read yet, then rejects once with the signal's reason.
   */
  [Symbol.asyncIterator](): AsyncIterator<ContainerEvent, undefined, undefined> {
    let failed = false
    return {
      next: async () => {
        if (failed) return { value: undefined, done: true }
        try {
          return await this.#queue.next()
        } catch (error) {
          failed = true
          throw error
        }
      },
      return: async () => {
        await this.close()
        return { value: undefined, done: true }
      },
    }
  }
}

/** @internal */
export function openStream(of: readonly EventHub[], options: WatchOptions): EventStream {
  return new EventStream(of, checkWatchOptions(options))
}
