// State directories: made whole, removed in one step.
import { chmod, mkdir, rename, stat, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { ContainerError, errnoOf, fromNodeError } from '../errors.js'
import { toExactObject } from '../oci/exact_json.js'
import { discard, sweep, trashName } from './trash.js'
import type { InheritedSpec } from '../oci/inherit.js'
import type { ProcessSpec } from '../oci/spec.js'
import { checkTrusted } from './trusted_root.js'

/** `<root>/<id>/state.json`: the keys of containerd 0.2's runtime package, and three more. */
export interface StateFile {
  bundle: string
  labels: string[]
  runtime: string
  runtimeArgs: string[]
  shim: string
  noPivotRoot: boolean
  ephemeral: boolean
  timeout: number
  /** Init has a cgroup below the container's: see ContainerOptions. */
  subgroups: boolean
  /** The program that an ephemeral container belongs to. */
  owner?: { pid: number; starttime: number; pidNamespace?: string }
}

const directoryMode = 0o711
const fileMode = 0o600

const swept = new Set<string>()

/** What a program that was killed has left is removed by the next one that looks. */
async function sweepOnce(root: string): Promise<void> {
  if (swept.has(root)) return
  swept.add(root)
  await sweep(root)
}

/** Makes `<root>/<id>` with its state.json in one step; of two that race one gets ERR_CONTAINER_EXISTS. */
export async function createDirectory(root: string, id: string, state: StateFile): Promise<void> {
  const directory = join(root, id)
  const exists = (): ContainerError =>
    new ContainerError('ERR_CONTAINER_EXISTS', `container '${id}' exists already in '${root}'`, {
      containerId: id,
      path: directory,
    })
  let temporary: string | undefined
  await checkTrusted(root)
  // By itself: its EEXIST is about a root that is no directory.
  await mkdir(root, { recursive: true, mode: directoryMode }).catch((error: unknown) => {
    throw fromNodeError(error, { containerId: id })
  })
  // Somebody else may have been quicker to make it.
  await checkTrusted(root)
  try {
    if (
      await stat(directory).then(
        () => true,
        () => false,
      )
    )
      throw exists()
    await sweepOnce(root)
    temporary = join(root, await trashName())
    await mkdir(temporary, { mode: 0o700 })
    await writeFile(join(temporary, 'state.json'), JSON.stringify(state), { mode: fileMode })
    await chmod(temporary, directoryMode)
    // Over an empty directory rename(2) succeeds, over a container it does not.
    await rename(temporary, directory)
  } catch (error) {
    if (temporary !== undefined) await discard(temporary)
    const code = errnoOf(error)
    if (code === 'ENOTEMPTY' || code === 'EEXIST') throw exists()
    throw fromNodeError(error, { containerId: id })
  }
}

/** Removes a container that has no shim: out of sight in one step first. */
export async function removeDirectory(root: string, id: string): Promise<void> {
  try {
    const trash = join(root, await trashName())
    await rename(join(root, id), trash)
    await discard(trash)
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return
    throw fromNodeError(error, { containerId: id })
  }
}

/** In one step for everybody who looks: half a directory would be a process without its exit status. */
export async function removeProcessDirectory(root: string, id: string, process: string): Promise<void> {
  try {
    const trash = join(root, await trashName())
    await rename(join(root, id, process), trash)
    await discard(trash)
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return
    throw fromNodeError(error, { containerId: id, processId: process })
  }
}

/** Another one whenever the state file is another or has changed; null where there is none. One system call. */
export async function stateVersion(root: string, id: string): Promise<string | null> {
  try {
    const { ino, ctimeNs, size } = await stat(join(root, id, 'state.json'), { bigint: true })
    return `${ino} ${ctimeNs} ${size}`
  } catch {
    return null
  }
}

/**
 * process.json as containerd 0.2 wrote it: the OCI process, with what an exec inherits, and beside it how it was
 * started.
 */
export function processFile(
  spec: ProcessSpec,
  parts: {
    exec: boolean
    stdio: { stdin: string; stdout: string; stderr: string }
    runtimeArgs: string[]
    noPivotRoot: boolean
    checkpoint?: string
    rootUID: number
    rootGID: number
  },
  inherited: InheritedSpec | null,
): string {
  const how = {
    exec: parts.exec,
    containerdStdin: parts.stdio.stdin,
    containerdStdout: parts.stdio.stdout,
    containerdStderr: parts.stdio.stderr,
    runtimeArgs: parts.runtimeArgs,
    noPivotRoot: parts.noPivotRoot,
    checkpoint: parts.checkpoint ?? '',
    rootUID: parts.rootUID,
    rootGID: parts.rootGID,
  }
  return inherited ? inherited.text(spec, how) : toExactObject({ ...spec, ...how })
}
