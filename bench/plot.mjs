// Draws what a run measured, as SVG that reads well on light and on dark pages: it brings its own ground, and follows the
// reader's colour scheme. `node bench/plot.mjs RESULTS.json DIRECTORY` draws again.
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { ways } from './comparison.mjs'

const width = 760
/** Characters of the smallest text that fit into a line. */
const lineLength = 100
const colours = {
  // way: on light, on dark
  libcontainer: ['#0b57d0', '#7cacf8'],
  floor: ['#5f6368', '#bdc1c6'],
  spawn: ['#8a5a00', '#e8b339'],
  go: ['#00796b', '#4fc3b5'],
  crun: ['#b3541e', '#ff9e64'],
  runc: ['#b3261e', '#f2857f'],
  docker: ['#7b3fa0', '#c9a2e8'],
}
// Told apart by shape as well, for who does not see the colours.
const shapes = {
  libcontainer: (x, y) => `<circle cx="${x}" cy="${y}" r="6.5"/>`,
  floor: (x, y) => `<path d="M${x} ${y - 8}V${y + 8}" stroke-width="3"/>`,
  spawn: (x, y) => `<path d="M${x - 5} ${y - 5}l10 10m0 -10l-10 10" stroke-width="2.5"/>`,
  go: (x, y) => `<path d="M${x} ${y - 6}l6 11h-12z"/>`,
  crun: (x, y) => `<path d="M${x} ${y - 6.5}l6.5 6.5l-6.5 6.5l-6.5 -6.5z"/>`,
  runc: (x, y) => `<rect x="${x - 5}" y="${y - 5}" width="10" height="10"/>`,
  docker: (x, y) => `<path d="M${x} ${y + 6}l6 -11h-12z"/>`,
}

const style = `<style>
text{font:13px system-ui,-apple-system,"Segoe UI",Roboto,sans-serif;fill:#202124}
.title{font-size:16px;font-weight:600}.note{font-size:11px;fill:#5f6368}.end{text-anchor:end}.mid{text-anchor:middle}
.ground{fill:#fff;stroke:#dadce0}.grid{stroke:#e3e5e8;fill:none}
${Object.entries(colours)
  .map(([way, [light]]) => `.${way}{fill:${light};stroke:${light}}text.${way}{stroke:none}`)
  .join('\n')}
.line{fill:none;stroke-width:2}
@media (prefers-color-scheme:dark){
text{fill:#e8eaed}.note{fill:#9aa0a6}.ground{fill:#161b22;stroke:#3c4043}.grid{stroke:#30363d}
${Object.entries(colours)
  .map(([way, [, dark]]) => `.${way}{fill:${dark};stroke:${dark}}text.${way}{stroke:none}`)
  .join('\n')}
.line{fill:none}}
</style>`

const escape = (text) => text.replace(/[&<>]/g, (c) => ({ '&': '&amp;', '<': '&lt;', '>': '&gt;' })[c])
const round = (value) => Math.round(value * 10) / 10
const text = (x, y, content, classes = '') =>
  `<text x="${round(x)}" y="${round(y)}"${classes && ` class="${classes}"`}>${escape(content)}</text>`
const mark = (way, x, y) => `<g class="${way}">${shapes[way](round(x), round(y))}</g>`

export function showTime(us) {
  const [value, unit] = us < 1000 ? [us, 'µs'] : us < 1e6 ? [us / 1000, 'ms'] : [us / 1e6, 's']
  return `${value.toLocaleString('en', { maximumSignificantDigits: value < 100 ? 2 : 3 })} ${unit}`
}

/** The whole drawing: title, what is in it, and where and how it was taken. */
function frame({ title, subtitle, height, body, origin }) {
  const notes = origin.map((line, index) => text(20, height + 18 + index * 15, line, 'note'))
  const full = height + 18 + origin.length * 15
  return `<svg xmlns="http://www.w3.org/2000/svg" width="${width}" height="${full}" viewBox="0 0 ${width} ${full}" role="img">
<title>${escape(title)}</title><desc>${escape([subtitle, ...origin].join(' '))}</desc>
${style}
<rect class="ground" x=".5" y=".5" width="${width - 1}" height="${full - 1}" rx="6"/>
${text(20, 28, title, 'title')}
${text(20, 47, subtitle, 'note')}
${body.join('\n')}
${notes.join('\n')}
</svg>
`
}

