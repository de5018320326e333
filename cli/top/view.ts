// What is on the screen: of what is known and what was chosen to the lines of one frame.
import { bytes, duration, percent, unknown } from '../format.js'
import {
  chooseColumns,
  type Column,
  cpuScale,
  cpuTone,
  type Host,
  lay,
  memoryScale,
  type SortKey,
  stateOf,
} from './columns.js'
import { area, spark } from './graph.js'
import type { Row, Totals } from './machine.js'
import {
  cell,
  columnsOf,
  encode,
  type Ground,
  type Line,
  type Look,
  type Span,
  spread,
  toneOfLoad,
} from './style.js'

export interface Choices {
  sort: SortKey
  reversed: boolean
  filter: string
  mode: 'list' | 'filter' | 'kill' | 'help'
  details: boolean
  selected: Row | null
  /** The first row in sight. */
  first: number
  message: { text: string; bad: boolean } | null
  delayMs: number
}

export interface Scene {
  roots: readonly string[]
  rows: readonly Row[]
  /** Filtered and sorted. */
  shown: readonly Row[]
  totals: Totals
  host: Host
  choices: Choices
  problem: string | null
}

export interface Layout {
  header: number
  body: number
  details: number
  footer: number
}

const detailLines = 9

/** What there is room for: a list of some lines first. */
export function layOut(rows: number, details: boolean): Layout {
  const footer = rows >= 4 ? 1 : 0
  const header = rows >= 10 ? 3 : rows >= 6 ? 1 : 0
  const titles = rows >= 3 ? 1 : 0
  const below = details && rows >= header + titles + footer + detailLines + 3 ? detailLines : 0
  return { header, details: below, footer, body: Math.max(0, rows - header - titles - footer - below) }
}

function clock(): string {
  return new Date().toTimeString().slice(0, 8)
}

function stateCounts(rows: readonly Row[]): Line {
  const of = (state: Row['state']): number => rows.filter((row) => row.state === state).length
  const part = (count: number, word: string, tone: Span['tone'] & string): Line =>
    count > 0 ? [{ text: '  ' }, { text: `${count} ${word}`, tone }] : []
  return [
    { text: `${rows.length} container${rows.length === 1 ? '' : 's'}`, bold: true },
    ...part(of('running'), 'running', 'calm'),
    ...part(of('paused'), 'paused', 'mild'),
    ...part(of('created'), 'created', 'faint'),
    ...part(of('stopped'), 'stopped', 'faint'),
  ]
}

function header(scene: Scene, width: number, lines: number): Line[] {
  const { totals, host, rows } = scene
  const title: Line = [
    { text: ' libcontainer top', tone: 'accent', bold: true },
    { text: `  ${scene.roots.join(' ')}`, tone: 'faint' },
  ]
  const counts: Line = [...stateCounts(rows), { text: `   ${clock()} `, tone: 'faint' }]
  const short: Line = [{ text: `${rows.filter(({ state }) => state === 'running').length}/${rows.length} ` }]
  const name = title.slice(0, 1)
  // Roots give way first, then what is counted.
  const first = (
    [
      [title, counts],
      [name, counts],
      [name, short],
    ] as const
  ).find(([left, right]) => columnsOf(left) + columnsOf(right) < width) ?? [name, []]
  const heading = spread(first[0], first[1], width)
  if (lines === 1) return [heading]
  // Half of the width for each graph with its label and its figures.
  const graph = Math.min(60, Math.max(0, Math.floor(width / 2) - 30))
  const whole = 100 * host.cpus
  const cpu: Line = [
    { text: ' CPU ', bold: true },
    ...(graph >= 8 ? spark(totals.cpuHistory, graph, whole, toneOfLoad) : []),
    { text: ` ${percent(totals.cpu)}%`.padStart(8), tone: toneOfLoad(totals.cpu / whole), bold: true },
    { text: ` of ${host.cpus} CPU${host.cpus === 1 ? '' : 's'}`, tone: 'faint' },
  ]
  const memory: Line = [
    { text: 'MEM ', bold: true },
    ...(graph >= 8
      ? spark(totals.memoryHistory, graph, Math.max(...totals.memoryHistory, 1) * 1.25, () => 'memory')
      : []),
    { text: ` ${bytes(totals.memory)}`.padStart(7), tone: 'memory', bold: true },
    { text: ` of ${bytes(host.memoryBytes)} `, tone: 'faint' },
  ]
  return [heading, spread(cpu, memory, width), []]
}

