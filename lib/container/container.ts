// A container's handle: its life from create to delete, and the processes in it.
import { join } from 'node:path'
import { Attachment, maxTakeovers, ownerRuns, startTimeOf } from './session.js'
import { load as loadBinding } from '../native/load.js'
import {
  type Checkpoint,
  type CheckpointOptions,
  checkCheckpointName,
  checkCheckpointOptions,
  metadataOf,
  readCheckpoints,
  readRestorable,
  removeCheckpoint,
} from '../state/checkpoints.js'
import {
  ContainerError,
  corrupt,
  type FailureContext,
  invalidValue,
  type NativeFailure,
  toContainerError,
} from '../errors.js'
import { EventHub, events, type EventStream } from '../events/stream.js'
import type { ContainerBox, NativeBinding } from '../native/binding.js'
import { readBundle } from '../oci/json_file.js'
import { InheritedSpec } from '../oci/inherit.js'
import {
  checkConfigProcess,
  checkProcessSpec,
  type OciConfig,
  type ProcessSpec,
  rootId,
} from '../oci/spec.js'
import {
  checkContainerOptions,
  checkDescriptorLimit,
  checkHook,
  checkRoot,
  checkShim,
  checkTimeout,
  type ContainerOptions,
  type ContainerState,
  defaultTimeout,
  type ExecOptions,
  type LoadOptions,
  type StartOptions,
} from './options.js'
import {
  checkAbortSignal,
  checkContainers,
  checkFlag,
  checkId,
  checkObject,
  checkProcessId,
  checkSignal,
  type Signal,
} from '../validate.js'
import { OomWatcher } from '../events/oom.js'
import { isElsewhere, pidNamespace } from '../native/pid_namespace.js'
import { checkPressure, type PressureOptions, PressureWatcher } from '../events/pressure.js'
import { type OnlyKnown, Process, type StartedProcess } from '../process/process.js'
import { checkResources, type Resources } from '../oci/resources.js'
import { conversionsOf, explainCriuFailure } from '../oci/runtime.js'
import { patienceOf, type ShimLink } from '../shim/link.js'
import { listIds, readRecords, readState } from '../state/records.js'
import {
  createDirectory,
  processFile,
  removeDirectory,
  removeProcessDirectory,
  type StateFile,
} from '../state/directory.js'
import { type Stats, toStats } from '../oci/stats.js'
import { checkTrusted } from '../state/trusted_root.js'
import { ProcessStreams } from '../process/stdio.js'
import { openWatch } from '../events/watcher.js'

/** The promise, or the signal's reason as soon as it is aborted. */
function untilAborted<T>(promise: Promise<T>, signal: AbortSignal | undefined): Promise<T> {
  if (!signal) return promise
  return new Promise((resolve, reject) => {
    const onAbort = (): void => reject(signal.reason as Error)
    signal.addEventListener('abort', onAbort, { once: true })
    if (signal.aborted) onAbort()
    promise.then(resolve, reject).finally(() => signal.removeEventListener('abort', onAbort))
  })
}

const SIGKILL = 9
/** Containers whose figures become objects in one turn of the event loop: some 25 us each. */
const maxStatsPart = 4

/**
 * A container of `runc` or `crun`, held by a shim of its own; the handle may come and go.
 *
 * Every call that asks the container's shim fails with ERR_START_TIMEOUT if the shim does not answer: docs/errors.md says
 * after how long. Every call fails with ERR_CONTAINER_NOT_FOUND once some program has deleted the container, and with a
 * TypeError or RangeError for bad arguments. Each call lists its other errors. After a failure the state is what it was
 * before.
 */
