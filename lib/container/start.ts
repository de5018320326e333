// Starts a container, or restores it: by the runtime, which its shim runs.
import { ContainerError, type FailureContext, toContainerError } from '../errors.js'
import { initSpecOf, readBundle } from '../oci/bundle.js'
import { explainCriuFailure } from '../oci/runtime.js'
import type { ProcessSpec } from '../oci/spec.js'
import type { Process } from '../process/process.js'
import { checkStreams, ProcessStreams } from '../process/stdio.js'
import type { ShimLink } from '../shim/link.js'
import { patienceOf } from '../shim/patience.js'
import { type Checkpoint, checkCheckpointName, readRestorable } from '../state/checkpoints.js'
import { checkAbortSignal, checkClosed } from '../validate.js'
import { untilAborted } from './abort.js'
import { checkHook, startKeys, type StartOptions } from './options.js'
import { processJson } from './process_json.js'
import type { Session } from './session.js'

/** See {@link Container.start}. */
export async function start(session: Session, options: StartOptions): Promise<Process> {
  checkClosed(options, 'options', startKeys)
  checkStreams(options)
  const signal = checkAbortSignal(options.signal)
  checkHook(options.onCreated)
  const from = options.checkpoint === undefined ? null : checkCheckpointName(options.checkpoint, 'checkpoint')
  signal?.throwIfAborted()
  await session.mustExist()
  const { id, file } = session
  const context: FailureContext = { containerId: id, processId: 'init' }
  mustBeStartable(session, from !== null && options.onCreated !== undefined, context)
  session.begin('init')
  try {
    const config = await readBundle(file.bundle, id)
    session.configured(config)
    const spec = initSpecOf(config, file.bundle, id)
    const checkpoint = from === null ? null : await readRestorable(file.bundle, from, id)
    const streams = ProcessStreams.open(session.native, options, spec.terminal === true, context)
    const attempt = new Start(session, { spec, checkpoint, streams, options, context })
    try {
      return await attempt.run(signal)
    } catch (error) {
      attempt.undone(error as Error)
      if (!checkpoint) throw error
      throw await explainCriuFailure(error, file.runtime, file.runtimeArgs, context)
    }
  } finally {
    session.awaitCreated(null)
    session.end('init')
  }
}

function mustBeStartable(session: Session, isHookedRestore: boolean, context: FailureContext): void {
  if (isHookedRestore) {
    const text = 'a restored program runs before onCreated could be called'
    throw toContainerError({ code: 'ERR_UNSUPPORTED', text }, context)
  }
  const init = session.processes.get('init')
  if (init?.exitStatus) {
    throw new ContainerError('ERR_CONTAINER_EXITED', `container '${session.id}' has run and exited`, context)
  }
  if (init || session.isStarting('init')) {
    throw new ContainerError('ERR_PROCESS_EXISTS', `container '${session.id}' is started already`, context)
  }
}

interface StartParts {
  spec: ProcessSpec
  checkpoint: Checkpoint | null
  streams: ProcessStreams
  options: StartOptions
  context: FailureContext
}

/** One start: what is asked of the shim, and the handle of init, which there is as soon as the container is created. */
class Start {
  readonly #session: Session
  readonly #parts: StartParts
  /** The program is yet to run when the container is created: for onCreated, or for OOM kills to be watched for. */
  #waits = false
  #init: Process | undefined
  #seq = 0

  constructor(session: Session, parts: StartParts) {
    this.#session = session
    this.#parts = parts
  }

  async run(signal: AbortSignal | undefined): Promise<Process> {
    const { spec, checkpoint, streams, options, context } = this.#parts
    const session = this.#session
    const link = await untilAborted(session.connect(), signal)
    signal?.throwIfAborted()
    // A restored program runs at once.
    this.#waits = checkpoint === null && (options.onCreated !== undefined || session.hub.wanted)
    const failure = this.#awaitCreated(link)
    const { seq, answer } = link.request(
      {
        op: 'start',
        stdio: streams.specs,
        timeoutMs: session.timeout,
        waitCreated: this.#waits,
        ...(checkpoint && { checkpoint }),
      },
      context,
      {
        onResult: () => session.initStarted(this.#init),
        body: processJson(session, spec, streams, { checkpoint: checkpoint?.name ?? '' }),
        fds: streams.fds,
        patience: patienceOf.start(session.timeout),
      },
    )
    this.#seq = seq
    streams.closeTheirs()
    await link.abortable(seq, answer, signal, patienceOf.startUndo, { failure })
    return this.#init as Process
  }

  /** Nothing is left of it. */
  undone(error: Error): void {
    this.#parts.streams.discard()
    this.#init?.abandon(error)
    this.#session.startUndone()
  }

  /** Makes init's handle as soon as there is one, and lets the start go on when the hook allows it. */
  #awaitCreated(link: ShimLink): Promise<never> {
    const { spec, streams, options } = this.#parts
    const session = this.#session
    let fail: (error: unknown) => void = () => undefined
    const failure = new Promise<never>((_, reject) => {
      fail = reject
    })
    failure.catch(() => undefined)
    session.awaitCreated((pid, starttime, start) => {
      // Of a start before this one, which was given up.
      if (start !== this.#seq) return
      const init = session.add({ id: 'init', pid, starttime, spec, stdio: streams.names, streams })
      this.#init = init
      if (!this.#waits) return
      void (async () => {
        try {
          // Before the program runs, so that its first OOM kill is not missed.
          await session.hub.watch()
          await options.onCreated?.(init)
          link.tell({ op: 'proceed', target: this.#seq })
        } catch (error) {
          fail(error)
        }
      })()
    })
    return failure
  }
}
