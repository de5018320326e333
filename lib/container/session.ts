// What a handle holds of its container: the connection to the shim, and what is known through it, from disk and from the
// kernel.
import { join } from 'node:path'
import type { Container } from './container.js'
import type { ContainerState } from './options.js'
import { ContainerError, type FailureContext, type NativeFailure, toContainerError } from '../errors.js'
import type { EventHub } from '../events/stream.js'
import type { Following } from '../process/output_buffer.js'
import type { ContainerBox, NativeBinding } from '../native/binding.js'
import { isElsewhere } from '../native/pid_namespace.js'
import { Process, type ProcessHost } from '../process/process.js'
import { type ProcessFile, readRecords, readState, type Records } from '../state/records.js'
import { tellRuntimeLog } from '../oci/runtime_log.js'
import { ShimBusy, ShimLink, type WireExit, type WireProcess, type WireWritten } from '../shim/link.js'
import { type StateFile, stateVersion } from '../state/directory.js'

interface EarlyExit {
  pid: number | null
  exit: WireExit
  written: WireWritten | undefined
}

const ENOENT = 2
const ECONNREFUSED = 111
/** How many shims in turn may be killed under one call. */
export const maxTakeovers = 3

function isGone(error: unknown): boolean {
  const { errno } = error as NativeFailure
  return errno === ENOENT || errno === ECONNREFUSED
}

/** What the addon says becomes one; anything else is passed on. */
function asContainerError(error: unknown, containerId: string): unknown {
  if (error instanceof ContainerError || !(error as NativeFailure).code) return error
  return toContainerError(error as NativeFailure, { containerId })
}

/** Null for one that does not run; ERR_SYSCALL where that cannot be seen now, for want of a descriptor or memory. */
export function startTimeOf(native: NativeBinding, pid: number, containerId: string): number | null {
  try {
    return native.startTime(pid)
  } catch (error) {
    throw toContainerError(error as NativeFailure, { containerId })
  }
}

/** The program that an ephemeral container belongs to runs, here. */
export function ownerRuns(
  native: NativeBinding,
  owner: NonNullable<StateFile['owner']>,
  containerId: string,
): boolean {
  return !isElsewhere(owner.pidNamespace) && startTimeOf(native, owner.pid, containerId) === owner.starttime
}

/** Its shim serves it from another pid namespace: what there is to know of it cannot be told here. */
function isServedElsewhere(error: unknown): boolean {
  return error instanceof ContainerError && error.code === 'ERR_UNSUPPORTED'
}

/** Processes that were started before their handle was made; of all containers, to be small for each. */
const loaded = new WeakSet<Process>()

export interface AttachmentParts {
  container: Container
  native: NativeBinding
  /** Path of the shim's executable. */
  shim: string
  file: StateFile
  /** Milliseconds that a shim may take to answer. */
  timeout: number
  hub: EventHub
}

export class Attachment {
  readonly processes = new Map<string, Process>()
  /** Ids of processes that are being started. */
  readonly starting = new Set<string>()
  link: ShimLink | null = null
  isCreated = true
  isPaused = false
  deleted = false
  closed = false
  earlierBoot = false
  /** This handle made an ephemeral container: its connection is what the shim watches. */
  owns = false
  /** Reaches for no shim unless a call needs one. */
  observes = false
  /** Called when the runtime has created what start() asked for. */
  onCreated: ((pid: number, starttime: number, start: number | null) => void) | null = null
  readonly #container: Container
  readonly #native: NativeBinding
  readonly #shim: string
  readonly #file: StateFile
  readonly #timeout: number
  readonly #hub: EventHub
  #host: ProcessHost | null = null
  /** Of the state file that was read last and was as it should be. */
  #readVersion: string | null = null
  #hello: WireProcess[] = []
  #linking: Promise<ShimLink> | null = null
  #box: { init: Process; box: ContainerBox } | null = null
  /** While processes are read from disk: exits of those that are not made yet. */
  #early: Map<string, EarlyExit> | null = null

  constructor({ container, native, shim, file, timeout, hub }: AttachmentParts) {
    this.#container = container
    this.#native = native
    this.#shim = shim
    this.#file = file
    this.#timeout = timeout
    this.#hub = hub
  }

