// Everything that bench/ measures, in one run: part after part, each a program of its own in which library, peers and floors
// take turns; one table, one JSON file, the plots. `make bench`. See bench/README.md.
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { loadavg, tmpdir } from 'node:os'
import { join, relative, resolve } from 'node:path'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { compareAll, comparisonTable, figureTable, markdownTable } from './comparison.mjs'
import { othersBusy } from './conditions.mjs'
import { describeMachine } from './ground.mjs'
import { draw, originOf } from './plot.mjs'
import { heading, say, table } from './report.mjs'

/** In the order in which they run, with the options that make one quick, or as small as it can be. */
const parts = {
  memory: {
    program: 'memory/run.mjs',
    quick: ['--containers=60', '--rounds=3', '--docker-containers=4'],
    smallest: ['--containers=4', '--rounds=1'],
  },
  exec: {
    program: 'exec/run.mjs',
    quick: ['--rounds=12', '--heap-gib=0.5', '--sequence=200'],
    smallest: ['--rounds=1', '--batch=2', '--heap-gib=0.05', '--sequence=10'],
  },
  confined: {
    program: 'exec/confined.mjs',
    quick: ['--rounds=12'],
    smallest: ['--rounds=1', '--batch=1'],
  },
  start: { program: 'start/run.mjs', quick: ['--rounds=8'], smallest: ['--rounds=1'] },
  cgroups: {
    program: 'cgroups/run.mjs',
    quick: ['--rounds=8', '--crowd=200'],
    smallest: ['--rounds=1', '--batch=2', '--crowd=10', '--seconds=0.2'],
  },
  events: {
    program: 'events/run.mjs',
    limitMs: 15 * 60_000, // cgroups for ten thousand, thousands of OOM kills
    quick: ['--samples=20', '--burst=200', '--watchers=500', '--idle=5', '--kills=200', '--soakers=20'],
    smallest: ['--samples=1', '--burst=10', '--watchers=5', '--idle=0.2', '--kills=6', '--soakers=2'],
  },
}
const usage = `usage: node bench/run.mjs [options]
  --size=SIZE       full (ten minutes), quick (two) or smallest, which shows that it works and no more; full
  --only=PARTS      comma-separated, of: ${Object.keys(parts).join(', ')}; all
  --without=PEERS   comma-separated, of: crun, go, docker; none
  --output=DIR      for the results; bench/results for all parts in full, else build/bench
  --figures=DIR     for the plots; docs/figures for all parts in full, else build/bench
  --verbose         what each part prints
  --check           exit with 1 when an aim is missed or others kept the machine busy
`
const { values } = parseArgs({
  options: {
    size: { type: 'string', default: 'full' },
    only: { type: 'string', default: Object.keys(parts).join(',') },
    without: { type: 'string', default: '' },
    output: { type: 'string' },
    figures: { type: 'string' },
    verbose: { type: 'boolean', default: false },
    check: { type: 'boolean', default: false },
    help: { type: 'boolean', default: false },
  },
})
const repository = fileURLToPath(new URL('..', import.meta.url))
const partLimitMs = 8 * 60_000
/** From here on a run is not to be believed. */
const tolerated = { othersCpus: 0.15, stealShare: 0.01 }

let current = null
let interrupted = null
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) {
  process.on(signal, () => {
    interrupted = signal
    // A terminal's Ctrl-C has reached it already; it cleans up once.
    if (signal !== 'SIGINT') current?.kill(signal)
  })
}

