// Whether a shim is there at all, asked while requests take long: it answers a ping whatever else it does.
import { after } from './patience.js'

/** A shim that does not answer a ping for so long is stopped or overloaded, not busy with a long call. */
const leastSilenceMs = 5000

export interface HeartbeatParts {
  /** Milliseconds that the handle gives a shim to answer. */
  timeout: number
  ping: () => void
  /** The shim has said nothing for so long, and these requests wait. */
  onSilence: (watched: number[], silenceMs: number) => void
}

/** Pings the shim while requests are watched. */
export class Heartbeat {
  readonly #parts: HeartbeatParts
  readonly #watched = new Set<number>()
  #stop: (() => void) | null = null
  #pinged = false

  constructor(parts: HeartbeatParts) {
    this.#parts = parts
  }

  watch(seq: number): void {
    this.#watched.add(seq)
    this.#beat()
  }

  unwatch(seq: number): void {
    this.#watched.delete(seq)
  }

  /** The shim is there, whatever it says. */
  heard(): void {
    if (!this.#pinged) return
    this.#pinged = false
    this.end()
    this.#beat()
  }

  end(): void {
    this.#stop?.()
    this.#stop = null
  }

  #beat(): void {
    if (this.#stop || this.#watched.size === 0) return
    const { timeout, ping, onSilence } = this.#parts
    const silenceMs = Math.max(timeout, leastSilenceMs)
    this.#stop = after(timeout / 2, () => {
      this.#stop = null
      if (this.#watched.size === 0) return
      ping()
      this.#pinged = true
      this.#stop = after(silenceMs, () => {
        this.#stop = null
        this.#pinged = false
        onSilence([...this.#watched], silenceMs)
      })
    })
  }
}
