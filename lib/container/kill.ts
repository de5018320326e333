// Signals a container's init, or all of it.
import { constants } from 'node:os'
import { ContainerError, type FailureContext } from '../errors.js'
import { checkClosed, checkFlag, checkSignal, type Signal } from '../validate.js'
import { hasExited } from './refusals.js'
import type { Session } from './session.js'

const { SIGKILL } = constants.signals

/** See {@link Container.kill}. */
export async function kill(session: Session, signal: Signal, options: { all?: boolean }): Promise<void> {
  const number = checkSignal(signal)
  checkClosed(options, 'options', { all: true })
  const all = checkFlag(options.all, 'all')
  const { native, kernel } = session
  const context: FailureContext = { containerId: session.id }
  if (all) {
    const first = await session.living(context)
    return kernel.ask(first, (live) => native.signalAll(live, number))
  }
  const init = await session.running(context)
  try {
    await init.kill(number)
    if (number === SIGKILL) await kernel.ask(init, (live) => native.releaseKilled(live))
  } catch (error) {
    if (!(error instanceof ContainerError) || error.code !== 'ERR_PROCESS_EXITED') throw error
    throw hasExited(session.id, context)
  }
}