export class Container implements AsyncDisposable {
  /** As given; no other container of this root has it. */
  readonly id: string
  /** Absolute path of the root directory; the container's state lies in `<root>/<id>`. */
  readonly root: string
  /** Absolute path of its OCI bundle. */
  readonly bundle: string
  /** As given; frozen. */
  readonly labels: readonly string[]
  /** Name or path of the OCI runtime binary. */
  readonly runtime: string
  readonly #native: NativeBinding
  readonly #timeout: number
  readonly #file: StateFile
  #config: OciConfig | null
  /** What an exec takes from init; made again when init is another. */
  #inherited: InheritedSpec | null = null
  readonly #hub: EventHub
  /** The connection to the shim, and what this handle knows. */
  readonly #held: Attachment

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
    this.#file = file
    this.#timeout = timeout
    this.#config = config
    this.root = root
    this.id = id
    this.bundle = file.bundle
    this.labels = Object.freeze([...file.labels])
    this.runtime = file.runtime
    this.#hub = new EventHub(this, native, () => this.oom())
    this.#held = new Attachment({ container: this, native, shim, file, timeout, hub: this.#hub })
  }

  /**
   * Registers a container on disk; runs nothing (an ephemeral one gets its shim, which watches this program).
   *
   * ERR_CONTAINER_EXISTS where the id is taken, of two that race for one of them; ERR_SYSCALL where the bundle's
   * config.json cannot be read, ERR_STATE_CORRUPT where it is no OCI configuration, or where another user can change or
   * replace `root` (docs/security.md); ERR_UNSUPPORTED on a system for which the package has no
   * native part.
   */
  static async create(options: ContainerOptions): Promise<Container> {
    const checked = checkContainerOptions(options)
    const { native, shim } = loadBinding()
    const config = await readBundle(checked.bundle, checked.id)
    const { root, id, ...rest } = checked
    const file: StateFile = { ...rest }
    if (checked.ephemeral) {
      const starttime = startTimeOf(native, process.pid, id)
      const namespace = pidNamespace()
      if (starttime !== null) {
        file.owner = { pid: process.pid, starttime, ...(namespace !== null && { pidNamespace: namespace }) }
      }
      await checkTrusted(root)
      await Container.#removeOrphan(native, root, id)
    }
    await createDirectory(root, id, file)
    const container = new Container(native, checked.shim || shim, root, id, file, checked.timeout, config)
    if (checked.ephemeral) {
      try {
        container.#held.owns = true
        await container.#held.connect()
      } catch (error) {
        container.#held.owns = false
        container.#held.link?.close()
        await removeDirectory(root, id)
        throw error
      }
    }
    return container
  }

  /** An ephemeral container whose program died before its shim was there to see it. */
  static async #removeOrphan(native: NativeBinding, root: string, id: string): Promise<void> {
    const file = await readState(native, root, id).catch(() => null)
    if (!file?.owner || ownerRuns(native, file.owner, id)) return
    // One of another pid namespace may be alive there, which its shim tells.
    const here = !isElsewhere(file.owner.pidNamespace)
    if (here && (await readRecords(native, root, id)).processes.length === 0) return removeDirectory(root, id)
    // Its shim ends it; load() is refused once it has.
    await (await Container.load(root, id).catch(() => null))?.close()
  }

  /**
   * A handle for a container that some program created, whether it runs or not; directories of containerd 0.2's
   * runtime package load too. A process directory that cannot be read is skipped, and said on the diagnostics channel
   * `libcontainer:skipped`. Many that are asked for together, as by Promise.all(), are read by one native pass. If the
   * container's shim does not answer, load() waits for `timeout`, then resolves with what the disk and the kernel say.
   *
   * ERR_CONTAINER_NOT_FOUND; ERR_STATE_CORRUPT where state.json is not what it should be, or another user can change or
   * replace `root`; ERR_UNSUPPORTED where its shim runs in another pid namespace; ERR_SYSCALL where it cannot be read.
   */
  static async load(root: string, id: string, options: LoadOptions = {}): Promise<Container> {
    const directory = checkRoot(root)
    checkId(id)
    checkObject(options, 'options')
    const timeout = options.timeout === undefined ? undefined : checkTimeout(options.timeout)
    const observes = checkFlag(options.observe, 'observe')
    const { native, shim } = loadBinding()
    await checkTrusted(directory)
    const file = await readState(native, directory, id)
    const container = new Container(
      native,
      checkShim(options.shim) || file.shim || shim,
      directory,
      id,
      file,
      timeout ?? (file.timeout > 0 ? file.timeout : defaultTimeout),
      null,
    )
    container.#held.observes = observes
    try {
      await container.#held.load()
    } catch (error) {
      await container.close()
      throw error
    }
    return container
  }

  /**
   * The ids that load() would accept, sorted; none for a root that does not exist. ERR_STATE_CORRUPT where another user
   * can change or replace `root`; ERR_SYSCALL where it cannot be read, or descriptors or memory are used up.
   */
  static async list(root: string): Promise<string[]> {
    const directory = checkRoot(root)
    return listIds(loadBinding().native, directory)
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
    return this.#held.processes
  }

  /** What this handle knows, without asking; {@link Container.status} asks. */
  get state(): ContainerState {
    return this.#held.state
  }

  /**
   * True for one that load() found to have been started before the machine's last boot, which ended all of it: it is
   * `'stopped'`, and how its processes ended is not known. It can be deleted, and created and started anew. True also for a
   * container of a pid namespace that has ended, as when the container that this program runs in was restarted.
   */
  get endedByReboot(): boolean {
    return this.#held.earlierBoot
  }

  /**
   * Asks the kernel: the runtime's record, its start FIFO and the freezer; never runs the runtime. It finds out what other
   * programs have done, too. ERR_CONTAINER_NOT_FOUND once it is deleted, by whomever; ERR_STATE_CORRUPT.
   */
  async status(): Promise<ContainerState> {
    await this.#held.mustExist()
    const init = this.#held.processes.get('init') ?? (await this.#held.discoverInit())
    if (!init) return 'created'
    if (init.exitStatus) return 'stopped'
    const state = await this.#held.ask(() => this.#native.status(this.#held.boxOf(init)))
    this.#held.isCreated = state === 'created'
    this.#held.isPaused = state === 'paused'
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
  async start<const Options extends StartOptions = StartOptions>(
    options?: Options & OnlyKnown<Options, StartOptions>,
  ): Promise<StartedProcess<Options>> {
    return (await this.#start(options === undefined ? {} : options)) as StartedProcess<Options>
  }

  async #start(options: StartOptions): Promise<Process> {
    checkObject(options, 'options')
    const signal = checkAbortSignal(options.signal)
    checkHook(options.onCreated)
    const { onCreated } = options
    const from =
      options.checkpoint === undefined ? null : checkCheckpointName(options.checkpoint, 'checkpoint')
    signal?.throwIfAborted()
    await this.#held.mustExist()
    const context: FailureContext = { containerId: this.id, processId: 'init' }
    if (from !== null && onCreated) {
      const text = 'a restored program runs before onCreated could be called'
      throw toContainerError({ code: 'ERR_UNSUPPORTED', text }, context)
    }
    const init = this.#held.processes.get('init')
    if (init?.exitStatus) {
      throw new ContainerError('ERR_CONTAINER_EXITED', `container '${this.id}' has run and exited`, context)
    }
    if (init || this.#held.starting.has('init')) {
      throw new ContainerError('ERR_PROCESS_EXISTS', `container '${this.id}' is started already`, context)
    }
    this.#held.starting.add('init')
    try {
      const config = (this.#config = await readBundle(this.bundle, this.id))
      const spec = this.#initSpec(config)
      const checkpoint = from === null ? null : await readRestorable(this.bundle, from, this.id)
      const streams = ProcessStreams.open(this.#native, options, spec.terminal === true, context)
      let started: Process | undefined
      try {
        const link = await untilAborted(this.#held.connect(), signal)
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
            this.#held.isCreated = false
            if (started) this.#hub.started(started)
            void this.#hub.watch()
          },
          this.#processJson(spec, streams, config, null, from ?? ''),
          streams.fds,
          patienceOf.start(this.#timeout),
        )
        call.seq = seq
        streams.closeTheirs()
        await link.abortable(seq, answer, signal, patienceOf.startUndo, hook)
        return started as Process
      } catch (error) {
        this.#held.processes.delete('init')
        this.#held.isCreated = true
        streams.discard()
        started?.abandon(error as Error)
        this.#held.releaseIdle()
        if (!checkpoint) throw error
        throw await explainCriuFailure(error, this.runtime, this.#file.runtimeArgs, context)
      }
    } finally {
      this.#held.onCreated = null
      this.#held.starting.delete('init')
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
  async exec<const Options extends ExecOptions = ExecOptions>(
    id: string,
    spec: ProcessSpec,
    options?: Options & OnlyKnown<Options, ExecOptions>,
  ): Promise<StartedProcess<Options>> {
    return (await this.#exec(id, spec, options === undefined ? {} : options)) as StartedProcess<Options>
  }

  async #exec(id: string, spec: ProcessSpec, options: ExecOptions): Promise<Process> {
    checkProcessId(id)
    checkProcessSpec(spec)
    checkObject(options, 'options')
    const signal = checkAbortSignal(options.signal)
    signal?.throwIfAborted()
    const context: FailureContext = { containerId: this.id, processId: id }
    await this.#held.running(context)
    if (this.#held.processes.has(id) || this.#held.starting.has(id)) {
      throw toContainerError({ code: 'ERR_PROCESS_EXISTS', text: 'there is one of that id' }, context)
    }
    const own = this.#held.processes.get('init')?.spec ?? {}
    if (this.#inherited?.own !== own) this.#inherited = new InheritedSpec(own)
    const inherited = this.#inherited
    const said = { ...spec }
    const streams = ProcessStreams.open(this.#native, options, spec.terminal === true, context)
    this.#held.starting.add(id)
    try {
      const link =
        this.#held.link && !this.#held.link.closed
          ? this.#held.link
          : await untilAborted(this.#held.connect(), signal)
      const { seq, answer } = link.request(
        {
          op: 'exec',
          process: id,
          stdio: streams.wire,
          timeoutMs: this.#timeout,
          typed: inherited.typed(said),
        },
        context,
        (result) => {
          const process = new Process(this.#held.host, {
            id,
            pid: result['pid'] as number,
            starttime: result['starttime'] as number,
            spec: () => inherited.whole(said),
            stdio: streams.names,
            streams,
          })
          this.#held.processes.set(id, process)
          this.#hub.started(process)
          return process
        },
        this.#processJson(said, streams, this.#config, inherited),
        streams.fds,
        patienceOf.exec(this.#timeout),
      )
      streams.closeTheirs()
      return signal ? await link.abortable(seq, answer, signal, patienceOf.execUndo) : await answer
    } catch (error) {
      this.#held.processes.delete(id)
      streams.discard()
      throw error
    } finally {
      this.#held.starting.delete(id)
    }
  }

  /**
   * Signals init, or with `all` every process of the container, by pidfd; SIGTERM. SIGKILL ends a paused container
   * too; any other signal waits until it runs again. With init all processes of its pid namespace end, if it has one.
   * ERR_CONTAINER_NOT_STARTED, ERR_CONTAINER_EXITED; ERR_SYSCALL, with EAGAIN if a SIGKILL with `all` does not end every
   * process in 15 seconds.
   */
  async kill(signal: Signal = 'SIGTERM', options: { all?: boolean } = {}): Promise<void> {
    const number = checkSignal(signal)
    checkObject(options, 'options')
    const all = checkFlag(options.all, 'all')
    const context: FailureContext = { containerId: this.id }
    if (all) {
      const first = await this.#held.living(context)
      return this.#held.ask(() => this.#native.signalAll(this.#held.boxOf(first), number))
    }
    const init = await this.#held.running(context)
    try {
      await init.kill(number)
      if (number === SIGKILL) await this.#held.ask(() => this.#native.releaseKilled(this.#held.boxOf(init)))
    } catch (error) {
      if (!(error instanceof ContainerError) || error.code !== 'ERR_PROCESS_EXITED') throw error
      throw new ContainerError('ERR_CONTAINER_EXITED', `container '${this.id}' has exited`, context)
    }
  }

  /**
   * Returns the host pids of every process in the container's cgroups, nested ones included: `cgroup.procs` of v2, or of
   * v1's devices controller as in runc. Without a pid namespace of the container's own, processes may outlive init. This
   * call and kill() with `all`, stats(), pause(), resume(), updateResources(), oom() and pressure() then go on working
   * until the last one has ended.
   *
   * ERR_CONTAINER_NOT_STARTED; ERR_CONTAINER_EXITED once nothing of the container runs; ERR_UNSUPPORTED for a container
   * without cgroups; ERR_SYSCALL with ETIMEDOUT when the container has made more cgroups than can be read in 10 seconds.
   */
  async pids(): Promise<number[]> {
    return this.#held.askOfLiving((box) => this.#native.pids(box))
  }

  /** As pids(), on this thread: it reads one small kernel file for each cgroup of the container. Throws as that rejects. */
  pidsSync(): number[] {
    const init = this.#held.mustLive({ containerId: this.id })
    try {
      return this.#native.pidsSync(this.#held.boxOf(init))
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
    await this.#held.askOfLiving((box) => this.#native.pause(box, this.#timeout))
    this.#held.isPaused = true
    this.#hub.did('paused')
  }

  /** Lets a paused container run on; one that is not paused is no error. Errors as pause(). */
  async resume(): Promise<void> {
    await this.#held.askOfLiving((box) => this.#native.resume(box))
    this.#held.isPaused = false
    this.#hub.did('resumed')
  }

  /**
   * What it used and may use, all from one pass or nothing. ERR_CONTAINER_NOT_STARTED, ERR_CONTAINER_EXITED; ERR_UNSUPPORTED
   * for a container without cgroups.
   */
  async stats(): Promise<Stats> {
    return toStats(await this.#held.askOfLiving((box) => this.#native.stats(box)))
  }

  /** As stats(), on this thread: it reads some ten (v2) to fifty (v1) small kernel files. Throws as that rejects. */
  statsSync(): Stats {
    const init = this.#held.mustLive({ containerId: this.id })
    try {
      return toStats(this.#native.statsSync(this.#held.boxOf(init)))
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
    await Promise.all(
      containers.map(async (container, index) => {
        try {
          const init = await container.#held.living({ containerId: container.id })
          asked.push({ container, index, box: container.#held.boxOf(init) })
        } catch (error) {
          out[index] = error as ContainerError
        }
      }),
    )
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
    checkResources(resources)
    const init = await this.#held.living({ containerId: this.id })
    const options =
      resources.cpu?.shares !== undefined || resources.pids?.limit === 0
        ? await conversionsOf(this.runtime)
        : { linearShares: false, pidsZeroIsOne: false }
    await this.#held.ask(() =>
      this.#native.update(this.#held.boxOf(init), JSON.stringify(resources), options),
    )
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
    const init = await this.#held.living({ containerId: this.id })
    return new OomWatcher(await openWatch(this.#native, this.#held.boxOf(init), this.id, { kind: 'oom' }))
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
    const init = await this.#held.living({ containerId: this.id })
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
    return new PressureWatcher(
      await openWatch(this.#native, this.#held.boxOf(init), this.id, request),
      checked,
    )
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
    const process = this.#held.processes.get(id)
    const init = this.#held.processes.get('init')
    if ((this.#held.link && !this.#held.link.closed) || (init && !init.exitStatus)) {
      // The shim knows, also of an exit that this program has yet to hear of.
      const link = await this.#held.connect()
      try {
        await link.request({ op: 'remove', process: id }, context, () => undefined).answer
      } catch (error) {
        // By another program, or by this call's first attempt, whose shim was killed.
        const gone = error instanceof ContainerError && error.code === 'ERR_PROCESS_NOT_FOUND'
        if (gone && process?.exitStatus) this.#held.processes.delete(id)
        throw error
      }
    } else {
      if (process && !process.exitStatus) {
        throw toContainerError({ code: 'ERR_CONTAINER_NOT_STOPPED', text: 'it still runs' }, context)
      }
      await this.#held.mustExist()
      if (!process) {
        throw toContainerError({ code: 'ERR_PROCESS_NOT_FOUND', text: 'there is none of that id' }, context)
      }
      await removeProcessDirectory(this.root, this.id, id)
    }
    this.#held.processes.delete(id)
  }

  /**
   * Deletes the container by the runtime, then its state directory. With `force` its processes are killed first, also
   * while it is paused. Without `force` it fails with ERR_CONTAINER_NOT_STOPPED unless the container is stopped or was never
   * started. It also fails so while processes outlive init, as they can without a pid namespace of the container's own.
   * ERR_CONTAINER_NOT_FOUND when it is deleted already; ERR_RUNTIME where the runtime's delete fails.
   */
  async delete(options: { force?: boolean } = {}): Promise<void> {
    checkObject(options, 'options')
    const force = checkFlag(options.force, 'force')
    await this.#held.mustExist()
    const context: FailureContext = { containerId: this.id }
    const known =
      this.#held.link !== null ||
      this.#held.processes.size > 0 ||
      (await this.#held.discoverInit()) !== null ||
      (await readRecords(this.#native, this.root, this.id)).unfinished
    if (known) await this.#deleteByShim(force, context)
    else await removeDirectory(this.root, this.id)
    this.#held.deleted = true
    this.#held.giveBack()
    this.#hub.deleted()
    this.#held.link?.close()
  }

  async #deleteByShim(force: boolean, context: FailureContext): Promise<void> {
    for (let attempt = 0; ; ++attempt) {
      let asked = false
      try {
        const link = await this.#held.connect()
        asked = true
        await link.request(
          { op: 'delete', force },
          context,
          () => {
            this.#held.deleted = true
          },
          null,
          [],
          patienceOf.delete,
        ).answer
        return
      } catch (error) {
        const code = error instanceof ContainerError ? error.code : null
        // Its shim was killed in the middle: the next one has finished it before it answers.
        if (code === 'ERR_CONTAINER_NOT_FOUND' && attempt > 0 && !asked) return
        if (code !== 'ERR_SHIM_EXITED') throw error
        try {
          await this.#held.mustExist()
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
    await this.#held.mustExist()
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
    await this.#held.mustExist()
    const context: FailureContext = { containerId: this.id }
    await this.#held.running(context)
    const link = await this.#held.connect()
    try {
      await link.request(
        { op: 'checkpoint', ...checked },
        context,
        () => undefined,
        metadataOf(checked, new Date()),
        [],
        patienceOf.checkpoint,
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
    await this.#held.mustExist()
    await removeCheckpoint(this.bundle, name, this.id)
  }

  /**
   * Lets go of this handle; the container runs on. Streams of `'pipe'` are closed and pending waits rejected. An
   * ephemeral container still ends with this program.
   */
  async close(): Promise<void> {
    if (this.#held.closed) return
    this.#held.closed = true
    const error = new ContainerError('ERR_SHIM_EXITED', `the handle of container '${this.id}' was closed`, {
      containerId: this.id,
    })
    for (const process of this.#held.processes.values()) {
      process.abandon(error)
      await process.close()
    }
    this.#held.giveBack()
    this.#hub.closed()
    // The shim of an ephemeral container takes the end of this connection for the end of this program.
    if (!this.#held.owns) this.#held.link?.close()
  }

  /** Ephemeral: kill and delete, and no error if that is done already; else close(). */
  async [Symbol.asyncDispose](): Promise<void> {
    if (!this.#file.ephemeral) return this.close()
    try {
      if (!this.#held.deleted) await this.delete({ force: true })
    } catch (error) {
      if (!(error instanceof ContainerError) || error.code !== 'ERR_CONTAINER_NOT_FOUND') throw error
    }
  }

  #initSpec(config: OciConfig): ProcessSpec {
    const path = join(this.bundle, 'config.json')
    if (!config.process) throw corrupt(this.id, path, 'is wrong: process is missing')
    try {
      return checkConfigProcess(config.process)
    } catch (error) {
      throw corrupt(this.id, path, `is wrong: ${(error as Error).message}`)
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
    this.#held.onCreated = (pid, starttime, start) => {
      // A shim of version 0.1 tells every client, also one that lost the race for this start.
      if (start !== null && start !== call.seq) return
      const init = new Process(this.#held.host, {
        id: 'init',
        pid,
        starttime,
        spec,
        stdio: streams.names,
        streams,
      })
      this.#held.processes.set('init', init)
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
}
