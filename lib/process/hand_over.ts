// Tells when a reader has all of a stream that was written before the process exited.
import type { Readable } from 'node:stream'

/** A reader that takes nothing for so long, while there is something to take, has paused for good. */
const standstillMs = 1000
/** A running shim writes the rest sooner than this. */
const missingMs = 10_000
/** A look counts for no more: while the event loop was busy, no reader could take anything. */
const longestLookMs = 10
/** A reader that flows needs no more turns of the event loop than these, as a rule. */
const quickLooks = 20

/** What is asked of a stream. */
export interface HandOverParts {
  stream: Readable
  /** Bytes that were written before the exit. */
  total: number
  /** Bytes that the stream has taken, those in its buffer included. */
  taken: () => number
  /** True where nothing more will come of what was written before the exit. */
  isDry: () => boolean
}

/** The part of a stream that its reader must have before wait() resolves. */
export class HandOver {
  readonly #parts: HandOverParts
  /** How much the reader had when it was found to have paused for good; -1 for none that did. */
  #stoodStillAt = -1

  constructor(parts: HandOverParts) {
    this.#parts = parts
  }

  /**
   * Resolves when the reader has all of it; at once where there is no reader, and after a while where it takes no more.
   * Looks, and changes nothing of the stream: no event says that a chunk was handed over, of every kind of reader.
   */
  async done(): Promise<void> {
    let last = -1
    let at = performance.now()
    let stillMs = 0
    for (let look = 0; this.#isMissing(); ++look) {
      // One that was called just now comes in a moment.
      if (!this.#hasReader() && look > 0) return
      const had = this.#had()
      if (had === this.#stoodStillAt && look > 0) return
      const now = performance.now()
      stillMs = had === last ? stillMs + Math.min(now - at, longestLookMs) : 0
      at = now
      last = had
      if (stillMs >= (this.#isHeldUp() ? standstillMs : missingMs)) {
        this.#stoodStillAt = had
        return
      }
      await new Promise<void>((resolve) => {
        if (look < quickLooks) setImmediate(resolve)
        else setTimeout(resolve, stillMs < longestLookMs ? 1 : longestLookMs)
      })
    }
  }

  #isMissing(): boolean {
    const { stream, total, isDry } = this.#parts
    if (stream.destroyed || stream.readableEnded || this.#had() >= total) return false
    return stream.readableLength > 0 || !isDry()
  }

  /** Bytes that the reader has for sure. */
  #had(): number {
    const { stream, taken } = this.#parts
    // With setEncoding() the length is in UTF-16 units, of at most three bytes each.
    return taken() - stream.readableLength * (stream.readableEncoding === null ? 1 : 3)
  }

  #hasReader(): boolean {
    const { stream } = this.#parts
    return (
      stream.readableFlowing === true ||
      stream.readableDidRead ||
      stream.listenerCount('readable') > 0 ||
      stream.listenerCount('data') > 0
    )
  }

  /** By its reader, and not by who writes. */
  #isHeldUp(): boolean {
    const { stream } = this.#parts
    return (
      stream.readableLength > 0 || (stream.readableFlowing !== true && stream.listenerCount('readable') === 0)
    )
  }
}
