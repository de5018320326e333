// How long a program waits for a shim.
import { ContainerError, type FailureContext } from '../errors.js'

/** How long an answer may take. */
export interface Patience {
  /** Milliseconds. Left out: the handle's timeout and a margin, which is long for what a shim does at once. */
  limitMs?: number
  /** It may take long: meanwhile the shim is asked whether it is there at all. */
  watched?: boolean
}

/** How much later than the shim's own timeout its answer may come. */
export const marginMs = 2000
/** The shim's bound for undoing a start. */
const startUndoMs = 15_000
const maxDelayMs = 2 ** 31 - 1

/** The client's deadlines. They are later than those of the shim, whose errors say more. */
export const patienceOf = {
  exec: (timeout: number): Patience => ({ limitMs: timeout + marginMs }),
  execUndo: { limitMs: marginMs } as Patience,
  start: (timeout: number): Patience => ({ limitMs: timeout + startUndoMs + marginMs, watched: true }),
  startUndo: { limitMs: startUndoMs + marginMs, watched: true } as Patience,
  /** Covers the end of the processes, the runtime's delete, and the removal of a state directory of any size. */
  delete: { limitMs: 5 * 60_000, watched: true } as Patience,
  /** The shim's own bound is the container's timeout. */
  killTree: { limitMs: maxDelayMs, watched: true } as Patience,
  /** As long as anything runs. */
  empty: { limitMs: maxDelayMs, watched: true } as Patience,
  /** As long as CRIU needs, while the shim is there. */
  checkpoint: { limitMs: 24 * 3_600_000, watched: true } as Patience,
}

/**
 * Calls `work` after so many milliseconds, unless the function that it returns is called before. What was received while
 * this thread was busy is read first.
 */
export function after(ms: number, work: () => void): () => void {
  let over = false
  const timer = setTimeout(
    () =>
      setImmediate(() => {
        if (!over) work()
      }),
    Math.min(ms, maxDelayMs),
  )
  return () => {
    over = true
    clearTimeout(timer)
  }
}

/** ERR_START_TIMEOUT of a shim that does not answer. `shim`: its pid, if that is known. */
export function noAnswer(
  containerId: string,
  context: FailureContext,
  shim: number | null,
  waitedMs: number,
): ContainerError {
  const which =
    shim === null
      ? `its shim (pgrep -fx 'libcontainer-shim .*/${containerId}' finds it)`
      : `its shim, process ${shim},`
  return new ContainerError(
    'ERR_START_TIMEOUT',
    `container '${containerId}': ${which} has not answered for ${waitedMs} ms; it may be overloaded, or stopped (kill -CONT)`,
    context,
  )
}
