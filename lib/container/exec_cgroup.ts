// Where an exec's process goes below its container's cgroup.
import { type FailureContext, invalidType, invalidValue } from '../errors.js'
import { checkResources, type Resources } from '../oci/resources.js'
import { conversionsFor } from '../oci/runtime.js'
import type { CgroupRequest } from '../shim/protocol.js'
import { checkClosed, checkString, type Keys, show } from '../validate.js'
import type { CgroupOptions } from './options.js'
import type { Session } from './session.js'

const cgroupKeys: Keys<CgroupOptions> = { resources: true }

/** The `cgroup` of an exec, checked. */
export type PlacedCgroup =
  | { kind: 'container' }
  | { kind: 'join'; within: string }
  | { kind: 'own'; within?: string; resources?: Resources }

/** A path relative to the container's cgroup. */
export function checkCgroupPath(value: string): string {
  checkString(value, 'cgroup')
  const isRelative =
    value !== '' && value.split('/').every((name) => name !== '' && name !== '.' && name !== '..')
  if (!isRelative || value.includes('\0')) {
    throw invalidValue(
      `cgroup must be a path relative to the container's cgroup, without '.' and '..', not ${show(value)}`,
    )
  }
  return value
}

export function checkCgroup(value: unknown): PlacedCgroup {
  if (value === undefined || value === false) return { kind: 'container' }
  if (value === true) return { kind: 'own' }
  if (typeof value === 'string') return { kind: 'join', within: checkCgroupPath(value) }
  if (typeof value !== 'object')
    throw invalidType(`cgroup must be true, a path or an object, not ${show(value)}`)
  checkClosed(value, 'cgroup', cgroupKeys)
  const { resources } = value as CgroupOptions
  if (resources === undefined) return { kind: 'own' }
  checkResources(resources)
  return { kind: 'own', resources }
}

/** As checkCgroup(), of run(): an own one in any case, and a string is its parent. */
export function checkRunCgroup(value: unknown): PlacedCgroup {
  const cgroup = checkCgroup(value)
  return cgroup.kind === 'join' ? { kind: 'own', within: cgroup.within } : { ...cgroup, kind: 'own' }
}

/** What the shim is asked for, and how to undo what was made for it. */
export interface Placement {
  request: CgroupRequest | undefined
  undo(): Promise<void>
}

const nothingMade = (): Promise<void> => Promise.resolve()

/** Makes the cgroup if it needs limits, so that they hold before the program runs. Else the shim makes it. */
export async function placeCgroup(
  session: Session,
  cgroup: PlacedCgroup,
  context: FailureContext,
): Promise<Placement> {
  if (cgroup.kind === 'container') return { request: undefined, undo: nothingMade }
  if (cgroup.kind === 'join') return { request: { within: cgroup.within }, undo: nothingMade }
  const { resources, within } = cgroup
  if (!resources)
    return { request: { own: true, ...(within !== undefined && { within }) }, undo: nothingMade }
  const { native, kernel } = session
  const init = await session.running(context)
  const options = await conversionsFor(session.file.runtime, resources)
  const made = await kernel.ask(init, (live) => native.makeOwnCgroup(live))
  const undo = async (): Promise<void> => {
    await kernel.ask(init, (live) => native.removeOwnCgroup(live, made)).catch(() => undefined)
  }
  const own = kernel.within(init, made)
  try {
    await kernel.ask(init, () => native.update(own, JSON.stringify(resources), options))
  } catch (error) {
    await undo()
    throw error
  } finally {
    native.giveBack(own)
  }
  return { request: { own: true, made }, undo }
}
