// Checks and defaults; every TypeError and RangeError of the package starts here.
import { constants } from 'node:os'
import { fstatSync } from 'node:fs'
import { resolve } from 'node:path'
import { inspect } from 'node:util'
import { invalidType, invalidValue } from '../errors.js'
import type { ProcessSpec } from '../oci/spec.js'
import { resolvePaths } from '../oci/runtime_args.js'

/** A signal by name or number (0 to 64; 0 only asks whether the process is there). */
export type Signal = NodeJS.Signals | number

/** How a container is created. */
export interface ContainerOptions {
  /**
   * Directory that holds every container's state; created when missing, mode 0711. Best on a tmpfs, as /run is: each exec
   * writes some small files there.
   */
  root: string
  /** `^[A-Za-z0-9_+.-]+$`, at most 240 characters, neither `.` nor `..`. */
  id: string
  /** OCI bundle: config.json beside the root filesystem. */
  bundle: string
  /** Name or path of the OCI runtime binary; `runc`. */
  runtime?: string
  /**
   * Global flags for it, e.g. `['--root=/run/other']`; honoured everywhere, native paths too. create()
   * resolves the relative paths in `--root`, `--log` and `--criu` against the program's working directory.
   */
  runtimeArgs?: string[]
  /** Path of the shim executable; the one that ships with the package. */
  shim?: string
  /** Words of the caller's own, kept with the container's state and not looked at; none. */
  labels?: string[]
  /** `--no-pivot` of runc and crun; false. */
  noPivotRoot?: boolean
  /**
   * Lives no longer than this program: when the handle is disposed of, or this program ends in whatever way,
   * SIGKILL included, its shim kills and deletes it; false.
   */
  ephemeral?: boolean
  /** Milliseconds that a start, a restore or an exec may take before it is undone, 1 to 2^31 - 1; 15000. */
  timeout?: number
}

/** What a handle may have otherwise than the program that created the container. */
export interface LoadOptions {
  /** Milliseconds, 1 to 2^31 - 1; as the container was created with. */
  timeout?: number
  /** Path of the shim executable to start where none serves the container; as it was created with. */
  shim?: string
  /**
   * Only looks, as a monitor should: what the container is comes from its directory and from the kernel, its shim is not
   * connected to, which would keep the shim of a stopped container from leaving, and none is started for one whose shim
   * was killed, until a call needs one (exec(), delete(), a process's wait(), resize(), closeStdin(); the figures, limits,
   * signals, pause and watchers do not). What ends meanwhile is heard of by the next load(); false.
   */
  observe?: boolean
}

/**
 * A path (FIFO or file) survives this program; a number is an open descriptor; `'ignore'` is /dev/null; `'inherit'`
 * is this program's own stream of the same number; `'pipe'` gives a Node stream.
 *
 * `'keep'`, of output alone: the shim keeps the last 64 KiB, `{ keep: n }` the last n bytes (1 to 16 MiB), beside the
 * container's state, and the process's stream gives any program what is kept, then what comes: also one that loads the
 * container later, after the process has exited, after the shim was killed. Who writes waits for nobody but for a reader
 * that has begun to read and is further behind than is kept.
 *
 * A path is made absolute. A file of output is created with mode 0600 and appended to. If a path, a number or `'inherit'`
 * leads to a regular file, the shim copies the bytes, so that the container never holds the file: see `direct`. A FIFO of
 * output waits for its first reader (ERR_START_TIMEOUT after the timeout); later readers may come and go without harm. A
 * FIFO of input ends by closeStdin() alone, so that writers may come and go.
 */
export type Stdio = string | number | 'pipe' | 'inherit' | 'ignore' | 'keep' | KeptOutput

/** `'keep'` with a size of one's own. */
export interface KeptOutput {
  /** Bytes that are kept, 1 to 16 MiB. */
  keep: number
}

