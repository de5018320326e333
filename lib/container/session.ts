// What a handle knows of its container, and its connection to the shim. Nobody else changes what it knows: who has done
// something to the container says so by a method.
import { constants } from 'node:os'
import { ContainerError, type FailureContext, type NativeFailure, toContainerError } from '../errors.js'
import { EventHub } from '../events/hub.js'
import { OomWatcher } from '../events/oom.js'
import type { CheckedWatchOptions } from '../events/options.js'
import { openWatch, type WatchParts } from '../events/watcher.js'
import type { LiveContainer, NativeBinding, WatchRequest } from '../native/binding.js'
import { InheritedSpec } from '../oci/inherit.js'
import { tellRuntimeLog } from '../oci/runtime_log.js'
import type { OciConfig } from '../oci/spec.js'
import { type HandleTypes, Process, type ProcessHost, type ProcessParts } from '../process/process.js'
import type { ShimLink } from '../shim/link.js'
import type { ProcessEntry, RunUsage, Written } from '../shim/protocol.js'
import { type StateFile, stateVersion } from '../state/directory.js'
import { type ExitRecord, readRecords, readState, unknownExit } from '../state/records.js'
import { Connection } from './connection.js'
import { KernelSide } from './kernel_side.js'
import type { ContainerState } from './options.js'
import { processHost } from './process_host.js'
import { handleClosed, hasExited, isDeleted, notStarted } from './refusals.js'
import { survey } from './survey.js'

interface EarlyExit {
  pid: number
  exit: ExitRecord
  written: Written | undefined
}

const { SIGKILL } = constants.signals

/** Called when the runtime has created what start() asked for. `start`: by which request. */
export type OnCreated = (pid: number, starttime: number, start: number) => void

/** Processes that were started before their handle was made; of all containers, to be small for each. */
const loaded = new WeakSet<Process>()

export interface SessionParts {
  native: NativeBinding
  root: string
  id: string
  /** state.json. */
  file: StateFile
  /** Path of the shim's executable. */
  shim: string
  /** Milliseconds that a shim may take to answer. */
  timeout: number
  /** Reaches for no shim unless a call needs one. */
  observes?: boolean
}

export class Session {
  readonly native: NativeBinding
  readonly root: string
  readonly id: string
  readonly file: StateFile
  readonly timeout: number
  readonly hub: EventHub
  readonly kernel: KernelSide
  readonly connection: Connection
  readonly #observes: boolean
  readonly #host: ProcessHost
  readonly #processes = new Map<string, Process>()
  /** Ids of processes that end with this handle. */
  readonly #bound = new Set<string>()
  /** Ids of processes that are being started. */
  readonly #starting = new Set<string>()
  #isCreated = true
  #isPaused = false
  #isDeleted = false
  #isClosed = false
  #earlierBoot = false
  #onCreated: OnCreated | null = null
  #config: OciConfig | null = null
  /** Made again when init is another. */
  #inherited: InheritedSpec | null = null
  /** Of the state file that was read last and was as it should be. */
  #readVersion: string | null = null
  /** While processes are read from disk: exits of those that are not made yet. */
  #early: Map<string, EarlyExit> | null = null

  constructor(container: HandleTypes['container'], parts: SessionParts) {
    const { native, root, id, file, shim, timeout } = parts
    this.native = native
    this.root = root
    this.id = id
    this.file = file
    this.timeout = timeout
    this.#observes = parts.observes ?? false
    this.hub = new EventHub(container, native, async () => {
      const own = { persistent: false, signal: undefined }
      return new OomWatcher(await this.watch({ kind: 'oom' }, own))
    })
    this.kernel = new KernelSide(native, id, file)
    this.connection = new Connection(
      { native, root, id, shim, timeout },
      {
        onExit: (process, exit, written, usage) => this.#exited(process, exit, written, usage),
        onWritten: (process, written) => this.#processes.get(process)?.wrote(written),
        onCreated: (pid, starttime, start) => this.#onCreated?.(pid, starttime, start),
        onRuntimeLog: (command, log) => tellRuntimeLog(id, command, log),
        onDeleted: () => this.deleted(),
        onProcesses: (entries) => this.#learn(entries),
        onLost: () => this.#connectionLost(),
        bound: () => this.#running().flatMap(({ id }) => (this.#bound.has(id) ? [id] : [])),
        mustExist: () => this.mustExist(),
      },
    )
    this.#host = processHost(container, this)
  }

