// The metrics of many containers, in few native calls.
import { ContainerError, type NativeFailure, toContainerError } from '../errors.js'
import type { LiveContainer, NativeBinding } from '../native/binding.js'
import { type Stats, toStats } from '../oci/stats.js'
import type { Session } from './session.js'

/** Containers whose metrics become objects in one turn of the event loop: some 25 us each. */
const maxPart = 4

/** See {@link Container.stats}. */
export async function statsOfMany(
  native: NativeBinding,
  sessions: readonly Session[],
): Promise<(Stats | ContainerError)[]> {
  const out: (Stats | ContainerError)[] = []
  const asked: { id: string; index: number; live: LiveContainer }[] = []
  await Promise.all(
    sessions.map(async (session, index) => {
      const { id } = session
      try {
        session.mustBeOpen()
        const init = await session.living({ containerId: id })
        asked.push({ id, index, live: session.kernel.of(init) })
      } catch (error) {
        out[index] = error as ContainerError
      }
    }),
  )
  // Two parts under way at a time: while one is read the other becomes objects, and both cores have work. The making
  // of objects holds this thread, so a part is small; between two the event loop has its turn.
  const size = Math.min(maxPart, Math.ceil(asked.length / 2))
  let next = 0
  const readParts = async (): Promise<void> => {
    while (next < asked.length) {
      const part = asked.slice(next, (next += size))
      const answers = await native.statsOfMany(part.map(({ live }) => live))
      part.forEach(({ id, index }, at) => {
        const answer = answers[at] as object | Error
        out[index] =
          answer instanceof Error
            ? (toContainerError(answer as NativeFailure, { containerId: id }) as ContainerError)
            : toStats(answer)
      })
    }
  }
  await Promise.all([readParts(), readParts()])
  return out
}