/** Where a process's standard streams lead. */
export interface StdioOptions {
  /** `'ignore'` when left out. Not `'keep'`, which is of output. */
  stdin?: Stdio
  /** `'ignore'` when left out. With a terminal: all that is written to it. */
  stdout?: Stdio
  /** `'ignore'` when left out. With a terminal nothing comes here. */
  stderr?: Stdio
}

/** What of a container's waiting is to be told. */
export type PressureOptions =
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

export interface ResolvedOptions {
  root: string
  id: string
  bundle: string
  runtime: string
  runtimeArgs: string[]
  shim: string
  labels: string[]
  noPivotRoot: boolean
  ephemeral: boolean
  timeout: number
}

export const defaultTimeout = 15000
const maxTimeout = 2 ** 31 - 1
const maxDescriptors = 0x7fffffff
const maxIdLength = 240
// Names that the state directory uses itself.
const reservedProcessIds = new Set(['state.json', 'shim.sock', 'shim.lock', 'log.json', 'console.sock'])

function show(value: unknown): string {
  const text =
    typeof value === 'string'
      ? JSON.stringify(value)
      : typeof value === 'object' && value !== null
        ? inspect(value, { depth: 1, breakLength: Infinity })
        : String(value)
  return text.length > 80 ? `${text.slice(0, 77)}...` : text
}

function checkString(value: unknown, name: string): asserts value is string {
  if (typeof value !== 'string') throw invalidType(`${name} must be a string, not ${show(value)}`)
  checkWellFormed(value, name)
}

/** Half a surrogate pair is no character. UTF-8 cannot hold it, so another string would be written. */
function checkWellFormed(text: string, name: string): void {
  if (/\p{Surrogate}/u.test(text)) {
    throw invalidValue(
      `${name} must be well-formed Unicode, but ${show(text)} holds half of a surrogate pair`,
    )
  }
}

const maxDepth = 32

/** Checks every string in `value`, at every depth, names of members included. */
function checkTexts(value: unknown, name: string, depth = 0): void {
  if (typeof value === 'string') return checkWellFormed(value, name)
  if (typeof value !== 'object' || value === null) return
  if (depth === maxDepth) throw invalidValue(`${name} is nested too deeply`)
  for (const [key, item] of Object.entries(value)) {
    if (!Array.isArray(value)) checkWellFormed(key, `a key of ${name}`)
    checkTexts(item, Array.isArray(value) ? `${name}[${key}]` : `${name}.${key}`, depth + 1)
  }
}

function checkPath(value: unknown, name: string): string {
  checkString(value, name)
  if (value === '') throw invalidValue(`${name} must not be empty`)
  if (value.includes('\0')) throw invalidValue(`${name} must not hold a NUL byte: ${show(value)}`)
  return resolve(value)
}

function checkStrings(value: unknown, name: string): string[] {
  if (!Array.isArray(value)) throw invalidType(`${name} must be an array of strings, not ${show(value)}`)
  value.forEach((item, index) => {
    checkString(item, `${name}[${index}]`)
    if (item.includes('\0')) throw invalidValue(`${name}[${index}] must not hold a NUL byte`)
  })
  return [...(value as string[])]
}

function checkBoolean(value: unknown, name: string): boolean {
  if (typeof value !== 'boolean') throw invalidType(`${name} must be a boolean, not ${show(value)}`)
  return value
}

/** False when left out. */
export function checkFlag(value: unknown, name: string): boolean {
  return value === undefined ? false : checkBoolean(value, name)
}

export function checkObject(value: unknown, name: string): asserts value is object {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    throw invalidType(`${name} must be an object, not ${show(value)}`)
  }
}

export function checkId(value: unknown, name = 'id'): string {
  checkString(value, name)
  if (!/^[A-Za-z0-9_+.-]+$/.test(value) || value === '.' || value === '..') {
    throw invalidValue(`${name} must match ^[A-Za-z0-9_+.-]+$ and be neither '.' nor '..': ${show(value)}`)
  }
  if (value.length > maxIdLength) {
    throw invalidValue(`${name} must be at most ${maxIdLength} characters long, not ${value.length}`)
  }
  return value
}

