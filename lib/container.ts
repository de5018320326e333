// A container's handle: its life from create to delete, and the processes in it.
import { join } from 'node:path'
import { rm } from 'node:fs/promises'
import { load as loadBinding } from './binding.js'
import {
  type Checkpoint,
  metadataOf,
  readCheckpoints,
  readRestorable,
  removeCheckpoint,
} from './checkpoint.js'
import {
  ContainerError,
  type FailureContext,
  invalidValue,
  type NativeFailure,
  toContainerError,
} from './errors.js'
import { EventHub, events, type EventStream } from './events.js'
import type { Following } from './kept.js'
import type { ContainerBox, NativeBinding } from './native.js'
import { InheritedSpec, type OciConfig, type ProcessSpec, rootId } from './oci.js'
import {
  checkAbortSignal,
  checkCheckpointName,
  checkCheckpointOptions,
  checkContainerOptions,
  checkContainers,
  checkDescriptorLimit,
  checkHook,
  checkId,
  checkNumbers,
  checkObject,
  checkPressure,
  checkProcessId,
  checkProcessSpec,
  checkRoot,
  checkShim,
  checkSignal,
  checkTimeout,
  type CheckpointOptions,
  type ContainerOptions,
  defaultTimeout,
  type LoadOptions,
  type PressureOptions,
  type Signal,
  type StdioOptions,
} from './options.js'
import { OomWatcher } from './oom.js'
import { PressureWatcher } from './pressure.js'
import { Process, type ProcessHost } from './process.js'
import type { Resources } from './resources.js'
import { conversionsOf, explainCriuFailure } from './runtime.js'
import { ShimBusy, ShimLink, type WireExit, type WireProcess, type WireWritten } from './shim.js'
import {
  createDirectory,
  listIds,
  type Marks,
  processFile,
  readBundle,
  readMarks,
  readProcesses,
  readState,
  removeDirectory,
  type StateFile,
} from './state.js'
import { type Stats, toStats } from './stats.js'
import { ProcessStreams } from './stdio.js'
import { openWatch } from './watch.js'

/** `'created'` until the user's program runs, also before the first start; `'stopped'` once init has exited. */
export type ContainerState = 'created' | 'running' | 'paused' | 'stopped'

/** How a container is started: its init's streams, and what may happen on the way. */
export interface StartOptions extends StdioOptions {
  /**
   * Restores this checkpoint of the bundle, of this container or another one, instead of a fresh start. The program goes
   * on where it was: what it had on a pipe or a terminal then is on the streams given here now, and what it had
   * on /dev/null stays there. Not together with `onCreated`: the runtime's restore has no moment for it.
   */
  checkpoint?: string
  /**
   * The container's namespaces exist, and the user's program does not run yet: the place for networking. The start
   * goes on when it resolves; a throw undoes the start and comes out of it.
   */
  onCreated?: (init: Process) => void | Promise<void>
  /**
   * Aborted: everything the call made is undone, and it rejects with the signal's reason. Aborted too late, when the
   * program runs already, it changes nothing: the call resolves.
   */
  signal?: AbortSignal
}

/** How a process is started in a container: its streams. */
export interface ExecOptions extends StdioOptions {
  /** As of StartOptions. */
  signal?: AbortSignal
}

interface EarlyExit {
  pid: number | null
  exit: WireExit
  written: WireWritten | undefined
}

const SIGKILL = 9
const ENOENT = 2
const ECONNREFUSED = 111
const maxTakeovers = 3
/** Containers whose figures become objects in one turn of the event loop: some 25 us each. */
const maxStatsPart = 4

function isGone(error: unknown): boolean {
  const { errno } = error as NativeFailure
  return errno === ENOENT || errno === ECONNREFUSED
}

/**
 * A container of `runc` or `crun`, held by a shim of its own; the handle may come and go.
 *
 * Every call may give ERR_CONTAINER_NOT_FOUND once the container is deleted, by whichever program, and the TypeErrors and
 * RangeErrors of bad arguments; what else a call gives is said there. After a failure the state is what it was before.
 */
export class Container implements AsyncDisposable {
  /** As given; no other container of this root has it. */
  readonly id: string
  /** Absolute path of the directory that holds its state, as `<root>/<id>`. */
  readonly root: string
  /** Absolute path of its OCI bundle. */
  readonly bundle: string
  /** As given; frozen. */
  readonly labels: readonly string[]
  /** Name or path of the OCI runtime binary. */
  readonly runtime: string
  readonly #native: NativeBinding
  readonly #shim: string
  readonly #timeout: number
  readonly #file: StateFile
  readonly #processes = new Map<string, Process>()
  readonly #starting = new Set<string>()
  #config: OciConfig | null
  /** What an exec takes from init; made again when init is another. */
  #inherited: InheritedSpec | null = null
  #link: ShimLink | null = null
  #hello: WireProcess[] = []
  #earlierBoot = false
  #linking: Promise<ShimLink> | null = null
  #box: { init: Process; box: ContainerBox } | null = null
  /** Were started before this handle was made. */
  readonly #loaded = new WeakSet<Process>()
  /** While processes are read from disk: exits of those that are not made yet. */
  #early: Map<string, EarlyExit> | null = null
  #created: ((pid: number, starttime: number) => void) | null = null
  readonly #hub: EventHub
  #isCreated = true
  #isPaused = false
  #deleted = false
  #closed = false
  /** This handle made an ephemeral container: its connection is what the shim watches. */
  #owns = false

  private constructor(
    native: NativeBinding,
    shim: string,
    root: string,
    id: string,
    file: StateFile,
    timeout: number,
    config: OciConfig | null,
  ) {
    this.#native = native
    this.#shim = shim
    this.#file = file
    this.#timeout = timeout
    this.#config = config
    this.root = root
    this.id = id
    this.bundle = file.bundle
    this.labels = Object.freeze([...file.labels])
    this.runtime = file.runtime
    this.#hub = new EventHub(this, native, () => this.oom())
  }

