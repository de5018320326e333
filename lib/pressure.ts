// A container that waits for memory, processor or disk.
import type { PressureOptions } from './options.js'
import { Watcher, type WatchParts } from './watch.js'

export interface PressureEvent {
  containerId: string
  resource: 'memory' | 'cpu' | 'io'
  kind: 'some' | 'full' | 'high'
  /** When the last of them was noticed. */
  at: Date
  /** How many times it was told since the event before. */
  count: number
}

/** Tells that a container is under pressure; see Container.pressure(). */
export class PressureWatcher extends Watcher<PressureEvent> {
  readonly resource: PressureEvent['resource']
  readonly kind: PressureEvent['kind']

  /** @internal */
  constructor(parts: WatchParts, options: PressureOptions) {
    super(parts)
    this.resource = options.resource
    this.kind = options.kind
  }

  /** @internal */
  protected toEvent(at: Date, count: number): PressureEvent {
    const { containerId, resource, kind } = this
    return { containerId, resource, kind, at, count }
  }
}
