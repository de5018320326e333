// Whether a root directory is beyond other users' reach: state.json in it names a program that root runs.
import type { Stats } from 'node:fs'
import { realpath, stat } from 'node:fs/promises'
import { dirname } from 'node:path'
import { ContainerError, errnoOf, fromNodeError } from './errors.js'

const groupOrOthersWrite = 0o022
const sticky = 0o1000

/** Roots that were found to be as they should be, by path: device and inode. */
const trusted = new Map<string, string>()
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

async function look(root: string): Promise<void> {
  let known = ''
  let real: string | null = null
  let there = root
  while (real === null) {
    try {
      const { dev, ino, mode, uid } = await stat(there)
      known = `${dev}:${ino}:${mode}:${uid}`
      if (there === root && trusted.get(root) === known) return
      real = await realpath(there)
    } catch (error) {
      // What does not exist yet is as safe as the directory that it would be made in.
      const missing = ['ENOENT', 'ENOTDIR'].includes(errnoOf(error) ?? '')
      if (!missing || there === '/') throw fromNodeError(error)
      there = dirname(there)
    }
  }
  const isThere = there === root
  for (let path = real; ; path = dirname(path)) {
    const weak = weakness(path, await stat(path), isThere && path === real)
    if (weak !== null) {
      throw new ContainerError(
        'ERR_STATE_CORRUPT',
        `root '${root}' is not used, since state.json in it names programs that root runs: ${weak}`,
        { path },
      )
    }
    if (path === '/') break
  }
  if (isThere) trusted.set(root, known)
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
