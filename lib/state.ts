// The state directory: what is where, read with care and written whole.
import { access, chmod, mkdir, readdir, readFile, rename, rm, stat, writeFile } from 'node:fs/promises'
import { channel } from 'node:diagnostics_channel'
import { constants } from 'node:os'
import { join } from 'node:path'
import { ContainerError, fromNodeError } from './errors.js'
import type { InheritedSpec, OciConfig, ProcessSpec } from './oci.js'
import { graveName, sweep } from './graves.js'
import { checkId } from './options.js'
import type { WireExit } from './shim.js'

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
  /** The program that an ephemeral container belongs to. */
  owner?: { pid: number; starttime: number }
}

/** One process directory. */
export interface ProcessFile {
  id: string
  spec: ProcessSpec
  stdio: { stdin: string; stdout: string; stderr: string }
  pid: number
  starttime: number
  exit: WireExit | null
}

/** Told of every process directory that load() had to skip: `{ containerId, path, error }`. */
const skipped = channel('libcontainer:skipped')

const directoryMode = 0o711
const fileMode = 0o600
const { EMFILE, ENFILE, ENOMEM, EIO } = constants.errno
const maxFileBytes = 16 * 1024 * 1024

export function errnoOf(error: unknown): string | undefined {
  return (error as NodeJS.ErrnoException | undefined)?.code
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

function strings(value: unknown): string[] {
  return Array.isArray(value) ? value.filter((item): item is string => typeof item === 'string') : []
}

export async function readBounded(path: string, containerId: string): Promise<string> {
  // A FIFO or device in a file's place must hold nobody up.
  const info = await stat(path)
  const corrupt = (what: string): ContainerError =>
    new ContainerError('ERR_STATE_CORRUPT', `container '${containerId}': '${path}' ${what}`, {
      containerId,
      path,
    })
  if (!info.isFile()) throw corrupt('is not a regular file')
  if (info.size > maxFileBytes) throw corrupt('is too large')
  return readFile(path, 'utf8')
}

export function parseObject(text: string, path: string, containerId: string): Record<string, unknown> {
  let value: unknown
  try {
    value = JSON.parse(text)
  } catch (cause) {
    throw new ContainerError('ERR_STATE_CORRUPT', `container '${containerId}': '${path}' is not JSON`, {
      containerId,
      path,
      cause,
    })
  }
  if (!isObject(value)) {
    throw new ContainerError(
      'ERR_STATE_CORRUPT',
      `container '${containerId}': '${path}' holds no JSON object`,
      {
        containerId,
        path,
      },
    )
  }
  return value
}

/** The bundle's config.json. ERR_SYSCALL where it cannot be read, ERR_STATE_CORRUPT where it is not what it should be. */
export async function readBundle(bundle: string, containerId: string): Promise<OciConfig> {
  const path = join(bundle, 'config.json')
  let text: string
  try {
    text = await readBounded(path, containerId)
  } catch (error) {
    throw fromNodeError(error, { containerId })
  }
  const config = parseObject(text, path, containerId)
  for (const key of ['process', 'root', 'linux']) {
    if (config[key] !== undefined && !isObject(config[key])) {
      throw new ContainerError(
        'ERR_STATE_CORRUPT',
        `container '${containerId}': '${path}': ${key} is not an object`,
        {
          containerId,
          path,
        },
      )
    }
  }
  return config
}

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
  // By itself: its EEXIST is about a root that is no directory.
  await mkdir(root, { recursive: true, mode: directoryMode }).catch((error: unknown) => {
    throw fromNodeError(error, { containerId: id })
  })
  try {
    if (
      await stat(directory).then(
        () => true,
        () => false,
      )
    )
      throw exists()
    await sweepOnce(root)
    temporary = join(root, await graveName())
    await mkdir(temporary, { mode: 0o700 })
    await writeFile(join(temporary, 'state.json'), JSON.stringify(state), { mode: fileMode })
    await chmod(temporary, directoryMode)
    // Over an empty directory rename(2) succeeds, over a container it does not.
    await rename(temporary, directory)
  } catch (error) {
    if (temporary !== undefined) await rm(temporary, { recursive: true, force: true })
    const code = errnoOf(error)
    if (code === 'ENOTEMPTY' || code === 'EEXIST') throw exists()
    throw fromNodeError(error, { containerId: id })
  }
}