/** One part to its end: what it wrote, or why it failed. */
async function runPart(name, directory, cores) {
  const { program, [values.size]: sizes = [] } = parts[name]
  const othersCpus = await othersBusy(cores, values.size === 'smallest' ? 100 : 1000)
  const before = Date.now()
  const options = [...sizes, ...(values.without && name !== 'events' ? [`--without=${values.without}`] : [])]
  const stdio = values.verbose ? 'inherit' : ['ignore', 'pipe', 'pipe']
  current = spawn(process.execPath, [join('bench', program), ...options], {
    cwd: repository,
    env: { ...process.env, BENCH_RESULTS: directory },
    stdio,
  })
  let output = ''
  for (const stream of [current.stdout, current.stderr]) stream?.on('data', (text) => (output += text))
  const timer = setTimeout(() => current.kill('SIGTERM'), parts[name].limitMs ?? partLimitMs)
  const [code, signal] = await once(current, 'close')
  clearTimeout(timer)
  current = null
  const seconds = (Date.now() - before) / 1000
  try {
    const written = JSON.parse(readFileSync(join(directory, `${name}.json`), 'utf8'))
    if (code === 0) return { othersCpus, seconds, ...written }
  } catch (error) {
    output += `\n${error.message}`
  }
  return { othersCpus, seconds, failed: `ended with ${code ?? signal}`, output }
}

/** What speaks against the run, in words. */
function doubts(taken, cores) {
  const found = []
  if (values.size !== 'full') found.push(`too few samples (${values.size})`)
  const named = Object.entries(taken)
  const busy = named.filter(([, { othersCpus }]) => othersCpus > tolerated.othersCpus)
  if (busy.length > 0) {
    const most = Math.max(...busy.map(([, { othersCpus }]) => othersCpus))
    const before = busy.map(([name]) => name).join(', ')
    found.push(`others used up to ${most.toFixed(2)} of ${cores} CPUs just before ${before}`)
  }
  const stolen = named.filter(([, { conditions }]) => conditions?.stealShare > tolerated.stealShare)
  if (stolen.length > 0) {
    const most = Math.max(...stolen.map(([, { conditions }]) => conditions.stealShare))
    const during = stolen.map(([name]) => name).join(', ')
    found.push(`the hypervisor took up to ${(most * 100).toFixed(1)} % of the CPUs' time during ${during}`)
  }
  return found
}

/** What the machine's own changes of speed came to: no reason to doubt a ratio, one to compare no two runs. */
function speedOf(taken) {
  const list = Object.values(taken)
    .map(({ conditions }) => conditions?.speed)
    .filter((speed) => speed?.rounds > 0)
  return {
    rounds: list.reduce((sum, { rounds }) => sum + rounds, 0),
    flips: list.reduce((sum, { flips }) => sum + flips, 0),
    slowestOverFastest: Math.max(1, ...list.map(({ slowestOverFastest }) => slowestOverFastest)),
  }
}

function versionsOf(taken, machine) {
  const seen = Object.assign({}, ...Object.values(taken).map(({ settings }) => settings?.peers))
  const number = (text) => text?.replace(' version', '')
  const { crun = number(machine.crun), go, docker } = seen
  const list = { runc: number(machine.runc), crun: number(crun), go, docker }
  return Object.fromEntries(
    Object.entries(list)
      .filter(([, version]) => version)
      .map(([name, version]) => [name, version.includes(name) ? version : `${name}: ${version}`]),
  )
}

function validityLine({ loadAverage: { before, after }, speed: { rounds, flips, slowestOverFastest } }) {
  const loads = `load ${before[0].toFixed(2)} before, ${after[0].toFixed(2)} after`
  return `${rounds} rounds; the machine changed its speed ${flips} times, by up to ${slowestOverFastest.toFixed(2)}; ${loads}`
}

function page(results, drawings, figuresDirectory, directory) {
  const { head, rows } = comparisonTable(results.comparison)
  const aims = figureTable(results.figures)
  const lines = [
    '# What the benchmarks measured',
    '',
    ...originOf(results).map((one) => `- ${one}`),
    '',
    validityLine(results.validity),
    ...results.validity.doubts.map((doubt) => `**Not to be believed: ${doubt}.**`),
    '[How each figure is taken](../README.md), and what would make it unfair.',
    '',
    "Median and p99 are libcontainer's; under the others stands their median over that median.",
    '',
    markdownTable(head, rows),
    '',
    ...Object.keys(drawings).map(
      (name) => `![${name.replace('.svg', '')}](${join(relative(directory, figuresDirectory), name)})\n`,
    ),
    markdownTable(aims.head, aims.rows),
    '',
  ]
  return lines.join('\n')
}

