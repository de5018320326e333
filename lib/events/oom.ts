// OOM kills in a container.
import { Watcher } from './watcher.js'

/** Processes that the kernel's OOM killer ended in a container. */
export interface OomEvent {
  /** Whose they were. */
  containerId: string
  /** When the last of them was noticed. */
  at: Date
  /** How many processes were killed, 1 or more. */
  count: number
}

/**
 * Tells of processes that the kernel's OOM killer ended in a container.
 *
 * What is counted is `oom_kill` of the container's cgroup and those below it, since the watcher was made: v1
 * memory.oom_control, told by an eventfd; v2 memory.events, told by inotify. An OOM that killed nobody here (memory was
 * freed just in time; an ancestor's limit, and the victim is elsewhere) is none. On v1 a kill for the limit of a cgroup
 * that the container made below its own is not announced: it is told with the next one that is. On v1, where the kernel
 * does not count (before Linux 4.13) or the OOM killer is disabled for the container, the kernel's announcements are
 * counted instead.
 */
export class OomWatcher extends Watcher<OomEvent> {
  /** @internal */
  protected toEvent(at: Date, count: number): OomEvent {
    return { containerId: this.containerId, at, count }
  }
}