  get #id(): string {
    return this.#container.id
  }

  get #root(): string {
    return this.#container.root
  }

  /** The container's state as far as this handle knows. */
  get state(): ContainerState {
    if (this.deleted) return 'stopped'
    const init = this.processes.get('init')
    if (!init) return 'created'
    if (init.exitStatus) return 'stopped'
    if (this.isCreated) return 'created'
    return this.isPaused ? 'paused' : 'running'
  }

  /** What processes ask of it. */
  get host(): ProcessHost {
    return (this.#host ??= {
      native: this.#native,
      container: this.#container,
      request: async (request, context) => {
        const link = await this.connect()
        return link.request(request, context, () => undefined).answer
      },
      watch: async () => {
        await this.connect()
      },
      follow: async (request, context, fd) => {
        for (let attempt = 0; ; ++attempt) {
          const link = await this.connect()
          try {
            return await link.request(request, context, (result) => result as unknown as Following, null, [
              fd,
            ]).answer
          } catch (error) {
            // Its end may be seen by the stream before it is by the connection.
            const ended = error instanceof ContainerError && error.code === 'ERR_SHIM_EXITED'
            if (!ended || this.closed || attempt >= maxTakeovers) throw error
            await link.ended()
          }
        }
      },
    })
  }

  /** Init, as far as this handle knows of one that runs. */
  #mayRun(): Process | null {
    const init = this.deleted ? undefined : this.processes.get('init')
    return init && !init.exitStatus ? init : null
  }

  /** Init, which another program, or a start whose shim was killed, may have started since this handle was made. */
  async #found(context: FailureContext): Promise<Process> {
    if (!this.deleted && !this.processes.has('init') && !(await this.discoverInit())) await this.mustExist()
    return this.#started(context)
  }

  /** Init, whether it still runs or not. */
  #started(context: FailureContext): Process {
    const init = this.processes.get('init')
    if (this.deleted) {
      throw new ContainerError('ERR_CONTAINER_NOT_FOUND', `container '${this.#id}' is deleted`, context)
    }
    if (!init) {
      throw new ContainerError('ERR_CONTAINER_NOT_STARTED', `container '${this.#id}' is not started`, context)
    }
    return init
  }

  #exitedError(context: FailureContext): ContainerError {
    return new ContainerError('ERR_CONTAINER_EXITED', `container '${this.#id}' has exited`, context)
  }

  /** Init, if it runs; also one that another program has started. */
  async running(context: FailureContext): Promise<Process> {
    const init = this.#mayRun() ?? (await this.#found(context))
    if (init.exitStatus) throw this.#exitedError(context)
    return init
  }

  /**
   * Init, if anything of the container runs. Without a pid namespace of the container's own, others may outlive init;
   * they are in the container's cgroups still.
   */
  async living(context: FailureContext): Promise<Process> {
    const init = this.#mayRun() ?? (await this.#found(context))
    if (!init.exitStatus) return init
    if (await this.ask(() => this.#native.lives(this.boxOf(init)))) return init
    throw this.#exitedError(context)
  }

  /** As living(), on this thread, of what this handle knows. */
  mustLive(context: FailureContext): Process {
    const init = this.#started(context)
    if (!init.exitStatus) return init
    let lives: boolean
    try {
      lives = this.#native.livesSync(this.boxOf(init))
    } catch (error) {
      throw toContainerError(error as NativeFailure, context)
    }
    if (!lives) throw this.#exitedError(context)
    return init
  }

  /** ERR_CONTAINER_NOT_FOUND once it is deleted, by whomever. */
  async mustExist(): Promise<void> {
    if (this.deleted) {
      throw new ContainerError('ERR_CONTAINER_NOT_FOUND', `container '${this.#id}' is deleted`, {
        containerId: this.#id,
      })
    }
    const version = await stateVersion(this.#root, this.#id)
    if (version !== null && version === this.#readVersion) return
    try {
      await readState(this.#native, this.#root, this.#id)
      this.#readVersion = version
    } catch (error) {
      if (error instanceof ContainerError && error.code === 'ERR_CONTAINER_NOT_FOUND') this.deleted = true
      throw error
    }
  }

  /** The kernel side of this container as it runs with that init. */
  boxOf(init: Process): ContainerBox {
    if (this.#box?.init !== init) {
      this.giveBack()
      const box = this.#native.container({
        id: this.#id,
        runtime: this.#container.runtime,
        runtimeArgs: this.#file.runtimeArgs,
        pid: init.pid,
        starttime: init.starttime,
      })
      this.#box = { init, box }
    }
    return this.#box.box
  }

  /** Asks the kernel; its refusal becomes a ContainerError. */
  async ask<T>(question: () => Promise<T>): Promise<T> {
    try {
      return await question()
    } catch (error) {
      throw toContainerError(error as NativeFailure, { containerId: this.#id })
    }
  }

  /** The same, about a container of which something must run. */
  async askOfLiving<T>(question: (box: ContainerBox) => Promise<T>): Promise<T> {
    const init = await this.living({ containerId: this.#id })
    return this.ask(() => question(this.boxOf(init)))
  }

  /** What is kept open of the container's files: not for the garbage collector to close some day. */
  giveBack(): void {
    if (this.#box) this.#native.giveBack(this.#box.box)
  }

  /** Processes on disk, made true by what the shim or the kernel knows. */
  async load(): Promise<void> {
    const before = this.link
    const early = (this.#early ??= new Map<string, EarlyExit>())
    try {
      const isLost = ({ pid, starttime, exit }: ProcessFile): boolean =>
        !exit && startTimeOf(this.#native, pid, this.#id) !== starttime
      const seen = this.observes ? await this.#read() : null
      // What ran and runs no more may be an exit that its shim is just writing down.
      const asks = !seen || seen.earlierBoot || seen.processes.some(isLost)
      const answer = asks ? await this.#askShim() : null
      // One that serves the container and says nothing, for now: none can take over from it, and what it has yet to
      // tell is not taken for unknown.
      const silent = answer === 'silent'
      let processes = silent ? null : answer
      let records = asks ? await this.#read() : seen
      if (!processes && !silent && !this.observes && this.#wantsShim(records)) {
        processes = await this.#takeOver()
        records = await this.#read()
      }
      const known = processes && new Map(processes.map((process) => [process.id, process]))
      this.earlierBoot = records.earlierBoot
      for (const file of records.processes) {
        if (this.processes.has(file.id)) continue
        const process = new Process(this.host, { ...file, streams: null })
        this.processes.set(file.id, process)
        loaded.add(process)
        const told = early.get(file.id)
        const wire = known?.get(file.id)
        const exit = (wire?.pid === file.pid ? wire.exit : undefined) ?? file.exit
        if (exit) {
          process.exited(exit)
        } else if (told && (told.pid === null || told.pid === file.pid)) {
          process.exited(told.exit, told.written)
        } else if (!known && (records.earlierBoot || (asks && !silent && isLost(file)))) {
          // It ended while nobody watched.
          process.exited({
            exitCode: 255,
            signal: 0,
            exitedAtMs: Date.now(),
            oomKilled: false,
            known: false,
          })
        }
      }
    } finally {
      this.#early = null
    }
    this.isCreated = false
    const init = this.processes.get('init')
    if (init && !init.exitStatus) {
      const state = await this.#native.status(this.boxOf(init)).catch((error: NativeFailure) => {
        // Of one whose record is gone it is told that it runs, which is known of its init.
        if (error.shortage) throw toContainerError(error, { containerId: this.#id })
        return 'running'
      })
      this.isCreated = state === 'created'
      this.isPaused = state === 'paused'
      void this.#hub.watch()
    }
    if (this.observes && this.link !== before) {
      const { link } = this
      this.link = null
      link?.close()
    }
  }

  /** What its shim knows; null where none serves; 'silent' where one does and gives no answer. */
  async #askShim(): Promise<WireProcess[] | 'silent' | null> {
    const connect = (): Promise<number> => this.#native.connectShim(join(this.#root, this.#id))
    try {
      if (!this.link || this.link.closed) return await this.#open(connect)
      // The connection that is there goes on to tell; another one is asked how things stand.
      const { link, processes } = await ShimLink.open(this.#native, this.#id, this.#timeout, connect)
      link.close()
      return processes
    } catch (error) {
      if (isServedElsewhere(error)) throw error
      if (isGone(error)) return null
      if (error instanceof ContainerError) return error.code === 'ERR_SHIM_EXITED' ? null : 'silent'
      throw asContainerError(error, this.#id)
    }
  }

  #read(): Promise<Records> {
    return readRecords(this.#native, this.#root, this.#id)
  }

  /**
   * Without a shim nobody learns how processes end, and what the last one was in the middle of stays half done: a new
   * one takes over before anything is said of the container.
   */
  #wantsShim({ unfinished, earlierBoot, processes }: Records): boolean {
    const { owner } = this.#file
    if (unfinished) return true
    if (owner && !ownerRuns(this.#native, owner, this.#id)) return true
    return !earlierBoot && processes.some(({ exit }) => exit === null)
  }

  /** Null where it cannot be started: then the state is told as it is on disk. */
  async #takeOver(): Promise<WireProcess[] | null> {
    try {
      await this.connect()
      return this.#hello
    } catch (error) {
      if (error instanceof ContainerError && error.code === 'ERR_CONTAINER_NOT_FOUND') throw error
      if (isServedElsewhere(error)) throw error
      return null
    }
  }

  /** Another program may have started the container since this handle was made. */
  async discoverInit(): Promise<Process | null> {
    if (this.starting.has('init')) return null
    const processes = await this.#read().then(
      (records) => records.processes,
      () => [],
    )
    if (!processes.some((file) => file.id === 'init')) return null
    if (!this.processes.has('init')) await this.load()
    return this.processes.get('init') ?? null
  }

  async #open(open: () => Promise<number>): Promise<WireProcess[]> {
    const { link, processes } = await ShimLink.open(this.#native, this.#id, this.#timeout, open)
    this.link = link
    this.#hello = processes
    link.listen({
      onExit: (process, exit, written) => this.#exited(process, exit, written),
      onWritten: (id, written) => this.processes.get(id)?.wrote(written),
      onCreated: (pid, starttime, start) => this.onCreated?.(pid, starttime, start),
      onRuntimeLog: (command, log) => tellRuntimeLog(this.#id, command, log),
      onDeleted: () => {
        this.deleted = true
        this.giveBack()
        this.#hub.deleted()
      },
      onClosed: () => this.#linkClosed(link),
    })
    return processes
  }

  /** The connection to the container's shim; one is started where none serves. */
  connect(): Promise<ShimLink> {
    if (this.link && !this.link.closed) return Promise.resolve(this.link)
    this.#linking ??= this.#establish().finally(() => {
      this.#linking = null
    })
    return this.#linking
  }

  async #establish(): Promise<ShimLink> {
    const directory = join(this.#root, this.#id)
    const end = performance.now() + this.#timeout
    for (let attempt = 0; ; ++attempt) {
      try {
        let processes: WireProcess[]
        try {
          // A container that this handle has just made, and nobody else can know of, has no shim yet.
          processes = await this.#open(() => this.#native.connectShim(directory))
        } catch (error) {
          if (!isGone(error)) throw error
          await this.mustExist()
          processes = await this.#open(() => this.#native.spawnShim(this.#shim, directory))
        }
        this.#learn(processes)
        // Told to every shim anew: one that took over from another does not know whose end to watch for.
        if (this.owns)
          await this.link?.request({ op: 'own' }, { containerId: this.#id }, () => undefined).answer
        if (this.link) return this.link
        // It ended as soon as it had said hello.
        throw new ContainerError('ERR_SHIM_EXITED', `container '${this.#id}': its shim has ended`, {
          containerId: this.#id,
        })
      } catch (error) {
        // Two programs started a shim, and the other one's won; or the one that served was just leaving.
        const busy = error instanceof ShimBusy
        if (busy && performance.now() > end) {
          throw new ContainerError('ERR_START_TIMEOUT', `container '${this.#id}': its shim did not answer`, {
            containerId: this.#id,
          })
        }
        const ended = error instanceof ContainerError && error.code === 'ERR_SHIM_EXITED'
        if (!busy && (!ended || attempt >= maxTakeovers)) {
          throw asContainerError(error, this.#id)
        }
        await new Promise((resolve) => setTimeout(resolve, 10))
      }
    }
  }

  /** Exits that happened while no connection was there to tell. */
  #learn(processes: WireProcess[]): void {
    for (const { id, pid, exit } of processes) {
      if (exit) this.#exited({ id, pid }, exit)
    }
  }

  #exited({ id, pid }: { id: string; pid: number | null }, exit: WireExit, written?: WireWritten): void {
    const process = this.processes.get(id)
    if (!process) this.#early?.set(id, { pid, exit, written })
    if (!process || process.exitStatus || (pid !== null && process.pid !== pid)) return
    process.exited(exit, written)
    if (id === 'init') this.giveBack()
    this.#hub.exited(process, loaded.has(process))
  }

  /** The shim ended. While processes run a new one takes over, which learns their exits from the kernel. */
  #linkClosed(link: ShimLink): void {
    if (this.link !== link) return // let go of
    this.link = null
    if (this.deleted || (this.closed && !this.owns)) return
    const running = [...this.processes.values()].filter((process) => !process.exitStatus)
    if (running.length === 0 && !this.owns) return
    this.connect().catch((error: unknown) => {
      for (const process of running) process.abandon(error as Error)
    })
  }

  /** After a failed start nothing keeps the shim but this connection; an ephemeral container keeps it. */
  releaseIdle(): void {
    if (this.#linking) {
      // An aborted start does not wait for its connection. Whoever else does has made its request by then.
      const release = (): void => {
        if (this.starting.size === 0) this.releaseIdle()
      }
      this.#linking.then(
        () => setImmediate(release),
        () => undefined,
      )
      return
    }
    // A delete() that undid the start is still to be answered.
    if (!this.#file.ephemeral && this.processes.size === 0 && this.link?.idle) {
      this.link.close()
      this.link = null
    }
  }
}
