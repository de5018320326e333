// `libcontainer stats`: what running containers use, once or again and again.
import { setTimeout as sleep } from 'node:timers/promises'
import { Container, ContainerError, type Stats } from 'libcontainer'
import { complain, exitFailure, toJson } from './failure.js'
import { cpuPercent, ioBytes, pressureOf } from './figures.js'
import { bytes, count, percent, table, type TableColumn, unknown } from './format.js'
import { outputIsOver, writeJson, writeOut } from './output.js'
import { lookAt } from './roots.js'

export interface StatsOptions {
  json: boolean
  /** Milliseconds; null for once. */
  interval: number | null
}

/** Of the first look at a table, so that there is something to tell of the CPU. */
const firstLookMs = 500

interface Look {
  container: Container
  stats: Stats | ContainerError
  cpuPercent: number | null
}

const columns: TableColumn[] = [
  { title: 'CONTAINER' },
  { title: 'CPU %', align: 'right' },
  { title: 'CPU TIME', align: 'right' },
  { title: 'MEMORY', align: 'right' },
  { title: 'LIMIT', align: 'right' },
  { title: 'MEM %', align: 'right' },
  { title: 'PIDS', align: 'right' },
  { title: 'READ', align: 'right' },
  { title: 'WRITTEN', align: 'right' },
  { title: 'PRESSURE cpu/mem/io' },
]

function row({ container, stats, cpuPercent: cpu }: Look): string[] {
  if (stats instanceof ContainerError)
    return [container.id, ...columns.slice(2).map(() => unknown), stats.code]
  const { usage } = stats.memory
  const { limit } = usage
  const io = ioBytes(stats)
  const pressure = pressureOf(stats)
  const total = stats.cpu.usage.total
  return [
    container.id,
    percent(cpu),
    total === undefined ? unknown : `${(total / 1e9).toFixed(2)}s`,
    bytes(usage.usage),
    bytes(limit),
    typeof limit === 'number' && limit > 0 && usage.usage !== undefined
      ? percent((usage.usage / limit) * 100)
      : unknown,
    count(stats.pids.current),
    bytes(io?.read),
    bytes(io?.write),
    [pressure.cpu, pressure.memory, pressure.io].map(percent).join(' / '),
  ]
}

export async function stats(
  roots: readonly string[],
  ids: readonly string[],
  options: StatsOptions,
): Promise<number> {
  let before = new Map<string, Stats>()
  const ask = async (): Promise<{ looks: Look[]; errors: unknown[] }> => {
    const { containers, errors } = await lookAt(roots, ids)
    // Of all, those that run; of those named, also why there is nothing of one.
    const wanted =
      ids.length > 0 ? containers : containers.filter(({ state }) => /running|paused/.test(state))
    const answers = await Container.stats(wanted)
    for (const container of containers) await container.close()
    const now = new Map<string, Stats>()
    const looks = wanted.map((container, at): Look => {
      const answer = answers[at] as Stats | ContainerError
      if (answer instanceof ContainerError) return { container, stats: answer, cpuPercent: null }
      const key = `${container.root}/${container.id}`
      now.set(key, answer)
      const last = before.get(key)
      return { container, stats: answer, cpuPercent: last ? cpuPercent(last, answer) : null }
    })
    before = now
    // One that has ended since it was loaded is none of all that run.
    return {
      looks: ids.length > 0 ? looks : looks.filter((look) => !(look.stats instanceof ContainerError)),
      errors,
    }
  }

  if (!options.json) {
    await ask()
    await sleep(Math.min(firstLookMs, options.interval ?? firstLookMs))
  }
  for (;;) {
    const { looks, errors } = await ask()
    errors.push(...looks.map(({ stats }) => stats).filter((stats) => stats instanceof ContainerError))
    for (const error of errors) complain(error)
    if (options.json) {
      await writeJson(
        looks.map((look) => ({
          id: look.container.id,
          root: look.container.root,
          cpuPercent: look.cpuPercent,
          ...(look.stats instanceof ContainerError ? { error: toJson(look.stats) } : { stats: look.stats }),
        })),
      )
    } else {
      await writeOut(
        table(columns, looks.map(row), process.stdout.isTTY ? process.stdout.columns : undefined),
      )
    }
    if (options.interval === null) return errors.length > 0 ? exitFailure : 0
    await sleep(options.interval)
    if (outputIsOver()) return 0
    if (!options.json) await writeOut('\n')
  }
}
