// A container's handle. What its methods do is in the files beside this one, over the session that they share.
import type { ContainerError } from '../errors.js'
import type { EventStream } from '../events/stream.js'
import { openStream } from '../events/stream.js'
import type { OomWatcher } from '../events/oom.js'
import type { WatchOptions } from '../events/options.js'
import type { PressureOptions, PressureWatcher } from '../events/pressure.js'
import { load as loadBinding } from '../native/load.js'
import type { Resources } from '../oci/resources.js'
import type { ProcessSpec } from '../oci/spec.js'
import { type Stats, toStats } from '../oci/stats.js'
import type { OnlyKnown, Process, StartedProcess } from '../process/process.js'
import type { Checkpoint, CheckpointOptions } from '../state/checkpoints.js'
import { removeDirectory } from '../state/directory.js'
import { listIds } from '../state/records.js'
import { checkContainers, type Signal } from '../validate.js'
import { deleteCheckpoint, listCheckpoints, makeCheckpoint } from './checkpoint.js'
import { find, register } from './create.js'
import { deleteContainer, discard, removeProcess } from './delete.js'
import { exec, execArguments, toSpec } from './exec.js'
import { kill } from './kill.js'
import {
  checkDescriptorLimit,
  checkRoot,
  type ContainerOptions,
  type ContainerState,
  type ExecOptions,
  type LoadOptions,
  type StartOptions,
} from './options.js'
import { run } from './run.js'
import type { OutputOf, RunOptions, RunResult } from './run_options.js'
import { Session, type SessionParts } from './session.js'
import { start } from './start.js'
import { statsOfMany } from './stats.js'
import { updateResources } from './update.js'
import { watchOom, watchPressure } from './watch.js'

