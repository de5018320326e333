// The events that wait for the reader of one stream.
import type { NativeBinding } from '../native/binding.js'
import type { ContainerEvent } from './event.js'

/** Where events come from: what one container's handle tells. */
export interface EventSource {
  readonly native: NativeBinding
  /** That queue wants no more. */
  remove(queue: EventQueue): void
}

/** What waits for the reader of a stream. Knows nothing of the stream, so that one that is dropped can be collected. */
export class EventQueue {
  readonly #sources: Set<EventSource>
  readonly #native: NativeBinding | null
  #events: ContainerEvent[] = []
  /** Before it they are read: taking each from the front would move all that wait behind it. */
  #read = 0
  #ended = false
  #failure: { error: unknown } | null = null
  #persistent: boolean
  #holds = false
  readonly #waiting: (() => void)[] = []
  readonly #onEnd: (() => void)[] = []

  constructor(sources: readonly EventSource[], persistent: boolean) {
    this.#sources = new Set(sources)
    this.#native = sources[0]?.native ?? null
    this.#persistent = persistent
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
    this.#updateHold()
  }

  /** Nothing more of that container. */
  leave(source: EventSource): void {
    if (this.#sources.delete(source) && this.#sources.size === 0) this.end()
  }

  end(failure: { error: unknown } | null = null): void {
    if (this.#ended) return
    this.#ended = true
    this.#failure = failure
    for (const source of this.#sources) source.remove(this)
    this.#sources.clear()
    for (const wake of this.#waiting.splice(0)) wake()
    this.#updateHold()
    for (const done of this.#onEnd.splice(0)) done()
  }

  /** Runs `done` at the end; at once if that has come. */
  atEnd(done: () => void): void {
    if (this.#ended) done()
    else this.#onEnd.push(done)
  }

  discard(): void {
    this.end()
    this.#events = []
    this.#read = 0
    this.#failure = null
  }

  /** Whether a reader that waits keeps the program running. */
  persist(persistent: boolean): void {
    this.#persistent = persistent
    this.#updateHold()
  }

  #updateHold(): void {
    const holds = this.#persistent && this.#waiting.length > 0
    if (holds === this.#holds) return
    this.#holds = holds
    if (holds) this.#native?.ref()
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
      if (this.#failure) throw this.#failure.error
      if (this.#ended) return { value: undefined, done: true }
      await new Promise<void>((resolve) => {
        this.#waiting.push(resolve)
        this.#updateHold()
      })
    }
  }
}
