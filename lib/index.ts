// The public exports of the package, and nothing else.
export type { Checkpoint } from './checkpoint.js'
export { Container, type ContainerState, type ExecOptions, type StartOptions } from './container.js'
export { ContainerError, type ContainerErrorCode, type ContainerErrorDetails } from './errors.js'
export { type ContainerEvent, type ContainerEventBase, events, EventStream } from './events.js'
export { type OomEvent, OomWatcher } from './oom.js'
export type { OciCapabilities, OciRlimit, OciUser, ProcessSpec } from './oci.js'
export type {
  CheckpointOptions,
  ContainerOptions,
  KeptOutput,
  LoadOptions,
  PressureOptions,
  Signal,
  Stdio,
  StdioOptions,
} from './options.js'
export { type PressureEvent, PressureWatcher } from './pressure.js'
export { type ExitStatus, Process, type OnlyKnown, type StartedProcess, type StreamFor } from './process.js'
export type { Resources, ThrottleDevice } from './resources.js'
export type { StdioNames } from './stdio.js'
export type { BlkioEntry, Figure, Limit, MemoryEntry, PressureLine, PressureStats, Stats } from './stats.js'