/** Removes a container that has no shim: out of sight in one step first. */
export async function removeDirectory(root: string, id: string): Promise<void> {
  try {
    const grave = join(root, await graveName())
    await rename(join(root, id), grave)
    await rm(grave, { recursive: true, force: true })
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return
    throw fromNodeError(error, { containerId: id })
  }
}

/** In one step for everybody who looks: half a directory would be a process without its exit status. */
export async function removeProcessDirectory(root: string, id: string, process: string): Promise<void> {
  try {
    const grave = join(root, await graveName())
    await rename(join(root, id, process), grave)
    await rm(grave, { recursive: true, force: true })
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return
    throw fromNodeError(error, { containerId: id, processId: process })
  }
}

function notFound(root: string, id: string): ContainerError {
  return new ContainerError('ERR_CONTAINER_NOT_FOUND', `there is no container '${id}' in '${root}'`, {
    containerId: id,
    path: join(root, id, 'state.json'),
  })
}

/** ERR_CONTAINER_NOT_FOUND or ERR_STATE_CORRUPT. */
export async function readState(root: string, id: string): Promise<StateFile> {
  const path = join(root, id, 'state.json')
  let text: string
  try {
    text = await readBounded(path, id)
  } catch (error) {
    const code = errnoOf(error)
    if (code === 'ENOENT' || code === 'ENOTDIR') {
      await sweep(root) // perhaps a delete that was cut off in its last step
      throw notFound(root, id)
    }
    throw fromNodeError(error, { containerId: id })
  }
  const json = parseObject(text, path, id)
  if (typeof json['bundle'] !== 'string' || json['bundle'] === '') {
    throw new ContainerError('ERR_STATE_CORRUPT', `container '${id}': '${path}' names no bundle`, {
      containerId: id,
      path,
    })
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
  }
  if (isObject(owner) && typeof owner['pid'] === 'number' && typeof owner['starttime'] === 'number') {
    state.owner = { pid: owner['pid'], starttime: owner['starttime'] }
  }
  return state
}

async function versionOf(path: string): Promise<string | null> {
  try {
    const { ino, ctimeNs, size } = await stat(path, { bigint: true })
    return `${ino} ${ctimeNs} ${size}`
  } catch {
    return null
  }
}

/** Another one whenever the state file is another or has changed; null where there is none. One system call. */
export function stateVersion(root: string, id: string): Promise<string | null> {
  return versionOf(join(root, id, 'state.json'))
}

/** Ids that load() would accept, sorted. A root that does not exist holds none. */
export async function listIds(root: string): Promise<string[]> {
  let entries: string[]
  await sweep(root)
  try {
    entries = await readdir(root)
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return []
    throw fromNodeError(error)
  }
  const accepted = await Promise.all(
    entries.sort().map(async (id) => {
      try {
        checkId(id)
        await readState(root, id)
        return [id]
      } catch (error) {
        if (isShortage(error)) throw error
        return []
      }
    }),
  )
  return accepted.flat()
}

function exists(path: string): Promise<boolean> {
  return access(path).then(
    () => true,
    () => false,
  )
}

let bootId: string | null | undefined

/** What a state directory says of itself beside its processes. */
export interface Marks {
  /** A start, a checkpoint or a delete is under way, or was cut off. */
  unfinished: boolean
  /** Init was started before this machine's last boot: nothing of the container can run. */
  earlierBoot: boolean
}

export async function readMarks(root: string, id: string): Promise<Marks> {
  const directory = join(root, id)
  bootId ??= await readFile('/proc/sys/kernel/random/boot_id', 'utf8').catch(() => null)
  const [starting, left, dumping, deleting, boot] = await Promise.all([
    exists(join(directory, 'init/starting')),
    exists(join(directory, ':record')),
    exists(join(directory, 'init/dumping')),
    exists(join(directory, ':deleting')),
    readFile(join(directory, 'init/bootId'), 'utf8').catch(() => null),
  ])
  return {
    unfinished: starting || left || dumping || deleting,
    earlierBoot: Boolean(boot?.trim() && bootId?.trim()) && boot?.trim() !== bootId?.trim(),
  }
}

/** The machine could not be asked: that says nothing of what the file holds. */
function isShortage(error: unknown): boolean {
  const { errno } = error as { errno?: number }
  return errno !== undefined && [EMFILE, ENFILE, ENOMEM, EIO].includes(Math.abs(errno))
}

