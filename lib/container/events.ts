// One stream for many containers.
import { hubOf } from '../events/hub.js'
import type { WatchOptions } from '../events/options.js'
import { type EventStream, openStream } from '../events/stream.js'
import { checkContainers } from '../validate.js'
import type { Container } from './container.js'

/**
 * Gives one stream of what happens to any of these containers. The stream ends when all of them are deleted or their
 * handles closed. While it is read it keeps the program running; see WatchOptions.
 */
export function events(containers: readonly Container[], options: WatchOptions = {}): EventStream {
  const hubs = checkContainers(containers, hubOf)
  return openStream(hubs, options)
}
