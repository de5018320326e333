// The public exports of the package, and nothing else.
export type { Checkpoint } from './state/checkpoints.js'
export { Container, type ContainerState, type ExecOptions, type StartOptions } from './container/container.js'
export { ContainerError, type ContainerErrorCode, type ContainerErrorDetails } from './errors.js'
export { type ContainerEvent, type ContainerEventBase, events, EventStream } from './events/stream.js'
export { type OomEvent, OomWatcher } from './events/oom.js'
export type { OciCapabilities, OciRlimit, OciUser, ProcessSpec } from './oci/spec.js'
export type {
  CheckpointOptions,
  ContainerOptions,
  KeptOutput,
  LoadOptions,
  PressureOptions,
  Signal,
  Stdio,
  StdioOptions,
} from './container/options.js'
export { type PressureEvent, PressureWatcher } from './events/pressure.js'
export {
  type ExitStatus,
  Process,
  type OnlyKnown,
  type StartedProcess,
  type StreamFor,
} from './process/process.js'
export type { Resources, ThrottleDevice } from './oci/resources.js'
export type { StdioNames } from './process/stdio.js'
export type {
  BlkioEntry,
  Figure,
  Limit,
  MemoryEntry,
  PressureLine,
  PressureStats,
  Stats,
} from './oci/stats.js'
