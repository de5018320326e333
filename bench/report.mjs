// What a bench prints and writes down: tables, figures beside what they have to reach, one JSON file.
import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { conditions } from './conditions.mjs'
import { median, summarize } from './statistics.mjs'

export const microseconds = (ns) =>
  (ns / 1000).toLocaleString('en', { maximumFractionDigits: ns < 100_000 ? 1 : 0 })
export const ratio = (value) => value.toFixed(2)

export function say(text = '') {
  process.stdout.write(`${text}\n`)
}

export function heading(text) {
  say(`\n${text}\n${'-'.repeat(text.length)}`)
}

export function table(head, rows) {
  const widths = head.map((_, column) => Math.max(...[head, ...rows].map((row) => row[column].length)))
  const line = (row) =>
    row
      .map((cell, column) => (column ? cell.padStart(widths[column]) : cell.padEnd(widths[column])))
      .join('  ')
  for (const row of [head, ...rows]) say(line(row))
}

/** What interleave() took, kind by kind. */
export function showKinds(taken) {
  const floor = taken.floor ? median(taken.floor.flat()) : null
  table(
    ['', 'samples', 'median us', 'p99 us', 'min us', ...(floor ? ['x floor'] : [])],
    Object.entries(taken).map(([name, samples]) => {
      const summary = summarize(samples.flat())
      return [
        name,
        String(summary.samples),
        microseconds(summary.median),
        microseconds(summary.p99),
        microseconds(summary.min),
        ...(floor ? [ratio(summary.median / floor)] : []),
      ]
    }),
  )
  say()
}

/** The figures of one bench, and its results for the JSON file. */
export class Report {
  figures = []
  results = {}

  /** One of the figures to reach: measured, and whether it is reached. */
  figure = (what, measured, target, met, show = ratio) => {
    this.figures.push({ what, measured, target, met })
    say(`${met ? 'reached ' : 'MISSED  '} ${what}: ${show(measured)}, to reach ${target}`)
  }

  atMost = (what, measured, limit, show) =>
    this.figure(what, measured, `at most ${limit}`, measured <= limit, show)

  atLeast = (what, measured, limit, show) =>
    this.figure(what, measured, `at least ${limit}`, measured >= limit, show)

  keep = (section, taken, more = {}) => {
    const kinds = Object.fromEntries(
      Object.entries(taken).map(([name, samples]) => [name, summarize(samples.flat())]),
    )
    this.results[section] = { unit: 'ns', kinds, ...more }
  }

  /** Says what was missed and writes NAME.json to bench/results or $BENCH_RESULTS; the answer is what was missed. */
  finish(name, machine, settings) {
    const { figures, results } = this
    const missed = figures.filter(({ met }) => !met)
    heading(`${figures.length - missed.length} of ${figures.length} figures reached`)
    for (const { what } of missed) say(`missed: ${what}`)
    const directory = process.env.BENCH_RESULTS ?? new URL('results', import.meta.url).pathname
    mkdirSync(directory, { recursive: true })
    const path = join(directory, `${name}.json`)
    const content = { machine, settings, conditions: conditions.summary(), figures, results }
    writeFileSync(path, `${JSON.stringify(content, null, 2)}\n`)
    say(`written to ${path}`)
    return missed
  }
}