async function readNumber(path: string): Promise<number | null> {
  try {
    const text = (await readBounded(path, '')).trim()
    return /^\d{1,15}$/.test(text) ? Number(text) : null
  } catch (error) {
    if (isShortage(error)) throw error
    return null
  }
}

async function readExit(directory: string): Promise<WireExit | null> {
  const path = join(directory, 'exitStatus')
  let text: string
  try {
    text = (await readBounded(path, '')).trim()
  } catch (error) {
    // Asked once and no more: a moment later it may be there, whole.
    if (errnoOf(error) === 'ENOENT') return null
    if (isShortage(error)) throw error
    text = ''
  }
  const code = /^\d{1,3}$/.test(text) ? Number(text) : 256
  if (code > 255) {
    // There but unreadable: it has ended, and how is not known.
    return { exitCode: 255, signal: 0, exitedAtMs: Date.now(), oomKilled: false, known: false }
  }
  const exit: WireExit = { exitCode: code, signal: 0, exitedAtMs: 0, oomKilled: false, known: true }
  try {
    const json = JSON.parse(await readBounded(join(directory, 'exit.json'), '')) as Partial<WireExit>
    if (typeof json.signal === 'number') exit.signal = json.signal
    if (typeof json.exitedAtMs === 'number') exit.exitedAtMs = json.exitedAtMs
    if (typeof json.oomKilled === 'boolean') exit.oomKilled = json.oomKilled
    if (typeof json.known === 'boolean') exit.known = json.known
  } catch (error) {
    if (isShortage(error)) throw error
    // containerd 0.2 wrote the number alone; its file is as old as the exit.
    exit.exitedAtMs = (await stat(path)).mtimeMs
  }
  return exit
}

async function readProcess(directory: string, id: string, containerId: string): Promise<ProcessFile> {
  const path = join(directory, 'process.json')
  const json = parseObject(await readBounded(path, containerId), path, containerId)
  const args = strings(json['args'])
  const [pid, starttime] = await Promise.all([
    readNumber(join(directory, 'pid')),
    readNumber(join(directory, 'starttime')),
  ])
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
    id,
    spec: { ...spec, args },
    stdio: {
      stdin: name('containerdStdin'),
      stdout: name('containerdStdout'),
      stderr: name('containerdStderr'),
    },
    pid,
    starttime: starttime ?? 0,
    exit: await readExit(directory),
  }
}

/**
 * A process whose directory is the same after the reading as before: the shim moves the directory of a removed process away
 * and fills its files anew for the next one, and makes an exit status known by moving it into the directory.
 */
async function readSteadily(directory: string, id: string, containerId: string): Promise<ProcessFile> {
  for (let attempt = 0; ; ++attempt) {
    const version = await versionOf(directory)
    const process = await readProcess(directory, id, containerId)
    if ((await versionOf(directory)) === version) return process
    if (attempt > 100) {
      throw new ContainerError('ERR_STATE_CORRUPT', `'${directory}' changes all the time`, {
        path: directory,
      })
    }
  }
}

/** Every process directory that can be read; the others are skipped, and said on `libcontainer:skipped`. */
export async function readProcesses(root: string, id: string): Promise<ProcessFile[]> {
  const directory = join(root, id)
  const entries = await readdir(directory, { withFileTypes: true }).catch((error: unknown) => {
    // Deleted since its state.json was read.
    if (errnoOf(error) === 'ENOENT') throw notFound(root, id)
    throw fromNodeError(error, { containerId: id })
  })
  const out: ProcessFile[] = []
  for (const entry of entries.filter((candidate) => candidate.isDirectory())) {
    const path = join(directory, entry.name)
    try {
      checkId(entry.name)
      // Init's is nobody else's before or after.
      const read = entry.name === 'init' ? readProcess : readSteadily
      out.push(await read(path, entry.name, id))
    } catch (error) {
      if (isShortage(error)) throw fromNodeError(error, { containerId: id, processId: entry.name })
      skipped.publish({ containerId: id, path, error })
    }
  }
  // Init first: it is the first one.
  return out.sort((a, b) => Number(b.id === 'init') - Number(a.id === 'init') || a.starttime - b.starttime)
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
  const text = inherited?.text(spec)
  if (text) return `${text.slice(0, -1)},${JSON.stringify(how).slice(1)}`
  return JSON.stringify({ ...(inherited?.whole(spec) ?? spec), ...how })
}
