// pids, stats, updates, pause and resume against C floors, Go's libcontainer, runc and crun: takes turns with all of
// them in one run, sweeps Container.stats over many containers, prints medians and ratios beside the figures to reach,
// and writes bench/results/cgroups.json. See bench/README.md.
import { readdirSync, readFileSync, readlinkSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { monitorEventLoopDelay } from 'node:perf_hooks'
import { parseArgs } from 'node:util'
import { Container } from '../../dist/index.mjs'
import {
  cgroupProcsOf,
  compile,
  describeMachine,
  isInstalled,
  makeBundles,
  makeDirectory,
  makeRunDirectory,
  mountHugetlb,
  timeSpawn,
  Undo,
} from '../ground.mjs'
import { Host, TimedProgram } from '../programs.mjs'
import { heading, microseconds, ratio, Report, say, table } from '../report.mjs'
import { compare, interleave, makeRandom, median, repeat, summarize } from '../statistics.mjs'
import { makeCrowd } from './crowd.mjs'
import { buildPeer } from './peer.mjs'

const usage = `usage: node bench/cgroups/run.mjs [options]
  --only=SECTIONS   comma-separated, of: calls, sweep, memory; all
  --rounds=N        rounds of the calls section; 40
  --batch=N         samples of each kind in a round, a tenth of it for what is a process; 20
  --crowd=N         containers of the sweep; 1000
  --seed=N          of the order within the rounds; 1
  --check           exit with 1 when a figure is not reached
`
const { values } = parseArgs({
  options: {
    only: { type: 'string', default: 'calls,sweep,memory' },
    rounds: { type: 'string', default: '40' },
    batch: { type: 'string', default: '20' },
    crowd: { type: 'string', default: '1000' },
    seed: { type: 'string', default: '1' },
    check: { type: 'boolean', default: false },
    help: { type: 'boolean', default: false },
  },
})
const sections = new Set(values.only.split(','))
const rounds = Number(values.rounds)
const batch = Number(values.batch)
const crowdSize = Number(values.crowd)
const random = makeRandom(Number(values.seed))

const undo = new Undo()
undo.onSignals()
const report = new Report()
const { atMost, atLeast, figure, keep, results } = report
let ground

const now = () => process.hrtime.bigint()

/** Nanoseconds of each call; the function is entered once, so that nothing but the call is between the two looks. */
function timeSync(count, call) {
  const samples = []
  for (let i = 0; i < count; ++i) {
    const before = now()
    call()
    samples.push(Number(now() - before))
  }
  return samples
}

async function time(count, call) {
  const samples = []
  for (let i = 0; i < count; ++i) {
    const before = now()
    await call()
    samples.push(Number(now() - before))
  }
  return samples
}

function runtimeRoot(runtime) {
  return join(ground.run, runtime)
}

async function makeContainer(name, runtime) {
  const id = `bench-${process.pid}-${name}`
  const container = await Container.create({
    root: join(ground.run, 'state'),
    id,
    bundle: ground.bundles.idle,
    runtime,
    runtimeArgs: [`--root=${runtimeRoot(runtime)}`],
    ephemeral: true, // gone with this program, even if that is killed
  })
  undo.add(`delete container ${id}`, () => container[Symbol.asyncDispose]())
  await container.start()
  return container
}

/** The files that this program holds open below a container's cgroups. */
function filesKept(id) {
  const files = []
  for (const fd of readdirSync('/proc/self/fd')) {
    try {
      const path = readlinkSync(`/proc/self/fd/${fd}`)
      if (path.includes(`/${id}/`) && statSync(path).isFile()) files.push(path)
    } catch {
      // The descriptor of this very look.
    }
  }
  return files
}

function writeList(name, paths) {
  const list = join(ground.directory, name)
  writeFileSync(list, `${paths.join('\n')}\n`)
  return list
}

/**
 * What a floor reads is what this library reads: after the first statsSync it keeps every file that it has read, and
 * nothing else is open in a cgroup that nobody has asked for anything before.
 */
async function findFiles() {
  const { container } = ground
  container.statsSync()
  const stats = filesKept(container.id)
  const procs = cgroupProcsOf(container.processes.get('init').pid)
  const pids = procs.find((path) => path.includes('/devices')) ?? procs[0]
  const inPlaceOf = (controller, name) => {
    const found = procs.find((path) => path.split('/').includes(controller))
    return found && join(found, '..', name)
  }
  ground.files = {
    stats,
    pids,
    freezer: inPlaceOf('freezer', 'freezer.state'),
    pidsMax: inPlaceOf('pids', 'pids.max') ?? join(procs[0], '..', 'pids.max'),
  }
  ground.lists = { stats: writeList('stats.list', stats), pids: writeList('pids.list', [pids]) }
}

/** `call, who` -> function that gives samples. */
function kindsOfCalls() {
  const { container, crunContainer, floor, go, files, lists } = ground
  const kinds = {}
  const few = Math.max(1, Math.round(batch / 10))
  const add = (call, who, take) => (kinds[`${call}, ${who}`] = take)
  let serial = 0
  const limit = () => ({ pids: { limit: 1000 + (++serial % 2) } })
  const spawned = (call, runtime, target, ...commands) => {
    if (!target) return
    const root = `--root=${runtimeRoot(runtime)}`
    add(call, commands.map((command) => `${runtime} ${command(target.id)[0]}`).join(' + '), () =>
      repeat(few, async () => {
        let took = 0
        for (const command of commands) took += await timeSpawn(runtime, [root, ...command(target.id)])
        return took
      }),
    )
  }

  add('pids', 'floor, opened', () => floor.ask(`open ${lists.pids} ${batch}`))
  // None that keeps cgroup.procs: v1 gives such a descriptor the list of its first read for a whole second.
  add('pids', 'pidsSync', () => timeSync(batch, () => container.pidsSync()))
  add('pids', 'pids', () => time(batch, () => container.pids()))
  if (go) add('pids', 'Go', () => go.ask(`pids ${batch}`))
  spawned('pids', 'runc', container, (id) => ['ps', '--format=json', id])
  spawned('pids', 'crun', crunContainer, (id) => ['ps', '--format=json', id])

  add('stats', 'floor, opened', () => floor.ask(`open ${lists.stats} ${batch}`))
  add('stats', 'floor, kept', () => floor.ask(`keep ${lists.stats} ${batch}`))
  add('stats', 'statsSync', () => timeSync(batch, () => container.statsSync()))
  add('stats', 'stats', () => time(batch, () => container.stats()))
  add('stats', 'Container.stats', () => time(batch, () => Container.stats([container])))
  if (go) add('stats', 'Go', () => go.ask(`stats ${batch}`))
  spawned('stats', 'runc', container, (id) => ['events', '--stats', id])

  add('status', 'status', () => time(batch, () => container.status()))
  if (go) add('status', 'Go', () => go.ask(`status ${batch}`))
  spawned('status', 'runc', container, (id) => ['state', id])
  spawned('status', 'crun', crunContainer, (id) => ['state', id])

  const record = join(ground.run, 'floor-record.json')
  writeFileSync(record, JSON.stringify({ filler: 'x'.repeat(5700) }))
  add('update', 'floor', () => floor.ask(`update ${files.pidsMax} ${batch} ${record}`))
  add('update', 'updateResources', () => time(batch, () => container.updateResources(limit())))
  if (go) add('update', 'Go', () => go.ask(`update ${batch}`))
  const limitFlag = () => `--pids-limit=${1000 + (++serial % 2)}`
  spawned('update', 'runc', container, (id) => ['update', limitFlag(), id])
  spawned('update', 'crun', crunContainer, (id) => ['update', limitFlag(), id])

  if (files.freezer) add('pause', 'floor', () => floor.ask(`freeze ${files.freezer} ${batch}`))
  else say('no v1 freezer: the floor of pause + resume is left out')
  add('pause', 'pause + resume', () =>
    time(batch, async () => {
      await container.pause()
      await container.resume()
    }),
  )
  if (go) add('pause', 'Go', () => go.ask(`freeze ${batch}`))
  const pauseAndResume = [(id) => ['pause', id], (id) => ['resume', id]]
  spawned('pause', 'runc', container, ...pauseAndResume)
  spawned('pause', 'crun', crunContainer, ...pauseAndResume)
  return kinds
}

async function benchCalls() {
  heading(`one container; ${ground.files.stats.length} files for its stats`)
  const taken = await interleave(kindsOfCalls(), { rounds, random, warmUp: 2 })
  keep('calls', taken, { files: ground.files })
  const own = {
    pids: 'pidsSync',
    stats: 'statsSync',
    status: 'status',
    update: 'updateResources',
    pause: 'pause + resume',
  }
  table(
    ['', 'samples', 'median us', 'p99 us', 'min us', 'x ours'],
    Object.entries(taken).map(([name, samples]) => {
      const summary = summarize(samples.flat())
      const ours = taken[`${name.split(',')[0]}, ${own[name.split(',')[0]]}`]
      return [
        name,
        String(summary.samples),
        microseconds(summary.median),
        microseconds(summary.p99),
        microseconds(summary.min),
        ratio(compare(samples, ours).ofMedians),
      ]
    }),
  )
  say()
  const ratios = {}
  const compared = (name, a, b) => {
    if (!taken[a] || !taken[b]) {
      say(`not measured: ${name}`)
      return null
    }
    ratios[name] = compare(taken[a], taken[b])
    return ratios[name].ofMedians
  }
  const limited = (name, a, b, judge, limit) => {
    const measured = compared(name, a, b)
    if (measured !== null) judge(name, measured, limit)
  }
  limited('pidsSync / floor that opens', 'pids, pidsSync', 'pids, floor, opened', atMost, 2)
  atMost('pids() in us', median(taken['pids, pids'].flat()) / 1000, 40, (value) => value.toFixed(1))
  limited('statsSync / floor that opens', 'stats, statsSync', 'stats, floor, opened', atMost, 0.6)
  limited("Go's stats / stats()", 'stats, Go', 'stats, stats', atLeast, 3)
  limited("Go's Set / updateResources", 'update, Go', 'update, updateResources', atLeast, 1.5)
  limited('runc update / updateResources', 'update, runc update', 'update, updateResources', atLeast, 25)
  limited('pause + resume / floor', 'pause, pause + resume', 'pause, floor', atMost, 1.2)
  results.calls.ratios = ratios
}

/** How late the event loop is, in ms, while `work` runs; a timer that is due each millisecond tells. */
async function loopDelay(work) {
  const monitor = monitorEventLoopDelay({ resolution: 1 })
  monitor.enable()
  await work()
  monitor.disable()
  return { p50: monitor.percentile(50) / 1e6, p99: monitor.percentile(99) / 1e6, max: monitor.max / 1e6 }
}

/** The soft limit on open files of this program. */
function openFilesLimit() {
  const [, soft] = /^Max open files +(\w+)/m.exec(readFileSync('/proc/self/limits', 'utf8'))
  return soft === 'unlimited' ? Infinity : Number(soft)
}

async function benchSweep() {
  const { container, crowd, floor, files, lists } = ground
  heading(`Container.stats over ${crowd.ids.length} containers`)
  const handles = []
  for (const id of crowd.ids) handles.push(await Container.load(container.root, id))
  undo.add('close the handles', () => Promise.all(handles.map((handle) => handle.close())))
  const sizes = [1, 10, 100, 1000].filter((size) => size <= handles.length)
  const kinds = { 'one, floor': () => floor.ask(`open ${lists.stats} ${batch}`) }
  for (const size of sizes) {
    const some = handles.slice(0, size)
    const passes = Math.max(1, Math.round(200 / size))
    kinds[`${size}, Container.stats`] = async () => {
      const samples = await time(passes, async () => {
        for (const answer of await Container.stats(some)) if (answer instanceof Error) throw answer
      })
      return samples.map((took) => took / size)
    }
    const paths = crowd.ids
      .slice(0, size)
      .flatMap((id) => files.stats.map((path) => path.replaceAll(container.id, id)))
    const list = writeList(`stats-${size}.list`, paths)
    kinds[`${size}, floor`] = async () =>
      (await floor.ask(`open ${list} ${passes}`)).map((took) => took / size)
  }
  const taken = await interleave(kinds, { rounds: Math.ceil(rounds / 2), random, warmUp: 2 })
  const idle = await loopDelay(() => new Promise((resolve) => setTimeout(resolve, 1500)))
  const until = Date.now() + 3000
  const busy = await loopDelay(async () => {
    while (Date.now() < until) await Container.stats(handles)
  })
  const descriptors = readdirSync('/proc/self/fd').filter((fd) => {
    try {
      return readlinkSync(`/proc/self/fd/${fd}`).includes(`bench-${process.pid}-crowd`)
    } catch {
      return false
    }
  }).length
  table(
    ['containers', 'us each', 'p99', 'floor us each', 'x floor'],
    sizes.map((size) => {
      const ours = taken[`${size}, Container.stats`]
      const theirs = taken[`${size}, floor`]
      const summary = summarize(ours.flat())
      return [
        String(size),
        microseconds(summary.median),
        microseconds(summary.p99),
        microseconds(median(theirs.flat())),
        ratio(compare(ours, theirs).ofMedians),
      ]
    }),
  )
  say()
  say(`descriptors kept for ${handles.length}: ${descriptors}`)
  const ms = ({ p50, p99, max }) => `p50 ${p50.toFixed(2)}, p99 ${p99.toFixed(2)}, max ${max.toFixed(2)}`
  say(`ms from tick to tick of a timer of 1 ms: idle ${ms(idle)}; in passes over all ${ms(busy)}`)
  say()
  const largest = sizes.at(-1)
  const ours = taken[`${largest}, Container.stats`]
  const ofAll = compare(ours, taken[`${largest}, floor`])
  const ofOne = compare(ours, taken['one, floor'])
  keep('sweep', taken, { descriptors, eventLoop: { unit: 'ms', idle, busy }, ratios: { ofAll, ofOne } })
  atMost(`Container.stats over ${largest} / ${largest} x floor that opens, of one`, ofOne.ofMedians, 0.8)
  atMost(`Container.stats over ${largest} / floor that opens, over ${largest}`, ofAll.ofMedians, 0.8)
  const costs = sizes
    .filter((size) => size >= 10)
    .map((size) => median(taken[`${size}, Container.stats`].flat()))
  atMost('dearest / cheapest container, from 10 up', Math.max(...costs) / Math.min(...costs), 1.15)
  atMost('event loop delay in ms, p99', busy.p99, 2)
  const most = Math.min(16_384, openFilesLimit() / 2)
  figure('descriptors kept', descriptors, `at most ${most}`, descriptors <= most, String)
}

async function benchMemory() {
  const { container, crowd } = ground
  const half = Math.floor(crowd.ids.length / 2)
  heading(`memory of ${crowd.ids.length - half} loaded containers`)
  const flags = ['--expose-gc', '--max-semi-space-size=1']
  const host = new Host(new URL('host.mjs', import.meta.url), flags, { root: container.root, ids: crowd.ids })
  undo.add('stop a host program', () => host.stop())
  // The first half grows what is there once: code, pools, the heap's own slack.
  await host.ask('load', { from: 0, to: half })
  const before = await host.ask('look')
  await host.ask('load', { from: half, to: crowd.ids.length })
  const after = await host.ask('look')
  await host.stop()
  const count = crowd.ids.length - half
  const each = (from, to) => (to - from) / count
  const rows = {
    'anonymous memory, KiB each': each(before.pssAnonKib, after.pssAnonKib),
    'of it JavaScript heap, KiB each': each(before.heapUsed, after.heapUsed) / 1024,
    'descriptors each': each(before.descriptors, after.descriptors),
  }
  table(
    ['', ''],
    Object.entries(rows).map(([name, value]) => [name, value.toFixed(2)]),
  )
  say()
  results.memory = { count, before, after, each: rows }
  atMost('memory of a loaded container in KiB', rows['anonymous memory, KiB each'], 12)
}

async function prepare() {
  ground = { directory: makeDirectory(undo) }
  ground.run = makeRunDirectory(ground.directory, undo)
  ground.bundles = makeBundles(ground.directory)
  const binary = (name) => compile(new URL(`${name}.c`, import.meta.url), join(ground.directory, name))
  const withCrun = sections.has('calls') && isInstalled('crun')
  if (withCrun) mountHugetlb(undo)
  else if (sections.has('calls')) say('crun is not installed: its figures are left out')
  ground.container = await makeContainer('runc', 'runc')
  if (withCrun) ground.crunContainer = await makeContainer('crun', 'crun')
  await findFiles()
  ground.floor = new TimedProgram(binary('floor'))
  undo.add('stop the floor program', () => ground.floor.stop())
  if (sections.has('calls')) {
    const peer = buildPeer(ground.directory, new URL('../../build/go-cache', import.meta.url).pathname)
    if (peer.missing) {
      say(`Go's libcontainer cannot be built, its figures are left out: ${peer.missing}`)
    } else {
      say(peer.go)
      ground.go = new TimedProgram(peer.binary, [runtimeRoot('runc'), ground.container.id])
      undo.add('stop the Go program', () => ground.go.stop())
    }
    results.go = peer.go ?? peer.missing
  }
  if (sections.has('sweep') || sections.has('memory')) {
    ground.crowd = await makeCrowd({
      count: crowdSize,
      name: `bench-${process.pid}-crowd`,
      model: ground.container,
      root: ground.container.root,
      runtimeRoot: runtimeRoot('runc'),
      sleepers: binary('sleepers'),
      undo,
    })
  }
}

async function main() {
  if (values.help) return say(usage)
  const runners = { calls: benchCalls, sweep: benchSweep, memory: benchMemory }
  for (const name of sections) {
    if (!(name in runners)) throw new Error(`no section '${name}'\n${usage}`)
  }
  const machine = describeMachine()
  say(`${machine.cpu}, ${machine.cores} cores, Linux ${machine.kernel}, cgroup ${machine.cgroups}`)
  say(`Node ${machine.node}, ${machine.runc}, ${machine.crun}; load ${machine.loadAverage[0].toFixed(2)}`)
  await prepare()
  for (const [name, run] of Object.entries(runners)) if (sections.has(name)) await run()
  const settings = { rounds, batch, crowd: crowdSize, seed: Number(values.seed), sections: [...sections] }
  const missed = report.finish('cgroups', machine, settings)
  if (values.check && missed.length > 0) process.exitCode = 1
}

try {
  await main()
} catch (error) {
  // After Ctrl-C everything that was under way fails; the handler says so and ends the program.
  if (!undo.interrupted) {
    process.exitCode = 1
    process.stderr.write(`bench: ${error.stack}\n`)
  }
} finally {
  await undo.run()
}