declare module '../process/process.js' {
  interface HandleTypes {
    container: Container
  }
}

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
  readonly #session: Session

  private constructor(parts: SessionParts) {
    const { root, id, file } = parts
    this.root = root
    this.id = id
    this.bundle = file.bundle
    this.labels = Object.freeze([...file.labels])
    this.runtime = file.runtime
    this.#session = new Session(this, parts)
  }

  /**
   * Registers a container on disk; runs nothing (an ephemeral one gets its shim, which watches this program).
   *
   * ERR_CONTAINER_EXISTS where the id is taken, of two that race for one of them; ERR_SYSCALL where the bundle's
   * config.json cannot be read, ERR_STATE_CORRUPT where it is no OCI configuration, or where another user can change or
   * replace `root` (docs/security.md); ERR_UNSUPPORTED on a system for which the package has no native part.
   */
  static async create(options: ContainerOptions): Promise<Container> {
    const { parts, config } = await register(options, async (root, id) => {
      await (await Container.load(root, id)).close()
    })
    const container = new Container(parts)
    const session = container.#session
    session.configured(config)
    if (!parts.file.ephemeral) return container
    try {
      await session.connection.own()
      return container
    } catch (error) {
      await removeDirectory(parts.root, parts.id)
      throw error
    }
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
    const container = new Container(await find(root, id, options))
    try {
      await container.#session.load()
      return container
    } catch (error) {
      await container.close()
      throw error
    }
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
   * Limits how many descriptors all handles of this thread keep open between calls. Default: half of the soft
   * `RLIMIT_NOFILE` when the package was loaded, at most 16,384. `0` disables the cache; calls get slower, results stay
   * the same. It is also emptied when a call of this library runs out of descriptors. A closed handle keeps none.
   */
  static limitDescriptors(limit: number): void {
    loadBinding().native.limitDescriptors(checkDescriptorLimit(limit))
  }

  /** The session, for calls that a closed handle refuses. */
  get #open(): Session {
    this.#session.mustBeOpen()
    return this.#session
  }

  /** All that were started and not removed, running or exited; `'init'` is the first one. */
  get processes(): ReadonlyMap<string, Process> {
    return this.#session.processes
  }

  /** What this handle knows, without asking; {@link Container.status} asks. */
  get state(): ContainerState {
    return this.#session.state
  }

  /**
   * True for one that load() found to have been started before the machine's last boot, which ended all of it: it is
   * `'stopped'`, and how its processes ended is not known. It can be deleted, and created and started anew. True also for a
   * container of a pid namespace that has ended, as when the container that this program runs in was restarted.
   */
  get endedByReboot(): boolean {
    return this.#session.earlierBoot
  }

  /**
   * Asks the kernel: the runtime's record, its start FIFO and the freezer; never runs the runtime. It finds out what other
   * programs have done, too. ERR_CONTAINER_NOT_FOUND once it is deleted, by whomever; ERR_STATE_CORRUPT.
   */
  async status(): Promise<ContainerState> {
    return this.#open.status()
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
    return (await start(this.#open, options === undefined ? {} : options)) as StartedProcess<Options>
  }

  /**
   * Runs one more process in the container, by the shim's own system calls: never a runtime process. Resolves when
   * execve(2) has succeeded.
   *
   * What `spec` leaves out comes from the container's own process. An array is `{ args }`. `id` is as a container's, and
   * not the name of a file of the state directory (`state.json`, `shim.sock`, ...); that of a process which has exited is
   * free again after removeProcess(). Without an id the process is anonymous: it has a generated id, and is forgotten
   * everywhere when it exits.
   *
   * TypeError that names the field of `spec`; ERR_SYSCALL with `path` and `errno` where the program or directory is not
   * there or not executable; ERR_PROCESS_EXISTS; ERR_CONTAINER_NOT_STARTED, ERR_CONTAINER_EXITED, ERR_CONTAINER_PAUSED,
   * ERR_CONTAINER_NOT_FOUND; ERR_UNSUPPORTED for confinement that cannot be applied; ERR_START_TIMEOUT;
   * ERR_PROCESS_EXITED when it was killed before it could run; ERR_STATE_CORRUPT where the runtime's record is not what it
   * should be, or is about another container; ERR_SHIM_EXITED when its shim is killed meanwhile, or this handle is closed.
   * After a failure no process and no directory of it is left.
   */
  exec<const Options extends ExecOptions = ExecOptions>(
    id: string,
    spec: ProcessSpec | string[],
    options?: Options & OnlyKnown<Options, ExecOptions>,
  ): Promise<StartedProcess<Options>>
  exec<const Options extends ExecOptions = ExecOptions>(
    spec: ProcessSpec | string[],
    options?: Options & OnlyKnown<Options, ExecOptions>,
  ): Promise<StartedProcess<Options>>
  async exec(first: string | ProcessSpec | string[], second?: unknown, third?: unknown): Promise<Process> {
    const { id, spec, options = {} } = execArguments(first, second, third)
    return exec(this.#open, id, spec, options as ExecOptions)
  }

  /**
   * Runs a program to its end and collects what it writes. Resolves for every end of the program once it ran; when it
   * resolves, nothing that the program started is left. The program has a cgroup of its own: a string in `cgroup` is the
   * parent of it. If this handle is closed or this program dies, what run() started is killed.
   *
   * @example
   * const { stdout, exitCode } = await container.run(['/bin/sh', '-c', 'wc -c'], { input: 'hello', timeout: 2000 })
   * @throws {ContainerError} ERR_KILL_TIMEOUT if something is left at the end of the container's timeout; `result` has what
   * run() would have resolved with.
   * Rejects also as exec() does if the program cannot be started, and with the signal's reason if it is aborted before.
   */
  async run<const Options extends RunOptions = RunOptions>(
    spec: ProcessSpec | string[],
    options?: Options & OnlyKnown<Options, RunOptions>,
  ): Promise<RunResult<OutputOf<Options>>> {
    const result = await run(this.#open, toSpec(spec), options === undefined ? {} : options)
    return result as RunResult<OutputOf<Options>>
  }

  /**
   * Signals init, or with `all` every process of the container, by pidfd; SIGTERM. SIGKILL ends a paused container
   * too; any other signal waits until it runs again. With init all processes of its pid namespace end, if it has one.
   * ERR_CONTAINER_NOT_STARTED, ERR_CONTAINER_EXITED; ERR_SYSCALL, with EAGAIN if a SIGKILL with `all` does not end every
   * process in 15 seconds.
   */
  async kill(signal: Signal = 'SIGTERM', options: { all?: boolean } = {}): Promise<void> {
    return kill(this.#open, signal, options)
  }

  /**
   * Returns the host pids of every process in the container's cgroups, nested ones included: `cgroup.procs` of v2, or of
   * v1's devices controller as in runc. Without a pid namespace of the container's own, processes may outlive init. This
   * call and kill() with `all`, stats(), pause(), resume(), updateResources(), oom() and pressure() then go on working
   * until the last one has ended.
   *
   * ERR_CONTAINER_NOT_STARTED; ERR_CONTAINER_EXITED once nothing of it runs; ERR_UNSUPPORTED without cgroups; ERR_SYSCALL
   * with ETIMEDOUT when the container has made more cgroups than can be read in 10 seconds.
   */
  async pids(): Promise<number[]> {
    const { native } = this.#open
    return this.#session.askOfLiving((live) => native.pids(live))
  }

  /** As pids(), on this thread: it reads one small kernel file for each cgroup of the container. Throws as that rejects. */
  pidsSync(): number[] {
    const { native } = this.#open
    return this.#session.askOfLivingSync((live) => native.pidsSync(live))
  }

  /**
   * Stops every process of the container by its freezer; done when the kernel says that all stand still. Paused already
   * is no error. v1 freezer.state; v2 cgroup.freeze, cgroup.events. ERR_CONTAINER_NOT_STARTED, ERR_CONTAINER_EXITED;
   * ERR_SYSCALL with ETIMEDOUT when it does not come to rest in the handle's timeout: then it runs on; ERR_UNSUPPORTED
   * where there is no freezer (on v2 before Linux 5.2).
   */
  async pause(): Promise<void> {
    const { native, timeout } = this.#open
    await this.#session.askOfLiving((live) => native.pause(live, timeout))
    this.#session.paused()
  }

  /** Lets a paused container run on; one that is not paused is no error. Errors as pause(). */
  async resume(): Promise<void> {
    const { native } = this.#open
    await this.#session.askOfLiving((live) => native.resume(live))
    this.#session.resumed()
  }

  /**
   * Reads what it used and may use, in one pass. ERR_CONTAINER_NOT_STARTED, ERR_CONTAINER_EXITED; ERR_UNSUPPORTED without
   * cgroups.
   */
  async stats(): Promise<Stats> {
    const { native } = this.#open
    return toStats(await this.#session.askOfLiving((live) => native.stats(live)))
  }

  /** As stats(), on this thread: it reads some ten (v2) to fifty (v1) small kernel files. Throws as that rejects. */
  statsSync(): Stats {
    const { native } = this.#open
    return toStats(this.#session.askOfLivingSync((live) => native.statsSync(live)))
  }

  /**
   * The metrics of many containers, read off this thread, in the order given; where one fails its error stands in its
   * place. Each container's `timestamp` is its own. ERR_INVALID_ARG_TYPE where one is no Container.
   */
  static async stats(containers: readonly Container[]): Promise<(Stats | ContainerError)[]> {
    const sessions = checkContainers(containers, (container) =>
      #session in container ? container.#session : undefined,
    )
    return sessions.length === 0 ? [] : statsOfMany(loadBinding().native, sessions)
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
    return updateResources(this.#open, resources)
  }

  /**
   * Watches for processes that the kernel kills in this container for want of memory, from now on. Any number of watchers
   * may be open; each has its own counts. While a watcher is read it keeps the program running; see WatchOptions.
   *
   * @throws {ContainerError} ERR_CONTAINER_NOT_STARTED
   * @throws {ContainerError} ERR_CONTAINER_EXITED, also while the container dies.
   * @throws {ContainerError} ERR_UNSUPPORTED without a memory controller.
   * @throws {ContainerError} ERR_SYSCALL when the kernel has no descriptor or watch left, with the sysctl that limits them.
   */
  async oom(options: WatchOptions = {}): Promise<OomWatcher> {
    return watchOom(this.#open, options)
  }

  /**
   * Gives what happens to this container and its processes from now on; see EventStream, and events() for many containers.
   * Of what other programs do to it, exits of the processes that this handle knows and its deletion are told. While the
   * stream is read it keeps the program running; see WatchOptions.
   *
   * The same is published on `node:diagnostics_channel`, once a handle, stream or none: `libcontainer:start`, `:exit`,
   * `:oom` (of containers that are started, or asked for events, while the channel has a subscriber), `:pause`, `:resume`,
   * `:update` and `:delete`.
   */
  events(options: WatchOptions = {}): EventStream {
    return openStream([this.#session.hub], options)
  }

  /**
   * Watches for waits of the container's processes for a resource, longer than `stallUsec` within `windowUsec`: a PSI
   * trigger in its v2 cgroup, also on a hybrid machine, reported once a window. Without PSI, memory alone on v1:
   * memory.pressure_level `medium` for `'some'` and `critical` for `'full'`, with the kernel's thresholds.
   * `{ resource: 'memory', kind: 'high' }` reports every breach of v2's memory.high. While the watcher is read it keeps
   * the program running; see WatchOptions.
   *
   * @throws {ContainerError} As oom(); ERR_UNSUPPORTED if the kernel has neither.
   */
  async pressure(options: PressureOptions): Promise<PressureWatcher> {
    return watchPressure(this.#open, options)
  }

  /**
   * Forgets a process that has exited, with its directory: its id is free again. ERR_PROCESS_NOT_FOUND;
   * ERR_CONTAINER_NOT_STOPPED while it runs. Init goes with the container: ERR_INVALID_ARG_VALUE.
   */
  async removeProcess(id: string): Promise<void> {
    return removeProcess(this.#open, id)
  }

  /**
   * Deletes the container by the runtime, then its state directory. With `force` its processes are killed first, also
   * while it is paused. Without `force` it fails with ERR_CONTAINER_NOT_STOPPED unless the container is stopped or was never
   * started. It also fails so while processes outlive init, as they can without a pid namespace of the container's own.
   * ERR_CONTAINER_NOT_FOUND when it is deleted already; ERR_RUNTIME where the runtime's delete fails.
   */
  async delete(options: { force?: boolean } = {}): Promise<void> {
    return deleteContainer(this.#open, options)
  }

  /**
   * Those of this container's bundle, oldest first. ERR_STATE_CORRUPT for a config.json that is not what it should be;
   * ERR_CONTAINER_NOT_FOUND.
   */
  async checkpoints(): Promise<Checkpoint[]> {
    return listCheckpoints(this.#open)
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
   * in `runtimeLog`; ERR_UNSUPPORTED where CRIU does not work here or the runtime is built without it. After a failure the
   * container runs on and nothing of the checkpoint is left.
   */
  async checkpoint(options: CheckpointOptions): Promise<void> {
    return makeCheckpoint(this.#open, options)
  }

  /**
   * Removes a checkpoint of this container's bundle. Of two that delete it one gets ERR_CHECKPOINT_NOT_FOUND. A checkpoint
   * whose parent it was can be restored no more. ERR_CONTAINER_NOT_FOUND.
   */
  async deleteCheckpoint(name: string): Promise<void> {
    return deleteCheckpoint(this.#open, name)
  }

  /**
   * Lets go of this handle; the container runs on. Streams of `'pipe'` are closed and pending waits rejected. An
   * ephemeral container still ends with this program. Later calls fail with ERR_SHIM_EXITED; see {@link Container.load}.
   */
  async close(): Promise<void> {
    return this.#session.close()
  }

  /** Ephemeral: kill and delete, and no error if that is done already; else close(). */
  async [Symbol.asyncDispose](): Promise<void> {
    return this.#session.file.ephemeral ? discard(this.#session) : this.close()
  }
}
