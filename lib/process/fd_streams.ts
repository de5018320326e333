// A pipe's or a socket's descriptor as a stream, which owns it: by Node's net.Socket, or in Bun by bun.ts.
import { Socket } from 'node:net'
import type { Readable, Writable } from 'node:stream'
import type { NativeBinding } from '../native/binding.js'
import { receive } from '../shim/frames.js'
import type { Receiver } from '../shim/link.js'
import { BunReadable, BunWritable, isBun, receiveInBun } from './bun.js'

/** `bytesRead`: how many have come, whether they have been taken or not. */
export type Incoming = Readable & { readonly bytesRead: number }

/** Reads from `fd`. */
export function openReadable(native: NativeBinding, fd: number): Incoming {
  return isBun ? new BunReadable(native, fd) : new Socket({ fd, readable: true, writable: false })
}

/** Writes to `fd`. */
export function openWritable(native: NativeBinding, fd: number): Writable {
  return isBun ? new BunWritable(native, fd) : new Socket({ fd, readable: false, writable: true })
}

/** Reads a shim's messages. */
export function receiverOf(native: NativeBinding): Receiver {
  return isBun ? (fd, onMessage) => receiveInBun(native, fd, onMessage) : receive
}
