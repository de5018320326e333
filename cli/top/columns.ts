// The columns of the list: what each shows, how wide it is, and which give way first.
import { bytes, count, duration, percent, unknown } from '../format.js'
import { bar, spark } from './graph.js'
import type { Row } from './machine.js'
import { cell, type Line, type Span, type Tone, toneOfLoad } from './style.js'

export interface Host {
  cpus: number
  memoryBytes: number
}

export type SortKey = 'cpu' | 'memory' | 'pids' | 'pressure' | 'oom' | 'io' | 'age' | 'state' | 'name'
export const sortKeys: readonly SortKey[] = [
  'name',
  'state',
  'cpu',
  'memory',
  'pids',
  'pressure',
  'oom',
  'io',
  'age',
]

export interface Column {
  title: string
  align: 'left' | 'right'
  width: number
  /** Up to so wide where there is room. */
  most: number
  sort: SortKey | null
  show(row: Row, width: number): Line
}

const gap = 2

/** Colours tell of the share of the whole machine: a container may well use more than one CPU. */
export function cpuTone(host: Host): (value: number) => Tone {
  return (value) => toneOfLoad(value / (100 * host.cpus))
}

/** The limit, or where there is none the machine's memory. */
export function memoryScale(row: Row, host: Host): number {
  const limit = row.stats?.memory.usage.limit
  return typeof limit === 'number' && limit > 0 && limit < host.memoryBytes ? limit : host.memoryBytes
}

export function worstPressure(row: Row): number | null {
  const { pressure } = row
  if (!pressure) return null
  const known = [pressure.cpu, pressure.memory, pressure.io].filter((value) => value !== undefined)
  return known.length > 0 ? Math.max(...known) : null
}

/** The graph of a container that idles shows that it does: not less than a tenth of a CPU fills it. */
export function cpuScale(values: readonly number[]): number {
  return Math.max(10, ...values)
}

export function stateOf(row: Row): { mark: string; word: string; tone: Tone } {
  if (row.state === 'running') return { mark: '●', word: 'running', tone: 'calm' }
  if (row.state === 'paused') return { mark: '‖', word: 'paused', tone: 'mild' }
  if (row.state === 'created') return { mark: '○', word: 'created', tone: 'faint' }
  const { exit } = row
  if (exit?.oomKilled) return { mark: '■', word: 'OOM', tone: 'hot' }
  if (!exit?.known) return { mark: '■', word: 'stopped', tone: 'faint' }
  const clean = exit.exitCode === 0
  return { mark: '■', word: exit.signal ?? `exit ${exit.exitCode}`, tone: clean ? 'faint' : 'warm' }
}

function figure(text: string, width: number, tone: Tone): Span {
  return cell(text, width, 'right', text === unknown ? 'faint' : tone)
}

/** How long names really are. */
function nameWidth(rows: readonly Row[]): number {
  return Math.min(40, Math.max(9, ...rows.map(({ id }) => id.length)))
}

