// Which containers are meant: the directories that hold them, and handles that only look.
import { resolve } from 'node:path'
import { Container } from 'libcontainer'
import { Failure, isGone } from './failure.js'

export const defaultRoot = '/run/libcontainer'

export interface Place {
  root: string
  id: string
}

/** As given, else LIBCONTAINER_ROOT (several with `:` between), else the default. */
export function chooseRoots(given: readonly string[] | undefined): string[] {
  const fromEnvironment = (process.env['LIBCONTAINER_ROOT'] ?? '').split(':').filter((path) => path !== '')
  const chosen = given?.length ? given : fromEnvironment.length > 0 ? fromEnvironment : [defaultRoot]
  return [...new Set(chosen.map((path) => resolve(path)))]
}

export async function listPlaces(roots: readonly string[]): Promise<Place[]> {
  const lists = await Promise.all(
    roots.map(async (root) => (await Container.list(root)).map((id) => ({ root, id }))),
  )
  return lists.flat()
}

/** So many at a time that hundreds of containers take neither every descriptor nor every thread. */
export async function mapSome<T, R>(items: readonly T[], work: (item: T) => Promise<R>): Promise<R[]> {
  const out: R[] = []
  let next = 0
  const lane = async (): Promise<void> => {
    while (next < items.length) {
      const at = next++
      out[at] = await work(items[at] as T)
    }
  }
  await Promise.all(Array.from({ length: 16 }, lane))
  return out
}

/** The one container of that id; ERR_CONTAINER_NOT_FOUND, or an error that asks for `--root` where two have it. */
export async function findContainer(
  roots: readonly string[],
  id: string,
  options: { observe: boolean },
): Promise<Container> {
  const found: Container[] = []
  let missing: unknown
  for (const root of roots) {
    try {
      found.push(await Container.load(root, id, options))
    } catch (error) {
      if (!isGone(error)) {
        for (const container of found) await container.close()
        throw error
      }
      missing = error
    }
  }
  const [container, second] = found
  if (!container) {
    if (roots.length === 1) throw missing
    throw new Failure(
      'ERR_CONTAINER_NOT_FOUND',
      `there is no container '${id}' in any of ${roots.join(', ')}`,
    )
  }
  if (second) {
    for (const each of found) await each.close()
    throw new Failure(
      'ERR_AMBIGUOUS',
      `'${id}' is in ${found.map(({ root }) => root).join(' and ')}: choose with --root`,
    )
  }
  return container
}

/** Handles that only look, of those ids, or of all; what goes away meanwhile is left out of all. */
export async function lookAt(
  roots: readonly string[],
  ids: readonly string[],
): Promise<{ containers: Container[]; errors: unknown[] }> {
  const errors: unknown[] = []
  const refuse = (error: unknown): null => {
    if (ids.length > 0 || !isGone(error)) errors.push(error)
    return null
  }
  const load =
    ids.length > 0
      ? mapSome([...new Set(ids)], (id) => findContainer(roots, id, { observe: true }).catch(refuse))
      : mapSome(await listPlaces(roots), ({ root, id }) =>
          Container.load(root, id, { observe: true }).catch(refuse),
        )
  return { containers: (await load).filter((container) => container !== null), errors }
}