export function checkProcessId(value: unknown): string {
  const id = checkId(value, 'process id')
  if (reservedProcessIds.has(id)) {
    throw invalidValue(`process id ${show(id)} is a name that the state directory uses itself`)
  }
  return id
}

export function checkTimeout(value: unknown): number {
  if (value === undefined) return defaultTimeout
  if (typeof value !== 'number')
    throw invalidType(`timeout must be a number of milliseconds, not ${show(value)}`)
  if (!Number.isInteger(value) || value < 1 || value > maxTimeout) {
    throw Object.assign(
      new RangeError(`timeout must be a whole number from 1 to ${maxTimeout}, not ${value}`),
      {
        code: 'ERR_INVALID_ARG_VALUE',
      },
    )
  }
  return value
}

export function checkDescriptorLimit(value: unknown): number {
  if (typeof value !== 'number')
    throw invalidType(`limit must be a number of descriptors, not ${show(value)}`)
  if (!Number.isInteger(value) || value < 0 || value > maxDescriptors) {
    throw Object.assign(
      new RangeError(`limit must be a whole number from 0 to ${maxDescriptors}, not ${value}`),
      { code: 'ERR_INVALID_ARG_VALUE' },
    )
  }
  return value
}

export function checkRoot(value: unknown): string {
  return checkPath(value, 'root')
}

export function checkShim(value: unknown): string {
  return value === undefined ? '' : checkPath(value, 'shim')
}

export function checkContainerOptions(options: ContainerOptions): ResolvedOptions {
  checkObject(options, 'options')
  const id = checkId(options.id)
  const root = checkPath(options.root, 'root')
  const bundle = checkPath(options.bundle, 'bundle')
  let runtime = 'runc'
  if (options.runtime !== undefined) {
    checkString(options.runtime, 'runtime')
    if (options.runtime === '') throw invalidValue('runtime must not be empty')
    if (options.runtime.includes('\0')) throw invalidValue('runtime must not hold a NUL byte')
    runtime = options.runtime.includes('/') ? resolve(options.runtime) : options.runtime
  }
  return {
    root,
    id,
    bundle,
    runtime,
    runtimeArgs:
      options.runtimeArgs === undefined ? [] : resolvePaths(checkStrings(options.runtimeArgs, 'runtimeArgs')),
    shim: checkShim(options.shim),
    labels: options.labels === undefined ? [] : checkStrings(options.labels, 'labels'),
    noPivotRoot: checkFlag(options.noPivotRoot, 'noPivotRoot'),
    ephemeral: checkFlag(options.ephemeral, 'ephemeral'),
    timeout: checkTimeout(options.timeout),
  }
}

function checkMember<T extends string>(value: unknown, name: string, members: readonly T[]): T {
  checkString(value, name)
  if (!(members as readonly string[]).includes(value)) {
    throw invalidValue(`${name} must be one of ${members.join(', ')}, not ${show(value)}`)
  }
  return value as T
}

function checkRange(value: unknown, name: string, least: number, most: number): number {
  if (typeof value !== 'number') throw invalidType(`${name} must be a number, not ${show(value)}`)
  if (!Number.isInteger(value) || value < least || value > most) {
    throw Object.assign(
      new RangeError(`${name} must be a whole number from ${least} to ${most}, not ${value}`),
      { code: 'ERR_INVALID_ARG_VALUE' },
    )
  }
  return value
}

/** The range of the window is the kernel's own, psi_trigger_create(). */
export function checkPressure(options: PressureOptions): PressureOptions {
  checkObject(options, 'options')
  const resource = checkMember(options.resource, 'resource', ['memory', 'cpu', 'io'])
  const kind = checkMember(options.kind, 'kind', ['some', 'full', 'high'])
  if (kind === 'high') {
    if (resource !== 'memory') throw invalidValue(`kind 'high' is of memory, not of ${resource}`)
    return { resource, kind }
  }
  const { stallUsec, windowUsec } = options as Record<'stallUsec' | 'windowUsec', unknown>
  const window = checkRange(windowUsec, 'windowUsec', 500_000, 10_000_000)
  return { resource, kind, windowUsec: window, stallUsec: checkRange(stallUsec, 'stallUsec', 1, window) }
}