/** A logarithmic axis over whole powers of ten that holds all values. */
function logAxis(values, left, right) {
  const low = Math.floor(Math.log10(Math.min(...values)))
  const high = Math.max(low + 1, Math.ceil(Math.log10(Math.max(...values))))
  const at = (value) => left + ((Math.log10(value) - low) / (high - low)) * (right - left)
  const ticks = Array.from({ length: high - low + 1 }, (_, index) => 10 ** (low + index))
  return { at, ticks }
}

function gridOf({ at, ticks }, top, bottom) {
  return ticks.flatMap((tick) => [
    `<path class="grid" d="M${round(at(tick))} ${top}V${bottom}"/>`,
    text(at(tick), bottom + 16, showTime(tick), 'note mid'),
  ])
}

/** Marks and names in as many lines as they take; the height is theirs. */
function legendOf(shown, top) {
  const body = []
  let [x, y] = [28, top]
  for (const way of shown) {
    const room = 36 + ways[way].length * 7.5
    if (x + room > width - 10) [x, y] = [28, y + 22]
    body.push(mark(way, x, y - 4), text(x + 12, y, ways[way], way))
    x += room
  }
  return { body, bottom: y }
}

/** Every operation a row, every way a mark in it. */
function overview(comparison, origin) {
  const shown = Object.keys(ways).filter((way) => comparison.some((row) => row.ways[way]))
  const legend = legendOf(shown, 74)
  const top = legend.bottom + 18
  const rowHeight = 34
  const bottom = top + comparison.length * rowHeight
  const values = comparison.flatMap((row) => Object.values(row.ways).map(({ medianUs }) => medianUs))
  const axis = logAxis(values, 170, width - 30)
  const body = [...legend.body, ...gridOf(axis, top - 6, bottom)]
  comparison.forEach((row, index) => {
    const y = top + (index + 0.5) * rowHeight
    const points = Object.entries(row.ways).map(([way, { medianUs }]) => ({ way, x: axis.at(medianUs) }))
    const xs = points.map(({ x }) => x)
    body.push(text(20, y + 4, row.name))
    body.push(`<path class="grid" d="M${round(Math.min(...xs))} ${y}H${round(Math.max(...xs))}"/>`)
    for (const { way, x } of points.reverse()) body.push(mark(way, x, y)) // this library's on top
  })
  return frame({
    ...{ title: 'What a call takes, and what else does the same', height: bottom + 28, body, origin },
    subtitle:
      'Medians of one run in which all take turns; logarithmic: each line is ten times the one before it',
  })
}

/** One operation: every way a row, from its median to its p99. */
function detail(row, title, origin) {
  const sorted = Object.entries(row.ways).sort(([, a], [, b]) => a.medianUs - b.medianUs)
  const top = 66
  const rowHeight = 30
  const bottom = top + sorted.length * rowHeight
  const axis = logAxis(
    sorted.flatMap(([, { medianUs, p99Us }]) => [medianUs, p99Us]),
    150,
    width - 190,
  )
  const body = gridOf(axis, top - 4, bottom)
  sorted.forEach(([way, { medianUs, p99Us, ratio }], index) => {
    const y = top + (index + 0.5) * rowHeight
    const [from, to] = [axis.at(medianUs), axis.at(p99Us)].map(round)
    body.push(text(20, y + 4, ways[way], way))
    body.push(`<path class="${way} line" d="M${from} ${y}H${to}M${to} ${y - 4}v8"/>`, mark(way, from, y))
    body.push(text(width - 90, y + 4, showTime(medianUs), 'end'))
    if (way !== 'libcontainer') {
      body.push(text(width - 20, y + 4, `× ${ratio.toFixed(ratio < 10 ? 1 : 0)}`, 'end'))
    }
  })
  return frame({
    ...{ title, height: bottom + 28, body, origin },
    subtitle:
      'From the median, with the mark, to the p99; logarithmic; on the right the median, and against libcontainer',
  })
}

