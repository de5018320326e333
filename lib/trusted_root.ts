// Whether a root directory is beyond other users' reach: state.json in it names a program that root runs.
import type { Stats } from 'node:fs'
import { realpath, stat } from 'node:fs/promises'
import { dirname } from 'node:path'
import { ContainerError, errnoOf, fromNodeError } from './errors.js'

const groupOrOthersWrite = 0o022
const sticky = 0o1000

/** Roots that were found to be as they should be: each directory from the root on up, and what it was then. */
const trusted = new Map<string, Map<string, string>>()
/** Of those who ask at once, one looks. */
const asked = new Map<string, Promise<void>>()

/** Why another user could change what lies in that directory; null where none can. */
function weakness(path: string, { mode, uid }: Stats, isRoot: boolean): string | null {
  if (uid !== 0 && uid !== process.geteuid?.()) {
    return `'${path}' belongs to user ${uid}; give it to root (chown 0 '${path}')`
  }
  // In a sticky directory, as /tmp is, nobody removes or renames what is another's; but everybody may add to it.
  if ((mode & groupOrOthersWrite) === 0 || (!isRoot && (mode & sticky) !== 0)) return null
  return `other users may write to '${path}', mode ${(mode & 0o7777).toString(8)} (chmod go-w '${path}')`
}

function identity({ dev, ino, mode, uid }: Stats): string {
  return `${dev}:${ino}:${mode}:${uid}`
}

async function isUnchanged(root: string): Promise<boolean> {
  const seen = [...(trusted.get(root) ?? [])]
  const same = seen.map(([path, was]) =>
    stat(path).then(
      (is) => identity(is) === was,
      () => false,
    ),
  )
  return seen.length > 0 && (await Promise.all(same)).every(Boolean)
}

/** What does not exist yet is as safe as the directory that it would be made in. */
async function nearest(root: string): Promise<string> {
  for (let path = root; ; path = dirname(path)) {
    try {
      return await realpath(path)
    } catch (error) {
      const missing = ['ENOENT', 'ENOTDIR'].includes(errnoOf(error) ?? '')
      if (!missing || path === '/') throw fromNodeError(error)
    }
  }
}

async function look(root: string): Promise<void> {
  if (await isUnchanged(root)) return
  trusted.delete(root)
  const real = await nearest(root)
  const there = await stat(root).then(identity, () => null)
  const seen = new Map<string, string>()
  if (there !== null) seen.set(root, there)
  for (let path = real; ; path = dirname(path)) {
    const found = await stat(path)
    const weak = weakness(path, found, there === identity(found))
    if (weak !== null) {
      throw new ContainerError(
        'ERR_STATE_CORRUPT',
        `root '${root}' is not used, since state.json in it names programs that root runs: ${weak}`,
        { path },
      )
    }
    seen.set(path, identity(found))
    if (path === '/') break
  }
  if (there !== null) trusted.set(root, seen)
}

/**
 * ERR_STATE_CORRUPT with the path where the root, or a directory above it, belongs to another user than root and this
 * program's, or may be written by one; above it a sticky directory will do. ERR_SYSCALL where that cannot be seen.
 */
export function checkTrusted(root: string): Promise<void> {
  let looking = asked.get(root)
  if (!looking) {
    looking = look(root).finally(() => asked.delete(root))
    asked.set(root, looking)
  }
  return looking
}
