// Makes a checkpoint: by the runtime, which the container's shim runs.
import type { FailureContext } from '../errors.js'
import { explainCriuFailure } from '../oci/runtime.js'
import { patienceOf } from '../shim/patience.js'
import {
  type Checkpoint,
  checkCheckpointName,
  checkCheckpointOptions,
  type CheckpointOptions,
  metadataOf,
  readCheckpoints,
  removeCheckpoint,
} from '../state/checkpoints.js'
import type { Session } from './session.js'

/** See {@link Container.checkpoints}. */
export async function listCheckpoints(session: Session): Promise<Checkpoint[]> {
  await session.mustExist()
  return readCheckpoints(session.file.bundle, session.id)
}

/** See {@link Container.checkpoint}. */
export async function makeCheckpoint(session: Session, options: CheckpointOptions): Promise<void> {
  const checked = checkCheckpointOptions(options)
  await session.mustExist()
  const context: FailureContext = { containerId: session.id }
  await session.running(context)
  const link = await session.connect()
  try {
    await link.request({ op: 'checkpoint', ...checked }, context, {
      body: metadataOf(checked, new Date()),
      patience: patienceOf.checkpoint,
    }).answer
  } catch (error) {
    const { runtime, runtimeArgs } = session.file
    throw await explainCriuFailure(error, runtime, runtimeArgs, context)
  }
}

/** See {@link Container.deleteCheckpoint}. */
export async function deleteCheckpoint(session: Session, name: string): Promise<void> {
  checkCheckpointName(name)
  await session.mustExist()
  await removeCheckpoint(session.file.bundle, name, session.id)
}
