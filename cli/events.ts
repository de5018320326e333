// `libcontainer events`: what happens to containers from now on, those that are yet to come included.
import { statSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import {
  Container,
  type ContainerEvent,
  type ContainerState,
  type ExitStatus,
  type Process,
} from 'libcontainer'
import { complain, isGone } from './failure.js'
import { commandLine } from './format.js'
import { Listing } from './listing.js'
import { checkOutput, outputIsOver, writeJson, writeOut } from './output.js'
import { ending } from './ps.js'
import { findContainer } from './roots.js'

export interface EventsOptions {
  json: boolean
  signal: AbortSignal
}

/** What no event of the library tells, since another program did it, is looked for so often. */
const lookMs = 250

interface Told {
  type: ContainerEvent['type'] | 'created' | 'watching'
  at: Date
  id?: string
  root?: string
  process?: string
  pid?: number
  args?: readonly string[]
  count?: number
  status?: ExitStatus
  containers?: string[]
}

function line(event: Told): string {
  const about = ((): string => {
    if (event.containers) return `${event.containers.length} containers`
    if (event.status) return `${event.process} ${ending(event.status)}`
    if (event.args) return `${event.process} ${commandLine(event.args)}`
    return event.count === undefined ? '' : `${event.count} killed`
  })()
  return `${event.at.toISOString()}  ${event.type.padEnd(8)}  ${event.id ?? ''}  ${about}`.trimEnd() + '\n'
}

/** One container that is followed. */
class Followed {
  readonly root: string
  readonly id: string
  state: ContainerState | null = null
  readonly #tell: (event: Told) => void
  /** Connected to the shim, which tells of exits; only while something runs, so that the shim may leave. */
  #handle: Container | null = null
  #mtimeMs = 0
  readonly #started = new Set<string>()
  readonly #exited = new Set<string>()
  #deleted = false

  constructor(root: string, id: string, tell: (event: Told) => void) {
    this.root = root
    this.id = id
    this.#tell = tell
  }

  /** `fresh`: what is found is no news. */
  async look(fresh = false): Promise<void> {
    try {
      // A process that comes is a directory that comes.
      const { mtimeMs } = statSync(join(this.root, this.id))
      if (mtimeMs !== this.#mtimeMs || this.state === 'created') {
        this.#mtimeMs = mtimeMs
        await this.#reload(fresh)
      }
      if (this.#handle) this.#became(await this.#handle.status(), fresh)
    } catch (error) {
      if (isGone(error) || (error as NodeJS.ErrnoException).code === 'ENOENT') await this.deleted()
      else throw error
    }
  }

  async #reload(fresh: boolean): Promise<void> {
    const seen = await Container.load(this.root, this.id, { observe: true })
    const runs = [...seen.processes.values()].some(({ state }) => state === 'running')
    if (!runs) {
      this.#settle(seen, fresh)
      return seen.close()
    }
    await seen.close()
    const handle = await Container.load(this.root, this.id)
    const last = this.#handle
    this.#handle = handle
    void this.#pump(handle)
    this.#settle(handle, fresh)
    await last?.close()
  }

  /** Tells of what a handle knows and nobody was told of. */
  #settle(handle: Container, fresh: boolean): void {
    for (const process of handle.processes.values()) {
      this.#tellStarted(process, fresh)
      if (process.exitStatus) this.#tellExited(process, process.exitStatus, fresh)
    }
    this.#became(handle.state, fresh)
  }

  #became(state: ContainerState, fresh: boolean): void {
    const last = this.state
    this.state = state
    if (fresh) return
    if (state === 'paused' && last === 'running') this.#say({ type: 'paused' })
    else if (state === 'running' && last === 'paused') this.#say({ type: 'resumed' })
  }

  #say(event: Omit<Told, 'at' | 'id' | 'root'> & { at?: Date }): void {
    this.#tell({ at: new Date(), id: this.id, root: this.root, ...event })
  }

  #tellStarted(process: Process, fresh: boolean): void {
    const key = `${process.id}:${process.pid}`
    if (this.#started.has(key)) return
    this.#started.add(key)
    if (!fresh) {
      const { id, pid, spec } = process
      this.#say({ type: 'started', process: id, pid, args: spec.args })
    }
  }

  #tellExited(process: Process, status: ExitStatus, fresh: boolean, at = status.exitedAt): void {
    const key = `${process.id}:${process.pid}`
    if (this.#exited.has(key)) return
    this.#exited.add(key)
    if (!fresh) this.#say({ type: 'exited', at, process: process.id, pid: process.pid, status })
  }

  async #pump(handle: Container): Promise<void> {
    try {
      for await (const event of handle.events()) {
        if (event.type === 'exited') {
          this.#tellStarted(event.process, false)
          this.#tellExited(event.process, event.status, false, event.at)
          // Nothing runs: a connection would only keep the shim.
          const idle = [...handle.processes.values()].every(({ state }) => state === 'stopped')
          if (idle && this.#handle === handle) {
            this.#handle = null
            this.state = 'stopped'
            this.#mtimeMs = 0
            await handle.close()
          }
        } else if (event.type === 'oom' && this.#handle === handle) {
          this.#say({ type: 'oom', at: event.at, count: event.count })
        } else if (event.type === 'deleted') {
          await this.deleted(event.at)
        }
      }
    } catch (error) {
      complain(error)
    }
  }

  get gone(): boolean {
    return this.#deleted
  }

  async deleted(at = new Date()): Promise<void> {
    if (this.#deleted) return
    this.#deleted = true
    this.#say({ type: 'deleted', at })
    await this.close()
  }

  async close(): Promise<void> {
    const handle = this.#handle
    this.#handle = null
    await handle?.close()
  }
}

