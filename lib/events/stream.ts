// What happens to containers, as one stream in its order.
import { checkAbortSignal, checkClosed } from '../validate.js'
import type { ContainerEvent } from './event.js'
import type { EventHub } from './hub.js'
import { EventQueue } from './queue.js'

const dropped = new FinalizationRegistry((queue: EventQueue) => queue.discard())

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
  readonly #queue: EventQueue

  /** @internal */
  constructor(of: readonly EventHub[], signal: AbortSignal | undefined) {
    const queue = new EventQueue(of)
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

/** @internal */
export function openStream(of: readonly EventHub[], options: { signal?: AbortSignal }): EventStream {
  checkClosed(options, 'options', { signal: true })
  return new EventStream(of, checkAbortSignal(options.signal))
}