function titles(columns: readonly Column[], choices: Choices): Line {
  return lay(columns, (column) => {
    if (column.sort !== choices.sort || column.title === '') {
      return [cell(column.title, column.width, column.align)]
    }
    const arrow = choices.reversed ? '▲' : '▼'
    return [cell(`${column.title}${arrow}`, column.width, column.align, 'accent', true)]
  })
}

function details(row: Row | null, host: Host, width: number): Line[] {
  const rule = (title: string): Line => [
    { text: '── ', tone: 'faint' },
    { text: title, bold: true },
    { text: ` ${'─'.repeat(Math.max(0, width - title.length - 4))}`, tone: 'faint' },
  ]
  if (!row) return [rule('nothing selected'), ...Array.from({ length: detailLines - 1 }, () => [])]
  const state = stateOf(row)
  const dot: Span = { text: '  ·  ', tone: 'faint' }
  const facts: Line = [
    { text: ` ${state.word}`, tone: state.tone },
    ...(row.pid === null ? [] : [dot, { text: `pid ${row.pid}` }]),
    ...(row.startedAt ? [dot, { text: `up ${duration(Date.now() - row.startedAt.getTime())}` }] : []),
    dot,
    { text: row.runtime },
    dot,
    { text: row.bundle },
    ...(row.labels === '' ? [] : [dot, { text: row.labels, tone: 'accent' as const }]),
  ]
  const label = (text: string): Span => ({ text: text.padEnd(10), tone: 'faint' })
  const others = row.processes.map(({ id, pid, command }) => `${id} (${pid}) ${command}`).join('   ')
  const half = Math.max(10, Math.floor((width - 3) / 2))
  const cpuMax = cpuScale(row.cpuHistory.slice(-half))
  const cpu = area(row.cpuHistory, half, 4, cpuMax, (fraction) => cpuTone(host)(fraction * cpuMax))
  const scale = memoryScale(row, host)
  const memoryMax = scale === host.memoryBytes ? Math.max(...row.memoryHistory.slice(-half), 1) * 1.25 : scale
  const memory = area(row.memoryHistory, half, 4, memoryMax, (fraction) =>
    scale === host.memoryBytes ? 'memory' : toneOfLoad(fraction),
  )
  const usage = row.stats?.memory.usage
  const cpuTitle: Line = [
    { text: ' CPU ', bold: true },
    { text: `${percent(row.cpu)}%` },
    { text: `  top of graph ${percent(cpuMax)}%`, tone: 'faint' },
    ...(row.throttled ? [{ text: `  throttled ${percent(row.throttled)}%`, tone: 'warm' as const }] : []),
  ]
  const memoryTitle: Line = [
    { text: 'MEM ', bold: true },
    { text: bytes(usage?.usage) },
    { text: `  of ${bytes(usage?.limit)}, most ${bytes(usage?.max)}`, tone: 'faint' },
  ]
  const beside = (left: Line, right: Line): Line => {
    const used = left.reduce((sum, { text }) => sum + text.length, 0)
    return [...left, { text: ' '.repeat(Math.max(1, half + 2 - used)) }, ...right]
  }
  return [
    rule(row.id),
    facts,
    [{ text: ' ' }, label('init'), { text: row.command || unknown }],
    [{ text: ' ' }, label('others'), { text: others || unknown }],
    beside(cpuTitle, memoryTitle),
    ...cpu.map((line, at) => beside([{ text: ' ' }, ...line], memory[at] ?? [])),
  ]
}

const help: readonly (readonly [string, string])[] = [
  ['↑ ↓ PgUp PgDn Home End', 'select'],
  ['Enter', 'details of what is selected; Esc closes them'],
  ['c m i x o u n', 'sort by CPU, memory, pids, pressure, OOM kills, time up, name'],
  ['< >   r', 'sort by the column to the left or right; the other way round'],
  ['/', 'filter by id, label or command; Enter keeps it, Esc drops it'],
  ['p or Space', 'pause, or resume'],
  ['k', 'kill: asks for the signal'],
  ['+ -', 'look more often, less often'],
  ['Ctrl-L   Ctrl-Z', 'draw anew; suspend'],
  ['q', 'quit'],
]

