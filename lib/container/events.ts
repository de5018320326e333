// One stream for many containers.
import { hubOf } from '../events/hub.js'
import { type EventStream, openStream } from '../events/stream.js'
import { checkContainers } from '../validate.js'
import type { Container } from './container.js'

/**
 * One stream of what happens to any of these containers; it ends when all of them are deleted or their handles closed.
 * The iteration throws the reason of `signal` when that is aborted, after what was not read yet.
 */
export function events(
  containers: readonly Container[],
  options: { signal?: AbortSignal } = {},
): EventStream {
  const hubs = checkContainers(containers, hubOf)
  return openStream(hubs, options)
}
