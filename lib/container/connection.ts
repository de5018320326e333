// The connection to a container's shim: found or started when a call needs it, and made again when it is lost.
import { constants } from 'node:os'
import { join } from 'node:path'
import { ContainerError, type NativeFailure, toContainerError } from '../errors.js'
import type { NativeBinding } from '../native/binding.js'
import { receiverOf } from '../process/fd_streams.js'
import { ShimBusy, type ShimLink, type ShimListener } from '../shim/link.js'
import { openLink } from '../shim/open.js'
import type { ProcessEntry } from '../shim/protocol.js'

const { ECONNREFUSED, ENOENT } = constants.errno
/** How many shims in turn may be killed under one call. */
export const maxTakeovers = 3

/** Nothing listens on the container's socket. */
function isUnserved(error: unknown): boolean {
  const { errno } = error as NativeFailure
  return errno === ENOENT || errno === ECONNREFUSED
}

/** Its shim serves it and not this program: what there is to know of the container cannot be learned here. */
function isUnsupported(error: unknown): boolean {
  return error instanceof ContainerError && error.code === 'ERR_UNSUPPORTED'
}

/** What the addon says becomes one; anything else is passed on. */
function asContainerError(error: unknown, containerId: string): unknown {
  if (error instanceof ContainerError || !(error as NativeFailure).code) return error
  return toContainerError(error as NativeFailure, { containerId })
}

export interface ConnectionParts {
  native: NativeBinding
  root: string
  id: string
  /** Path of the shim's executable. */
  shim: string
  /** Milliseconds that a shim may take to answer. */
  timeout: number
}

/** What a connection tells its session, and asks it. */
export interface ConnectionListener extends Omit<ShimListener, 'onClosed'> {
  /** All processes that a shim knows which has just been connected to. */
  onProcesses(processes: ProcessEntry[]): void
  /** The shim has ended by itself. */
  onLost(): void
  /** Ids of processes that end with this program. */
  bound(): string[]
  /** ERR_CONTAINER_NOT_FOUND for a container that is deleted: no shim is started for it. */
  mustExist(): Promise<void>
}

export class Connection {
  readonly #parts: ConnectionParts
  readonly #listener: ConnectionListener
  #link: ShimLink | null = null
  #linking: Promise<ShimLink> | null = null
  /** Of the shim that was connected to last. */
  #processes: ProcessEntry[] = []
  #owns = false

  constructor(parts: ConnectionParts, listener: ConnectionListener) {
    this.#parts = parts
    this.#listener = listener
  }

  /** Null where there is none now. */
  get link(): ShimLink | null {
    return this.#link?.closed ? null : this.#link
  }

  /** While one is being made. */
  get connecting(): Promise<ShimLink> | null {
    return this.#linking
  }

  /** This handle made an ephemeral container: its connection is what the shim watches. */
  get owns(): boolean {
    return this.#owns
  }

  /** The connection to the container's shim; one is started where none serves. */
  connect(): Promise<ShimLink> {
    if (this.link) return Promise.resolve(this.link)
    this.#linking ??= this.#establish().finally(() => {
      this.#linking = null
    })
    return this.#linking
  }

  /** The same, and every shim hears that this program is the one that an ephemeral container belongs to. */
  async own(): Promise<void> {
    this.#owns = true
    try {
      await this.connect()
    } catch (error) {
      this.#owns = false
      this.letGo()
      throw error
    }
  }

  /** Closes it. No new one is made, unless a call needs it. */
  letGo(): void {
    const link = this.#link
    this.#link = null
    link?.close()
  }

  /** What its shim knows; null where none serves; 'silent' where one does and gives no answer. */
  async ask(): Promise<ProcessEntry[] | 'silent' | null> {
    const { native, root, id: containerId, timeout } = this.#parts
    const receiver = receiverOf(native)
    const connect = (): Promise<number> => native.connectShim(join(root, containerId))
    try {
      if (!this.link) return await this.#open(connect)
      // The connection that is there goes on to tell; another one is asked how things stand.
      const { link, processes } = await openLink({ native, containerId, timeout, receiver }, connect)
      link.close()
      return processes
    } catch (error) {
      if (isUnsupported(error)) throw error
      if (isUnserved(error)) return null
      if (error instanceof ContainerError) return error.code === 'ERR_SHIM_EXITED' ? null : 'silent'
      throw asContainerError(error, containerId)
    }
  }

  /** Has a shim started that takes over from one that ended. Null where it cannot be: the disk has to do then. */
  async takeOver(): Promise<ProcessEntry[] | null> {
    try {
      await this.connect()
      return this.#processes
    } catch (error) {
      if (error instanceof ContainerError && error.code === 'ERR_CONTAINER_NOT_FOUND') throw error
      if (isUnsupported(error)) throw error
      return null
    }
  }

  async #open(connect: () => Promise<number>): Promise<ProcessEntry[]> {
    const { native, id: containerId, timeout } = this.#parts
    const receiver = receiverOf(native)
    const { link, processes } = await openLink({ native, containerId, timeout, receiver }, connect)
    this.#link = link
    this.#processes = processes
    const listener = this.#listener
    link.listen({
      onExit: (process, exit, written, usage) => listener.onExit(process, exit, written, usage),
      onWritten: (id, written) => listener.onWritten(id, written),
      onCreated: (pid, starttime, start) => listener.onCreated(pid, starttime, start),
      onRuntimeLog: (command, log) => listener.onRuntimeLog(command, log),
      onDeleted: () => listener.onDeleted(),
      onClosed: () => {
        if (this.#link !== link) return // let go of
        this.#link = null
        listener.onLost()
      },
    })
    return processes
  }

  async #establish(): Promise<ShimLink> {
    const { native, root, id, shim, timeout } = this.#parts
    const directory = join(root, id)
    const context = { containerId: id }
    const end = performance.now() + timeout
    for (let attempt = 0; ; ++attempt) {
      try {
        let processes: ProcessEntry[]
        try {
          // A container that this handle has just made, and nobody else can know of, has no shim yet.
          processes = await this.#open(() => native.connectShim(directory))
        } catch (error) {
          if (!isUnserved(error)) throw error
          await this.#listener.mustExist()
          processes = await this.#open(() => native.spawnShim(shim, directory))
        }
        this.#listener.onProcesses(processes)
        // Told to every shim anew: one that took over from another does not know whose end to watch for.
        if (this.#owns) await this.#link?.request({ op: 'own' }, context).answer
        for (const process of this.#listener.bound()) {
          // One that has ended meanwhile belongs to nobody.
          await this.#link?.request({ op: 'own', process }, context).answer.catch(() => undefined)
        }
        if (this.#link) return this.#link
        // It ended as soon as it had said hello.
        throw new ContainerError('ERR_SHIM_EXITED', `container '${id}': its shim has ended`, context)
      } catch (error) {
        // Two programs started a shim, and the other one's won; or the one that served was just leaving.
        const busy = error instanceof ShimBusy
        if (busy && performance.now() > end) {
          throw new ContainerError('ERR_START_TIMEOUT', `container '${id}': its shim did not answer`, context)
        }
        const ended = error instanceof ContainerError && error.code === 'ERR_SHIM_EXITED'
        if (!busy && (!ended || attempt >= maxTakeovers)) throw asContainerError(error, id)
        await new Promise((resolve) => setTimeout(resolve, 10))
      }
    }
  }
}
