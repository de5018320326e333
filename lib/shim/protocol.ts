// The shim's protocol: every request, answer and event. The same names are in the shim's source (native/shim). A message is
// one frame of JSON; `start`, `exec` and `checkpoint` have a body after it, and descriptors travel with the frame.
import { ContainerError, type NativeFailure } from '../errors.js'
import type { CheckpointOptions } from '../state/checkpoints.js'
import type { ExitRecord } from '../state/records.js'

/** The version that this package speaks; its shims say so in their `hello`. */
export const protocolVersion = 2
/** The oldest version that it also speaks: that of one minor version back. Shims of 0.1 send none, which is 1. */
export const oldestProtocolVersion = 1

/** A standard stream of a process to be started. `shared` descriptors belong to others too: the shim does not change them. */
export type StdioSpec =
  | { kind: 'fd'; shared?: true; direct?: true }
  | { kind: 'path'; path: string; direct?: true }
  | { kind: 'keep'; bytes: number }
  | { kind: 'null' }

/** The client's connection is the program that an ephemeral container, or a `bound` process, belongs to. */
export interface OwnRequest {
  op: 'own'
  /** The bound process; left out for the container. */
  process?: string
}

/** Body: process.json of init. Descriptors: those of `stdio`. */
export interface StartRequest {
  op: 'start'
  stdio: StdioSpec[]
  timeoutMs: number
  /** The start stops after `created`, until it hears `proceed`. */
  waitCreated: boolean
  /** Restored instead. */
  checkpoint?: Required<CheckpointOptions>
}

/** Where a process goes below the container's cgroup. */
export interface CgroupRequest {
  /** It gets a cgroup of its own. Left out: it joins `within`. */
  own?: true
  /** A cgroup that is there, relative to the container's: the parent of the own one, or the one to join. */
  within?: string
  /** The own one is made already, with this name. */
  made?: string
}

/** Body: process.json. Descriptors: those of `stdio`, then the extra ones. */
export interface ExecRequest {
  op: 'exec'
  /** An id that begins with `~` is that of an anonymous process. */
  process: string
  /** How many extra descriptors come after those of `stdio`. */
  extraFds?: number
  cgroup?: CgroupRequest
  /** It ends with the client that asked for it. */
  bound?: true
  /** When it has exited, all of its own cgroup is killed before the exit is told. */
  sweep?: true
  /** Milliseconds that it may run. */
  runMs?: number
  /** The number of the signal that ends it after `runMs`, or by `end`. Left out: SIGKILL. */
  killSignal?: number
  /** Milliseconds from that signal to SIGKILL. */
  graceMs?: number
  stdio: StdioSpec[]
  timeoutMs: number
  /** Members of the body that the caller typed: the shim is strict about these. */
  typed: string[]
}

/** Body: the checkpoint's config.json. */
export type CheckpointRequest = { op: 'checkpoint' } & Required<CheckpointOptions>

/** Undoes what the request `target` has done so far. */
export interface CancelRequest {
  op: 'cancel'
  target: number
  /** The caller no longer waits: an exec that runs already is taken back. */
  undo?: true
  /** Id of that exec. */
  process?: string
}

/** The next page of processes, whose ids come after `after`. */
export interface ListRequest {
  op: 'list'
  after: string
}

export interface ResizeRequest {
  op: 'resize'
  process: string
  columns: number
  rows: number
}

export interface CloseStdinRequest {
  op: 'closeStdin'
  process: string
}

/** Writes kept output from position `at` on to the pipe that comes with it. */
export interface FollowRequest {
  op: 'follow'
  process: string
  stream: 1 | 2
  at: number
}

/** Ends a process as its timeout would: by its `killSignal`, then SIGKILL. */
export interface EndRequest {
  op: 'end'
  process: string
}

/** Signals everything in a process's own cgroup. SIGKILL is answered when nothing is left. */
export interface SignalRequest {
  op: 'signal'
  process: string
  signal: number
}

/** Answered when nothing is left in a process's own cgroup. */
export interface EmptyRequest {
  op: 'empty'
  process: string
}

export interface RemoveRequest {
  op: 'remove'
  process: string
}

export interface DeleteRequest {
  op: 'delete'
  force: boolean
}

/** Answered whatever else the shim does. */
export interface PingRequest {
  op: 'ping'
}

/** Lets a start go on that stopped after `created`. Never answered. */
export interface ProceedRequest {
  op: 'proceed'
  target: number
}

export type Request =
  | OwnRequest
  | StartRequest
  | ExecRequest
  | CheckpointRequest
  | CancelRequest
  | ListRequest
  | ResizeRequest
  | CloseStdinRequest
  | FollowRequest
  | EndRequest
  | SignalRequest
  | EmptyRequest
  | RemoveRequest
  | DeleteRequest
  | PingRequest

