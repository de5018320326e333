// The public exports of the package, and nothing else.
export { Container } from './container/container.js'
export { events } from './container/events.js'
export type {
  ContainerOptions,
  ContainerState,
  CgroupOptions,
  ExecOptions,
  LoadOptions,
  StartOptions,
} from './container/options.js'
export type { OutputOf, RunInput, RunOptions, RunResult } from './container/run_options.js'
export { ContainerError, type ContainerErrorCode, type ContainerErrorDetails } from './errors.js'
export { type OomEvent, OomWatcher } from './events/oom.js'
export type { WatchOptions } from './events/options.js'
export {
  type PressureEvent,
  type PressureOptions,
  type PressureTrigger,
  PressureWatcher,
} from './events/pressure.js'
export type { ContainerEvent, ContainerEventBase } from './events/event.js'
export { EventStream } from './events/stream.js'
export type { Resources, ThrottleDevice } from './oci/resources.js'
export type { ConsoleSize, OciCapabilities, OciRlimit, OciUser, ProcessSpec } from './oci/spec.js'
export type {
  BlkioEntry,
  Figure,
  Limit,
  MemoryEntry,
  PressureLine,
  PressureStats,
  Stats,
} from './oci/stats.js'
export type { ExitStatus } from './process/exit_status.js'
export { type OnlyKnown, Process, type StartedProcess, type StreamFor } from './process/process.js'
export type { KeptOutput, Stdio, StdioNames, StdioOptions } from './process/stdio.js'
export type { Checkpoint, CheckpointOptions } from './state/checkpoints.js'
export type { Signal } from './validate.js'