export async function events(
  roots: readonly string[],
  ids: readonly string[],
  options: EventsOptions,
): Promise<number> {
  let ready = false
  let writing = Promise.resolve()
  const tell = (event: Told): void => {
    // The first failure ends the loop below, and is thrown there.
    writing = writing
      .then(() => (options.json ? writeJson(event) : writeOut(line(event))))
      .catch(() => undefined)
  }
  const followed = new Map<string, Followed>()
  const follow = async (root: string, id: string): Promise<void> => {
    const one = new Followed(root, id, tell)
    followed.set(`${root}/${id}`, one)
    if (ready) tell({ type: 'created', at: new Date(), id, root })
    await one.look(!ready)
  }
  const listings = ids.length > 0 ? [] : roots.map((root) => new Listing(root))
  const list = async (): Promise<void> => {
    for (const listing of listings) {
      const found = await listing.look()
      if (!found) continue
      const present = new Set(found)
      for (const one of followed.values()) {
        if (one.root === listing.root && !present.has(one.id)) await one.deleted()
      }
      for (const id of found) {
        const known = followed.get(`${listing.root}/${id}`)
        if (!known || known.gone) await follow(listing.root, id).catch(complain)
      }
    }
  }
  try {
    for (const id of ids) {
      const container = await findContainer(roots, id, { observe: true })
      const { root } = container
      await container.close()
      await follow(root, id)
    }
    await list()
    ready = true
    tell({ type: 'watching', at: new Date(), containers: [...followed.values()].map(({ id }) => id) })
    while (!options.signal.aborted && !outputIsOver()) {
      await sleep(lookMs, undefined, { signal: options.signal }).catch(() => undefined)
      await list()
      for (const one of followed.values()) if (!one.gone) await one.look().catch(complain)
      if (ids.length > 0 && [...followed.values()].every(({ gone }) => gone)) break
      for (const [key, one] of followed) if (one.gone) followed.delete(key)
    }
    await writing
    checkOutput()
    return 0
  } finally {
    for (const listing of listings) listing.close()
    for (const one of followed.values()) await one.close()
  }
}