/** What is sent without waiting for an answer. */
export type Notice = CancelRequest | PingRequest | ProceedRequest

/** A process that runs. */
export interface StartedResult {
  pid: number
  /** Field 22 of proc_pid_stat(5). */
  starttime: number
  /** Path of its own cgroup, relative to the container's. */
  cgroup?: string
}

export interface ProcessEntry extends StartedResult {
  id: string
  exit?: ExitRecord
}

/** As many processes as fit into a message of moderate size. */
export interface ProcessPage {
  processes: ProcessEntry[]
  /** There are more than these: `list` asks for them. */
  more?: true
}

/** Where a followed stream stands. */
export interface FollowResult {
  /** The position of the first byte that will come; positions count from the stream's first byte. */
  from: number
  /** There is nothing after it, nor will there be. */
  ended: boolean
}

type NoResult = Record<string, never>

/** The result that answers each request. */
export interface Results {
  own: NoResult
  start: StartedResult
  exec: StartedResult
  checkpoint: NoResult
  cancel: NoResult
  list: ProcessPage
  resize: NoResult
  closeStdin: NoResult
  follow: FollowResult
  end: NoResult
  signal: NoResult
  empty: NoResult
  remove: NoResult
  delete: NoResult
  ping: NoResult
}

export type ResultOf<R extends Request> = Results[R['op']]

export type Answer = { seq: number } & (
  { result: Results[keyof Results]; error?: undefined } | { error: NativeFailure; result?: undefined }
)

/** The first message on every connection that is accepted. */
export interface HelloEvent extends ProcessPage {
  event: 'hello'
  /** Absent from a shim of version 1. */
  version?: number
  /** Of the shim. */
  pid: number
  /** In which `pid` and those of the processes count, as `pid:[4026531836]`. */
  pidNamespace?: string
}

/** Another shim serves the container: connect to that one. */
export interface BusyEvent {
  event: 'busy'
}

/** The shim cannot serve. */
export interface FailedEvent {
  event: 'failed'
  error: NativeFailure
}

/** What a process of run() used. */
export interface RunUsage {
  /** From execve(2) to its exit. */
  durationUsec: number
  /** Of its own cgroup; absent where the kernel does not count there. */
  cpuUsec?: number
  memoryPeakBytes?: number
  /** The largest resident set of it and of the children that it waited for: getrusage(2). */
  maxRssBytes: number
  /** `end` ended it. */
  aborted?: true
  /** Not all of its cgroup ended within the container's timeout. */
  left?: true
}

/** A process has ended. Bytes: what it had written by then of what the shim copies or keeps. */
export interface ExitEvent {
  event: 'exit'
  process: string
  pid: number
  exit: ExitRecord
  terminalBytes: number
  stdoutBytes?: number
  stderrBytes?: number
  /** Of a process with `sweep`. */
  usage?: RunUsage
}

/** How much a process had written when it exited, where the shim copies it. */
export interface Written {
  terminal: number
  stdout: number
  stderr: number
}

/** Less of kept output will come than `exit` said: another process of the container has read it. */
export interface WrittenEvent {
  event: 'written'
  process: string
  stdoutBytes?: number
  stderrBytes?: number
}

/** The container of the request `start` exists, and its program does not run yet. Sent to that client alone. */
export interface CreatedEvent {
  event: 'created'
  start: number
  pid: number
  starttime: number
}

/** The runtime logged something in a run that succeeded. */
export interface RuntimeLogEvent {
  event: 'runtimeLog'
  command: string
  log: string
}

/** The container is deleted. The last event. */
export interface DeletedEvent {
  event: 'deleted'
}

/** What decides whether a connection is one. */
export type Greeting = HelloEvent | BusyEvent | FailedEvent
/** What a connection tells after its hello. */
export type ContainerNews = ExitEvent | WrittenEvent | CreatedEvent | RuntimeLogEvent | DeletedEvent
export type Event = Greeting | ContainerNews
export type Message = Answer | Event

/** Null if this package speaks the shim's version; else why not. */
export function versionProblem(hello: HelloEvent, containerId: string): ContainerError | null {
  const version = hello.version ?? oldestProtocolVersion
  if (version >= oldestProtocolVersion && version <= protocolVersion) return null
  const remedy =
    version > protocolVersion
      ? 'Update libcontainer in this program'
      : 'Use the version of libcontainer that started the container, until it has ended'
  return new ContainerError(
    'ERR_UNSUPPORTED',
    `container '${containerId}': its shim, process ${hello.pid}, speaks version ${version} of the protocol, ` +
      `and this program speaks versions ${oldestProtocolVersion} to ${protocolVersion}. ${remedy}`,
    { containerId },
  )
}
