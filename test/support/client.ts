// A client that speaks the shim's protocol by hand.
import { once } from 'node:events'
import { connect, type Socket } from 'node:net'
import { eventually } from './wait.js'

/** One frame without descriptors. */
export function frame(payload: string): Buffer {
  const header = Buffer.alloc(8)
  header.writeUInt32LE(Buffer.byteLength(payload), 0)
  return Buffer.concat([header, Buffer.from(payload)])
}

/** A client that speaks the protocol by hand; `hear()` gives the next message. */
export async function client(
  path: string,
): Promise<{ socket: Socket; hear(): Promise<Record<string, never>> }> {
  const socket = connect(path)
  await once(socket, 'connect')
  let data = Buffer.alloc(0)
  socket.on('error', () => undefined)
  socket.on('data', (chunk: Buffer) => {
    data = Buffer.concat([data, chunk])
  })
  return {
    socket,
    hear: () =>
      eventually('a message', () => {
        if (data.length < 8 || data.length < 8 + data.readUInt32LE(0)) return null
        const length = data.readUInt32LE(0)
        const message = JSON.parse(data.subarray(8, 8 + length).toString()) as Record<string, never>
        data = data.subarray(8 + length)
        return message
      }),
  }
}