/** What `find` gives for each of the containers; undefined for what is none. */
export function checkContainers<T>(containers: unknown, find: (container: object) => T | undefined): T[] {
  if (!Array.isArray(containers)) throw invalidType(`containers must be an array, not ${show(containers)}`)
  return containers.map((container: unknown, index) => {
    const found = typeof container === 'object' && container !== null ? find(container) : undefined
    if (!found) throw invalidType(`containers[${index}] must be a Container, not ${show(container)}`)
    return found
  })
}

/** The number of a signal. */
export function checkSignal(value: unknown): number {
  if (typeof value === 'number') {
    if (!Number.isInteger(value) || value < 0 || value > 64) {
      throw Object.assign(new RangeError(`signal must be a whole number from 0 to 64, not ${value}`), {
        code: 'ERR_INVALID_ARG_VALUE',
      })
    }
    return value
  }
  if (typeof value !== 'string') throw invalidType(`signal must be a name or a number, not ${show(value)}`)
  const number = (constants.signals as Record<string, number>)[value]
  if (number === undefined) throw invalidValue(`unknown signal: ${show(value)}`)
  return number
}

export function signalName(number: number): NodeJS.Signals | null {
  if (number === 0) return null
  // SIGIOT and SIGPOLL are other names of SIGABRT and SIGIO; the field's name is the one that comes out.
  const aliases = new Set(['SIGIOT', 'SIGPOLL'])
  for (const [name, value] of Object.entries(constants.signals)) {
    if (value === number && !aliases.has(name)) return name as NodeJS.Signals
  }
  return `SIG${number}` as NodeJS.Signals
}

export function checkAbortSignal(value: unknown): AbortSignal | undefined {
  if (value === undefined) return undefined
  if (!(value instanceof AbortSignal)) throw invalidType('signal must be an AbortSignal')
  return value
}

export function checkResources(value: unknown): void {
  checkObject(value, 'resources')
  checkTexts(value, 'resources')
  checkNumbers(value, 'resources')
}

/** JSON has no NaN and no infinity, and what is above 2^53 has lost digits before it came here. */
function checkNumbers(value: unknown, name: string): void {
  if (typeof value === 'number') {
    if (!Number.isInteger(value)) throw invalidValue(`${name} must be a whole number, not ${value}`)
    if (Math.abs(value) > 2 ** 63) {
      throw Object.assign(new RangeError(`${name} is out of range: ${value}`), {
        code: 'ERR_INVALID_ARG_VALUE',
      })
    }
  } else if (typeof value === 'bigint') {
    throw invalidType(`${name} must be a number, not a bigint`)
  } else if (typeof value === 'object' && value !== null) {
    for (const [key, item] of Object.entries(value)) checkNumbers(item, `${name}.${key}`)
  }
}

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
  checkObject(options, 'options')
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

export function checkHook(value: unknown): void {
  if (value !== undefined && typeof value !== 'function') throw invalidType('onCreated must be a function')
}

const defaultKeptBytes = 65536
const maxKeptBytes = 16 * 1024 * 1024

/** How many bytes of a stream are kept; 0 where none are. */
export function keptBytes(stdio: Stdio): number {
  if (stdio === 'keep') return defaultKeptBytes
  return typeof stdio === 'object' ? stdio.keep : 0
}

function checkKeep(value: object, name: string): Stdio {
  const { keep } = value as { keep?: unknown }
  if (typeof keep !== 'number') throw invalidType(`${name}.keep must be a number of bytes, not ${show(keep)}`)
  if (!Number.isInteger(keep) || keep < 1 || keep > maxKeptBytes) {
    throw Object.assign(
      new RangeError(`${name}.keep must be a whole number from 1 to ${maxKeptBytes}, not ${keep}`),
      { code: 'ERR_INVALID_ARG_VALUE' },
    )
  }
  return { keep }
}

