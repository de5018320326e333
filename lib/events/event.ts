// The events of a container.
import type { ExitStatus } from '../process/exit_status.js'
import type { HandleTypes, Process } from '../process/process.js'

/** What every event has. */
export interface ContainerEventBase {
  /** Whose event it is. */
  containerId: string
  /** The handle that tells. */
  container: HandleTypes['container']
  /** When it happened; of an `'oom'` when the last of its kills was noticed. */
  at: Date
}

/** Something that happened to a container, by its `type`. */
export type ContainerEvent =
  | (ContainerEventBase & {
      /** The user's program runs: init's after start(), or one of exec(). */
      type: 'started'
      /** Its handle. */
      process: Process
      /** exec() was called without an id. */
      anonymous: boolean
    })
  | (ContainerEventBase & {
      /** A process of start() or exec() has ended. */
      type: 'exited'
      /** Its handle. */
      process: Process
      /** How it ended. */
      status: ExitStatus
      /** exec() was called without an id. */
      anonymous: boolean
    })
  | (ContainerEventBase & {
      /** The OOM killer ended processes of the container. */
      type: 'oom'
      /** How many, 1 or more. */
      count: number
    })
  | (ContainerEventBase & {
      /** By this handle: pause(), resume() or updateResources() has done its work. */
      type: 'paused' | 'resumed' | 'updated'
    })
  | (ContainerEventBase & {
      /** By any program. The last event of a container. */
      type: 'deleted'
    })

export type ContainerEventType = ContainerEvent['type']