/** Cost of each container over their number, this library and the floor. */
function sweep(kinds, origin) {
  const series = { libcontainer: 'Container.stats', floor: 'floor' }
  const sizes = Object.keys(kinds)
    .map((name) => /^(\d+), floor$/.exec(name)?.[1])
    .filter(Boolean)
    .map(Number)
    .sort((a, b) => a - b)
  const costs = Object.fromEntries(
    Object.entries(series).map(([way, kind]) => [
      way,
      sizes.map((size) => kinds[`${size}, ${kind}`].median / 1000),
    ]),
  )
  const highest = Math.max(...Object.values(costs).flat())
  const step = [10, 20, 50, 100, 200, 500, 1000, 2000].find((one) => highest / one <= 6) ?? 5000
  const ticks = Array.from({ length: Math.ceil(highest / step) + 1 }, (_, index) => index * step)
  const [top, bottom, left, right] = [92, 292, 80, width - 60]
  const x = (index) => left + (index / Math.max(1, sizes.length - 1)) * (right - left)
  const y = (us) => bottom - (us / ticks.at(-1)) * (bottom - top)
  const { body } = legendOf(Object.keys(series), 74)
  for (const tick of ticks) {
    body.push(`<path class="grid" d="M${left - 6} ${round(y(tick))}H${right + 6}"/>`)
    body.push(text(left - 12, y(tick) + 4, showTime(tick), 'note end'))
  }
  sizes.forEach((size, index) => body.push(text(x(index), bottom + 18, String(size), 'note mid')))
  for (const [way, list] of Object.entries(costs)) {
    const path = list.map((us, index) => `${index ? 'L' : 'M'}${round(x(index))} ${round(y(us))}`)
    body.push(`<path class="${way} line" d="${path.join('')}"/>`)
    list.forEach((us, index) => body.push(mark(way, x(index), y(us))))
  }
  return frame({
    ...{ title: 'Container.stats() over many containers: time for each', height: bottom + 30, body, origin },
    subtitle:
      'Medians; by the number of containers in one call. The floor opens, reads and closes the same files',
  })
}

/** Where and how: the command, the machine, the versions. */
export function originOf({ command, date, machine, versions }) {
  const { cpu, cores, kernel, cgroups, node, commit } = machine
  return [
    command,
    `${date.slice(0, 10)}, commit ${commit}`,
    `${cpu}, ${cores} cores, Linux ${kernel}, cgroup ${cgroups}`,
    `Node ${node}`,
    ...Object.values(versions),
  ]
}

/** The same in lines that fit. */
function originLines(results) {
  const lines = []
  for (const one of originOf(results)) {
    const last = lines.at(-1)
    if (last && last.length + one.length < lineLength) lines.push(`${lines.pop()}  ·  ${one}`)
    else lines.push(one)
  }
  return lines
}

/** Name of the file -> its content, for what was measured. */
export function draw(results) {
  const origin = originLines(results)
  const { comparison, parts } = results
  const drawings = { 'overview.svg': overview(comparison, origin) }
  const exec = comparison.find(({ name }) => name.startsWith('exec'))
  if (exec) drawings['exec.svg'] = detail(exec, 'exec of /bin/busybox true, from the call to its end', origin)
  const life = comparison.find(({ name }) => name.startsWith('create'))
  if (life) drawings['start.svg'] = detail(life, 'create, start and delete of a container', origin)
  const swept = parts.cgroups?.results.sweep
  if (swept) drawings['stats.svg'] = sweep(swept.kinds, origin)
  return drawings
}

if (import.meta.url === pathToFileURL(process.argv[1]).href) {
  const [, , from, to] = process.argv
  if (!to) throw new Error('usage: node bench/plot.mjs RESULTS.json DIRECTORY')
  for (const [name, content] of Object.entries(draw(JSON.parse(readFileSync(from, 'utf8'))))) {
    writeFileSync(join(to, name), content)
  }
}