  /**
   * Registers a container on disk; runs nothing (an ephemeral one gets its shim, which watches this program).
   *
   * ERR_CONTAINER_EXISTS where the id is taken, of two that race for one of them; ERR_SYSCALL where the bundle's
   * config.json cannot be read, ERR_STATE_CORRUPT where it is no OCI configuration; ERR_UNSUPPORTED on a system for which
   * the package has no native part.
   */
  static async create(options: ContainerOptions): Promise<Container> {
    const checked = checkContainerOptions(options)
    const { native, shim } = loadBinding()
    const config = await readBundle(checked.bundle, checked.id)
    const { root, id, ...rest } = checked
    const file: StateFile = { ...rest }
    if (checked.ephemeral) {
      const starttime = native.startTime(process.pid)
      if (starttime !== null) file.owner = { pid: process.pid, starttime }
      await Container.#removeOrphan(native, root, id)
    }
    await createDirectory(root, id, file)
    const container = new Container(native, checked.shim || shim, root, id, file, checked.timeout, config)
    if (checked.ephemeral) {
      try {
        container.#owns = true
        await container.#connect()
      } catch (error) {
        container.#owns = false
        container.#link?.close()
        await removeDirectory(root, id)
        throw error
      }
    }
    return container
  }

  /** An ephemeral container whose program died before its shim was there to see it. */
  static async #removeOrphan(native: NativeBinding, root: string, id: string): Promise<void> {
    const file = await readState(root, id).catch(() => null)
    if (!file?.owner || native.startTime(file.owner.pid) === file.owner.starttime) return
    if ((await readProcesses(root, id)).length === 0) return removeDirectory(root, id)
    // Its shim ends it; load() is refused once it has.
    await (await Container.load(root, id).catch(() => null))?.close()
  }

  /**
   * A handle for a container that some program created, whether it runs or not; directories of containerd 0.2's
   * runtime package load too. A process directory that cannot be read is skipped, and said on the diagnostics channel
   * `libcontainer:skipped`.
   *
   * ERR_CONTAINER_NOT_FOUND; ERR_STATE_CORRUPT where state.json is not what it should be; ERR_SYSCALL where it cannot be
   * read.
   */
  static async load(root: string, id: string, options: LoadOptions = {}): Promise<Container> {
    const directory = checkRoot(root)
    checkId(id)
    checkObject(options, 'options')
    const timeout = options.timeout === undefined ? undefined : checkTimeout(options.timeout)
    const { native, shim } = loadBinding()
    const file = await readState(directory, id)
    const container = new Container(
      native,
      checkShim(options.shim) || file.shim || shim,
      directory,
      id,
      file,
      timeout ?? (file.timeout > 0 ? file.timeout : defaultTimeout),
      null,
    )
    try {
      await container.#loadProcesses()
    } catch (error) {
      container.#link?.close()
      throw error
    }
    return container
  }

  /** The ids that load() would accept, sorted; none for a root that does not exist. */
  static async list(root: string): Promise<string[]> {
    return listIds(checkRoot(root))
  }

  /**
   * At most so many descriptors of cgroup files and directories, runtimes' records and init processes stay open between
   * calls, of all handles of this thread together; a handle that is closed, or whose container is deleted, keeps none; what is above it is closed at once. Unless told, half of the soft limit on open files (as it was when the
   * package was loaded) and at most 16,384; 0 keeps none. Few or none: the same answers, later. They are also given back
   * when the program runs out of descriptors within a call of this library, and after half a minute without use when
   * others have need of them.
   */
  static limitDescriptors(limit: number): void {
    loadBinding().native.limitDescriptors(checkDescriptorLimit(limit))
  }

  /** All that were started and not removed, running or exited; `'init'` is the first one. */
  get processes(): ReadonlyMap<string, Process> {
    return this.#processes
  }

  /** What this handle knows, without asking; {@link Container.status} asks. */
  get state(): ContainerState {
    if (this.#deleted) return 'stopped'
    const init = this.#processes.get('init')
    if (!init) return 'created'
    if (init.exitStatus) return 'stopped'
    if (this.#isCreated) return 'created'
    return this.#isPaused ? 'paused' : 'running'
  }

  /**
   * True for one that load() found to have been started before the machine's last boot, which ended all of it: it is
   * `'stopped'`, and how its processes ended is not known. It can be deleted, and created and started anew.
   */
  get endedByReboot(): boolean {
    return this.#earlierBoot
  }

  /**
   * Asks the kernel: the runtime's record, its start FIFO and the freezer; never runs the runtime. It finds out what other
   * programs have done, too. ERR_CONTAINER_NOT_FOUND once it is deleted, by whomever; ERR_STATE_CORRUPT.
   */
  async status(): Promise<ContainerState> {
    await this.#mustExist()
    const init = this.#processes.get('init') ?? (await this.#discoverInit())
    if (!init) return 'created'
    if (init.exitStatus) return 'stopped'
    const state = await this.#ask(() => this.#native.status(this.#boxOf(init)))
    this.#isCreated = state === 'created'
    this.#isPaused = state === 'paused'
    return state
  }

  /**
   * Starts the container: the runtime's create, then its start, by the shim. Resolves when the user's program runs.
   *
   * ERR_RUNTIME with `runtimeLog` where the runtime refuses (its message names what it could not find or execute);
   * ERR_START_TIMEOUT; ERR_PROCESS_EXISTS when it is started already, ERR_CONTAINER_EXITED when it has run;
   * ERR_CONTAINER_NOT_FOUND; ERR_STATE_CORRUPT for the bundle's config.json; ERR_SYSCALL for a stream that cannot be opened;
   * ERR_SHIM_EXITED when its shim is killed meanwhile. Of a checkpoint also ERR_CHECKPOINT_NOT_FOUND (it, or a parent of
   * it), ERR_STATE_CORRUPT for its config.json, and ERR_UNSUPPORTED where CRIU does not work, the runtime is built without
   * it, the checkpoint is a pre-dump, or `onCreated` is given with it.
   * After a failure nothing of the start is left and it may be tried again.
   */
  async start(options: StartOptions = {}): Promise<Process> {
    checkObject(options, 'options')
    const signal = checkAbortSignal(options.signal)
    checkHook(options.onCreated)
    const { onCreated } = options
    const from =
      options.checkpoint === undefined ? null : checkCheckpointName(options.checkpoint, 'checkpoint')
    signal?.throwIfAborted()
    await this.#mustExist()
    const context: FailureContext = { containerId: this.id, processId: 'init' }
    if (from !== null && onCreated) {
      const text = 'a restored program runs before onCreated could be called'
      throw toContainerError({ code: 'ERR_UNSUPPORTED', text }, context)
    }
    const init = this.#processes.get('init')
    if (init?.exitStatus) {
      throw new ContainerError('ERR_CONTAINER_EXITED', `container '${this.id}' has run and exited`, context)
    }
    if (init || this.#starting.has('init')) {
      throw new ContainerError('ERR_PROCESS_EXISTS', `container '${this.id}' is started already`, context)
    }
    this.#starting.add('init')
    try {
      const config = (this.#config = await readBundle(this.bundle, this.id))
      const spec = this.#initSpec(config)
      const checkpoint = from === null ? null : await readRestorable(this.bundle, from, this.id)
      const streams = ProcessStreams.open(this.#native, options, spec.terminal === true)
      let started: Process | undefined
      try {
        const link = await this.#connect()
        signal?.throwIfAborted()
        const call: { seq: number } = { seq: 0 }
        // A restored program runs at once.
        const wait = from === null && (onCreated !== undefined || this.#hub.wanted)
        const hook = this.#awaitCreated(link, spec, streams, { wait, onCreated }, call, (process) => {
          started = process
        })
        const { seq, answer } = link.request(
          {
            op: 'start',
            stdio: streams.wire,
            timeoutMs: this.#timeout,
            waitCreated: wait,
            ...(checkpoint && { checkpoint }),
          },
          context,
          () => {
            this.#isCreated = false
            if (started) this.#hub.started(started)
            void this.#hub.watch()
          },
          this.#processJson(spec, streams, config, null, from ?? ''),
          streams.fds,
        )
        call.seq = seq
        streams.closeTheirs()
        await this.#abortable(link, seq, answer, signal, hook)
        return started as Process
      } catch (error) {
        this.#processes.delete('init')
        this.#isCreated = true
        streams.discard()
        started?.abandon(error as Error)
        this.#releaseIdleLink()
        if (!checkpoint) throw error
        throw await explainCriuFailure(error, this.runtime, this.#file.runtimeArgs, context)
      }
    } finally {
      this.#created = null
      this.#starting.delete('init')
    }
  }

  /**
   * Runs one more process in the container, by the shim's own system calls: never a runtime process. Resolves when
   * execve(2) has succeeded.
   *
   * What `spec` leaves out comes from the container's own process. `id` is as a container's, and not the name of a file
   * of the state directory (`state.json`, `shim.sock`, ...); that of a process which has exited is free again after
   * removeProcess().
   *
   * TypeError that names the field of `spec`; ERR_SYSCALL with `path` and `errno` where the program or directory is not
   * there or not executable; ERR_PROCESS_EXISTS; ERR_CONTAINER_NOT_STARTED, ERR_CONTAINER_EXITED, ERR_CONTAINER_PAUSED,
   * ERR_CONTAINER_NOT_FOUND; ERR_UNSUPPORTED for confinement that cannot be applied; ERR_START_TIMEOUT;
   * ERR_PROCESS_EXITED when it was killed before it could run; ERR_STATE_CORRUPT where the runtime's record is not what it
   * should be, or is about another container; ERR_SHIM_EXITED when its shim is killed meanwhile. After a failure no process
   * and no directory of it is left.
   */
  async exec(id: string, spec: ProcessSpec, options: ExecOptions = {}): Promise<Process> {
    checkProcessId(id)
    checkProcessSpec(spec)
    checkObject(options, 'options')
    const signal = checkAbortSignal(options.signal)
    signal?.throwIfAborted()
    const context: FailureContext = { containerId: this.id, processId: id }
    if (!this.#mayRun()) await this.#findRunning(context)
    if (this.#processes.has(id) || this.#starting.has(id)) {
      throw toContainerError({ code: 'ERR_PROCESS_EXISTS', text: 'there is one of that id' }, context)
    }
    const own = this.#processes.get('init')?.spec ?? {}
    if (this.#inherited?.own !== own) this.#inherited = new InheritedSpec(own)
    const inherited = this.#inherited
    const said = { ...spec }
    const streams = ProcessStreams.open(this.#native, options, spec.terminal === true)
    this.#starting.add(id)
    try {
      const link = this.#link && !this.#link.closed ? this.#link : await this.#connect()
      const { seq, answer } = link.request(
        { op: 'exec', process: id, stdio: streams.wire, timeoutMs: this.#timeout },
        context,
        (result) => {
          const process = new Process(this.#host, {
            id,
            pid: result['pid'] as number,
            starttime: result['starttime'] as number,
            spec: () => inherited.whole(said),
            stdio: streams.names,
            streams,
          })
          this.#processes.set(id, process)
          this.#hub.started(process)
          return process
        },
        this.#processJson(said, streams, this.#config, inherited),
        streams.fds,
      )
      streams.closeTheirs()
      return signal ? await this.#abortable(link, seq, answer, signal) : await answer
    } catch (error) {
      this.#processes.delete(id)
      streams.discard()
      throw error
    } finally {
      this.#starting.delete(id)
    }
  }

  /**
   * Signals init, or with `all` every process of the container, by pidfd; SIGTERM. SIGKILL ends a paused container
   * too; any other signal waits until it runs again. With init all processes of its pid namespace end, if it has one.
   * ERR_CONTAINER_NOT_STARTED, ERR_CONTAINER_EXITED; ERR_SYSCALL.
   */
  async kill(signal: Signal = 'SIGTERM', options: { all?: boolean } = {}): Promise<void> {
    const number = checkSignal(signal)
    checkObject(options, 'options')
    const context: FailureContext = { containerId: this.id }
    const init = this.#mayRun() ?? (await this.#findRunning(context))
    if (options.all) return this.#ask(() => this.#native.signalAll(this.#boxOf(init), number))
    try {
      await init.kill(number)
      if (number === SIGKILL) await this.#ask(() => this.#native.releaseKilled(this.#boxOf(init)))
    } catch (error) {
      if (!(error instanceof ContainerError) || error.code !== 'ERR_PROCESS_EXITED') throw error
      throw new ContainerError('ERR_CONTAINER_EXITED', `container '${this.id}' has exited`, context)
    }
  }

  /**
   * Host pids of every process in the container's cgroups, nested ones included: `cgroup.procs` of v2, or of v1's devices
   * controller as in runc. ERR_CONTAINER_NOT_STARTED, ERR_CONTAINER_EXITED; ERR_UNSUPPORTED for a container without cgroups.
   */
  async pids(): Promise<number[]> {
    const init = this.#mayRun() ?? (await this.#findRunning({ containerId: this.id }))
    return this.#ask(() => this.#native.pids(this.#boxOf(init)))
  }

  /** As pids(), on this thread: it reads one small kernel file for each cgroup of the container. Throws as that rejects. */
  pidsSync(): number[] {
    const init = this.#mustRun({ containerId: this.id })
    try {
      return this.#native.pidsSync(this.#boxOf(init))
    } catch (error) {
      throw toContainerError(error as NativeFailure, { containerId: this.id })
    }
  }

  /**
   * Stops every process of the container by its freezer; done when the kernel says that all stand still. Paused already
   * is no error. v1 freezer.state; v2 cgroup.freeze, cgroup.events. ERR_CONTAINER_NOT_STARTED, ERR_CONTAINER_EXITED;
   * ERR_SYSCALL with ETIMEDOUT when it does not come to rest in the handle's timeout: then it runs on; ERR_UNSUPPORTED
   * where there is no freezer (on v2 before Linux 5.2).
   */
  async pause(): Promise<void> {
    const init = this.#mayRun() ?? (await this.#findRunning({ containerId: this.id }))
    await this.#ask(() => this.#native.pause(this.#boxOf(init), this.#timeout))
    this.#isPaused = true
    this.#hub.did('paused')
  }

  /** Lets a paused container run on; one that is not paused is no error. Errors as pause(). */
  async resume(): Promise<void> {
    const init = this.#mayRun() ?? (await this.#findRunning({ containerId: this.id }))
    await this.#ask(() => this.#native.resume(this.#boxOf(init)))
    this.#isPaused = false
    this.#hub.did('resumed')
  }

  /**
   * What it used and may use, all from one pass or nothing. ERR_CONTAINER_NOT_STARTED, ERR_CONTAINER_EXITED; ERR_UNSUPPORTED
   * for a container without cgroups.
   */
  async stats(): Promise<Stats> {
    const init = this.#mayRun() ?? (await this.#findRunning({ containerId: this.id }))
    return toStats(await this.#ask(() => this.#native.stats(this.#boxOf(init))))
  }

  /** As stats(), on this thread: it reads some ten (v2) to fifty (v1) small kernel files. Throws as that rejects. */
  statsSync(): Stats {
    const init = this.#mustRun({ containerId: this.id })
    try {
      return toStats(this.#native.statsSync(this.#boxOf(init)))
    } catch (error) {
      throw toContainerError(error as NativeFailure, { containerId: this.id })
    }
  }

  /**
   * The figures of many containers, read off this thread, in the order given; where one fails its error stands in its
   * place. Each container's `timestamp` is its own. ERR_INVALID_ARG_TYPE where one is no Container.
   */
  static async stats(containers: readonly Container[]): Promise<(Stats | ContainerError)[]> {
    checkContainers(containers, (container) => (#hub in container ? container : undefined))
    const out: (Stats | ContainerError)[] = []
    const asked: { container: Container; index: number; box: ContainerBox }[] = []
    containers.forEach((container, index) => {
      try {
        asked.push({
          container,
          index,
          box: container.#boxOf(container.#mustRun({ containerId: container.id })),
        })
      } catch (error) {
        out[index] = error as ContainerError
      }
    })
    if (asked.length === 0) return out
    const { native } = loadBinding()
    // Two parts under way at a time: while one is read the other becomes objects, and both cores have work. The making
    // of objects holds this thread, so a part is small; between two the event loop has its turn.
    const size = Math.min(maxStatsPart, Math.ceil(asked.length / 2))
    let next = 0
    const readParts = async (): Promise<void> => {
      while (next < asked.length) {
        const part = asked.slice(next, (next += size))
        const answers = await native.statsOfMany(part.map(({ box }) => box))
        part.forEach(({ container, index }, at) => {
          const answer = answers[at] as object | Error
          out[index] =
            answer instanceof Error
              ? (toContainerError(answer as NativeFailure, { containerId: container.id }) as ContainerError)
              : toStats(answer)
        })
      }
    }
    await Promise.all([readParts(), readParts()])
    return out
  }

  /**
   * Changes limits in the kernel and in the runtime's own record, so that the runtime's later updates keep them. What
   * `resources` leaves out stays as it is; when a write fails, what was written before it is put back.
   *
   * The order of the writes and the conversions from v1 to v2 are those of the installed runtime (runc 1.1 to 1.5, crun
   * 1.8 and later), so that both hands write the same; runc's state.json is patched, crun records nothing.
   *
   * TypeError or RangeError naming the field; ERR_SYSCALL with the file, the kernel's errno and a hint;
   * ERR_UNSUPPORTED naming the controller that is not mounted, or the field that this cgroup version lacks;
   * ERR_STATE_CORRUPT where the runtime's record is not what it should be; ERR_CONTAINER_NOT_STARTED, ERR_CONTAINER_EXITED.
   */
  async updateResources(resources: Resources): Promise<void> {
    checkObject(resources, 'resources')
    checkNumbers(resources, 'resources')
    const init = this.#mayRun() ?? (await this.#findRunning({ containerId: this.id }))
    const options =
      resources.cpu?.shares !== undefined || resources.pids?.limit === 0
        ? await conversionsOf(this.runtime)
        : { linearShares: false, pidsZeroIsOne: false }
    await this.#ask(() => this.#native.update(this.#boxOf(init), JSON.stringify(resources), options))
    this.#hub.did('updated')
  }

  /**
   * Tells of processes that the kernel kills in this container for want of memory, from now on. Any number of watchers
   * may be open; each has its own counts.
   *
   * ERR_CONTAINER_NOT_STARTED; ERR_CONTAINER_EXITED, also while it dies; ERR_UNSUPPORTED without a memory controller;
   * ERR_SYSCALL when the kernel has no descriptor or watch left, with the sysctl that limits them.
   */
  async oom(): Promise<OomWatcher> {
    const init = this.#mayRun() ?? (await this.#findRunning({ containerId: this.id }))
    return new OomWatcher(await openWatch(this.#native, this.#boxOf(init), this.id, { kind: 'oom' }))
  }

  /**
   * What happens to this container and its processes from now on; see EventStream, and events() for many containers. Of
   * what other programs do to it, exits of the processes that this handle knows and its deletion are told.
   *
   * The same is published on `node:diagnostics_channel`, once a handle, stream or none: `libcontainer:start`, `:exit`,
   * `:oom` (of containers that are started, or asked for events, while the channel has a subscriber), `:pause`, `:resume`,
   * `:update` and `:delete`.
   */
  events(options: { signal?: AbortSignal } = {}): EventStream {
    return events([this], options)
  }

  /**
   * Tells when the container's processes waited for a resource longer than `stallUsec` within `windowUsec`: a PSI trigger
   * in its v2 cgroup, also on a hybrid machine, told once a window. Where there is no PSI, memory alone on v1:
   * memory.pressure_level `medium` for `'some'` and `critical` for `'full'`, thresholds left to the kernel.
   * `{ resource: 'memory', kind: 'high' }` tells of every breach of v2's memory.high.
   *
   * TypeError or RangeError; ERR_UNSUPPORTED where the kernel has neither; else as oom().
   */
  async pressure(options: PressureOptions): Promise<PressureWatcher> {
    const checked = checkPressure(options)
    const init = this.#mayRun() ?? (await this.#findRunning({ containerId: this.id }))
    const request =
      checked.kind === 'high'
        ? ({ kind: 'high' } as const)
        : ({
            kind: 'pressure',
            resource: checked.resource,
            full: checked.kind === 'full',
            stallUsec: checked.stallUsec,
            windowUsec: checked.windowUsec,
          } as const)
    return new PressureWatcher(await openWatch(this.#native, this.#boxOf(init), this.id, request), checked)
  }

  /**
   * Forgets a process that has exited, with its directory: its id is free again. ERR_PROCESS_NOT_FOUND;
   * ERR_CONTAINER_NOT_STOPPED while it runs. Init goes with the container: ERR_INVALID_ARG_VALUE.
   */
  async removeProcess(id: string): Promise<void> {
    checkProcessId(id)
    if (id === 'init') {
      throw invalidValue("process 'init' goes with its container: delete()")
    }
    const context: FailureContext = { containerId: this.id, processId: id }
    const process = this.#processes.get(id)
    if (this.#link && !this.#link.closed) {
      // The shim knows, also of an exit that this program has yet to hear of.
      await this.#link.request({ op: 'remove', process: id }, context, () => undefined).answer
    } else {
      if (process && !process.exitStatus) {
        throw toContainerError({ code: 'ERR_CONTAINER_NOT_STOPPED', text: 'it still runs' }, context)
      }
      await this.#mustExist()
      if (!process) {
        throw toContainerError({ code: 'ERR_PROCESS_NOT_FOUND', text: 'there is none of that id' }, context)
      }
      await rm(join(this.root, this.id, id), { recursive: true, force: true })
    }
    this.#processes.delete(id)
  }

  /**
   * Deletes the container by the runtime, then its state directory. With `force` its processes are killed first, also
   * while it is paused; without, ERR_CONTAINER_NOT_STOPPED unless it is stopped or was never started.
   * ERR_CONTAINER_NOT_FOUND when it is deleted already; ERR_RUNTIME where the runtime's delete fails.
   */
  async delete(options: { force?: boolean } = {}): Promise<void> {
    checkObject(options, 'options')
    await this.#mustExist()
    const context: FailureContext = { containerId: this.id }
    const known =
      this.#link !== null ||
      this.#processes.size > 0 ||
      (await this.#discoverInit()) !== null ||
      (await readMarks(this.root, this.id)).unfinished
    if (known) await this.#deleteByShim(options.force === true, context)
    else await removeDirectory(this.root, this.id)
    this.#deleted = true
    this.#giveBack()
    this.#hub.deleted()
    this.#link?.close()
  }

  async #deleteByShim(force: boolean, context: FailureContext): Promise<void> {
    for (let attempt = 0; ; ++attempt) {
      let asked = false
      try {
        const link = await this.#connect()
        asked = true
        await link.request({ op: 'delete', force }, context, () => {
          this.#deleted = true
        }).answer
        return
      } catch (error) {
        const code = error instanceof ContainerError ? error.code : null
        // Its shim was killed in the middle: the next one has finished it before it answers.
        if (code === 'ERR_CONTAINER_NOT_FOUND' && attempt > 0 && !asked) return
        if (code !== 'ERR_SHIM_EXITED') throw error
        try {
          await this.#mustExist()
        } catch (gone) {
          // The shim ended before it could say that it was done; or another's delete came first.
          if (asked && (gone as ContainerError).code === 'ERR_CONTAINER_NOT_FOUND') return
          throw gone
        }
        if (attempt >= maxTakeovers) throw error
      }
    }
  }

  /**
   * Those of this container's bundle, oldest first. ERR_STATE_CORRUPT for a config.json that is not what it should be;
   * ERR_CONTAINER_NOT_FOUND.
   */
  async checkpoints(): Promise<Checkpoint[]> {
    await this.#mustExist()
    return readCheckpoints(this.bundle, this.id)
  }

  /**
   * Writes what the container's processes are to `<bundle>/checkpoints/<name>`, by the runtime's checkpoint and so by
   * CRIU; seen there once it is whole. The container stands still meanwhile (an exec gets ERR_CONTAINER_PAUSED), then
   * runs on, or with `exit` has ended by SIGKILL when this resolves. Of several calls each waits for the one before.
   *
   * A process that exec() started is no part of it, since it is no child of init: it runs on, or ends with the
   * container, and after a restore it is not there. Its children that outlived it have become init's and are a part.
   *
   * ERR_CHECKPOINT_EXISTS, also while one of that name is being made; ERR_CHECKPOINT_NOT_FOUND for `parent`;
   * ERR_CONTAINER_NOT_STARTED, ERR_CONTAINER_EXITED, ERR_CONTAINER_PAUSED; ERR_RUNTIME with the runtime's and CRIU's errors
   * in `runtimeLog`;
   * ERR_UNSUPPORTED where CRIU does not work here or the runtime is built without it. After a failure the container
   * runs on and nothing of the checkpoint is left.
   */
  async checkpoint(options: CheckpointOptions): Promise<void> {
    const checked = checkCheckpointOptions(options)
    await this.#mustExist()
    const context: FailureContext = { containerId: this.id }
    if (!this.#mayRun()) await this.#findRunning(context)
    const link = await this.#connect()
    try {
      await link.request(
        { op: 'checkpoint', ...checked },
        context,
        () => undefined,
        metadataOf(checked, new Date()),
      ).answer
    } catch (error) {
      throw await explainCriuFailure(error, this.runtime, this.#file.runtimeArgs, context)
    }
  }

  /**
   * Removes a checkpoint of this container's bundle. Of two that delete it one gets ERR_CHECKPOINT_NOT_FOUND. A checkpoint
   * whose parent it was can be restored no more. ERR_CONTAINER_NOT_FOUND.
   */
  async deleteCheckpoint(name: string): Promise<void> {
    checkCheckpointName(name)
    await this.#mustExist()
    await removeCheckpoint(this.bundle, name, this.id)
  }

  /**
   * Lets go of this handle; the container runs on. Streams of `'pipe'` are closed and pending waits rejected. An
   * ephemeral container still ends with this program.
   */
  async close(): Promise<void> {
    if (this.#closed) return
    this.#closed = true
    const error = new ContainerError('ERR_SHIM_EXITED', `the handle of container '${this.id}' was closed`, {
      containerId: this.id,
    })
    for (const process of this.#processes.values()) {
      process.abandon(error)
      await process.close()
    }
    this.#giveBack()
    this.#hub.closed()
    // The shim of an ephemeral container takes the end of this connection for the end of this program.
    if (!this.#file.ephemeral || this.#file.owner?.pid !== process.pid) this.#link?.close()
  }

  /** Ephemeral: kill and delete, and no error if that is done already; else close(). */
  async [Symbol.asyncDispose](): Promise<void> {
    if (!this.#file.ephemeral) return this.close()
    try {
      if (!this.#deleted) await this.delete({ force: true })
    } catch (error) {
      if (!(error instanceof ContainerError) || error.code !== 'ERR_CONTAINER_NOT_FOUND') throw error
    }
  }

  get #host(): ProcessHost {
    return {
      native: this.#native,
      container: this,
      request: async (request, context) => {
        const link = await this.#connect()
        return link.request(request, context, () => undefined).answer
      },
      watch: async () => {
        await this.#connect()
      },
      follow: async (request, context, fd) => {
        for (let attempt = 0; ; ++attempt) {
          const link = await this.#connect()
          try {
            return await link.request(request, context, (result) => result as unknown as Following, null, [
              fd,
            ]).answer
          } catch (error) {
            // Its end may be seen by the stream before it is by the connection.
            const ended = error instanceof ContainerError && error.code === 'ERR_SHIM_EXITED'
            if (!ended || this.#closed || attempt >= maxTakeovers) throw error
            await link.ended()
          }
        }
      },
    }
  }

  #initSpec(config: OciConfig): ProcessSpec {
    const path = join(this.bundle, 'config.json')
    const corrupt = (what: string): ContainerError =>
      new ContainerError('ERR_STATE_CORRUPT', `container '${this.id}': '${path}': ${what}`, {
        containerId: this.id,
        path,
      })
    if (!config.process) throw corrupt('process is missing')
    try {
      return checkProcessSpec(config.process)
    } catch (error) {
      throw corrupt((error as Error).message.replace(/^spec\b/, 'process'))
    }
  }

  #processJson(
    spec: ProcessSpec,
    streams: ProcessStreams,
    config: OciConfig | null,
    inherited: InheritedSpec | null,
    checkpoint = '',
  ): string {
    const parts = {
      exec: inherited !== null,
      stdio: streams.names,
      runtimeArgs: this.#file.runtimeArgs,
      noPivotRoot: this.#file.noPivotRoot,
      checkpoint,
      rootUID: rootId(config?.linux?.uidMappings),
      rootGID: rootId(config?.linux?.gidMappings),
    }
    return processFile(spec, parts, inherited)
  }

  /** Makes init's handle as soon as there is one, and lets the start go on when the hook allows it. */
  #awaitCreated(
    link: ShimLink,
    spec: ProcessSpec,
    streams: ProcessStreams,
    { wait, onCreated }: { wait: boolean; onCreated: StartOptions['onCreated'] },
    call: { seq: number },
    made: (init: Process) => void,
  ): { failure: Promise<never> } {
    let fail: (error: unknown) => void = () => undefined
    const failure = new Promise<never>((_, reject) => {
      fail = reject
    })
    failure.catch(() => undefined)
    this.#created = (pid, starttime) => {
      const init = new Process(this.#host, {
        id: 'init',
        pid,
        starttime,
        spec,
        stdio: streams.names,
        streams,
      })
      this.#processes.set('init', init)
      made(init)
      if (!wait) return
      void (async () => {
        try {
          // Before the program runs, so that its first OOM kill is not missed.
          await this.#hub.watch()
          await onCreated?.(init)
          link.tell({ op: 'proceed', target: call.seq })
        } catch (error) {
          fail(error)
        }
      })()
    }
    return { failure }
  }

  /** Awaits an answer, or has the shim undo the call when the signal or the hook says so. */
  async #abortable<T>(
    link: ShimLink,
    seq: number,
    answer: Promise<T>,
    signal: AbortSignal | undefined,
    hook?: { failure: Promise<never> },
  ): Promise<T> {
    let onAbort: (() => void) | undefined
    const aborted = new Promise<never>((_, reject) => {
      if (!signal) return
      onAbort = () => reject(signal.reason as Error)
      signal.addEventListener('abort', onAbort, { once: true })
      if (signal.aborted) onAbort()
    })
    aborted.catch(() => undefined)
    let answered = false
    const own = answer.finally(() => {
      answered = true
    })
    own.catch(() => undefined)
    try {
      return await Promise.race(hook ? [own, aborted, hook.failure] : [own, aborted])
    } catch (error) {
      if (!answered) {
        await link
          .request({ op: 'cancel', target: seq }, { containerId: this.id }, () => undefined)
          .answer.catch(() => undefined)
      }
      // What was done before the word reached the shim is done: a process that runs has a handle.
      const late = await own.then(
        (value) => ({ value }),
        () => null,
      )
      if (late) return late.value
      throw error
    } finally {
      if (onAbort) signal?.removeEventListener('abort', onAbort)
    }
  }

  /** Init, as far as this handle knows of one that runs. */
  #mayRun(): Process | null {
    const init = this.#deleted ? undefined : this.#processes.get('init')
    return init && !init.exitStatus ? init : null
  }

  /** Init, which another program, or a start whose shim was killed, may have started since this handle was made. */
  async #findRunning(context: FailureContext): Promise<Process> {
    if (!this.#deleted && !this.#processes.has('init') && !(await this.#discoverInit()))
      await this.#mustExist()
    return this.#mustRun(context)
  }

  /** Init, if it runs. */
  #mustRun(context: FailureContext): Process {
    const init = this.#processes.get('init')
    if (this.#deleted) {
      throw new ContainerError('ERR_CONTAINER_NOT_FOUND', `container '${this.id}' is deleted`, context)
    }
    if (!init) {
      throw new ContainerError('ERR_CONTAINER_NOT_STARTED', `container '${this.id}' is not started`, context)
    }
    if (init.exitStatus) {
      throw new ContainerError('ERR_CONTAINER_EXITED', `container '${this.id}' has exited`, context)
    }
    return init
  }

  async #mustExist(): Promise<void> {
    if (this.#deleted) {
      throw new ContainerError('ERR_CONTAINER_NOT_FOUND', `container '${this.id}' is deleted`, {
        containerId: this.id,
      })
    }
    try {
      await readState(this.root, this.id)
    } catch (error) {
      if (error instanceof ContainerError && error.code === 'ERR_CONTAINER_NOT_FOUND') this.#deleted = true
      throw error
    }
  }

  /** The kernel side of this container as it runs with that init. */
  #boxOf(init: Process): ContainerBox {
    if (this.#box?.init !== init) {
      this.#giveBack()
      const box = this.#native.container({
        id: this.id,
        runtime: this.runtime,
        runtimeArgs: this.#file.runtimeArgs,
        pid: init.pid,
        starttime: init.starttime,
      })
      this.#box = { init, box }
    }
    return this.#box.box
  }

  /** What is kept open of the container's files: not for the garbage collector to close some day. */
  #giveBack(): void {
    if (this.#box) this.#native.giveBack(this.#box.box)
  }

  async #ask<T>(question: () => Promise<T>): Promise<T> {
    try {
      return await question()
    } catch (error) {
      throw toContainerError(error as NativeFailure, { containerId: this.id })
    }
  }

  /** Processes on disk, made true by what the shim or the kernel knows. */
  async #loadProcesses(): Promise<void> {
    const early = (this.#early ??= new Map<string, EarlyExit>())
    try {
      const live = await this.#askShim()
      const marks = await readMarks(this.root, this.id)
      this.#earlierBoot = marks.earlierBoot
      const known = live ?? (await this.#takeOver(marks))
      for (const file of await readProcesses(this.root, this.id)) {
        if (this.#processes.has(file.id)) continue
        const process = new Process(this.#host, { ...file, streams: null })
        this.#processes.set(file.id, process)
        this.#loaded.add(process)
        const told = early.get(file.id)
        const exit = known?.find(({ id, pid }) => id === file.id && pid === file.pid)?.exit ?? file.exit
        if (exit) {
          process.exited(exit)
        } else if (told && (told.pid === null || told.pid === file.pid)) {
          process.exited(told.exit, told.written)
        } else if (!known && (marks.earlierBoot || this.#native.startTime(file.pid) !== file.starttime)) {
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
    this.#isCreated = false
    const init = this.#processes.get('init')
    if (init && !init.exitStatus) {
      const state = await this.#native.status(this.#boxOf(init)).catch(() => 'running')
      this.#isCreated = state === 'created'
      this.#isPaused = state === 'paused'
      void this.#hub.watch()
    }
  }

  /** What its shim knows; null where none serves. */
  async #askShim(): Promise<WireProcess[] | null> {
    const connect = (): Promise<number> => this.#native.connectShim(join(this.root, this.id))
    try {
      if (!this.#link || this.#link.closed) return await this.#open(connect)
      // The connection that is there goes on to tell; another one is asked how things stand.
      const { link, processes } = await ShimLink.open(this.#native, this.id, this.#timeout, connect)
      link.close()
      return processes
    } catch (error) {
      if (!isGone(error) && !(error instanceof ContainerError)) throw error
      return null
    }
  }

  /**
   * Without a shim nobody learns how processes end, and what the last one was in the middle of stays half done: a new
   * one takes over before anything is said of the container. Null where there is no need to, or it cannot be started:
   * then the state is told as it is on disk.
   */
  async #takeOver(marks: Marks): Promise<WireProcess[] | null> {
    const { owner } = this.#file
    const orphaned = owner !== undefined && this.#native.startTime(owner.pid) !== owner.starttime
    const watched = async (): Promise<boolean> =>
      (await readProcesses(this.root, this.id)).every(({ exit }) => exit !== null)
    if (!marks.unfinished && !orphaned && (marks.earlierBoot || (await watched()))) return null
    try {
      await this.#connect()
      return this.#hello
    } catch (error) {
      if (error instanceof ContainerError && error.code === 'ERR_CONTAINER_NOT_FOUND') throw error
      return null
    }
  }

  /** Another program may have started the container since this handle was made. */
  async #discoverInit(): Promise<Process | null> {
    if (this.#starting.has('init')) return null
    const files = await readProcesses(this.root, this.id).catch(() => [])
    if (!files.some((file) => file.id === 'init')) return null
    if (!this.#processes.has('init')) await this.#loadProcesses()
    return this.#processes.get('init') ?? null
  }

  async #open(open: () => Promise<number>): Promise<WireProcess[]> {
    const { link, processes } = await ShimLink.open(this.#native, this.id, this.#timeout, open)
    link.listen({
      onExit: (process, exit, written) => this.#exited(process, exit, written),
      onCreated: (pid, starttime) => this.#created?.(pid, starttime),
      onDeleted: () => {
        this.#deleted = true
        this.#giveBack()
        this.#hub.deleted()
      },
      onClosed: () => this.#linkClosed(link),
    })
    this.#link = link
    this.#hello = processes
    return processes
  }

  /** The connection to the container's shim; one is started where none serves. */
  #connect(): Promise<ShimLink> {
    if (this.#link && !this.#link.closed) return Promise.resolve(this.#link)
    this.#linking ??= this.#establish().finally(() => {
      this.#linking = null
    })
    return this.#linking
  }

  async #establish(): Promise<ShimLink> {
    const directory = join(this.root, this.id)
    const end = Date.now() + this.#timeout
    for (let attempt = 0; ; ++attempt) {
      try {
        let processes: WireProcess[]
        try {
          // A container that this handle has just made, and nobody else can know of, has no shim yet.
          processes = await this.#open(() => this.#native.connectShim(directory))
        } catch (error) {
          if (!isGone(error)) throw error
          await this.#mustExist()
          processes = await this.#open(() => this.#native.spawnShim(this.#shim, directory))
        }
        this.#learn(processes)
        if (this.#file.ephemeral && this.#file.owner?.pid === process.pid) {
          // Also of a shim that took over: it must know whose end it is to watch for.
          await this.#link?.request({ op: 'own' }, { containerId: this.id }, () => undefined).answer
        }
        const link = this.#link as ShimLink
        // Told to every shim anew: one that took over from another does not know whose end to watch for.
        if (this.#owns) await link.request({ op: 'own' }, { containerId: this.id }, () => undefined).answer
        return link
      } catch (error) {
        // Two programs started a shim, and the other one's won; or the one that served was just leaving.
        const busy = error instanceof ShimBusy
        if (busy && Date.now() > end) {
          throw new ContainerError('ERR_START_TIMEOUT', `container '${this.id}': its shim did not answer`, {
            containerId: this.id,
          })
        }
        const ended = error instanceof ContainerError && error.code === 'ERR_SHIM_EXITED'
        if (!busy && (!ended || attempt >= maxTakeovers)) {
          if (error instanceof ContainerError || !(error as NativeFailure).code) throw error
          throw toContainerError(error as NativeFailure, { containerId: this.id })
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
    const process = this.#processes.get(id)
    if (!process) this.#early?.set(id, { pid, exit, written })
    if (!process || process.exitStatus || (pid !== null && process.pid !== pid)) return
    process.exited(exit, written)
    this.#hub.exited(process, this.#loaded.has(process))
  }

  /** The shim ended. While processes run a new one takes over, which learns their exits from the kernel. */
  #linkClosed(link: ShimLink): void {
    if (this.#link === link) this.#link = null
    if (this.#deleted || (this.#closed && !this.#owns)) return
    const running = [...this.#processes.values()].filter((process) => !process.exitStatus)
    if (running.length === 0 && !this.#owns) return
    this.#connect().catch((error: unknown) => {
      for (const process of running) process.abandon(error as Error)
    })
  }

  /** After a failed start nothing keeps the shim but this connection; an ephemeral container keeps it. */
  #releaseIdleLink(): void {
    // A delete() that undid the start is still to be answered.
    if (!this.#file.ephemeral && this.#processes.size === 0 && this.#link?.idle) {
      this.#link.close()
      this.#link = null
    }
  }
}
