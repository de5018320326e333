// Runs one more process in a container, by its shim's own system calls.
import { constants } from 'node:os'
import { type FailureContext, invalidType, invalidValue, toContainerError } from '../errors.js'
import type { InheritedSpec } from '../oci/inherit.js'
import { checkProcessSpec, type ProcessSpec } from '../oci/spec.js'
import type { Process } from '../process/process.js'
import { checkStreams, ProcessStreams } from '../process/stdio.js'
import { patienceOf } from '../shim/patience.js'
import type { CgroupRequest, ExecRequest } from '../shim/protocol.js'
import {
  anonymousId,
  checkAbortSignal,
  checkClosed,
  checkProcessId,
  checkRange,
  checkSignal,
  checkStrings,
  show,
} from '../validate.js'
import { untilAborted } from './abort.js'
import { checkCgroup, checkRunCgroup, type PlacedCgroup, placeCgroup } from './exec_cgroup.js'
import { checkGrace, checkRunTimeout, execKeys, type ExecOptions } from './options.js'
import { processJson } from './process_json.js'
import type { Session } from './session.js'

const { SIGKILL } = constants.signals
const defaultGraceMs = 2000
const maxFds = 61
const maxDescriptor = 2 ** 31 - 1

/** What a caller of exec() may write for its process. */
export type SpecOrArgs = ProcessSpec | string[]

/** How run() has its processes looked after. */
export interface Care {
  /** It ends with this handle. */
  bound?: true
  /** Nothing that it started outlives it. */
  sweep?: true
}

/** The arguments of exec() in either of its forms. */
export function execArguments(
  first: string | SpecOrArgs,
  second: unknown,
  third: unknown,
): { id: string | null; spec: ProcessSpec; options: unknown } {
  if (typeof first !== 'string') return { id: null, spec: toSpec(first), options: second }
  if (second === undefined) {
    const words = first.trim().split(/\s+/)
    throw invalidType(
      `exec(${show(first)}) has no program: pass its arguments as an array, exec([${words.map(show).join(', ')}]), ` +
        'or an id and then the program, exec(id, { args })',
    )
  }
  return { id: checkProcessId(first), spec: toSpec(second as SpecOrArgs), options: third }
}

export function toSpec(spec: SpecOrArgs): ProcessSpec {
  return checkProcessSpec(Array.isArray(spec) ? { args: spec } : spec)
}

interface Checked {
  signal: AbortSignal | undefined
  fds: number[]
  addEnv: string[]
  cgroup: PlacedCgroup
  limits: Pick<ExecRequest, 'runMs' | 'killSignal' | 'graceMs'>
}

function checkFds(value: unknown): number[] {
  if (value === undefined) return []
  if (!Array.isArray(value)) throw invalidType(`fds must be an array of descriptors, not ${show(value)}`)
  if (value.length > maxFds)
    throw invalidValue(`fds must hold at most ${maxFds} descriptors, not ${value.length}`)
  return value.map((fd, index) => checkRange(fd, `fds[${index}]`, 0, maxDescriptor, 'descriptor'))
}

function checkAddEnv(value: unknown): string[] {
  if (value === undefined) return []
  const entries = checkStrings(value, 'addEnv')
  entries.forEach((entry, index) => {
    if (entry.indexOf('=') < 1) throw invalidValue(`addEnv[${index}] must be NAME=value, not ${show(entry)}`)
  })
  return entries
}

function checkOptions(options: ExecOptions, id: string | null, care: Care): Checked {
  checkClosed(options, 'options', execKeys)
  const streams = checkStreams(options)
  if (id === null && streams.some((stdio) => stdio === 'keep' || typeof stdio === 'object')) {
    throw invalidValue(
      "'keep' requires a process id: nothing of a process without one is left after its exit",
    )
  }
  const runMs = checkRunTimeout(options.timeout)
  const killSignal = options.killSignal === undefined ? SIGKILL : checkSignal(options.killSignal)
  if (killSignal === 0) throw invalidValue('killSignal must be a signal that ends a process, not 0')
  const graceMs = checkGrace(options.killGraceMs) ?? defaultGraceMs
  return {
    signal: checkAbortSignal(options.signal),
    fds: checkFds(options.fds),
    addEnv: checkAddEnv(options.addEnv),
    cgroup: care.sweep ? checkRunCgroup(options.cgroup) : checkCgroup(options.cgroup),
    limits: { ...(runMs !== undefined && { runMs }), ...(killSignal !== SIGKILL && { killSignal, graceMs }) },
  }
}

