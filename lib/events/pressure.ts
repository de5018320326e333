// A container that waits for memory, processor or disk.
import { invalidValue } from '../errors.js'
import { checkClosed, checkMember, checkRange, type Keys } from '../validate.js'
import { type CheckedWatchOptions, checkWatchMembers, watchKeys, type WatchOptions } from './options.js'
import { Watcher, type WatchParts } from './watcher.js'

/** Which waits of a container pressure() reports. */
export type PressureTrigger =
  | {
      /** What is waited for. */
      resource: 'memory' | 'cpu' | 'io'
      /** `'some'`: at least one process waited; `'full'`: none did anything else. */
      kind: 'some' | 'full'
      /** So long, in microseconds, in a window: 1 to the window. */
      stallUsec: number
      /** 500,000 to 10,000,000 microseconds; without CAP_SYS_RESOURCE the kernel takes multiples of 2 s alone. */
      windowUsec: number
    }
  | {
      /** What is waited for. */
      resource: 'memory'
      /** `memory.high` was passed, and the container's processes are slowed down. */
      kind: 'high'
    }

/** Which waits of a container pressure() reports, and how they are read. */
export type PressureOptions = PressureTrigger & WatchOptions

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
  constructor(parts: WatchParts, { resource, kind }: PressureTrigger) {
    super(parts)
    this.resource = resource
    this.kind = kind
  }

  /** @internal */
  protected toEvent(at: Date, count: number): PressureEvent {
    const { containerId, resource, kind } = this
    return { containerId, resource, kind, at, count }
  }
}

const pressureKeys: Keys<PressureOptions> = {
  resource: true,
  kind: true,
  stallUsec: true,
  windowUsec: true,
  ...watchKeys,
}

/** The range of the window is the kernel's own, psi_trigger_create(). */
export function checkPressure(options: PressureOptions): {
  trigger: PressureTrigger
  watch: CheckedWatchOptions
} {
  checkClosed(options, 'options', pressureKeys)
  const watch = checkWatchMembers(options)
  const resource = checkMember(options.resource, 'resource', ['memory', 'cpu', 'io'])
  const kind = checkMember(options.kind, 'kind', ['some', 'full', 'high'])
  if (kind === 'high') {
    if (resource !== 'memory') throw invalidValue(`kind 'high' is of memory, not of ${resource}`)
    return { trigger: { resource, kind }, watch }
  }
  const { stallUsec, windowUsec } = options as Record<'stallUsec' | 'windowUsec', unknown>
  const window = checkRange(windowUsec, 'windowUsec', 500_000, 10_000_000)
  const stall = checkRange(stallUsec, 'stallUsec', 1, window)
  return { trigger: { resource, kind, windowUsec: window, stallUsec: stall }, watch }
}
