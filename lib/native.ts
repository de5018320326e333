// What the native module offers, and the plain values that cross over. A fake of this serves in unit tests.

/** Where a container's kernel side is found. */
export interface ContainerQuery {
  id: string
  runtime: string
  runtimeArgs: string[]
  /** Host pid of init and its start time in clock ticks since boot, proc_pid_stat(5) field 22. */
  pid: number
  starttime: number
}

/** `[connection, message]`; null: the connection closed, and its number will not come again. */
export type Fact = [connection: number, message: string | null]

/**
 * The table in native/addon/module.cc. Failures are thrown, or rejected with, as errors with the properties of
 * NativeFailure. Nothing here waits on the JavaScript thread but `pidsSync`, which reads kernel files.
 */
export interface NativeBinding {
  /** The receiver of all facts of this environment; takes effect once. */
  listen(listener: (facts: Fact[]) => void): void
  /** Counted: while above zero, facts to come keep the event loop alive. */
  ref(): void
  unref(): void
  /** Starts a shim for the state directory; resolves with the number of the connection to it. */
  spawnShim(shim: string, directory: string): Promise<number>
  /** Connects to the shim that serves the state directory; ENOENT or ECONNREFUSED when there is none. */
  connectShim(directory: string): Promise<number>
  /** Sends a frame: the request, an optional body after it, and copies of descriptors. */
  send(connection: number, request: string, body: string | null, fds: number[]): void
  closeConnection(connection: number): void
  /** `[read end, write end]`, both close-on-exec. */
  pipe(): [number, number]
  closeFd(fd: number): void
  /** How many bytes can be read from a pipe now (FIONREAD). */
  pendingBytes(fd: number): number
  /** Signals that very process by pidfd; ESRCH when it is gone. */
  signalProcess(pid: number, starttime: number, signal: number): void
  /** The start time of a process that runs, else null. */
  startTime(pid: number): number | null
  status(query: ContainerQuery): Promise<'created' | 'running' | 'paused' | 'stopped'>
  pids(query: ContainerQuery): Promise<number[]>
  pidsSync(query: ContainerQuery): number[]
  signalAll(query: ContainerQuery, signal: number): Promise<void>
}
