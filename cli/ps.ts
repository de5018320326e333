// `libcontainer ps`: what containers there are, and what runs in them.
import type { Container, ContainerState, ExitStatus, Process } from 'libcontainer'
import { complain, exitFailure, isGone } from './failure.js'
import { commandLine, duration, table, type TableColumn, unknown, visible } from './format.js'
import { writeJson, writeOut } from './output.js'
import { startedAt } from './proc.js'
import { lookAt, mapSome } from './roots.js'

export interface PsOptions {
  json: boolean
  quiet: boolean
  processes: boolean
  state: ContainerState[]
}

interface SeenProcess {
  id: string
  pid: number
  state: 'running' | 'stopped'
  startedAt: Date | null
  exitStatus: ExitStatus | null
  args: readonly string[]
}

interface SeenContainer {
  id: string
  root: string
  state: ContainerState
  pid: number | null
  startedAt: Date | null
  exitStatus: ExitStatus | null
  endedByReboot: boolean
  runtime: string
  bundle: string
  labels: readonly string[]
  processes: SeenProcess[]
}

function seeProcess(process: Process): SeenProcess {
  const { id, pid, state, exitStatus } = process
  return {
    id,
    pid,
    state,
    startedAt: state === 'running' ? startedAt(pid) : null,
    exitStatus,
    args: process.spec.args,
  }
}

async function see(container: Container): Promise<SeenContainer> {
  const state = await container.status()
  const processes = [...container.processes.values()].map(seeProcess)
  const init = processes.find(({ id }) => id === 'init')
  const runs = init?.state === 'running' && state !== 'stopped'
  return {
    id: container.id,
    root: container.root,
    state,
    pid: runs ? init.pid : null,
    startedAt: runs ? init.startedAt : null,
    exitStatus: init?.exitStatus ?? null,
    endedByReboot: container.endedByReboot,
    runtime: container.runtime,
    bundle: container.bundle,
    labels: container.labels,
    processes,
  }
}

/** `exit 0`, `SIGKILL (OOM)`; where the kernel no longer tells, that. */
export function ending(exit: ExitStatus | null): string {
  if (!exit) return unknown
  if (!exit.known) return 'exit unknown'
  return `${exit.signal ?? `exit ${exit.exitCode}`}${exit.oomKilled ? ' (OOM)' : ''}`
}

function since(at: Date | null): string {
  return at ? duration(Date.now() - at.getTime()) : unknown
}

function containerTable(seen: readonly SeenContainer[], roots: readonly string[], limit?: number): string {
  const withRoot = roots.length > 1
  const columns: TableColumn[] = [
    { title: 'CONTAINER' },
    ...(withRoot ? [{ title: 'ROOT' }] : []),
    { title: 'STATE' },
    { title: 'PID', align: 'right' },
    { title: 'UP', align: 'right' },
    { title: 'PROCS', align: 'right' },
    { title: 'RUNTIME' },
    { title: 'COMMAND' },
  ]
  const rows = seen.map((one) => [
    one.id,
    ...(withRoot ? [one.root] : []),
    one.state === 'stopped' ? ending(one.exitStatus) : one.state,
    one.pid === null ? unknown : String(one.pid),
    since(one.startedAt),
    String(one.processes.filter(({ state }) => state === 'running').length),
    visible(one.runtime),
    commandLine(one.processes.find(({ id }) => id === 'init')?.args ?? []) || unknown,
  ])
  return table(columns, rows, limit)
}

function processTable(seen: readonly SeenContainer[], limit?: number): string {
  const columns: TableColumn[] = [
    { title: 'CONTAINER' },
    { title: 'PROCESS' },
    { title: 'STATE' },
    { title: 'PID', align: 'right' },
    { title: 'UP', align: 'right' },
    { title: 'COMMAND' },
  ]
  const rows = seen.flatMap((one) =>
    one.processes.map((process) => [
      one.id,
      process.id,
      process.state === 'stopped' ? ending(process.exitStatus) : process.state,
      process.state === 'running' ? String(process.pid) : unknown,
      since(process.startedAt),
      commandLine(process.args),
    ]),
  )
  return table(columns, rows, limit)
}

export async function ps(
  roots: readonly string[],
  ids: readonly string[],
  options: PsOptions,
): Promise<number> {
  const { containers, errors } = await lookAt(roots, ids)
  const all = await mapSome(containers, async (container) => {
    try {
      return await see(container)
    } catch (error) {
      if (ids.length > 0 || !isGone(error)) errors.push(error)
      return null
    } finally {
      await container.close()
    }
  })
  const seen = all
    .filter((one) => one !== null)
    .filter(({ state }) => options.state.length === 0 || options.state.includes(state))
  const limit = process.stdout.isTTY ? process.stdout.columns : undefined
  if (options.json) await writeJson(seen)
  else if (options.quiet) await writeOut(seen.map(({ id }) => `${id}\n`).join(''))
  else await writeOut(options.processes ? processTable(seen, limit) : containerTable(seen, roots, limit))
  for (const error of errors) complain(error)
  return errors.length > 0 ? exitFailure : 0
}
