// Checkpoints on disk, `<bundle>/checkpoints/<name>`: their metadata as containerd 0.2 wrote it, read with care.
import { lstat, readdir, rename, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { ContainerError, corrupt, errnoOf, fromNodeError, invalidValue } from '../errors.js'
import { parseObject, readBounded } from '../oci/json_file.js'
import { checkClosed, checkFlag, checkId, checkStrings, type Keys, show } from '../validate.js'

/** What a checkpoint is to hold, and what becomes of the container. */
export interface CheckpointOptions {
  /** As a container's id: `^[A-Za-z0-9_+.-]+$`, at most 240 characters, neither `.` nor `..`. */
  name: string
  /** The container ends with the dump, killed by CRIU; else it runs on; false. */
  exit?: boolean
  /** Established TCP connections are dumped, and taken up again by the restore; with one and without this it fails. */
  tcp?: boolean
  /** Unix sockets may be connected to sockets outside of the container; they are connected again by path. */
  unixSockets?: boolean
  /** The processes may belong to a session or use a terminal from outside of the container. */
  shell?: boolean
  /** Namespaces (`'network'` above all) that the restore makes anew and empty, for the host to fill. */
  emptyNamespaces?: string[]
  /**
   * Memory only, while the container runs on: shortens the dump that names this one as its `parent`, and cannot be
   * restored by itself; false.
   */
  preDump?: boolean
  /**
   * Name of the checkpoint that holds the pages which have not changed since: the last pre-dump of this container (or
   * a checkpoint that came after it). Both are wanted for the restore.
   */
  parent?: string
}

/** A checkpoint of this bundle, made by whichever container of it. */
export interface Checkpoint extends Required<CheckpointOptions> {
  /** When it was asked for. */
  createdAt: Date
}

const checkpointKeys: Keys<CheckpointOptions> = {
  name: true,
  exit: true,
  tcp: true,
  unixSockets: true,
  shell: true,
  emptyNamespaces: true,
  preDump: true,
  parent: true,
}

/** A chain of parents is as long as the pre-dumps before a dump; more is a circle. */
const maxParents = 1000

const namespaces = new Set(['cgroup', 'ipc', 'mount', 'network', 'pid', 'time', 'user', 'uts'])

export function checkCheckpointName(value: unknown, name = 'checkpoint name'): string {
  return checkId(value, name)
}

/** OCI names of namespaces. */
export function checkNamespaces(value: unknown, name: string): string[] {
  return checkStrings(value, name).map((item) => {
    if (!namespaces.has(item)) throw invalidValue(`${name} must name namespaces, not ${show(item)}`)
    return item
  })
}

export function checkCheckpointOptions(options: CheckpointOptions): Required<CheckpointOptions> {
  checkClosed(options, 'options', checkpointKeys)
  const flag = (name: 'exit' | 'tcp' | 'unixSockets' | 'shell' | 'preDump'): boolean =>
    checkFlag(options[name], name)
  const checked = {
    name: checkCheckpointName(options.name, 'name'),
    exit: flag('exit'),
    tcp: flag('tcp'),
    unixSockets: flag('unixSockets'),
    shell: flag('shell'),
    emptyNamespaces:
      options.emptyNamespaces === undefined
        ? []
        : checkNamespaces(options.emptyNamespaces, 'emptyNamespaces'),
    preDump: flag('preDump'),
    parent: options.parent === undefined ? '' : checkCheckpointName(options.parent, 'parent'),
  }
  if (checked.exit && checked.preDump) throw invalidValue('exit and preDump exclude each other')
  if (checked.parent === checked.name)
    throw invalidValue(`parent must be another checkpoint than ${show(checked.name)}`)
  return checked
}

function directoryOf(bundle: string, name: string): string {
  // ':' is in no name: directories under way or on their way out have one in theirs, and are nobody's checkpoint.
  return join(bundle, 'checkpoints', name)
}

/** config.json of a checkpoint to be made: containerd's keys, and two more. */
export function metadataOf(options: Required<CheckpointOptions>, createdAt: Date): string {
  return JSON.stringify({
    created: createdAt.toISOString(),
    name: options.name,
    tcp: options.tcp,
    unixSockets: options.unixSockets,
    shell: options.shell,
    exit: options.exit,
    emptyNS: options.emptyNamespaces,
    preDump: options.preDump,
    parent: options.parent,
  })
}

function notFound(name: string, containerId: string, path: string): ContainerError {
  return new ContainerError(
    'ERR_CHECKPOINT_NOT_FOUND',
    `container '${containerId}': there is no checkpoint '${name}'`,
    { containerId, path },
  )
}

/**
 * One checkpoint. Its name is that of its directory, whatever config.json says: ERR_STATE_CORRUPT where that is not
 * what it should be, ERR_CHECKPOINT_NOT_FOUND where there is none.
 */
export async function readCheckpoint(bundle: string, name: string, containerId: string): Promise<Checkpoint> {
  const path = join(directoryOf(bundle, name), 'config.json')
  let text: string
  try {
    // A link in the place of either leads who knows where.
    const [directory, file] = await Promise.all([lstat(directoryOf(bundle, name)), lstat(path)])
    if (!directory.isDirectory()) throw notFound(name, containerId, path)
    if (!file.isFile()) throw corrupt(containerId, path, 'is not a regular file')
    text = await readBounded(path, containerId)
  } catch (error) {
    if (errnoOf(error) === 'ENOENT' || errnoOf(error) === 'ENOTDIR') throw notFound(name, containerId, path)
    throw fromNodeError(error, { containerId })
  }
  const json = parseObject(text, path, containerId)
  // containerd leaves out what is false; null is how others write it.
  function flag(key: string): boolean {
    const value = json[key] ?? false
    if (typeof value !== 'boolean') throw corrupt(containerId, path, `has a ${key} that is no boolean`)
    return value
  }
  const createdAt = new Date(typeof json['created'] === 'string' ? json['created'] : NaN)
  if (Number.isNaN(createdAt.getTime())) throw corrupt(containerId, path, 'has no time in created')
  let emptyNamespaces: string[]
  let parent: string
  try {
    emptyNamespaces = checkNamespaces(json['emptyNS'] ?? [], 'emptyNS')
    parent = (json['parent'] ?? '') === '' ? '' : checkCheckpointName(json['parent'], 'parent')
  } catch (error) {
    throw corrupt(containerId, path, `is wrong: ${(error as Error).message}`)
  }
  return {
    name,
    exit: flag('exit'),
    tcp: flag('tcp'),
    unixSockets: flag('unixSockets'),
    shell: flag('shell'),
    emptyNamespaces,
    preDump: flag('preDump'),
    parent,
    createdAt,
  }
}

/** All of a bundle, oldest first. ERR_STATE_CORRUPT for a config.json that cannot be read. */
export async function readCheckpoints(bundle: string, containerId: string): Promise<Checkpoint[]> {
  let entries
  try {
    entries = await readdir(join(bundle, 'checkpoints'), { withFileTypes: true })
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return []
    throw fromNodeError(error, { containerId })
  }
  const found = await Promise.all(
    entries
      .filter((entry) => entry.isDirectory() && !entry.name.includes(':'))
      .map(async ({ name }) => {
        try {
          return [await readCheckpoint(bundle, checkCheckpointName(name), containerId)]
        } catch (error) {
          // No checkpoint: another one's directory, or deleted since.
          if (error instanceof TypeError) return []
          if (error instanceof ContainerError && error.code === 'ERR_CHECKPOINT_NOT_FOUND') return []
          throw error
        }
      }),
  )
  return found
    .flat()
    .sort((a, b) => a.createdAt.getTime() - b.createdAt.getTime() || (a.name < b.name ? -1 : 1))
}

/** The checkpoint, if it and all that it builds on can be restored. */
export async function readRestorable(bundle: string, name: string, containerId: string): Promise<Checkpoint> {
  const checkpoint = await readCheckpoint(bundle, name, containerId)
  if (checkpoint.preDump) {
    throw new ContainerError(
      'ERR_UNSUPPORTED',
      `container '${containerId}': checkpoint '${name}' is a pre-dump, of memory alone`,
      { containerId, path: directoryOf(bundle, name) },
    )
  }
  let { parent } = checkpoint
  for (let count = 0; parent !== ''; ++count) {
    if (count > maxParents) {
      throw new ContainerError('ERR_STATE_CORRUPT', `checkpoint '${name}' is among its own parents`, {
        containerId,
        path: directoryOf(bundle, name),
      })
    }
    ;({ parent } = await readCheckpoint(bundle, parent, containerId))
  }
  return checkpoint
}

let discarded = 0

/** Out of sight in one step first: of two that delete it one gets ERR_CHECKPOINT_NOT_FOUND. */
export async function removeCheckpoint(bundle: string, name: string, containerId: string): Promise<void> {
  const path = directoryOf(bundle, name)
  const trash = directoryOf(bundle, `:${name}.${process.pid}.${++discarded}`)
  try {
    if (!(await lstat(path)).isDirectory()) throw notFound(name, containerId, path)
    await rename(path, trash)
    await rm(trash, { recursive: true, force: true })
  } catch (error) {
    if (errnoOf(error) === 'ENOENT' || errnoOf(error) === 'ENOTDIR') throw notFound(name, containerId, path)
    throw fromNodeError(error, { containerId })
  }
}