async function main() {
  if (values.help) return say(usage)
  const names = Object.keys(parts).filter((name) => values.only.split(',').includes(name))
  const unknown = values.only.split(',').filter((name) => !(name in parts))
  if (unknown.length > 0 || !['full', 'quick', 'smallest'].includes(values.size)) throw new Error(usage)
  const whole = values.size === 'full' && names.length === Object.keys(parts).length
  const directory = resolve(repository, values.output ?? (whole ? 'bench/results' : 'build/bench'))
  const figuresDirectory = resolve(repository, values.figures ?? (whole ? 'docs/figures' : 'build/bench'))
  const machine = describeMachine()
  const loadBefore = loadavg()
  say(`${machine.cpu}, ${machine.cores} cores, Linux ${machine.kernel}, cgroup ${machine.cgroups}`)

  const work = mkdtempSync(join(tmpdir(), 'libcontainer-bench-results-'))
  const taken = {}
  try {
    for (const name of names) {
      if (interrupted) break
      process.stdout.write(`${name.padEnd(10)}${values.verbose ? '\n' : ''}`)
      taken[name] = await runPart(name, work, machine.cores)
      const { seconds, failed, output } = taken[name]
      say(`${seconds.toFixed(0).padStart(4)} s${failed ? `  FAILED: ${failed}` : ''}`)
      if (failed && !interrupted) process.stderr.write(output)
    }
  } finally {
    rmSync(work, { recursive: true })
  }
  if (interrupted) throw new Error(`interrupted by ${interrupted}`)

  const good = Object.fromEntries(Object.entries(taken).filter(([, { failed }]) => !failed))
  const failed = names.filter((name) => taken[name].failed)
  const figures = Object.entries(good).flatMap(([part, { figures: list }]) =>
    list.map((figure) => ({ part, ...figure })),
  )
  const command = ['node bench/run.mjs', ...process.argv.slice(2)].join(' ')
  const results = {
    date: machine.date,
    command: whole ? 'make bench' : command,
    size: values.size,
    machine,
    versions: versionsOf(good, machine),
    validity: {
      doubts: doubts(good, machine.cores),
      loadAverage: { before: loadBefore, after: loadavg() },
      speed: speedOf(good),
      failed,
    },
    comparison: compareAll(good),
    figures,
    parts: Object.fromEntries(
      Object.entries(good).map(([name, { machine: _, figures: __, ...part }]) => [name, part]),
    ),
  }
  const drawings = draw(results)
  for (const one of [directory, figuresDirectory]) mkdirSync(one, { recursive: true })
  writeFileSync(join(directory, 'latest.json'), `${JSON.stringify(results, null, 1)}\n`)
  writeFileSync(join(directory, 'latest.md'), page(results, drawings, figuresDirectory, directory))
  for (const [name, content] of Object.entries(drawings)) {
    writeFileSync(join(figuresDirectory, name), content)
  }

  heading('Median and p99 of libcontainer; under the others their median over that median')
  const compared = comparisonTable(results.comparison)
  table(compared.head, compared.rows)
  const reached = figures.filter(({ met }) => met).length
  heading(`${reached} of ${figures.length} aims reached`)
  const aims = figureTable(figures)
  table(aims.head, aims.rows)
  say()
  say(Object.values(results.versions).join('; '))
  say(validityLine(results.validity))
  for (const doubt of results.validity.doubts) say(`NOT TO BE BELIEVED: ${doubt}`)
  say(
    `written to ${relative('', directory)}/latest.json and latest.md, ${relative('', figuresDirectory)}/*.svg`,
  )
  const missed = values.check && (reached < figures.length || results.validity.doubts.length > 0)
  if (failed.length > 0 || missed) process.exitCode = 1
}

main().catch((error) => {
  process.exitCode = 1
  process.stderr.write(`bench: ${interrupted ? error.message : error.stack}\n`)
})
