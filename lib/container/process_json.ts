// The process.json that goes to the shim with a start or an exec.
import type { InheritedSpec } from '../oci/inherit.js'
import { type ProcessSpec, rootId } from '../oci/spec.js'
import type { ProcessStreams } from '../process/stdio.js'
import { processFile } from '../state/directory.js'
import type { Session } from './session.js'

/** `inherited`: of an exec. `checkpoint`: the name of that which a start restores. */
export function processJson(
  session: Session,
  spec: ProcessSpec,
  streams: ProcessStreams,
  { inherited, checkpoint = '' }: { inherited?: InheritedSpec; checkpoint?: string },
): string {
  const linux = session.config?.linux
  const parts = {
    exec: inherited !== undefined,
    stdio: streams.names,
    runtimeArgs: session.file.runtimeArgs,
    noPivotRoot: session.file.noPivotRoot,
    checkpoint,
    rootUID: rootId(linux?.uidMappings),
    rootGID: rootId(linux?.gidMappings),
  }
  return processFile(spec, parts, inherited ?? null)
}
