// Watches a container's OOM kills and its pressure.
import { OomWatcher } from '../events/oom.js'
import { checkWatchOptions, type WatchOptions } from '../events/options.js'
import { checkPressure, type PressureOptions, PressureWatcher } from '../events/pressure.js'
import type { WatchRequest } from '../native/binding.js'
import type { Session } from './session.js'

/** See {@link Container.oom}. */
export async function watchOom(session: Session, options: WatchOptions): Promise<OomWatcher> {
  return new OomWatcher(await session.watch({ kind: 'oom' }, checkWatchOptions(options)))
}

/** See {@link Container.pressure}. */
export async function watchPressure(session: Session, options: PressureOptions): Promise<PressureWatcher> {
  const { trigger, watch } = checkPressure(options)
  const request: WatchRequest =
    trigger.kind === 'high'
      ? { kind: 'high' }
      : {
          kind: 'pressure',
          resource: trigger.resource,
          full: trigger.kind === 'full',
          stallUsec: trigger.stallUsec,
          windowUsec: trigger.windowUsec,
        }
  return new PressureWatcher(await session.watch(request, watch), trigger)
}
