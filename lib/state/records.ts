// What state directories say, read with care: by one native pass for all who ask in the same turn of the event loop.
import { channel } from 'node:diagnostics_channel'
import { readdir } from 'node:fs/promises'
import { constants } from 'node:os'
import { join } from 'node:path'
import {
  ContainerError,
  corrupt,
  errnoOf,
  fromNodeError,
  type NativeFailure,
  toContainerError,
} from '../errors.js'
import { Batch } from './batch.js'
import { sweep } from './trash.js'
import { isObject, parseObject } from '../oci/json_file.js'
import type { DirectoryText, NativeBinding, ProcessText } from '../native/binding.js'
import type { ProcessSpec } from '../oci/spec.js'
import { checkId, isAnonymousId } from '../validate.js'
import type { StateFile } from './directory.js'
import { checkTrusted } from './trusted_root.js'

/** How a process ended: what its exit.json holds, and what its shim tells. */
export interface ExitRecord {
  exitCode: number
  /** The number of the signal that ended it; 0 for none. */
  signal: number
  /** Since 1970. */
  exitedAtMs: number
  oomKilled: boolean
  /** False only where the kernel no longer tells. */
  known: boolean
  /** Left out for false. */
  timedOut?: boolean
  /** Of its own cgroup. */
  oomKills?: number
  containerOomKills?: number
}

/** One process directory. */
export interface ProcessFile {
  id: string
  spec: ProcessSpec
  stdio: { stdin: string; stdout: string; stderr: string }
  pid: number
  starttime: number
  exit: ExitRecord | null
  /** Path of its own cgroup, relative to the container's; null without one. */
  cgroup: string | null
}

/** What a state directory says beside its state.json. */
export interface Records {
  /** A start, a checkpoint or a delete is under way, or was cut off. */
  unfinished: boolean
  /**
   * Init was started before this machine's last boot, or in another pid namespace: nothing of the container runs, unless a
   * shim serves it from there.
   */
  earlierBoot: boolean
  /** Init first; those whose directory cannot be read are left out, and said on `libcontainer:skipped`. */
  processes: ProcessFile[]
}

/** Told of every process directory that load() had to skip: `{ containerId, path, error }`. */
const skipped = channel('libcontainer:skipped')
const { EFBIG, EINVAL, EISDIR, ENOENT, ENOTDIR, ENXIO } = constants.errno

interface Readers {
  texts: Batch<string>
  directories: Batch<DirectoryText>
}
const readers = new WeakMap<NativeBinding, Readers>()

function readersOf(native: NativeBinding): Readers {
  let found = readers.get(native)
  if (!found) {
    found = {
      texts: new Batch((paths) => native.readTexts(paths)),
      directories: new Batch((paths) => native.readDirectories(paths)),
    }
    readers.set(native, found)
  }
  return found
}

function strings(value: unknown): string[] {
  return Array.isArray(value) ? value.filter((item): item is string => typeof item === 'string') : []
}

function notFound(root: string, id: string): ContainerError {
  return new ContainerError('ERR_CONTAINER_NOT_FOUND', `there is no container '${id}' in '${root}'`, {
    containerId: id,
    path: join(root, id, 'state.json'),
  })
}

function isGone({ errno }: NativeFailure): boolean {
  return errno === ENOENT || errno === ENOTDIR
}

function parseState(text: string, path: string, id: string): StateFile {
  const json = parseObject(text, path, id)
  if (typeof json['bundle'] !== 'string' || json['bundle'] === '') {
    throw corrupt(id, path, 'names no bundle')
  }
  const shim = typeof json['shim'] === 'string' ? json['shim'] : ''
  const owner = json['owner']
  const state: StateFile = {
    bundle: json['bundle'],
    labels: strings(json['labels']),
    runtime: typeof json['runtime'] === 'string' && json['runtime'] !== '' ? json['runtime'] : 'runc',
    runtimeArgs: strings(json['runtimeArgs']),
    // containerd 0.2 names its own shim, which speaks another language.
    shim: shim.endsWith('containerd-shim') ? '' : shim,
    noPivotRoot: json['noPivotRoot'] === true,
    ephemeral: json['ephemeral'] === true,
    timeout: typeof json['timeout'] === 'number' ? json['timeout'] : 0,
    subgroups: json['subgroups'] === true,
  }
  if (isObject(owner) && typeof owner['pid'] === 'number' && typeof owner['starttime'] === 'number') {
    const { pidNamespace } = owner
    state.owner = {
      pid: owner['pid'],
      starttime: owner['starttime'],
      ...(typeof pidNamespace === 'string' && { pidNamespace }),
    }
  }
  return state
}

/** ERR_CONTAINER_NOT_FOUND, ERR_STATE_CORRUPT, or ERR_SYSCALL where it cannot be read. */
export async function readState(native: NativeBinding, root: string, id: string): Promise<StateFile> {
  const path = join(root, id, 'state.json')
  let text: string
  try {
    text = await readersOf(native).texts.of(path)
  } catch (error) {
    const failure = error as NativeFailure
    if (isGone(failure)) {
      await sweep(root) // perhaps a delete that was cut off in its last step
      throw notFound(root, id)
    }
    if (failure.errno === EFBIG) throw corrupt(id, path, 'is too large')
    if ([EISDIR, EINVAL, ENXIO].includes(failure.errno ?? 0)) {
      throw corrupt(id, path, 'is not a regular file')
    }
    throw toContainerError(failure, { containerId: id })
  }
  return parseState(text, path, id)
}

