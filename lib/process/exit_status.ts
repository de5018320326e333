// How a process ended, as its handle says it.
import { constants } from 'node:os'
import type { ExitRecord } from '../state/records.js'

/** How a process ended. */
export interface ExitStatus {
  /** 0 to 255; 128 + n for signal n; 255 if truly unknown. */
  exitCode: number
  /** The signal that ended it. Null if it exited by itself, or if that is not known. */
  signal: NodeJS.Signals | null
  /** When it ended. If `known` is false: when that was noticed. */
  exitedAt: Date
  /**
   * The OOM killer ended this very process. The kernel's log names whom it killed, on v1, v2 and in nested cgroups alike,
   * and the shim reads it. Where the shim may not read it (no CAP_SYSLOG, a pid namespace that is not the machine's first),
   * the container's counter has to do (`oom_kill` of v1 memory.oom_control or v2 memory.events): a SIGKILL then counts as
   * the OOM killer's if the counter has risen, even if that was for a process that no handle belongs to. Unknown, and
   * false, for a kill between the end of one shim and the start of the next.
   */
  oomKilled: boolean
  /** False only where the kernel no longer tells. */
  known: boolean
  /** The `timeout` of exec() or run() ended it, before anything else did. */
  timedOut: boolean
  /**
   * Processes of its own cgroup that the OOM killer ended until it exited. Undefined without an own cgroup, and where the
   * kernel does not count there: on v2 an own cgroup has the memory controller only with `subgroups: true`.
   */
  oomKills: number | undefined
  /**
   * Processes of the whole container that the OOM killer ended while it ran. Tells `sh -c 'python ...'`, whose child was
   * killed, from an ordinary exit code 137. Undefined for an unknown exit.
   */
  containerOomKills: number | undefined
}

/** The name of a signal; null for 0. */
export function signalName(number: number): NodeJS.Signals | null {
  if (number === 0) return null
  // SIGIOT and SIGPOLL are other names of SIGABRT and SIGIO; the field's name is the one that comes out.
  const aliases = new Set(['SIGIOT', 'SIGPOLL'])
  for (const [name, value] of Object.entries(constants.signals)) {
    if (value === number && !aliases.has(name)) return name as NodeJS.Signals
  }
  return `SIG${number}` as NodeJS.Signals
}

export function toExitStatus(exit: ExitRecord): ExitStatus {
  return {
    exitCode: exit.exitCode,
    signal: signalName(exit.signal),
    exitedAt: new Date(exit.exitedAtMs),
    oomKilled: exit.oomKilled,
    known: exit.known,
    timedOut: exit.timedOut ?? false,
    oomKills: exit.oomKills,
    // The shim records what is more than nothing.
    containerOomKills: exit.containerOomKills ?? (exit.known ? 0 : undefined),
  }
}
