// Directories under a root that are not yet a container's, or no longer: named after the process that works on them, so
// that what a killed one has left is told from what is being made or removed this moment.
import { randomBytes } from 'node:crypto'
import { readdir, readFile, rm, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { pidNamespace } from '../native/pid_namespace.js'

let own: string | null = null
/** No directory is made or removed for an hour. */
const longEnoughMs = 3_600_000

/** Field 22 of proc_pid_stat(5) of a process that runs; null for a zombie or none. Throws where that cannot be seen now. */
async function startTime(pid: string): Promise<string | null> {
  try {
    const text = await readFile(`/proc/${pid}/stat`, 'utf8')
    const fields = text.slice(text.lastIndexOf(')') + 2).split(' ')
    return fields[0] === 'Z' || fields[0] === 'X' ? null : (fields[19] as string)
  } catch (error) {
    // Gone before the file was opened, or while it was read.
    if (['ENOENT', 'ESRCH'].includes((error as NodeJS.ErrnoException).code ?? '')) return null
    throw error
  }
}

/** `.n4026531836`: the pid counts in that namespace. Empty where it is not known. */
function ownNamespace(): string {
  const [number] = /\d+/.exec(pidNamespace() ?? '') ?? []
  return number === undefined ? '' : `.n${number}`
}

/** Whether nobody works on it any more: of another pid namespace, whose processes are not seen here, that is by its age. */
async function isAbandoned(path: string, [pid, start, namespace]: string[]): Promise<boolean> {
  if (namespace !== undefined && namespace !== ownNamespace()) {
    return Date.now() - (await stat(path)).ctimeMs > longEnoughMs
  }
  return (await startTime(pid as string)) !== start
}

/** A name that no container has (`:` is in no id) and no other call of any program gets. */
export async function trashName(): Promise<string> {
  own ??= `:${process.pid}.${(await startTime('self')) ?? '0'}${ownNamespace()}`
  return `${own}.${randomBytes(6).toString('hex')}`
}

/** Of this program: what could not be removed at once. */
const left = new Set<string>()

/** Removes what is out of sight already, and so no error: what cannot be removed now is tried again with the next one. */
export async function discard(...paths: string[]): Promise<void> {
  const all = [...paths, ...left]
  left.clear()
  await Promise.all(
    all.map((path) => rm(path, { recursive: true, force: true }).catch(() => void left.add(path))),
  )
}

/** Removes what processes that are gone have left in `root`. What cannot be removed stays: it is nobody's container. */
export async function sweep(root: string): Promise<void> {
  await discard()
  const entries = await readdir(root).catch(() => [])
  await Promise.all(
    entries.map(async (name) => {
      const [whole, ...maker] = /^:(\d+)\.(\d+)(\.n\d+)?\./.exec(name) ?? []
      if (whole === undefined || !(await isAbandoned(join(root, name), maker).catch(() => false))) return
      await rm(join(root, name), { recursive: true, force: true }).catch(() => undefined)
    }),
  )
}
