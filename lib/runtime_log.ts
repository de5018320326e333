// What the runtime logged in a run that succeeded; of one that failed the error has it, as `runtimeLog`.
import { channel } from 'node:diagnostics_channel'

const runtimeLog = channel('libcontainer:runtime-log')

/** The messages of that log's lines of level warning, and worse. runc and crun write the same keys. */
function warningsOf(log: string): string[] {
  return log.split('\n').flatMap((line) => {
    try {
      const { level, msg } = JSON.parse(line) as { level?: unknown; msg?: unknown }
      const warns = level === 'warning' || level === 'error' || level === 'fatal'
      return warns && typeof msg === 'string' ? [msg] : []
    } catch {
      return [] // the first line, where it was cut, or what was printed beside the log
    }
  })
}

/** Publishes `{ containerId, command, log, warnings }`. */
export function tellRuntimeLog(containerId: string, command: string, log: string): void {
  if (!runtimeLog.hasSubscribers) return
  runtimeLog.publish({ containerId, command, log, warnings: warningsOf(log) })
}