/** Ids that load() would accept, sorted. A root that does not exist holds none. */
export async function listIds(native: NativeBinding, root: string): Promise<string[]> {
  let entries: string[]
  await checkTrusted(root)
  await sweep(root)
  try {
    entries = await readdir(root)
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return []
    throw fromNodeError(error)
  }
  const accepted = await Promise.all(
    entries.sort().map(async (id) => {
      const path = join(root, id, 'state.json')
      try {
        checkId(id)
        parseState(await readersOf(native).texts.of(path), path, id)
        return [id]
      } catch (error) {
        const failure = error as NativeFailure
        if (failure.shortage) throw toContainerError(failure, { containerId: id })
        return []
      }
    }),
  )
  return accepted.flat()
}

function numberOf(text: string | null): number | null {
  const digits = text?.trim() ?? ''
  return /^\d{1,15}$/.test(digits) ? Number(digits) : null
}

/** Of a process that has ended, nobody knows how. */
export function unknownExit(): ExitRecord {
  return { exitCode: 255, signal: 0, exitedAtMs: Date.now(), oomKilled: false, known: false }
}

function exitOf({ exitStatus, exitStatusMs, exit: details }: ProcessText): ExitRecord | null {
  if (exitStatus === null) return null
  const text = exitStatus.trim()
  const code = /^\d{1,3}$/.test(text) ? Number(text) : 256
  if (code > 255) {
    // There but unreadable: it has ended, and how is not known.
    return unknownExit()
  }
  const exit: ExitRecord = { exitCode: code, signal: 0, exitedAtMs: 0, oomKilled: false, known: true }
  if (details === null) {
    // There is no more to say, or containerd 0.2 wrote it; the file is as old as the exit.
    exit.exitedAtMs = exitStatusMs
    return exit
  }
  try {
    const json = JSON.parse(details) as Partial<ExitRecord>
    if (typeof json.signal === 'number') exit.signal = json.signal
    if (typeof json.exitedAtMs === 'number') exit.exitedAtMs = json.exitedAtMs
    if (typeof json.oomKilled === 'boolean') exit.oomKilled = json.oomKilled
    if (typeof json.known === 'boolean') exit.known = json.known
    if (typeof json.timedOut === 'boolean') exit.timedOut = json.timedOut
    if (typeof json.oomKills === 'number') exit.oomKills = json.oomKills
    if (typeof json.containerOomKills === 'number') exit.containerOomKills = json.containerOomKills
  } catch {
    exit.exitedAtMs = exitStatusMs
  }
  return exit
}

function processOf(directory: string, containerId: string, text: ProcessText): ProcessFile {
  if (typeof text.process !== 'string') {
    throw toContainerError(text.process as NativeFailure, { containerId, processId: text.id })
  }
  const json = parseObject(text.process, join(directory, 'process.json'), containerId)
  const pid = numberOf(text.pid)
  if (pid === null) {
    throw new ContainerError('ERR_STATE_CORRUPT', `'${directory}' holds no pid`, {
      path: join(directory, 'pid'),
    })
  }
  const name = (key: string): string =>
    typeof json[key] === 'string' && json[key] !== '' ? json[key] : '/dev/null'
  const {
    exec: _exec,
    containerdStdin: _in,
    containerdStdout: _out,
    containerdStderr: _err,
    runtimeArgs: _args,
    noPivotRoot: _pivot,
    checkpoint: _checkpoint,
    rootUID: _uid,
    rootGID: _gid,
    ...spec
  } = json
  return {
    id: text.id,
    spec: { ...spec, args: strings(json['args']) },
    stdio: {
      stdin: name('containerdStdin'),
      stdout: name('containerdStdout'),
      stderr: name('containerdStderr'),
    },
    pid,
    starttime: numberOf(text.starttime) ?? 0,
    exit: exitOf(text),
    cgroup: cgroupOf(text.own),
  }
}

/** own.json: what the shim needs to know of a process beside its OCI process. */
function cgroupOf(own: string | null): string | null {
  if (own === null || own === '') return null
  try {
    const { cgroup } = JSON.parse(own) as { cgroup?: unknown }
    return typeof cgroup === 'string' ? cgroup : null
  } catch {
    return null
  }
}

/**
 * Never a process from the files of two. ERR_CONTAINER_NOT_FOUND; ERR_SYSCALL where the directory cannot be read now:
 * that says nothing of what is in it.
 */
export async function readRecords(native: NativeBinding, root: string, id: string): Promise<Records> {
  const directory = join(root, id)
  let text: DirectoryText
  try {
    text = await readersOf(native).directories.of(directory)
  } catch (error) {
    // Deleted since its state.json was read.
    if (isGone(error as NativeFailure)) throw notFound(root, id)
    throw toContainerError(error as NativeFailure, { containerId: id })
  }
  const processes: ProcessFile[] = []
  for (const process of text.processes) {
    const path = join(directory, process.id)
    try {
      if (!isAnonymousId(process.id)) checkId(process.id)
      processes.push(processOf(path, id, process))
    } catch (error) {
      skipped.publish({ containerId: id, path, error })
    }
  }
  // Init first: it is the first one. Of those that were started in the same hundredth of a second the pids tell.
  processes.sort(
    (a, b) => Number(b.id === 'init') - Number(a.id === 'init') || a.starttime - b.starttime || a.pid - b.pid,
  )
  return { unfinished: text.unfinished, earlierBoot: text.earlierBoot, processes }
}