/** The spec with what `addEnv` adds. What is inherited stays inherited, so that the shim takes it as the runtime does. */
function withEnv(spec: ProcessSpec, addEnv: string[], inherited: InheritedSpec): ProcessSpec {
  if (addEnv.length === 0) return { ...spec }
  return { ...spec, env: [...(spec.env ?? inherited.own.env ?? []), ...addEnv] }
}

/** Ends the process when the signal is aborted. */
function endOnAbort(session: Session, process: Process, signal: AbortSignal): void {
  const context = { containerId: session.id, processId: process.id }
  const onAbort = (): void => {
    if (process.exitStatus) return
    const request = { op: 'end', process: process.id } as const
    session.host.insist(request, context, patienceOf.killTree).catch(() => undefined)
  }
  if (signal.aborted) return onAbort()
  signal.addEventListener('abort', onAbort, { once: true })
  process.whenExited(() => signal.removeEventListener('abort', onAbort))
}

/** See {@link Container.exec}. */
export async function exec(
  session: Session,
  id: string | null,
  spec: ProcessSpec,
  options: ExecOptions,
  care: Care = {},
): Promise<Process> {
  const checked = checkOptions(options, id, care)
  const { signal } = checked
  signal?.throwIfAborted()
  session.mustBeOpen()
  const name = id ?? anonymousId()
  const context: FailureContext = { containerId: session.id, processId: name }
  await session.running(context)
  if (session.processes.has(name) || session.isStarting(name)) {
    throw toContainerError(
      {
        code: 'ERR_PROCESS_EXISTS',
        text: 'there is one of that id; removeProcess() forgets it once it has exited',
      },
      context,
    )
  }
  const cgroup = await placeCgroup(session, checked.cgroup, context)
  const process = await launch(session, {
    name,
    spec,
    options,
    checked,
    cgroup: cgroup.request,
    care,
    context,
  }).catch(async (error: unknown) => {
    await cgroup.undo()
    throw error
  })
  if (signal) endOnAbort(session, process, signal)
  return process
}

interface Launch {
  name: string
  spec: ProcessSpec
  options: ExecOptions
  checked: Checked
  cgroup: CgroupRequest | undefined
  care: Care
  context: FailureContext
}

async function launch(session: Session, parts: Launch): Promise<Process> {
  const { name, spec, options, checked, cgroup, care, context } = parts
  const { signal, fds, limits } = checked
  const { inherited, timeout } = session
  const typed = inherited.typed(spec)
  const said = withEnv(spec, checked.addEnv, inherited)
  const streams = ProcessStreams.open(session.native, options, spec.terminal === true, context)
  session.begin(name)
  try {
    const link = session.connection.link ?? (await untilAborted(session.connect(), signal))
    const { seq, answer } = link.request(
      {
        op: 'exec',
        process: name,
        stdio: streams.specs,
        timeoutMs: timeout,
        typed,
        ...limits,
        ...care,
        ...(cgroup && { cgroup }),
        ...(fds.length > 0 && { extraFds: fds.length }),
      },
      context,
      {
        onResult: ({ pid, starttime, cgroup: own = null }) => {
          const whole = (): ProcessSpec => inherited.whole(said)
          const stdio = streams.names
          const process = session.add({ id: name, pid, starttime, spec: whole, stdio, streams, cgroup: own })
          if (care.bound) session.bind(process)
          session.hub.started(process)
          return process
        },
        body: processJson(session, said, streams, { inherited }),
        fds: [...streams.fds, ...fds],
        patience: patienceOf.exec(timeout),
      },
    )
    streams.closeTheirs()
    return signal ? await link.abortable(seq, answer, signal, patienceOf.execUndo) : await answer
  } catch (error) {
    session.remove(name)
    streams.discard()
    throw error
  } finally {
    session.end(name)
  }
}
