// A pipe's or a socket's descriptor as a stream, which owns it.
import { Socket } from 'node:net'
import type { Readable, Writable } from 'node:stream'
import { BunReadable, BunWritable, isBun } from './bun.js'

/** `bytesRead`: how many have come, whether they have been taken or not. */
export type Incoming = Readable & { readonly bytesRead: number }

/** Reads from `fd`. */
export function openReadable(fd: number): Incoming {
  return isBun ? new BunReadable(fd) : new Socket({ fd, readable: true, writable: false })
}

/** Writes to `fd`. */
export function openWritable(fd: number): Writable {
  return isBun ? new BunWritable(fd) : new Socket({ fd, readable: false, writable: true })
}
