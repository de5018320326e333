// Changes a container's limits, by the kernel and in the runtime's record.
import { conversionsFor } from '../oci/runtime.js'
import { checkResources, type Resources } from '../oci/resources.js'
import type { Session } from './session.js'

/** See {@link Container.updateResources}. */
export async function updateResources(session: Session, resources: Resources): Promise<void> {
  checkResources(resources)
  const init = await session.living({ containerId: session.id })
  const options = await conversionsFor(session.file.runtime, resources)
  await session.kernel.ask(init, (live) => session.native.update(live, JSON.stringify(resources), options))
  session.updated()
}
