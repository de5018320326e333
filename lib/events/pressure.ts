// A container that waits for memory, processor or disk.
import type { PressureOptions } from '../container/options.js'
import { Watcher, type WatchParts } from './watcher.js'

/** A container waited for longer than its watcher allows. */
export interface PressureEvent {
  /** Which container. */
  containerId: string
  /** What it waited for, as asked. */
  resource: 'memory' | 'cpu' | 'io'
  /** How many of its processes waited, as asked; `'high'`: it is above memory.high. */
  kind: 'some' | 'full' | 'high'
  /** When the last of them was noticed. */
  at: Date
  /** How many times it was told since the event before. */
  count: number
}

/** Tells that a container is under pressure; see {@link Container.pressure}. */
export class PressureWatcher extends Watcher<PressureEvent> {
  /** As asked of Container.pressure(). */
  readonly resource: PressureEvent['resource']
  /** As asked of Container.pressure(). */
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
