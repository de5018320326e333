// Bun's special cases. Its net.Socket takes no descriptor, so pipes and the shim's socket are read by its own files.
import { close, closeSync, write } from 'node:fs'
import { Readable, Writable } from 'node:stream'
import { FrameParser } from '../shim/frames.js'

interface BunFiles {
  file(fd: number): { stream(): ReadableStream<Uint8Array> }
}

const bun = (globalThis as { Bun?: BunFiles }).Bun ?? null
export const isBun = bun !== null

/** Between two tries to write into a pipe that is full. */
const fullPipeMs = 2

export class BunReadable extends Readable {
  bytesRead = 0
  readonly #fd: number
  readonly #reader: ReadableStreamDefaultReader<Uint8Array>
  #reading = false

  constructor(fd: number) {
    super()
    this.#fd = fd
    this.#reader = bunReader(fd)
  }

  override _read(): void {
    if (this.#reading) return
    this.#reading = true
    this.#reader.read().then(
      ({ done, value }) => {
        this.#reading = false
        if (done) {
          this.push(null)
        } else {
          this.bytesRead += value.length
          this.push(Buffer.from(value))
        }
      },
      (error: unknown) => this.destroy(error as Error),
    )
  }

  override _destroy(error: Error | null, callback: (error?: Error | null) => void): void {
    this.#reader.cancel().catch(() => undefined)
    close(this.#fd, () => callback(error))
  }
}

export class BunWritable extends Writable {
  readonly #fd: number

  constructor(fd: number) {
    super()
    this.#fd = fd
  }

  override _write(chunk: Buffer, _encoding: BufferEncoding, callback: (error?: Error | null) => void): void {
    write(this.#fd, chunk, (error, written) => {
      if (error && error.code !== 'EAGAIN') return callback(error)
      const rest = chunk.subarray(error ? 0 : written)
      if (rest.length === 0) return callback()
      setTimeout(() => {
        if (this.destroyed) callback()
        else this._write(rest, _encoding, callback)
      }, fullPipeMs)
      return
    })
  }

  override _destroy(error: Error | null, callback: (error?: Error | null) => void): void {
    close(this.#fd, () => callback(error))
  }
}

/** Bun reads by a copy of the descriptor, made now, which it closes at the end of file. */
function bunReader(fd: number): ReadableStreamDefaultReader<Uint8Array> {
  return (bun as BunFiles).file(fd).stream().getReader()
}

/** As receive() of shim/frames.ts; but a connection that is open keeps Bun's event loop alive. */
export function receiveInBun(fd: number, onMessage: (text: string | null) => void): { close(): void } {
  const parser = new FrameParser()
  const reader = bunReader(fd)
  closeSync(fd)
  let told = false
  const tell = (text: string | null): void => {
    if (!told) onMessage(text)
  }
  void (async () => {
    try {
      for (;;) {
        const { done, value } = await reader.read()
        if (done || told || !parser.push(Buffer.from(value), tell)) break
      }
    } catch {
      // What was lost is the same, for whatever reason.
    }
    tell(null)
    told = true
    await reader.cancel().catch(() => undefined)
  })()
  return {
    close: () => {
      told = true
      reader.cancel().catch(() => undefined)
    },
  }
}
