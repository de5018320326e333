// Whether a root directory is beyond other users' reach: state.json in it names a program that root runs.
import type { Stats } from 'node:fs'
import { lstat, readlink } from 'node:fs/promises'
import { constants } from 'node:os'
import { dirname, isAbsolute, join } from 'node:path'
import { ContainerError, errnoOf, fromNodeError, toContainerError } from '../errors.js'

const groupOrOthersWrite = 0o022
const sticky = 0o1000
/** As many as the kernel follows in one path. */
const maxLinks = 40

/** Roots that passed the check: every directory and link that leads to them, and what it was then. */
const trusted = new Map<string, Map<string, string>>()
/** Checks under way, shared by all who ask for the same root meanwhile. */
const asked = new Map<string, Promise<void>>()

/** Why another user could change what lies in that directory, or where that link leads; null where none can. */
function weakness(path: string, found: Stats, isRoot: boolean): string | null {
  const { mode, uid } = found
  if (uid !== 0 && uid !== process.geteuid?.()) {
    return `'${path}' belongs to user ${uid}; give it to root (chown -h 0 '${path}')`
  }
  // The mode of a link means nothing. In a sticky directory, as /tmp is, users may add files, but may not remove or
  // rename those of others.
  if (found.isSymbolicLink()) return null
  if ((mode & groupOrOthersWrite) === 0 || (!isRoot && (mode & sticky) !== 0)) return null
  return `other users may write to '${path}', mode ${(mode & 0o7777).toString(8)} (chmod go-w '${path}')`
}

function identity({ dev, ino, mode, uid }: Stats): string {
  return `${dev}:${ino}:${mode}:${uid}`
}

async function isUnchanged(root: string): Promise<boolean> {
  const seen = [...(trusted.get(root) ?? [])]
  const same = seen.map(([path, was]) =>
    lstat(path).then(
      (is) => identity(is) === was,
      () => false,
    ),
  )
  return seen.length > 0 && (await Promise.all(same)).every(Boolean)
}

function names(path: string): string[] {
  return path.split('/').filter((name) => name !== '' && name !== '.')
}

async function look(root: string): Promise<void> {
  if (await isUnchanged(root)) return
  trusted.delete(root)
  const seen = new Map<string, string>()
  const refuse = (path: string, found: Stats, isRoot: boolean): void => {
    const weak = weakness(path, found, isRoot)
    if (weak === null) return
    throw new ContainerError(
      'ERR_STATE_CORRUPT',
      `root '${root}' is not used, because root runs programs that state.json in it names: ${weak}`,
      { path },
    )
  }
  // As the kernel walks: who may replace a link on the way leads to a root of his own.
  let at = '/'
  let links = 0
  const ahead = names(root)
  for (let name: string | undefined = '.'; name !== undefined; name = ahead.shift()) {
    const path = name === '..' ? dirname(at) : join(at, name)
    let found: Stats
    try {
      found = await lstat(path)
    } catch (error) {
      // What does not exist yet is as safe as the directory that it would be made in.
      if (['ENOENT', 'ENOTDIR'].includes(errnoOf(error) ?? '')) return
      throw fromNodeError(error)
    }
    seen.set(path, identity(found))
    if (!found.isSymbolicLink()) {
      refuse(path, found, ahead.length === 0)
      at = path
      continue
    }
    if (++links > maxLinks) {
      const { ELOOP } = constants.errno
      throw toContainerError({ code: 'ERR_SYSCALL', errno: ELOOP, syscall: 'lstat', path: root })
    }
    refuse(path, found, false)
    const target = await readlink(path)
    if (isAbsolute(target)) at = '/'
    ahead.unshift(...names(target))
  }
  // Again: the last link may have led here by `.`, `..` or `/`.
  refuse(at, await lstat(at), true)
  trusted.set(root, seen)
}

/**
 * Checks that no user but root and this program's can change or replace the root. Looks at each directory and each
 * symbolic link that leads to it; a directory above the root may be sticky.
 * @throws {ContainerError} ERR_STATE_CORRUPT with the `path` that another user owns or may write to.
 * @throws {ContainerError} ERR_SYSCALL if one of them cannot be examined.
 */
export function checkTrusted(root: string): Promise<void> {
  let looking = asked.get(root)
  if (!looking) {
    looking = look(root).finally(() => asked.delete(root))
    asked.set(root, looking)
  }
  return looking
}
