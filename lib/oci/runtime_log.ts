// Publishes what the runtime logged in a run that succeeded. If a run fails, the error holds its log, as `runtimeLog`.
import { channel } from 'node:diagnostics_channel'

const runtimeLog = channel('libcontainer:runtime-log')

/** The messages of the log's lines of level warning and worse. runc and crun write the same keys. */
function warningsOf(log: string): string[] {
  return log.split('\n').flatMap((line) => {
    try {
      const { level, msg } = JSON.parse(line) as { level?: unknown; msg?: unknown }
      const warns = level === 'warning' || level === 'error' || level === 'fatal'
      return warns && typeof msg === 'string' ? [msg] : []
    } catch {
      return [] // a first line that was cut, or text that is no log line
    }
  })
}

/** Publishes `{ containerId, command, log, warnings }`. */
export function tellRuntimeLog(containerId: string, command: string, log: string): void {
  if (!runtimeLog.hasSubscribers) return
  runtimeLog.publish({ containerId, command, log, warnings: warningsOf(log) })
}
