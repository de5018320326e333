// The containers of some roots as they are now and were in the last minutes. It only looks: no connection to a shim, no
// handle of what is deleted.
import {
  Container,
  ContainerError,
  type ContainerState,
  type ExitStatus,
  type OomWatcher,
  type Stats,
} from 'libcontainer'
import { codeOf, isGone } from '../failure.js'
import { cpuPercent, ioBytes, type Pressure, pressureOf } from '../figures.js'
import { commandLine, visible } from '../format.js'
import { Listing } from '../listing.js'
import { startedAt } from '../proc.js'
import { mapSome } from '../roots.js'

/** Values of a graph, one for each look. */
const historyLength = 240
/** What no figure tells is asked of the containers out of sight once in so many looks: paused, made anew. */
const roundLength = 5

export interface Process {
  id: string
  pid: number
  command: string
}

export interface Row {
  readonly root: string
  readonly id: string
  state: ContainerState
  pid: number | null
  startedAt: Date | null
  command: string
  labels: string
  runtime: string
  bundle: string
  processes: Process[]
  exit: ExitStatus | null
  stats: Stats | null
  /** Percent of one CPU since the last look. */
  cpu: number | null
  /** Percent of the scheduler's periods in which the limit held it up. */
  throttled: number | null
  /** Bytes per second. */
  io: { read: number; write: number } | null
  pressure: Pressure | null
  /** Since this program looks; null where nobody counts. */
  ooms: number | null
  cpuHistory: number[]
  memoryHistory: number[]
}

interface Held extends Row {
  container: Container | null
  watcher: OomWatcher | null
}

function remember(history: number[], value: number): void {
  history.push(value)
  if (history.length > historyLength) history.shift()
}

export interface Totals {
  cpu: number
  memory: number
  pids: number
  ooms: number
  cpuHistory: number[]
  memoryHistory: number[]
}

export class Machine {
  readonly #listings: Listing[]
  readonly #rows = new Map<string, Held>()
  readonly totals: Totals = { cpu: 0, memory: 0, pids: 0, ooms: 0, cpuHistory: [], memoryHistory: [] }
  /** Roots that cannot be read, and why; once each. */
  problem: unknown = null
  #looks = 0
  #closed = false

  constructor(roots: readonly string[]) {
    this.#listings = roots.map((root) => new Listing(root))
  }

