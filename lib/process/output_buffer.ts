// The stream of a process whose output its shim keeps: what is kept first, then live, across the ends of shims.
import { Readable } from 'node:stream'
import { openReadable } from './fd_streams.js'
import { ContainerError, type NativeFailure, toContainerError } from '../errors.js'
import { HandOver } from './hand_over.js'
import type { NativeBinding } from '../native/binding.js'
import type { FollowResult } from '../shim/protocol.js'

/** Asks the shim to write all from position `at` on to the pipe `fd`, of which it gets a copy. */
export type Follow = (at: number, fd: number) => Promise<FollowResult>

/** Asks for nothing until it is read. */
export class BufferedOutput extends Readable {
  readonly #native: NativeBinding
  readonly #follow: Follow
  #pipe: Readable | null = null
  #attaching = false
  #at = 0
  #total = 0
  #end: HandOver | null = null

  constructor(native: NativeBinding, follow: Follow) {
    super()
    this.#native = native
    this.#follow = follow
  }

  override _read(): void {
    if (this.#pipe) this.#pipe.resume()
    else if (!this.#attaching) void this.#attach()
  }

  override _destroy(error: Error | null, callback: (error?: Error | null) => void): void {
    this.#pipe?.destroy()
    callback(error)
  }

  /** The process has exited, having written up to position `total`. */
  exited(total: number): void {
    this.#total = total
    const isDry = (): boolean => this.#at >= this.#total
    this.#end = new HandOver({ stream: this, total, taken: () => this.#at, isDry })
  }

  /** No more than this came of it: another process of the container has read the rest from the pipe. */
  wrote(total: number): void {
    this.#total = total
  }

  /** After the exit: resolves once a reader has what was written before it. */
  async handedOver(): Promise<void> {
    await this.#end?.done()
  }

  async #attach(): Promise<void> {
    this.#attaching = true
    let ends: [number, number] | null = null
    try {
      ends = this.#native.pipe()
      const { from, ended } = await this.#follow(this.#at, ends[1])
      if (ended || this.destroyed) {
        this.#native.closeFd(ends[0])
        this.push(null)
        return
      }
      this.#at = from
      this.#copy(openReadable(this.#native, ends[0]))
    } catch (error) {
      if (ends) this.#native.closeFd(ends[0])
      // What is deleted or removed has no more to say; a handle that was closed has destroyed this.
      const code = error instanceof ContainerError ? error.code : null
      if (code === 'ERR_CONTAINER_NOT_FOUND' || code === 'ERR_PROCESS_NOT_FOUND') this.push(null)
      else this.destroy(error instanceof ContainerError ? error : toContainerError(error as NativeFailure))
    } finally {
      if (ends) this.#native.closeFd(ends[1])
      this.#attaching = false
    }
  }

  #copy(pipe: Readable): void {
    this.#pipe = pipe
    pipe.on('data', (chunk: Buffer) => {
      this.#at += chunk.length
      if (!this.push(chunk)) pipe.pause()
    })
    pipe.on('error', () => undefined)
    // At the stream's end, or because the shim ended: the one that serves now knows.
    pipe.on('close', () => {
      this.#pipe = null
      if (!this.destroyed) void this.#attach()
    })
  }
}
