// Registers a container on disk, and finds one that is there.
import { load as loadBinding } from '../native/load.js'
import type { NativeBinding } from '../native/binding.js'
import { isElsewhere, pidNamespace } from '../native/pid_namespace.js'
import { readBundle } from '../oci/bundle.js'
import type { OciConfig } from '../oci/spec.js'
import { createDirectory, removeDirectory, type StateFile } from '../state/directory.js'
import { readRecords, readState } from '../state/records.js'
import { checkTrusted } from '../state/trusted_root.js'
import { checkClosed, checkFlag, checkId } from '../validate.js'
import {
  checkContainerOptions,
  checkRoot,
  checkShim,
  checkTimeout,
  type ContainerOptions,
  defaultTimeout,
  loadKeys,
  type LoadOptions,
} from './options.js'
import type { SessionParts } from './session.js'
import { ownerRuns, startTimeOf } from './survey.js'

/** Closes the handle of a container that is loaded; throws what load() throws. */
type LoadAndClose = (root: string, id: string) => Promise<void>

/** See {@link Container.create}: all but the handle. `loadAndClose` ends an ephemeral container whose program died. */
export async function register(
  options: ContainerOptions,
  loadAndClose: LoadAndClose,
): Promise<{ parts: SessionParts; config: OciConfig }> {
  const { root, id, ...rest } = checkContainerOptions(options)
  const { native, shim } = loadBinding()
  const config = await readBundle(rest.bundle, id)
  const file: StateFile = { ...rest }
  if (rest.ephemeral) {
    const starttime = startTimeOf(native, process.pid, id)
    const namespace = pidNamespace()
    if (starttime !== null) {
      file.owner = { pid: process.pid, starttime, ...(namespace !== null && { pidNamespace: namespace }) }
    }
    await checkTrusted(root)
    await removeOrphan(native, root, id, loadAndClose)
  }
  await createDirectory(root, id, file)
  return { parts: { native, root, id, file, shim: rest.shim || shim, timeout: rest.timeout }, config }
}

/** An ephemeral container whose program died before its shim was there to see it. */
async function removeOrphan(
  native: NativeBinding,
  root: string,
  id: string,
  loadAndClose: LoadAndClose,
): Promise<void> {
  const file = await readState(native, root, id).catch(() => null)
  if (!file?.owner || ownerRuns(native, file.owner, id)) return
  // One of another pid namespace may be alive there, which its shim tells.
  const here = !isElsewhere(file.owner.pidNamespace)
  if (here && (await readRecords(native, root, id)).processes.length === 0) return removeDirectory(root, id)
  // Its shim ends it; load() is refused once it has.
  await loadAndClose(root, id).catch(() => undefined)
}

/** See {@link Container.load}: what its state.json says. */
export async function find(root: string, id: string, options: LoadOptions): Promise<SessionParts> {
  const directory = checkRoot(root)
  checkId(id)
  checkClosed(options, 'options', loadKeys)
  const timeout = options.timeout === undefined ? undefined : checkTimeout(options.timeout)
  const observes = checkFlag(options.observe, 'observe')
  const { native, shim } = loadBinding()
  await checkTrusted(directory)
  const file = await readState(native, directory, id)
  return {
    native,
    root: directory,
    id,
    file,
    shim: checkShim(options.shim) || file.shim || shim,
    timeout: timeout ?? (file.timeout > 0 ? file.timeout : defaultTimeout),
    observes,
  }
}
