// What a container is created, loaded and started with, and the checks of it.
import { resolve } from 'node:path'
import { invalidType, invalidValue } from '../errors.js'
import type { Resources } from '../oci/resources.js'
import { resolvePaths } from '../oci/runtime_args.js'
import type { Process } from '../process/process.js'
import type { StdioOptions } from '../process/stdio.js'
import {
  checkClosed,
  checkFlag,
  checkId,
  checkPath,
  checkRange,
  checkString,
  checkStrings,
  type Keys,
  type Signal,
} from '../validate.js'

/** `'created'` until the user's program runs, also before the first start; `'stopped'` once init has exited. */
export type ContainerState = 'created' | 'running' | 'paused' | 'stopped'

/** How a container is started: its init's streams, and what may happen on the way. */
export interface StartOptions extends StdioOptions {
  /**
   * Restores this checkpoint of the bundle, of this container or another one, instead of a fresh start. The program goes
   * on where it was: what it had on a pipe or a terminal then is on the streams given here now, and what it had
   * on /dev/null stays there. Not together with `onCreated`: the runtime's restore has no moment for it.
   */
  checkpoint?: string
  /**
   * The container's namespaces exist, and the user's program does not run yet: the place for networking. The start
   * goes on when it resolves; a throw undoes the start and comes out of it.
   */
  onCreated?: (init: Process) => void | Promise<void>
  /**
   * Aborted: everything the call made is undone, and it rejects with the signal's reason. Aborted too late, when the
   * program runs already, it changes nothing: the call resolves.
   */
  signal?: AbortSignal
  /**
   * Hands regular files (a path, a number, `'inherit'`) over as they are. The program can then seek and map them, and also
   * change the host's file: its mode, its owner, its whole content. Default: `false`. The shim then copies the bytes, so
   * that the container never holds the file.
   * Devices keep their mode and owner by default too. Directories are refused in any case.
   */
  direct?: boolean
}

/** A cgroup of a process's own, with limits. */
export interface CgroupOptions {
  /**
   * Applied before the program runs. ERR_UNSUPPORTED for `blockIO` on v1, whose throttling is not hierarchical, and for
   * everything on v2 unless the container was created with `subgroups: true`.
   */
  resources?: Resources
}

/** How a process is started in a container, and what ends it. */
export interface ExecOptions extends StdioOptions {
  /**
   * Hands regular files (a path, a number, `'inherit'`) over as they are. The program can then seek and map them, and also
   * change the host's file: its mode, its owner, its whole content. Default: `false`. The shim then copies the bytes, so
   * that the container never holds the file.
   * Devices keep their mode and owner by default too. Directories are refused in any case.
   */
  direct?: boolean
  /**
   * Aborted before the program runs: the call is undone, and rejects with the signal's reason. Aborted afterwards: the
   * process is killed, as by `timeout`.
   */
  signal?: AbortSignal
  /**
   * Milliseconds that the program may run, 1 to 2^31 - 1, from execve(2) on CLOCK_MONOTONIC, time in which the container is
   * paused included. Then it is killed, and its ExitStatus says `timedOut`. The shim keeps the time, so that it holds if this
   * program is stopped or has died, and also if another shim has taken over. Default: no limit.
   */
  timeout?: number
  /** What `timeout` and `signal` send: to its own cgroup if it has one, else to the process. Default: `'SIGKILL'`. */
  killSignal?: Signal
  /** Milliseconds from a `killSignal` other than SIGKILL to SIGKILL, 0 to 2^31 - 1. Default: `2000`. */
  killGraceMs?: number
  /**
   * `true` or an object: the process gets a cgroup of its own below the container's, and everything that it starts stays in
   * it: see kill() with `tree`, pids(), stats(), pause(), resume(), updateResources() and empty() of Process. The cgroup goes
   * with the last process in it. The container's own stats() and pids() count it too.
   * A string: the path of a cgroup that exists already, relative to the container's, which the process joins, as with
   * `runc exec --cgroup`. On v1 it joins that path in each hierarchy that has it. Default: the container's own cgroup.
   */
  cgroup?: boolean | string | CgroupOptions
  /** `NAME=value` entries that are added to `spec.env`, or to the inherited environment. The last entry of a name counts. */
  addEnv?: string[]
  /**
   * Open descriptors of this program, at most 61, that become 3, 4, ... in the process. Directories, O_PATH descriptors,
   * pidfds and files of nsfs, procfs and cgroupfs are refused: they lead out of the container (CVE-2024-21626).
   */
  fds?: number[]
}

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
  /**
   * On cgroup v2, moves init to `<cgroup>/init` before its program runs, and passes the controllers on, so that processes'
   * own cgroups have limits and all metrics. The runtime's own `exec`, `update`, `ps`, `kill` and `delete` go on working, except
   * for `ps` of crun 1.8. No effect on v1, where own cgroups always have them. Default: `false`.
   */
  subgroups?: boolean
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
  subgroups: boolean
}

const containerKeys: Keys<ContainerOptions> = {
  root: true,
  id: true,
  bundle: true,
  runtime: true,
  runtimeArgs: true,
  shim: true,
  labels: true,
  noPivotRoot: true,
  ephemeral: true,
  timeout: true,
  subgroups: true,
}
export const loadKeys: Keys<LoadOptions> = { timeout: true, shim: true, observe: true }
const stdioKeys: Keys<StdioOptions> = { stdin: true, stdout: true, stderr: true }
export const execKeys: Keys<ExecOptions> = {
  ...stdioKeys,
  direct: true,
  signal: true,
  timeout: true,
  killSignal: true,
  killGraceMs: true,
  cgroup: true,
  addEnv: true,
  fds: true,
}
export const startKeys: Keys<StartOptions> = {
  ...stdioKeys,
  checkpoint: true,
  onCreated: true,
  signal: true,
  direct: true,
}

export const defaultTimeout = 15000
const maxTimeout = 2 ** 31 - 1
const maxDescriptors = 0x7fffffff
/** Milliseconds that a process may run; undefined for no limit. */
export function checkRunTimeout(value: unknown): number | undefined {
  return value === undefined
    ? undefined
    : checkRange(value, 'timeout', 1, maxTimeout, 'number of milliseconds')
}

export function checkGrace(value: unknown): number | undefined {
  return value === undefined
    ? undefined
    : checkRange(value, 'killGraceMs', 0, maxTimeout, 'number of milliseconds')
}

export function checkTimeout(value: unknown): number {
  if (value === undefined) return defaultTimeout
  return checkRange(value, 'timeout', 1, maxTimeout, 'number of milliseconds')
}

export function checkDescriptorLimit(value: unknown): number {
  return checkRange(value, 'limit', 0, maxDescriptors, 'number of descriptors')
}

export function checkRoot(value: unknown): string {
  return checkPath(value, 'root')
}

export function checkShim(value: unknown): string {
  return value === undefined ? '' : checkPath(value, 'shim')
}

export function checkContainerOptions(options: ContainerOptions): ResolvedOptions {
  checkClosed(options, 'options', containerKeys)
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
    subgroups: checkFlag(options.subgroups, 'subgroups'),
  }
}

export function checkHook(value: unknown): void {
  if (value !== undefined && typeof value !== 'function') throw invalidType('onCreated must be a function')
}
