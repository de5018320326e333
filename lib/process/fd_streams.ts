// A pipe's or a socket's descriptor as a stream, which owns it: by Node's net.Socket, which in Bun takes none, and there by
// Bun's own files.
import { close, write } from 'node:fs'
import { Socket } from 'node:net'
import { Readable, Writable } from 'node:stream'

interface BunFiles {
  file(fd: number): { stream(): ReadableStream<Uint8Array> }
}

const bun = (globalThis as { Bun?: BunFiles }).Bun ?? null
export const isBun = bun !== null

/** Between two tries to write into a pipe that is full. */
const fullPipeMs = 2

/** `bytesRead`: how many have come, whether they have been taken or not. */
export type Incoming = Readable & { readonly bytesRead: number }

class BunReadable extends Readable {
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

class BunWritable extends Writable {
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
export function bunReader(fd: number): ReadableStreamDefaultReader<Uint8Array> {
  return (bun as BunFiles).file(fd).stream().getReader()
}

/** Reads from `fd`. */
export function openReadable(fd: number): Incoming {
  return bun ? new BunReadable(fd) : new Socket({ fd, readable: true, writable: false })
}

/** Writes to `fd`. */
export function openWritable(fd: number): Writable {
  return bun ? new BunWritable(fd) : new Socket({ fd, readable: false, writable: true })
}