/** The columns that fit, in their order, widths settled. */
export function chooseColumns(rows: readonly Row[], width: number, host: Host): Column[] {
  const cpu = cpuTone(host)
  const all = {
    mark: {
      title: '',
      align: 'left',
      width: 1,
      most: 1,
      sort: null,
      show: (row) => [{ text: stateOf(row).mark, tone: stateOf(row).tone }],
    },
    name: {
      title: 'CONTAINER',
      align: 'left',
      // Whole, unless that takes too much of a small window.
      width: Math.min(nameWidth(rows), Math.max(10, Math.floor(width / 5))),
      most: nameWidth(rows),
      sort: 'name',
      show: (row, columns) => [
        cell(row.id, columns, 'left', row.pid === null ? 'faint' : 'plain', row.pid !== null),
      ],
    },
    state: {
      title: 'STATE',
      align: 'left',
      width: 8,
      most: 8,
      sort: 'state',
      show: (row, columns) => [cell(stateOf(row).word, columns, 'left', stateOf(row).tone)],
    },
    cpu: {
      title: 'CPU%',
      align: 'right',
      width: 6,
      most: 6,
      sort: 'cpu',
      show: (row, columns) => [figure(percent(row.cpu), columns, cpu(row.cpu ?? 0))],
    },
    cpuGraph: {
      title: '',
      align: 'left',
      width: 8,
      most: 30,
      sort: null,
      show: (row, columns) => {
        const values = row.cpuHistory.slice(-columns)
        const max = cpuScale(values)
        return spark(values, columns, max, (fraction) => cpu(fraction * max))
      },
    },
    memory: {
      title: 'MEM',
      align: 'right',
      width: 5,
      most: 5,
      sort: 'memory',
      show: (row, columns) => {
        const usage = row.stats?.memory.usage.usage
        return [figure(bytes(usage), columns, toneOfLoad((usage ?? 0) / memoryScale(row, host)))]
      },
    },
    limit: {
      title: 'LIMIT',
      align: 'right',
      width: 5,
      most: 5,
      sort: null,
      show: (row, columns) => [
        cell(row.stats ? bytes(row.stats.memory.usage.limit) : unknown, columns, 'right', 'faint'),
      ],
    },
    memoryBar: {
      title: '',
      align: 'left',
      width: 8,
      most: 16,
      sort: null,
      show: (row, columns) => {
        const usage = row.stats?.memory.usage.usage
        if (usage === undefined) return [{ text: ' '.repeat(columns) }]
        const fraction = usage / memoryScale(row, host)
        return bar(fraction, columns, toneOfLoad(fraction))
      },
    },
    pids: {
      title: 'PIDS',
      align: 'right',
      width: 5,
      most: 5,
      sort: 'pids',
      show: (row, columns) => {
        const { current, limit } = row.stats?.pids ?? {}
        const tone = limit ? toneOfLoad((current ?? 0) / limit) : 'plain'
        return [figure(count(current), columns, tone === 'calm' ? 'plain' : tone)]
      },
    },
    pressure: {
      title: 'PRESSURE',
      align: 'right',
      width: 11,
      most: 11,
      sort: 'pressure',
      show: (row) => {
        const { cpu: ofCpu, memory, io } = row.pressure ?? {}
        return [ofCpu, memory, io].flatMap((value, at) => [
          { text: at > 0 ? ' ' : '' },
          figure(
            value === undefined ? unknown : value.toFixed(0),
            3,
            (value ?? 0) < 1 ? 'faint' : toneOfLoad((value ?? 0) / 50),
          ),
        ])
      },
    },
    oom: {
      title: 'OOM',
      align: 'right',
      width: 4,
      most: 4,
      sort: 'oom',
      show: (row, columns) => [
        cell(
          row.pid === null && !row.ooms ? unknown : count(row.ooms),
          columns,
          'right',
          row.ooms ? 'hot' : 'faint',
          Boolean(row.ooms),
        ),
      ],
    },
    io: {
      title: 'READ/WRITE',
      align: 'right',
      width: 11,
      most: 11,
      sort: 'io',
      show: (row, columns) => {
        if (!row.io) return [cell(unknown, columns, 'right', 'faint')]
        const busy = row.io.read + row.io.write > 0
        return [
          cell(`${bytes(row.io.read)}/${bytes(row.io.write)}`, columns, 'right', busy ? 'accent' : 'faint'),
        ]
      },
    },
    age: {
      title: 'UP',
      align: 'right',
      width: 6,
      most: 6,
      sort: 'age',
      show: (row, columns) => [
        figure(row.startedAt ? duration(Date.now() - row.startedAt.getTime()) : unknown, columns, 'faint'),
      ],
    },
    command: {
      title: 'COMMAND',
      align: 'left',
      width: 16,
      most: Infinity,
      sort: null,
      show: (row, columns) => [cell(row.command, columns, 'left', 'faint')],
    },
  } satisfies Record<string, Column>
  type Name = keyof typeof all

  const wanted: Name[] = [
    'cpu',
    'memory',
    'state',
    'pids',
    'limit',
    'oom',
    'cpuGraph',
    'pressure',
    'memoryBar',
    'age',
    'io',
    'command',
  ]
  const hidden = new Set<Name>()
  if (!rows.some((row) => worstPressure(row) !== null)) hidden.add('pressure')
  if (!rows.some((row) => row.io)) hidden.add('io')
  const chosen = new Set<Name>(['mark', 'name'])
  let left = width - all.mark.width - 1 - all.name.width
  for (const name of wanted) {
    const needs = all[name].width + gap
    if (hidden.has(name) || needs > left) continue
    chosen.add(name)
    left -= needs
  }
  const columns = (Object.keys(all) as Name[]).filter((name) => chosen.has(name))
  const growing: Name[] = ['name', 'cpuGraph', 'memoryBar', 'command']
  for (const name of growing) {
    if (!chosen.has(name)) continue
    const more = Math.min(left, all[name].most - all[name].width)
    all[name].width += more
    left -= more
  }
  return columns.map((name) => all[name])
}

/** One line of the list; `of` gives each column's part. */
export function lay(columns: readonly Column[], of: (column: Column) => Line): Line {
  return columns.flatMap((column, at) => [
    // The mark belongs to the name.
    { text: at === 0 ? '' : ' '.repeat(at === 1 ? 1 : gap) },
    ...of(column),
  ])
}

export function compare(key: SortKey): (a: Row, b: Row) => number {
  const states = ['running', 'paused', 'created', 'stopped']
  const value = (row: Row): number => {
    switch (key) {
      case 'cpu':
        return row.cpu ?? -1
      case 'memory':
        return row.stats?.memory.usage.usage ?? -1
      case 'pids':
        return row.stats?.pids.current ?? -1
      case 'pressure':
        return worstPressure(row) ?? -1
      case 'oom':
        return row.ooms ?? -1
      case 'io':
        return row.io ? row.io.read + row.io.write : -1
      case 'age':
        return row.startedAt ? Date.now() - row.startedAt.getTime() : -1
      case 'state':
        return states.length - states.indexOf(row.state)
      case 'name':
        return 0
    }
  }
  const byName = (a: Row, b: Row): number => (a.id < b.id ? -1 : a.id > b.id ? 1 : a.root < b.root ? -1 : 1)
  return (a, b) => value(b) - value(a) || byName(a, b)
}
