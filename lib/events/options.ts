// The options that oom(), pressure() and events() share.
import { checkAbortSignal, checkBoolean, checkClosed, type Keys } from '../validate.js'

/** How a watcher is read. */
export interface WatchOptions {
  /** Whether a pending `next()`, as of `for await`, keeps the program running. Default: `true`. */
  persistent?: boolean
  /** Aborted: the watcher is closed, and its iterations reject with the signal's reason. */
  signal?: AbortSignal
}

export const watchKeys: Keys<WatchOptions> = { persistent: true, signal: true }

export interface CheckedWatchOptions {
  persistent: boolean
  signal: AbortSignal | undefined
}

/** The members alone: the caller checks for unknown keys. */
export function checkWatchMembers({ persistent, signal }: WatchOptions): CheckedWatchOptions {
  return {
    persistent: persistent === undefined || checkBoolean(persistent, 'persistent'),
    signal: checkAbortSignal(signal),
  }
}

export function checkWatchOptions(options: WatchOptions): CheckedWatchOptions {
  checkClosed(options, 'options', watchKeys)
  return checkWatchMembers(options)
}

/** Calls `abort` when the signal is aborted, or at once if it is. The result takes that back. */
export function onAbort(signal: AbortSignal | undefined, abort: (reason: unknown) => void): () => void {
  if (!signal) return () => undefined
  const listener = (): void => abort(signal.reason)
  if (signal.aborted) listener()
  else signal.addEventListener('abort', listener, { once: true })
  return () => signal.removeEventListener('abort', listener)
}
