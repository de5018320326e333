// What the native module offers, and the plain values that cross over. A fake of this serves in unit tests.

/** Where a container's kernel side is found. */
export interface ContainerQuery {
  id: string
  runtime: string
  runtimeArgs: string[]
  /** Host pid of init and its start time in clock ticks since boot, proc_pid_stat(5) field 22. */
  pid: number
  starttime: number
  /** Of a process's own cgroup: its path relative to the container's. What is asked is then about that cgroup alone. */
  within?: string
}

/** A container's kernel side, kept open; meaningless but to the functions that take it. */
export type LiveContainer = object & { readonly __container: unique symbol }

export interface UpdateOptions {
  /** cpu.shares to cpu.weight by the straight line of runc before 1.3.2 and of old crun. */
  linearShares: boolean
  /** pids.limit 0 writes 1, as runc since 1.3 does. */
  pidsZeroIsOne: boolean
}

/** What is to be counted of a container's cgroup. */
export type WatchRequest =
  | { kind: 'oom' | 'high' }
  | { kind: 'pressure'; resource: string; full: boolean; stallUsec: number; windowUsec: number }

/** `[watch, how many since the fact before, milliseconds since 1970, the cgroup is gone]` */
export type WatchFact = [watch: number, count: number, atMs: number, removed: boolean]

/** A process directory's files. Null: there is none; empty: it cannot be read. */
export interface ProcessText {
  id: string
  /** process.json, or why it cannot be read. */
  process: string | Error
  pid: string | null
  starttime: string | null
  exitStatus: string | null
  /** exit.json */
  exit: string | null
  /** own.json: how the shim looks after it, if that is more than its exit. */
  own: string | null
  /** When exitStatus was written, in milliseconds since 1970. */
  exitStatusMs: number
}

/** A container's state directory, but for its state.json. */
export interface DirectoryText {
  unfinished: boolean
  earlierBoot: boolean
  processes: ProcessText[]
}

/**
 * The table in native/addon/module.cc. Failures are thrown, or rejected with, as errors with the properties of
 * NativeFailure. Nothing here waits on the JavaScript thread but the calls named `...Sync`, which read kernel files.
 */
export interface NativeBinding {
  /** Counted: while above zero, the event loop is kept alive. */
  ref(): void
  unref(): void
  /** Starts a shim for the state directory; resolves with the number of the connection to it. */
  spawnShim(shim: string, directory: string): Promise<number>
  /** Connects to the shim that serves the state directory; ENOENT or ECONNREFUSED when there is none. */
  connectShim(directory: string): Promise<number>
  /**
   * A copy of the connection's socket, for the caller to read frames from (`receive`) and to close. The connection lasts
   * until it and the connection itself are closed.
   */
  reader(connection: number): number
  /** Sends a frame: the request, an optional body after it, and copies of descriptors. */
  send(connection: number, request: string, body: string | null, fds: number[]): void
  closeConnection(connection: number): void
  /** `[read end, write end]`, both close-on-exec. */
  pipe(): [number, number]
  closeFd(fd: number): void
  /** How many bytes can be read from a pipe now (FIONREAD). */
  pendingBytes(fd: number): number
  /** The receiver of all that becomes ready in this environment; takes effect once, and comes before awaitReadiness(). */
  listenToReadiness(listener: (numbers: number[]) => void): void
  /**
   * Tells the receiver once, by the number that it returns, when a pipe or socket can be read or written, or its other
   * side is gone. Makes it non-blocking. For a host whose own event loop cannot wait for it.
   */
  awaitReadiness(fd: number, writing: boolean): number
  /** Nothing more of that number: before its descriptor is closed. */
  forgetReadiness(number: number): void
  /** Signals that very process by pidfd; ESRCH when it is gone. */
  signalProcess(pid: number, starttime: number, signal: number): void
  /** The start time of a process that runs, else null; throws where that cannot be seen now. */
  startTime(pid: number): number | null
  /** Regular files of at most 16 MiB, read in one pass: the text of each, or an error, in the order given. */
  readTexts(paths: string[]): Promise<(string | Error)[]>
  /** State directories, read in one pass: what each says, or an error, in the order given. */
  readDirectories(paths: string[]): Promise<(DirectoryText | Error)[]>
  /** Looks nothing up yet; every later call answers ERR_CONTAINER_EXITED once its cgroup is gone. */
  container(query: ContainerQuery): LiveContainer
  /** The most descriptors that this environment's containers keep open together; closes what is above it. */
  limitDescriptors(limit: number): void
  /** Closes what the container keeps open; a later call may keep something again. */
  giveBack(container: LiveContainer): void
  status(container: LiveContainer): Promise<'created' | 'running' | 'paused' | 'stopped'>
  /** Whether any process of the container runs, be it without init. */
  lives(container: LiveContainer): Promise<boolean>
  livesSync(container: LiveContainer): boolean
  pids(container: LiveContainer): Promise<number[]>
  pidsSync(container: LiveContainer): number[]
  /** The keys of `runc events --stats` `.data`. */
  stats(container: LiveContainer): Promise<object>
  statsSync(container: LiveContainer): object
  /** Metrics or an error for each, in the order given. */
  statsOfMany(containers: LiveContainer[]): Promise<(object | Error)[]>
  pause(container: LiveContainer, timeoutMs: number): Promise<void>
  resume(container: LiveContainer): Promise<void>
  signalAll(container: LiveContainer, signal: number): Promise<void>
  /** Thaws v1 cgroups, in which a killed process would else stand still for ever; nothing on v2. */
  releaseKilled(container: LiveContainer): Promise<void>
  /** `resources` as `runc update -r -` takes them. */
  update(container: LiveContainer, resources: string, options: UpdateOptions): Promise<void>
  /** Makes a cgroup below the container's for a process that is yet to start; resolves with its name. */
  makeOwnCgroup(container: LiveContainer): Promise<string>
  /** Removes one that nobody entered. */
  removeOwnCgroup(container: LiveContainer, name: string): Promise<void>
  /** The receiver of all watches' facts of this environment; takes effect once, and comes before watch(). */
  listenToWatches(listener: (facts: WatchFact[]) => void): void
  /** Resolves with the watch's number; facts of it come from when on the promise's reactions have run. */
  watch(container: LiveContainer, request: WatchRequest): Promise<number>
  /** Readable while flushWatch() would give more than 0, and for good once the cgroup is gone; made on demand. */
  watchFd(watch: number): number
  /** How many since the last flush, the kernel's counter read once more. */
  flushWatch(watch: number): number
  /** No more facts of it; its descriptors are released. */
  closeWatch(watch: number): void
}
