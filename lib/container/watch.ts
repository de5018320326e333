// Watches a container's pressure. OOM kills are watched by the session itself, for its events.
import { checkPressure, type PressureOptions, PressureWatcher } from '../events/pressure.js'
import { openWatch } from '../events/watcher.js'
import type { WatchRequest } from '../native/binding.js'
import type { Session } from './session.js'

/** See {@link Container.pressure}. */
export async function watchPressure(session: Session, options: PressureOptions): Promise<PressureWatcher> {
  const checked = checkPressure(options)
  const init = await session.living({ containerId: session.id })
  const request: WatchRequest =
    checked.kind === 'high'
      ? { kind: 'high' }
      : {
          kind: 'pressure',
          resource: checked.resource,
          full: checked.kind === 'full',
          stallUsec: checked.stallUsec,
          windowUsec: checked.windowUsec,
        }
  const parts = await openWatch(session.native, session.kernel.of(init), session.id, request)
  return new PressureWatcher(parts, checked)
}
