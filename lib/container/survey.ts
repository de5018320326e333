// What is known of a container's processes without having watched them: by its records, its shim and the kernel.
import { type NativeFailure, toContainerError } from '../errors.js'
import type { NativeBinding } from '../native/binding.js'
import { isElsewhere } from '../native/pid_namespace.js'
import type { StateFile } from '../state/directory.js'
import { type ExitRecord, type ProcessFile, readRecords, type Records } from '../state/records.js'
import type { Connection } from './connection.js'

/** Null for one that does not run; ERR_SYSCALL where that cannot be seen now, for want of a descriptor or memory. */
export function startTimeOf(native: NativeBinding, pid: number, containerId: string): number | null {
  try {
    return native.startTime(pid)
  } catch (error) {
    throw toContainerError(error as NativeFailure, { containerId })
  }
}

/** The program that an ephemeral container belongs to runs, here. */
export function ownerRuns(
  native: NativeBinding,
  owner: NonNullable<StateFile['owner']>,
  containerId: string,
): boolean {
  return !isElsewhere(owner.pidNamespace) && startTimeOf(native, owner.pid, containerId) === owner.starttime
}

export interface SurveyParts {
  native: NativeBinding
  root: string
  id: string
  file: StateFile
  /** Starts no shim for it. */
  observes: boolean
}

export interface Surveyed {
  file: ProcessFile
  /** How it ended, by its shim or its exit.json. */
  exit: ExitRecord | null
  /** Where neither says how: whether it ended while nobody watched. */
  isLost: () => boolean
}

export interface Survey {
  earlierBoot: boolean
  processes: Surveyed[]
}

/**
 * Without a shim nobody learns how processes end, and what the last one was in the middle of stays half done: a new
 * one takes over before anything is said of the container.
 */
function wantsShim(parts: SurveyParts, { unfinished, earlierBoot, processes }: Records): boolean {
  const { native, id, file } = parts
  if (unfinished) return true
  if (file.owner && !ownerRuns(native, file.owner, id)) return true
  return !earlierBoot && processes.some(({ exit }) => exit === null)
}

/** Processes on disk, made true by what the shim or the kernel knows. */
export async function survey(parts: SurveyParts, connection: Connection): Promise<Survey> {
  const { native, root, id, observes } = parts
  const read = (): Promise<Records> => readRecords(native, root, id)
  const isLost = ({ pid, starttime, exit }: ProcessFile): boolean =>
    !exit && startTimeOf(native, pid, id) !== starttime
  const seen = observes ? await read() : null
  // What ran and runs no more may be an exit that its shim is just writing down.
  const asks = !seen || seen.earlierBoot || seen.processes.some(isLost)
  const answer = asks ? await connection.ask() : null
  // One that serves the container and says nothing, for now: none can take over from it, and what it has yet to
  // tell is not taken for unknown.
  const silent = answer === 'silent'
  let entries = silent ? null : answer
  let records = asks ? await read() : seen
  if (!entries && !silent && !observes && wantsShim(parts, records)) {
    entries = await connection.takeOver()
    records = await read()
  }
  const { earlierBoot } = records
  const known = entries && new Map(entries.map((entry) => [entry.id, entry]))
  const processes = records.processes.map((file) => {
    const entry = known?.get(file.id)
    const exit = (entry?.pid === file.pid ? entry.exit : undefined) ?? file.exit
    return { file, exit, isLost: () => !known && (earlierBoot || (asks && !silent && isLost(file))) }
  })
  return { earlierBoot, processes }
}