  /** All that were started and not removed, running or exited. */
  get processes(): ReadonlyMap<string, Process> {
    return this.#processes
  }

  /** The container's state as far as this handle knows. */
  get state(): ContainerState {
    if (this.#isDeleted) return 'stopped'
    const init = this.#processes.get('init')
    if (!init) return 'created'
    if (init.exitStatus) return 'stopped'
    if (this.#isCreated) return 'created'
    return this.#isPaused ? 'paused' : 'running'
  }

  /** It was started before this machine's last boot, or in another pid namespace. */
  get earlierBoot(): boolean {
    return this.#earlierBoot
  }

  get isDeleted(): boolean {
    return this.#isDeleted
  }

  /** The bundle's config.json, once create() or start() has read it. */
  get config(): OciConfig | null {
    return this.#config
  }

  /** What an exec takes from init. */
  get inherited(): InheritedSpec {
    const own = this.#processes.get('init')?.spec ?? {}
    if (this.#inherited?.own !== own) this.#inherited = new InheritedSpec(own)
    return this.#inherited
  }

  /** Lends to processes what they need of the container. */
  get host(): ProcessHost {
    return this.#host
  }

  isStarting(id: string): boolean {
    return this.#starting.has(id)
  }

  get isClosed(): boolean {
    return this.#isClosed
  }

  /** ERR_SHIM_EXITED once the handle is closed. */
  mustBeOpen(): void {
    if (this.#isClosed) throw handleClosed(this.id)
  }

  /** The connection to the container's shim; one is started where none serves. A closed handle makes none. */
  async connect(): Promise<ShimLink> {
    const { connection } = this
    if (!connection.owns) this.mustBeOpen()
    const link = await connection.connect()
    if (this.#isClosed && !connection.owns) {
      connection.letGo()
      throw handleClosed(this.id)
    }
    return link
  }

  /** Init, as far as this handle knows of one that runs. */
  #mayRun(): Process | null {
    const init = this.#isDeleted ? undefined : this.#processes.get('init')
    return init && !init.exitStatus ? init : null
  }

  /** Init, which another program, or a start whose shim was killed, may have started since this handle was made. */
  async #found(context: FailureContext): Promise<Process> {
    if (!this.#isDeleted && !this.#processes.has('init') && !(await this.discoverInit()))
      await this.mustExist()
    return this.#known(context)
  }

  /** Init, whether it still runs or not. */
  #known(context: FailureContext): Process {
    const init = this.#processes.get('init')
    if (this.#isDeleted) throw isDeleted(this.id, context)
    if (!init) throw notStarted(this.id, context)
    return init
  }

  /** Init, if it runs; also one that another program has started. */
  async running(context: FailureContext): Promise<Process> {
    const init = this.#mayRun() ?? (await this.#found(context))
    if (init.exitStatus) throw hasExited(this.id, context)
    return init
  }

  /**
   * Init, if anything of the container runs. Without a pid namespace of the container's own, others may outlive init;
   * they are in the container's cgroups still.
   */
  async living(context: FailureContext): Promise<Process> {
    const init = this.#mayRun() ?? (await this.#found(context))
    if (!init.exitStatus) return init
    if (await this.kernel.ask(init, (live) => this.native.lives(live))) return init
    throw hasExited(this.id, context)
  }

  /** Asks the kernel about a container of which something must run. */
  async askOfLiving<T>(question: (live: LiveContainer) => Promise<T>): Promise<T> {
    const init = await this.living({ containerId: this.id })
    return this.kernel.ask(init, question)
  }

  /** As askOfLiving(), on this thread, of what this handle knows. */
  askOfLivingSync<T>(question: (live: LiveContainer) => T): T {
    const context = { containerId: this.id }
    const init = this.#known(context)
    if (init.exitStatus && !this.kernel.askSync(init, (live) => this.native.livesSync(live))) {
      throw hasExited(this.id, context)
    }
    return this.kernel.askSync(init, question)
  }

  /** ERR_CONTAINER_NOT_FOUND once it is deleted, by whomever. */
  async mustExist(): Promise<void> {
    if (this.#isDeleted) throw isDeleted(this.id, { containerId: this.id })
    const version = await stateVersion(this.root, this.id)
    if (version !== null && version === this.#readVersion) return
    try {
      await readState(this.native, this.root, this.id)
      this.#readVersion = version
    } catch (error) {
      if (error instanceof ContainerError && error.code === 'ERR_CONTAINER_NOT_FOUND') this.#isDeleted = true
      throw error
    }
  }

  async status(): Promise<ContainerState> {
    await this.mustExist()
    const init = this.#processes.get('init') ?? (await this.discoverInit())
    if (!init) return 'created'
    if (init.exitStatus) return 'stopped'
    const state = await this.kernel.ask(init, (live) => this.native.status(live))
    this.#saw(state)
    return state
  }

  #saw(state: ContainerState): void {
    this.#isCreated = state === 'created'
    this.#isPaused = state === 'paused'
  }

  /** Has the kernel tell of something that happens to the container's cgroup. */
  async watch(request: WatchRequest, options: CheckedWatchOptions): Promise<WatchParts> {
    options.signal?.throwIfAborted()
    const init = await this.living({ containerId: this.id })
    return openWatch(this.native, this.kernel.of(init), this.id, request, options)
  }

  /** Another program may have started the container since this handle was made. */
  async discoverInit(): Promise<Process | null> {
    if (this.#starting.has('init')) return null
    const processes = await readRecords(this.native, this.root, this.id).then(
      (records) => records.processes,
      () => [],
    )
    if (!processes.some((file) => file.id === 'init')) return null
    if (!this.#processes.has('init')) await this.load()
    return this.#processes.get('init') ?? null
  }

  /** Learns of the container what its records, its shim and the kernel tell. */
  async load(): Promise<void> {
    const { native, root, id, file } = this
    const before = this.connection.link
    const early = (this.#early ??= new Map<string, EarlyExit>())
    try {
      const parts = { native, root, id, file, observes: this.#observes }
      const { earlierBoot, processes } = await survey(parts, this.connection)
      this.#earlierBoot = earlierBoot
      for (const { file, exit, isLost } of processes) {
        if (this.#processes.has(file.id)) continue
        const process = new Process(this.#host, { ...file, streams: null })
        this.#processes.set(file.id, process)
        loaded.add(process)
        const told = early.get(file.id)
        if (exit) process.exited(exit)
        else if (told?.pid === file.pid) process.exited(told.exit, told.written)
        else if (isLost()) process.exited(unknownExit())
      }
    } finally {
      this.#early = null
    }
    this.#isCreated = false
    const init = this.#processes.get('init')
    if (init && !init.exitStatus) {
      const state = await native.status(this.kernel.of(init)).catch((error: NativeFailure) => {
        // Of one whose record is gone it is told that it runs, which is known of its init.
        if (error.shortage) throw toContainerError(error, { containerId: id })
        return 'running' as const
      })
      this.#saw(state)
      void this.hub.watch()
    }
    if (this.#observes && this.connection.link !== before) this.connection.letGo()
  }

  /** The bundle's config.json has been read. */
  configured(config: OciConfig): void {
    this.#config = config
  }

  /** A start or an exec begins. Until its end() the id is taken. */
  begin(id: string): void {
    this.#starting.add(id)
  }

  end(id: string): void {
    this.#starting.delete(id)
  }

  /** While a start is under way: who is to hear that the container is created. */
  awaitCreated(onCreated: OnCreated | null): void {
    this.#onCreated = onCreated
  }

  /** There is one more process. Its program may be yet to run. */
  add(parts: ProcessParts): Process {
    const process = new Process(this.#host, parts)
    this.#processes.set(parts.id, process)
    return process
  }

  /** The process ends with this handle. */
  bind(process: Process): void {
    this.#bound.add(process.id)
    process.whenExited(() => this.#bound.delete(process.id))
  }

  #running(): Process[] {
    return [...this.#processes.values()].filter((process) => !process.exitStatus)
  }

  /** The user's program runs as init. */
  initStarted(init: Process | undefined): void {
    this.#isCreated = false
    if (init) this.hub.started(init)
    void this.hub.watch()
  }

  /** A start is undone, and nothing of it left. */
  startUndone(): void {
    this.#processes.delete('init')
    this.#isCreated = true
    this.#letGoIdle()
  }

  /** A process is removed, or its exec undone: its id is free again. */
  remove(id: string): void {
    this.#processes.delete(id)
  }

  paused(): void {
    this.#isPaused = true
    this.hub.did('paused')
  }

  resumed(): void {
    this.#isPaused = false
    this.hub.did('resumed')
  }

  updated(): void {
    this.hub.did('updated')
  }

  /** By this handle, or by whomever. Again is no error. */
  deleted(): void {
    this.#isDeleted = true
    this.kernel.release()
    this.hub.deleted()
  }

  /** The handle lets go of the container. Again is no error. */
  async close(): Promise<void> {
    if (this.#isClosed) return
    this.#isClosed = true
    const error = handleClosed(this.id)
    await this.#endBound()
    for (const process of this.#processes.values()) {
      process.abandon(error)
      await process.close()
    }
    this.kernel.release()
    this.hub.closed()
    // The shim of an ephemeral container takes the end of this connection for the end of this program.
    if (!this.connection.owns) this.connection.letGo()
  }

  /** The end of the connection does the same, of a container that is not ephemeral. */
  async #endBound(): Promise<void> {
    const { link, owns } = this.connection
    if (!link || !owns) return
    for (const process of this.#bound) {
      const context = { containerId: this.id, processId: process }
      await link.request({ op: 'signal', process, signal: SIGKILL }, context).answer.catch(() => undefined)
    }
  }

  /** The handle of an ephemeral container is disposed of, which deletes the container, closed or not. */
  reopen(): void {
    this.#isClosed = false
  }

  /** Exits that happened while no connection was there to tell. */
  #learn(entries: ProcessEntry[]): void {
    const known = new Set(entries.map(({ id }) => id))
    for (const { id, pid, anonymous } of this.#running()) {
      if (anonymous && !known.has(id)) this.#exited({ id, pid }, unknownExit())
    }
    for (const { id, pid, exit } of entries) {
      if (exit) this.#exited({ id, pid }, exit)
    }
  }

  #exited(
    { id, pid }: { id: string; pid: number },
    exit: ExitRecord,
    written?: Written,
    usage: RunUsage | null = null,
  ): void {
    const process = this.#processes.get(id)
    if (!process) this.#early?.set(id, { pid, exit, written })
    if (!process || process.exitStatus || process.pid !== pid) return
    process.exited(exit, written, usage)
    if (process.anonymous) this.#processes.delete(id)
    if (id === 'init') this.kernel.release()
    this.hub.exited(process, loaded.has(process))
  }

  /** The shim ended. While processes run a new one takes over, which learns their exits from the kernel. */
  #connectionLost(): void {
    const { owns } = this.connection
    if (this.#isDeleted || (this.#isClosed && !owns)) return
    const running = this.#running()
    if (running.length === 0 && !owns) return
    this.connect().catch((error: unknown) => {
      for (const process of running) process.abandon(error as Error)
    })
  }

  /** After a failed start nothing keeps the shim but this connection; an ephemeral container keeps it. */
  #letGoIdle(): void {
    const { connecting, link } = this.connection
    if (connecting) {
      // An aborted start does not wait for its connection. Whoever else does has made its request by then.
      const letGo = (): void => {
        if (this.#starting.size === 0) this.#letGoIdle()
      }
      connecting.then(
        () => setImmediate(letGo),
        () => undefined,
      )
      return
    }
    // A delete() that undid the start is still to be answered.
    if (!this.file.ephemeral && this.#processes.size === 0 && link?.idle) this.connection.letGo()
  }
}