export function checkStdio(value: unknown, name: string): Stdio {
  if (value === undefined || value === null) return 'ignore'
  const keeps = typeof value === 'object' && 'keep' in value
  if (name === 'stdin' && (value === 'keep' || keeps)) {
    throw invalidValue(`stdin cannot be kept: only output is`)
  }
  if (keeps) return checkKeep(value, name)
  if (typeof value === 'number') {
    if (!Number.isInteger(value) || value < 0)
      throw invalidValue(`${name} must be an open descriptor, not ${value}`)
    try {
      fstatSync(value)
    } catch (cause) {
      throw Object.assign(invalidValue(`${name} must be an open descriptor, and ${value} is not`), { cause })
    }
    return value
  }
  if (typeof value !== 'string') {
    throw invalidType(
      `${name} must be 'pipe', 'inherit', 'ignore', 'keep', a path or a descriptor, not ${show(value)}`,
    )
  }
  if (value === 'pipe' || value === 'inherit' || value === 'ignore' || value === 'keep') return value
  return checkPath(value, name)
}

/** Only what decides between a clear error here and a garbled message there; the shim checks every field. */
export function checkProcessSpec(value: unknown): ProcessSpec {
  checkObject(value, 'spec')
  checkTexts(value, 'spec')
  const spec = value as Record<string, unknown>
  const args = checkStrings(spec['args'], 'spec.args')
  if (args.length === 0 || args[0] === '') throw invalidValue('spec.args must name a program')
  if (spec['env'] !== undefined && spec['env'] !== null) {
    checkStrings(spec['env'], 'spec.env').forEach((entry) => {
      if (!/^[^=]+=/.test(entry)) throw invalidValue(`spec.env must hold NAME=value, not ${show(entry)}`)
    })
  }
  if (spec['cwd'] !== undefined && spec['cwd'] !== null) {
    checkString(spec['cwd'], 'spec.cwd')
    if (!spec['cwd'].startsWith('/'))
      throw invalidValue(`spec.cwd must be absolute, not ${show(spec['cwd'])}`)
    if (spec['cwd'].includes('\0')) throw invalidValue('spec.cwd must not hold a NUL byte')
  }
  if (spec['terminal'] !== undefined && spec['terminal'] !== null)
    checkBoolean(spec['terminal'], 'spec.terminal')
  if (spec['consoleSize'] !== undefined && spec['consoleSize'] !== null) {
    checkObject(spec['consoleSize'], 'spec.consoleSize')
    const size = spec['consoleSize'] as Record<string, unknown>
    checkSize(size['height'], 'spec.consoleSize.height')
    checkSize(size['width'], 'spec.consoleSize.width')
  }
  return spec as unknown as ProcessSpec
}

/** Checks what this package uses of a config.json; the runtime checks the rest. */
export function checkConfigProcess(value: unknown): ProcessSpec {
  checkObject(value, 'process')
  const { args, terminal } = value as Record<string, unknown>
  const words = checkStrings(args, 'process.args')
  if (words.length === 0 || words[0] === '') throw invalidValue('process.args must name a program')
  if (terminal !== undefined && terminal !== null) checkBoolean(terminal, 'process.terminal')
  return value as ProcessSpec
}

/** A terminal's rows or columns: 0 to 65535. */
export function checkSize(value: unknown, name: string): number {
  if (typeof value !== 'number') throw invalidType(`${name} must be a number, not ${show(value)}`)
  if (!Number.isInteger(value) || value < 0 || value > 65535) {
    throw Object.assign(new RangeError(`${name} must be a whole number from 0 to 65535, not ${value}`), {
      code: 'ERR_INVALID_ARG_VALUE',
    })
  }
  return value
}
