// Which measured kind of which part stands for which way of doing a thing: the one table of all parts, and what the plots
// show.

/** The ways, in the order in which they are shown; `libcontainer` is what the others are compared with. */
export const ways = {
  libcontainer: 'libcontainer',
  floor: 'floor in C',
  spawn: 'child_process',
  go: 'Go, in-process',
  crun: 'crun process',
  runc: 'runc process',
  docker: 'dockerd',
}

const call = (name, ours, rest) => ({
  ...{ part: 'cgroups', section: 'calls' },
  kinds: {
    libcontainer: `${name}, ${ours}`,
    go: `${name}, Go`,
    docker: `${name}, dockerode`,
    ...Object.fromEntries(Object.entries(rest).map(([way, kind]) => [way, `${name}, ${kind}`])),
  },
})

const operations = [
  {
    ...{ name: 'exec, to its exit', part: 'exec', section: 'exec' },
    kinds: {
      libcontainer: 'libcontainer',
      floor: 'floor',
      spawn: 'child_process.spawn',
      go: "Go's libcontainer",
      crun: 'crun exec',
      runc: 'runc exec',
      docker: 'dockerode',
    },
  },
  {
    ...{ name: 'the same, confined', part: 'confined', section: 'confined' },
    kinds: {
      libcontainer: 'libcontainer, confined, runc',
      crun: 'crun exec, confined',
      runc: 'runc exec, confined',
    },
  },
  {
    ...{ name: 'create, start, delete', part: 'start', section: 'life' },
    kinds: {
      libcontainer: 'libcontainer',
      floor: 'floor',
      go: "Go's libcontainer",
      crun: 'crun create, start, delete',
      runc: 'runc create, start, delete',
      docker: 'dockerode',
    },
  },
  {
    name: 'pids()',
    ...call('pids', 'pids', { floor: 'floor, opened', crun: 'crun ps', runc: 'runc ps' }),
  },
  { name: 'stats()', ...call('stats', 'stats', { floor: 'floor, opened', runc: 'runc events' }) },
  { name: 'status()', ...call('status', 'status', { crun: 'crun state', runc: 'runc state' }) },
  {
    name: 'updateResources()',
    ...call('update', 'updateResources', { floor: 'floor', crun: 'crun update', runc: 'runc update' }),
  },
  {
    name: 'pause(), resume()',
    ...call('pause', 'pause + resume', {
      floor: 'floor',
      crun: 'crun pause + crun resume',
      runc: 'runc pause + runc resume',
    }),
  },
  {
    ...{ name: 'load() of all', part: 'memory', section: 'reload' },
    kinds: { libcontainer: 'libcontainer', go: "Go's libcontainer", runc: 'runc list' },
  },
]

/**
 * What the parts measured, operation by operation: for each way that was there `medianUs`, `p99Us`, and `ratio`, its median
 * over this library's. `parts` are the contents of the parts' JSON files by name.
 */
export function compareAll(parts) {
  const rows = []
  for (const { name, part, section, kinds } of operations) {
    const taken = parts[part]?.results[section]?.kinds
    const own = taken?.[kinds.libcontainer]
    if (!own) continue
    const byWay = {}
    for (const way of Object.keys(ways)) {
      const summary = taken[kinds[way]]
      if (!summary?.samples) continue // with few rounds some ways have none
      const { samples, median, p99 } = summary
      byWay[way] = { samples, medianUs: median / 1000, p99Us: p99 / 1000, ratio: median / own.median }
    }
    rows.push({ name, ways: byWay })
  }
  return rows
}

export const showUs = (us) => us.toLocaleString('en', { maximumFractionDigits: us < 100 ? 1 : 0 })
const showRatio = (value) => value.toFixed(value < 10 ? 2 : 0)

/** Head and rows of the table, as text. */
export function comparisonTable(rows) {
  const others = Object.keys(ways).slice(1)
  return {
    head: ['', 'median us', 'p99 us', ...others.map((way) => ways[way])],
    rows: rows.map((row) => [
      row.name,
      showUs(row.ways.libcontainer.medianUs),
      showUs(row.ways.libcontainer.p99Us),
      ...others.map((way) => (row.ways[way] ? showRatio(row.ways[way].ratio) : '')),
    ]),
  }
}

const showMeasured = (value) =>
  Number.isInteger(value) ? String(value) : value.toLocaleString('en', { maximumSignificantDigits: 3 })

/** The aims of all parts, with what was measured. */
export function figureTable(figures) {
  return {
    head: ['', 'measured', 'aim', 'met'],
    rows: figures.map(({ part, what, measured, target, met }) => [
      `${part}: ${what}`,
      showMeasured(measured),
      target,
      met ? 'yes' : 'NO',
    ]),
  }
}

export function markdownTable(head, rows) {
  const line = (cells) => `| ${cells.join(' | ')} |`
  return [line(head), line(head.map((_, column) => (column ? '--:' : '---'))), ...rows.map(line)].join('\n')
}