  get rows(): readonly Row[] {
    return [...this.#rows.values()]
  }

  /**
   * Looks at everything once. `inSight` are the rows whose every change matters at once, `focus` the one of which the
   * processes matter too.
   */
  async look(inSight: ReadonlySet<Row>, focus: Row | null): Promise<void> {
    ++this.#looks
    await this.#list()
    await this.#measure()
    await this.#ask(inSight, focus)
    this.#sum()
  }

  async pause(row: Row): Promise<void> {
    await this.#held(row).pause()
    row.state = 'paused'
  }

  async resume(row: Row): Promise<void> {
    await this.#held(row).resume()
    row.state = 'running'
  }

  async kill(row: Row, signal: NodeJS.Signals): Promise<void> {
    await this.#held(row).kill(signal)
  }

  async close(): Promise<void> {
    this.#closed = true
    for (const listing of this.#listings) listing.close()
    for (const row of [...this.#rows.values()]) await this.#drop(row)
  }

  #held(row: Row): Container {
    const container = this.#rows.get(`${row.root}/${row.id}`)?.container
    if (container) return container
    throw new ContainerError('ERR_CONTAINER_NOT_FOUND', `container '${row.id}' is deleted`, {
      containerId: row.id,
    })
  }

  async #list(): Promise<void> {
    this.problem = null
    for (const listing of this.#listings) {
      let ids: string[] | null
      try {
        ids = await listing.look()
      } catch (error) {
        this.problem = error
        continue
      }
      if (!ids) continue
      const present = new Set(ids)
      for (const row of [...this.#rows.values()]) {
        if (row.root === listing.root && !present.has(row.id)) await this.#drop(row)
      }
      await mapSome(
        ids.filter((id) => !this.#rows.has(`${listing.root}/${id}`)),
        (id) => this.#load(newRow(listing.root, id)),
      )
    }
  }

  /** Made or made anew from what is on disk. */
  async #load(row: Held): Promise<void> {
    let container: Container
    try {
      container = await Container.load(row.root, row.id, { observe: true })
    } catch (error) {
      if (isGone(error)) return this.#drop(row)
      // Half written, or no leave to read it: it is looked at again.
      this.problem = error
      return
    }
    if (this.#closed) return container.close()
    this.#rows.set(`${row.root}/${row.id}`, row)
    const init = container.processes.get('init')
    const pid = init?.state === 'running' ? init.pid : null
    const last = row.container
    // A handle that has its files open is kept while it is about the same init.
    const anew = !last || pid === null || pid !== row.pid
    if (anew) row.container = container
    await (anew ? last : container)?.close()
    row.state = container.state
    row.command = commandLine(init?.spec.args ?? [])
    row.labels = visible(container.labels.join(' '))
    row.runtime = visible(container.runtime)
    row.bundle = visible(container.bundle)
    row.exit = init?.exitStatus ?? null
    row.processes = [...container.processes.values()]
      .filter((process) => process.id !== 'init' && process.state === 'running')
      .map((process) => ({ id: process.id, pid: process.pid, command: commandLine(process.spec.args) }))
    if (!anew || pid === row.pid) return
    row.pid = pid
    row.startedAt = pid === null ? null : startedAt(pid)
    this.#forgetFigures(row)
    await row.watcher?.close()
    row.watcher = null
    if (pid !== null) await this.#watch(row, container)
  }

  #forgetFigures(row: Held): void {
    row.stats = row.cpu = row.throttled = row.io = row.pressure = null
  }

  async #watch(row: Held, container: Container): Promise<void> {
    try {
      const watcher = await container.oom()
      if (row.container !== container) return watcher.close()
      row.watcher = watcher
      row.ooms ??= 0
      void (async () => {
        for await (const { count } of watcher) {
          row.ooms = (row.ooms ?? 0) + count
          this.totals.ooms += count
        }
      })()
    } catch {
      row.ooms = null
    }
  }

  async #drop(row: Held): Promise<void> {
    const { container, watcher } = row
    row.container = row.watcher = null
    this.#rows.delete(`${row.root}/${row.id}`)
    await watcher?.close()
    await container?.close()
  }

  async #measure(): Promise<void> {
    const rows = [...this.#rows.values()].filter(({ pid, container }) => pid !== null && container)
    const answers = await Container.stats(rows.map(({ container }) => container as Container))
    const ended: Held[] = []
    rows.forEach((row, at) => {
      const answer = answers[at] as Stats | ContainerError
      if (!(answer instanceof Error)) return this.#learn(row, answer)
      this.#forgetFigures(row)
      if (/^ERR_CONTAINER_/.test(codeOf(answer) ?? '')) ended.push(row)
    })
    await mapSome(ended, (row) => this.#load(row))
  }

  #learn(row: Held, stats: Stats): void {
    const last = row.stats
    row.stats = stats
    row.pressure = pressureOf(stats)
    if (last) {
      row.cpu = cpuPercent(last, stats)
      row.throttled = throttledPercent(last, stats)
      row.io = ioPerSecond(last, stats)
    }
    if (row.cpu !== null) remember(row.cpuHistory, row.cpu)
    const { usage } = stats.memory.usage
    if (usage !== undefined) remember(row.memoryHistory, usage)
  }

  /** What the figures do not tell: paused, started, deleted and made anew. */
  async #ask(inSight: ReadonlySet<Row>, focus: Row | null): Promise<void> {
    const turn = this.#looks % roundLength
    const due = [...this.#rows.values()].filter((row, at) => inSight.has(row) || at % roundLength === turn)
    await mapSome(due, async (row) => {
      const { container } = row
      if (!container) return
      if (row.state === 'stopped' || row.state === 'created') return this.#load(row)
      try {
        const state = await container.status()
        row.state = state
        if (state === 'stopped' || row === focus) await this.#load(row)
      } catch (error) {
        if (isGone(error)) await this.#drop(row)
      }
    })
  }

  #sum(): void {
    const { totals } = this
    totals.cpu = totals.memory = totals.pids = 0
    for (const { cpu, stats } of this.#rows.values()) {
      totals.cpu += cpu ?? 0
      totals.memory += stats?.memory.usage.usage ?? 0
      totals.pids += stats?.pids.current ?? 0
    }
    remember(totals.memoryHistory, totals.memory)
    if (this.#looks > 1) remember(totals.cpuHistory, totals.cpu)
  }
}

function newRow(root: string, id: string): Held {
  return {
    root,
    id,
    state: 'created',
    pid: null,
    startedAt: null,
    command: '',
    labels: '',
    runtime: '',
    bundle: '',
    processes: [],
    exit: null,
    stats: null,
    cpu: null,
    throttled: null,
    io: null,
    pressure: null,
    ooms: null,
    cpuHistory: [],
    memoryHistory: [],
    container: null,
    watcher: null,
  }
}

function throttledPercent(before: Stats, after: Stats): number | null {
  const from = before.cpu.throttling
  const to = after.cpu.throttling
  if (from.periods === undefined || to.periods === undefined) return null
  const periods = to.periods - from.periods
  const held = (to.throttledPeriods ?? 0) - (from.throttledPeriods ?? 0)
  return periods > 0 ? (held / periods) * 100 : 0
}

function ioPerSecond(before: Stats, after: Stats): { read: number; write: number } | null {
  const [from, to] = [ioBytes(before), ioBytes(after)]
  const seconds = (after.timestamp.getTime() - before.timestamp.getTime()) / 1000
  if (!from || !to || seconds <= 0) return null
  return {
    read: Math.max(0, to.read - from.read) / seconds,
    write: Math.max(0, to.write - from.write) / seconds,
  }
}
