// Deletes a container, or forgets one of its processes.
import { ContainerError, type FailureContext, invalidValue, toContainerError } from '../errors.js'
import { patienceOf } from '../shim/patience.js'
import { removeDirectory, removeProcessDirectory } from '../state/directory.js'
import { readRecords } from '../state/records.js'
import { checkClosed, checkFlag, checkProcessId } from '../validate.js'
import { maxTakeovers } from './connection.js'
import type { Session } from './session.js'

/** See {@link Container.delete}. */
export async function deleteContainer(session: Session, options: { force?: boolean }): Promise<void> {
  checkClosed(options, 'options', { force: true })
  const force = checkFlag(options.force, 'force')
  await session.mustExist()
  const { native, root, id } = session
  const known =
    session.connection.link !== null ||
    session.processes.size > 0 ||
    (await session.discoverInit()) !== null ||
    (await readRecords(native, root, id)).unfinished
  if (known) await deleteByShim(session, force)
  else await removeDirectory(root, id)
  session.deleted()
  session.connection.letGo()
}

async function deleteByShim(session: Session, force: boolean): Promise<void> {
  const context: FailureContext = { containerId: session.id }
  for (let attempt = 0; ; ++attempt) {
    let asked = false
    try {
      const link = await session.connect()
      asked = true
      const onResult = (): void => session.deleted()
      await link.request({ op: 'delete', force }, context, { onResult, patience: patienceOf.delete }).answer
      return
    } catch (error) {
      const code = error instanceof ContainerError ? error.code : null
      // Its shim was killed in the middle: the next one has finished it before it answers.
      if (code === 'ERR_CONTAINER_NOT_FOUND' && attempt > 0 && !asked) return
      if (code !== 'ERR_SHIM_EXITED') throw error
      try {
        await session.mustExist()
      } catch (gone) {
        // The shim ended before it could say that it was done; or another's delete came first.
        if (asked && (gone as ContainerError).code === 'ERR_CONTAINER_NOT_FOUND') return
        throw gone
      }
      if (attempt >= maxTakeovers) throw error
    }
  }
}

/** Kill and delete, and no error if that is done already. */
export async function discard(session: Session): Promise<void> {
  session.reopen()
  try {
    if (!session.isDeleted) await deleteContainer(session, { force: true })
  } catch (error) {
    if (!(error instanceof ContainerError) || error.code !== 'ERR_CONTAINER_NOT_FOUND') throw error
  }
}

/** See {@link Container.removeProcess}. */
export async function removeProcess(session: Session, id: string): Promise<void> {
  checkProcessId(id)
  if (id === 'init') {
    throw invalidValue("process 'init' goes with its container: delete()")
  }
  const context: FailureContext = { containerId: session.id, processId: id }
  const process = session.processes.get(id)
  const init = session.processes.get('init')
  if (session.connection.link || (init && !init.exitStatus)) {
    // The shim knows, also of an exit that this program has yet to hear of.
    const link = await session.connect()
    try {
      await link.request({ op: 'remove', process: id }, context).answer
    } catch (error) {
      // By another program, or by this call's first attempt, whose shim was killed.
      const gone = error instanceof ContainerError && error.code === 'ERR_PROCESS_NOT_FOUND'
      if (gone && process?.exitStatus) session.remove(id)
      throw error
    }
  } else {
    if (process && !process.exitStatus) {
      throw toContainerError({ code: 'ERR_CONTAINER_NOT_STOPPED', text: 'it still runs' }, context)
    }
    await session.mustExist()
    if (!process) {
      throw toContainerError({ code: 'ERR_PROCESS_NOT_FOUND', text: 'there is none of that id' }, context)
    }
    await removeProcessDirectory(session.root, session.id, id)
  }
  session.remove(id)
}
