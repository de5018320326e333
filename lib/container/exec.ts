// Runs one more process in a container, by its shim's own system calls.
import { type FailureContext, toContainerError } from '../errors.js'
import { checkProcessSpec, type ProcessSpec } from '../oci/spec.js'
import type { Process } from '../process/process.js'
import { checkStreams, ProcessStreams } from '../process/stdio.js'
import { patienceOf } from '../shim/patience.js'
import { checkAbortSignal, checkClosed, checkProcessId } from '../validate.js'
import { untilAborted } from './abort.js'
import { execKeys, type ExecOptions } from './options.js'
import { processJson } from './process_json.js'
import type { Session } from './session.js'

/** See {@link Container.exec}. */
export async function exec(
  session: Session,
  id: string,
  spec: ProcessSpec,
  options: ExecOptions,
): Promise<Process> {
  checkProcessId(id)
  const typed = checkProcessSpec(spec)
  checkClosed(options, 'options', execKeys)
  checkStreams(options)
  const signal = checkAbortSignal(options.signal)
  signal?.throwIfAborted()
  const context: FailureContext = { containerId: session.id, processId: id }
  await session.running(context)
  if (session.processes.has(id) || session.isStarting(id)) {
    throw toContainerError({ code: 'ERR_PROCESS_EXISTS', text: 'there is one of that id' }, context)
  }
  const { inherited, timeout } = session
  const streams = ProcessStreams.open(session.native, options, typed.terminal === true, context)
  session.begin(id)
  try {
    const link = session.connection.link ?? (await untilAborted(session.connect(), signal))
    const { seq, answer } = link.request(
      { op: 'exec', process: id, stdio: streams.specs, timeoutMs: timeout, typed: inherited.typed(typed) },
      context,
      {
        onResult: ({ pid, starttime }) => {
          const whole = (): ProcessSpec => inherited.whole(typed)
          const process = session.add({ id, pid, starttime, spec: whole, stdio: streams.names, streams })
          session.hub.started(process)
          return process
        },
        body: processJson(session, typed, streams, { inherited }),
        fds: streams.fds,
        patience: patienceOf.exec(timeout),
      },
    )
    streams.closeTheirs()
    return signal ? await link.abortable(seq, answer, signal, patienceOf.execUndo) : await answer
  } catch (error) {
    session.remove(id)
    streams.discard()
    throw error
  } finally {
    session.end(id)
  }
}