const notes = [
  'CPU% is of one CPU. Colours: the share of all CPUs, of the memory limit, of the limit of pids.',
  'PRESSURE: percent of the last 10 s in which some process waited for CPU, memory, I/O (cgroup v2).',
  'OOM: kills since this program looks. READ/WRITE: bytes per second.',
]

function helpLines(height: number): Line[] {
  const keys = help.map(([key, text]): Line => [
    { text: `  ${key.padEnd(24)}`, tone: 'accent', bold: true },
    { text },
  ])
  const all: Line[] = [
    [{ text: ' Keys', bold: true }],
    ...keys,
    [],
    ...notes.map((text): Line => [{ text: `  ${text}`, tone: 'faint' }]),
  ]
  return all.slice(0, height)
}

function footer(scene: Scene): { line: Line; ground: Ground } {
  const { mode, filter, message, selected } = scene.choices
  if (mode === 'filter') {
    return {
      line: [
        { text: ' filter: ', tone: 'accent', bold: true },
        { text: `${filter}▌` },
        { text: '  Enter keeps it, Esc drops it', tone: 'faint' },
      ],
      ground: 'bar',
    }
  }
  if (mode === 'kill' && selected) {
    const key = (name: string, rest: string): Line => [
      { text: ` ${name}`, tone: 'accent', bold: true },
      { text: rest },
    ]
    return {
      line: [
        { text: ` kill ${selected.id}: `, tone: 'hot', bold: true },
        ...key('t', ' TERM '),
        ...key('k', ' KILL '),
        ...key('i', ' INT '),
        ...key('h', ' HUP '),
        ...key('1', ' USR1 '),
        ...key('2', ' USR2 '),
        ...key('Esc', ' nothing'),
      ],
      ground: 'bar',
    }
  }
  if (message)
    return { line: [{ text: ` ${message.text}`, tone: message.bad ? 'hot' : 'plain' }], ground: 'bar' }
  if (scene.problem !== null) return { line: [{ text: ` ${scene.problem}`, tone: 'hot' }], ground: 'bar' }
  const hint = (key: string, text: string): Line => [
    { text: ` ${key} `, tone: 'accent', bold: true },
    { text: `${text} ` },
  ]
  const kept: Line = filter === '' ? [] : [{ text: ` filter: ${filter} `, tone: 'mild', bold: true }]
  return {
    line: [
      ...kept,
      ...hint('q', 'quit'),
      ...hint('?', 'help'),
      ...hint('⏎', 'details'),
      ...hint('/', 'filter'),
      ...hint('<>', 'sort'),
      ...hint('p', 'pause'),
      ...hint('k', 'kill'),
    ],
    ground: 'bar',
  }
}

/** One frame: a line for each row of the terminal, each of its width. */
export function render(scene: Scene, size: { columns: number; rows: number }, look: Look): string[] {
  const { columns: width, rows: height } = size
  const { choices, shown, host } = scene
  const layout = layOut(height, choices.details)
  const out: string[] = []
  const add = (line: Line, ground: Ground = 'none'): void => {
    out.push(encode(line, width, look, ground))
  }
  for (const line of header(scene, width, layout.header).slice(0, layout.header)) add(line)
  const body = layout.body
  if (choices.mode === 'help') {
    for (const line of helpLines(body + 1)) add(line)
  } else {
    // By all rows, so that a filter moves no column.
    const columns = chooseColumns(scene.rows, width, host)
    if (height >= 3) add(titles(columns, choices), 'bar')
    const inSight = shown.slice(choices.first, choices.first + body)
    for (const row of inSight) {
      add(
        lay(columns, (column) => column.show(row, column.width)),
        row === choices.selected ? 'selected' : 'none',
      )
    }
    if (shown.length === 0 && body > 0) {
      const why =
        scene.rows.length > 0
          ? 'No container is like that.'
          : `There is no container in ${scene.roots.join(', ')}.`
      add([{ text: ` ${why}`, tone: 'faint' }])
    }
  }
  while (out.length < height - layout.footer - layout.details) add([])
  out.length = Math.min(out.length, height - layout.footer - layout.details)
  if (layout.details > 0) for (const line of details(choices.selected, host, width)) add(line)
  if (layout.footer > 0) {
    const { line, ground } = footer(scene)
    add(line, ground)
  }
  return out.slice(0, height)
}
