// What a shim says, read on Node's own event loop: its answer wakes the JavaScript thread and no other one before it.
import { type OnReadOpts, Socket, type SocketConstructorOpts } from 'node:net'

/** Of a frame: its length and the number of its descriptors, of which a shim sends none. */
const headerBytes = 8
/** As FrameSocket's: who claims more is no shim. */
const maxPayload = 16 * 1024 * 1024

/** Of all sockets of this thread: each read is over before the next begins. */
const shared = Buffer.allocUnsafeSlow(65536)

/** Takes frames out of a stream of bytes that comes in pieces. */
export class FrameParser {
  /** Of a frame that is not whole yet, and how many bytes there must be before it is worth a look. */
  #pieces: Buffer[] = []
  #size = 0
  #wanted = headerBytes

  /** Calls `onMessage` with each whole frame's text, in order; false: this is no shim's stream. `chunk` may be used again. */
  push(chunk: Buffer, onMessage: (text: string) => void): boolean {
    let bytes = chunk
    if (this.#size > 0) {
      this.#keep(chunk)
      if (this.#size < this.#wanted) return true
      bytes = Buffer.concat(this.#pieces, this.#size)
      this.#pieces = []
      this.#size = 0
    }
    let at = 0
    this.#wanted = headerBytes
    while (bytes.length - at >= headerBytes) {
      const length = bytes.readUInt32LE(at)
      if (length > maxPayload || bytes.readUInt32LE(at + 4) !== 0) return false
      const end = at + headerBytes + length
      if (bytes.length < end) {
        this.#wanted = end - at
        break
      }
      onMessage(bytes.toString('utf8', at + headerBytes, end))
      at = end
    }
    if (at < bytes.length) this.#keep(bytes.subarray(at))
    return true
  }

  #keep(bytes: Buffer): void {
    this.#pieces.push(Buffer.from(bytes))
    this.#size += bytes.length
  }
}

/**
 * Calls `onMessage` for each frame that comes from the socket `fd`, which it owns from here on, and with null once when
 * that is over; not after close(). It keeps no event loop alive.
 */
export function receive(fd: number, onMessage: (text: string | null) => void): { close(): void } {
  const parser = new FrameParser()
  let told = false
  const onread: OnReadOpts = {
    buffer: shared,
    callback: (size, buffer) => {
      const good = parser.push((buffer as Buffer).subarray(0, size), (text) => {
        if (!told) onMessage(text)
      })
      if (!good) socket.destroy()
      return true
    },
  }
  // Without a stream in between; @types/node knows it of connect() alone.
  const options: SocketConstructorOpts & { onread: OnReadOpts } = {
    fd,
    readable: true,
    writable: false,
    onread,
  }
  const socket = new Socket(options)
  const end = (): void => {
    if (told) return
    told = true
    socket.destroy()
    onMessage(null)
  }
  // What was lost is the same to whoever listens, for whatever reason.
  socket.on('error', end)
  socket.on('end', end)
  socket.on('close', end)
  socket.unref()
  return {
    close: () => {
      told = true
      socket.destroy()
    },
  }
}
