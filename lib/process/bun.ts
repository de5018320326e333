// Bun's special cases. Its net.Socket takes no descriptor, and its own files read ahead, so that nobody knows how much of
// a pipe is on its way to the reader. Descriptors are read and written here when the native part says that they are ready.
import { close, closeSync, readSync, writeSync } from 'node:fs'
import { Readable, Writable } from 'node:stream'
import { errnoOf } from '../errors.js'
import type { NativeBinding } from '../native/binding.js'
import { FrameParser } from '../shim/frames.js'

export const isBun = 'Bun' in globalThis

/** Of all descriptors of this thread: each read is over before the next begins. */
const shared = Buffer.allocUnsafeSlow(65536)

const waiting = new WeakMap<NativeBinding, Map<number, () => void>>()

function waitingOf(native: NativeBinding): Map<number, () => void> {
  let found = waiting.get(native)
  if (!found) {
    const created = new Map<number, () => void>()
    found = created
    waiting.set(native, created)
    native.listenToReadiness((numbers) => {
      for (const number of numbers) {
        const work = created.get(number)
        created.delete(number)
        // Each by itself: one that throws is no other's business.
        if (work) process.nextTick(work)
      }
    })
  }
  return found
}

/** One descriptor, waited for again and again. */
class Waiter {
  readonly #native: NativeBinding
  readonly #fd: number
  readonly #writing: boolean
  /** Whether waiting keeps the event loop alive. */
  readonly #holds: boolean
  #number: number | null = null
  #ended = false

  constructor(native: NativeBinding, fd: number, { writing, holds }: { writing: boolean; holds: boolean }) {
    this.#native = native
    this.#fd = fd
    this.#writing = writing
    this.#holds = holds
  }

  get waits(): boolean {
    return this.#number !== null
  }

  /** Calls `work` once the descriptor is ready, or its other side is gone. Throws where it cannot be waited for. */
  wait(work: () => void): void {
    const all = waitingOf(this.#native)
    const number = this.#native.awaitReadiness(this.#fd, this.#writing)
    this.#number = number
    if (this.#holds) this.#native.ref()
    all.set(number, () => {
      if (this.#ended) return
      this.#clear()
      work()
    })
  }

  /** Before the descriptor is closed. */
  end(): void {
    this.#ended = true
    if (this.#number === null) return
    this.#native.forgetReadiness(this.#number)
    waitingOf(this.#native).delete(this.#number)
    this.#clear()
  }

  #clear(): void {
    this.#number = null
    if (this.#holds) this.#native.unref()
  }
}

/** What can be read now: empty at the end of file, null where it is nothing after all. */
function take(fd: number): Buffer | null {
  try {
    return Buffer.from(shared.subarray(0, readSync(fd, shared, 0, shared.length, null)))
  } catch (error) {
    if (errnoOf(error) === 'EAGAIN') return null
    throw error
  }
}

export class BunReadable extends Readable {
  bytesRead = 0
  readonly #fd: number
  readonly #waiter: Waiter

  constructor(native: NativeBinding, fd: number) {
    super()
    this.#fd = fd
    this.#waiter = new Waiter(native, fd, { writing: false, holds: true })
  }

  override _read(): void {
    if (this.#waiter.waits) return
    try {
      this.#waiter.wait(() => this.#ready())
    } catch (error) {
      this.destroy(error as Error)
    }
  }

  #ready(): void {
    try {
      const chunk = take(this.#fd)
      if (chunk === null) return this._read()
      this.bytesRead += chunk.length
      this.push(chunk.length === 0 ? null : chunk)
    } catch (error) {
      this.destroy(error as Error)
    }
  }

  override _destroy(error: Error | null, callback: (error?: Error | null) => void): void {
    this.#waiter.end()
    close(this.#fd, () => callback(error))
  }
}

export class BunWritable extends Writable {
  readonly #fd: number
  readonly #waiter: Waiter

  constructor(native: NativeBinding, fd: number) {
    super()
    this.#fd = fd
    this.#waiter = new Waiter(native, fd, { writing: true, holds: true })
  }

  override _write(chunk: Buffer, encoding: BufferEncoding, callback: (error?: Error | null) => void): void {
    try {
      this.#waiter.wait(() => {
        let written = 0
        try {
          written = writeSync(this.#fd, chunk)
        } catch (error) {
          if (errnoOf(error) !== 'EAGAIN') return callback(error as Error)
        }
        if (written === chunk.length) callback()
        else this._write(chunk.subarray(written), encoding, callback)
      })
    } catch (error) {
      callback(error as Error)
    }
  }

  override _destroy(error: Error | null, callback: (error?: Error | null) => void): void {
    this.#waiter.end()
    close(this.#fd, () => callback(error))
  }
}

/** As receive() of shim/frames.ts. */
export function receiveInBun(
  native: NativeBinding,
  fd: number,
  onMessage: (text: string | null) => void,
): { close(): void } {
  const parser = new FrameParser()
  const waiter = new Waiter(native, fd, { writing: false, holds: false })
  let told = false
  const close = (): void => {
    if (told) return
    told = true
    waiter.end()
    closeSync(fd)
  }
  const tell = (text: string): void => {
    if (!told) onMessage(text)
  }
  const end = (): void => {
    if (told) return
    close()
    onMessage(null)
  }
  const ready = (): void => {
    try {
      const bytes = take(fd)
      if (bytes !== null && (bytes.length === 0 || !parser.push(bytes, tell))) return end()
      if (!told) waiter.wait(ready)
    } catch {
      // What was lost is the same to whoever listens, for whatever reason.
      end()
    }
  }
  waiter.wait(ready)
  return { close }
}
