// exec, start and delete against the C floor, child_process.spawn, runc and crun: takes turns with all of them in one
// run, prints medians and ratios beside the figures to reach, and writes bench/results/exec.json. See bench/README.md.
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
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
  memoryOf,
  mountHugetlb,
  parentOf,
  stateOf,
  timeSpawn,
  Undo,
} from '../ground.mjs'
import { Floor, Host } from '../programs.mjs'
import { heading, microseconds, ratio, Report, say, showKinds, table } from '../report.mjs'
import { compare, interleave, makeRandom, median, repeat, summarize } from '../statistics.mjs'

const usage = `usage: node bench/exec/run.mjs [options]
  --only=SECTIONS   comma-separated, of: shim, exec, heap, parallel, life, sequence; all
  --rounds=N        rounds of the exec section; the others take a share of it; 60
  --batch=N         samples of each kind in a round; 8
  --seed=N          of the order within the rounds; 1
  --heap-gib=N      live heap of the heap section; 2
  --check           exit with 1 when a figure is not reached
`
const { values } = parseArgs({
  options: {
    only: { type: 'string', default: 'shim,exec,heap,parallel,life,sequence' },
    rounds: { type: 'string', default: '60' },
    batch: { type: 'string', default: '8' },
    seed: { type: 'string', default: '1' },
    'heap-gib': { type: 'string', default: '2' },
    check: { type: 'boolean', default: false },
    help: { type: 'boolean', default: false },
  },
})
const sections = new Set(values.only.split(','))
const rounds = Number(values.rounds)
const batch = Number(values.batch)
const heapGib = Number(values['heap-gib'])
const random = makeRandom(Number(values.seed))
const program = ['/bin/busybox', 'true']
const inFlight = 16

const undo = new Undo()
undo.onSignals()
const report = new Report()
const { results } = report
const { figure, atMost, atLeast, keep } = report
let ground

let serial = 0

/** Records of their own, so that nothing of this bench is among the machine's containers. */
function runtimeRoot(runtime) {
  return `--root=${join(ground.run, runtime)}`
}

async function makeContainer(name, options = {}) {
  const id = `bench-${process.pid}-${name}`
  const container = await Container.create({
    root: join(ground.run, 'state'),
    id,
    bundle: ground.bundles.idle,
    runtimeArgs: [runtimeRoot(options.runtime ?? 'runc')],
    ephemeral: true, // gone with this program, even if that is killed
    ...options,
  })
  undo.add(`delete container ${id}`, () => container[Symbol.asyncDispose]())
  await container.start()
  return container
}

/** Nanoseconds from the call of exec to the resolved wait, each; the records are removed after the last. */
async function execBatch(container, count) {
  const jobs = []
  const samples = await repeat(count, async () => {
    const before = process.hrtime.bigint()
    const job = await container.exec(`job-${++serial}`, { args: program })
    const { exitCode } = await job.wait()
    const took = Number(process.hrtime.bigint() - before)
    if (exitCode !== 0) throw new Error(`exec ended with ${exitCode}`)
    jobs.push(job)
    return took
  })
  for (const job of jobs) await container.removeProcess(job.id)
  return samples
}

function startFloor() {
  const { pid } = ground.container.processes.get('init')
  const floor = new Floor(ground.floorBinary, pid, cgroupProcsOf(pid), program)
  undo.add('stop a floor program', () => floor.stop())
  return floor
}

function startHost(flags, settings) {
  const host = new Host(new URL('host.mjs', import.meta.url), flags, settings)
  undo.add('stop a host program', () => host.stop())
  return host
}

async function benchExec() {
  heading(`exec of ${program.join(' ')}, from the call to the resolved wait()`)
  const floor = startFloor()
  const { container } = ground
  const kinds = {
    libcontainer: () => execBatch(container, batch),
    floor: () => floor.run(batch),
    'child_process.spawn': () => repeat(batch, () => timeSpawn(program[0], program.slice(1))),
    'runc exec': () =>
      repeat(batch, () => timeSpawn('runc', [runtimeRoot('runc'), 'exec', container.id, ...program])),
  }
  if (ground.crunContainer) {
    const { id } = ground.crunContainer
    const args = [runtimeRoot('crun'), 'exec', id, ...program]
    kinds['crun exec'] = () => repeat(batch, () => timeSpawn('crun', args))
  }
  const taken = await interleave(kinds, { rounds, random, warmUp: 2 })
  await floor.stop()
  showKinds(taken)
  const ratios = Object.fromEntries(
    Object.keys(taken)
      .filter((name) => name !== 'libcontainer')
      .map((name) => [name, compare(taken.libcontainer, taken[name])]),
  )
  keep('exec', taken, { ratios, cgroups: cgroupProcsOf(container.processes.get('init').pid).length })
  atMost('median exec / C floor', ratios.floor.ofMedians, 1.6)
  figure(
    'median exec / child_process.spawn on the host',
    ratios['child_process.spawn'].ofMedians,
    'below 1',
    ratios['child_process.spawn'].ofMedians < 1,
  )
  atLeast('runc exec / median exec', 1 / ratios['runc exec'].ofMedians, 12)
  if (ratios['crun exec']) atLeast('crun exec / median exec', 1 / ratios['crun exec'].ofMedians, 4)
}

async function benchHeap() {
  heading(`exec with ${heapGib} GiB of live JavaScript heap, and without`)
  const settings = { root: ground.container.root, id: ground.container.id }
  const heapBytes = heapGib * 1024 ** 3
  const flags = ['--expose-gc', `--max-old-space-size=${Math.ceil(heapGib * 2048)}`]
  const hosts = {
    without: startHost(flags, { ...settings, name: 'small', heapBytes: 0 }),
    with: startHost(flags, { ...settings, name: 'large', heapBytes }),
  }
  const heap = await hosts.with.ask('heap')
  if (heap.heapUsed < heapBytes) throw new Error(`the heap holds only ${heap.heapUsed} bytes`)
  const taken = await interleave(
    {
      'libcontainer without': () => hosts.without.ask('exec', { count: batch }),
      'libcontainer with': () => hosts.with.ask('exec', { count: batch }),
      'spawn without': () => hosts.without.ask('spawn', { count: batch }),
      'spawn with': () => hosts.with.ask('spawn', { count: batch }),
    },
    { rounds: Math.ceil(rounds / 2), random, warmUp: 2 },
  )
  await Promise.all([hosts.with.stop(), hosts.without.stop()])
  showKinds(taken)
  const grown = compare(taken['libcontainer with'], taken['libcontainer without'])
  const spawnGrown = compare(taken['spawn with'], taken['spawn without'])
  keep('heap', taken, { heap, ratios: { libcontainer: grown, spawn: spawnGrown } })
  say(
    `${heap.objects} objects, ${Math.round(heap.heapUsed / 2 ** 20)} MiB; child_process.spawn grows to ${ratio(spawnGrown.ofMedians)}`,
  )
  atMost(`median exec with ${heapGib} GiB heap / without`, grown.ofMedians, 1.1)
}

async function benchParallel() {
  heading(`${inFlight} in flight: how many in a second`)
  const each = batch * 2
  const floors = Array.from({ length: inFlight }, startFloor)
  const { container } = ground
  const perSecond = (before) => [(inFlight * each) / (Number(process.hrtime.bigint() - before) / 1e9)]
  const kinds = {
    floor: async () => {
      const before = process.hrtime.bigint()
      await Promise.all(floors.map((floor) => floor.run(each)))
      return perSecond(before)
    },
    libcontainer: async () => {
      const jobs = []
      const worker = () =>
        repeat(each, async () => {
          const job = await container.exec(`job-${++serial}`, { args: program })
          const { exitCode } = await job.wait()
          if (exitCode !== 0) throw new Error(`exec ended with ${exitCode}`)
          jobs.push(job)
        })
      const before = process.hrtime.bigint()
      await Promise.all(Array.from({ length: inFlight }, worker))
      const samples = perSecond(before)
      for (const job of jobs) await container.removeProcess(job.id)
      return samples
    },
  }
  const taken = await interleave(kinds, { rounds: Math.ceil(rounds / 3), random })
  for (const floor of floors) await floor.stop()
  table(
    ['', 'rounds', 'median /s', 'worst /s'],
    Object.entries(taken).map(([name, samples]) => {
      const summary = summarize(samples.flat())
      return [name, String(summary.samples), summary.median.toFixed(0), summary.min.toFixed(0)]
    }),
  )
  say()
  const share = compare(taken.libcontainer, taken.floor)
  keep('parallel', taken, { unit: 'execs per second', inFlight, each, ratio: share })
  atLeast(`throughput with ${inFlight} in flight / ${inFlight} copies of the floor`, share.ofMedians, 0.7)
}

/** Until the program is no more; nobody's time counts it. */
async function ended(pid) {
  while (!['Z', 'X', 'gone'].includes(stateOf(pid))) await new Promise((resolve) => setTimeout(resolve, 1))
}

async function benchLife() {
  heading('start + delete of a container whose program ends by itself')
  const state = join(ground.run, 'state')
  const records = join(ground.run, 'runc')
  const runc = (...args) => timeSpawn('runc', [runtimeRoot('runc'), ...args])
  const bundle = ground.bundles.brief
  const mark = () => process.hrtime.bigint()
  const parts = { library: [], runc: [] }
  const waitIncluded = []

  async function byLibrary() {
    const id = `bench-${process.pid}-life-${++serial}`
    const before = mark()
    const container = await Container.create({ root: state, id, bundle, runtimeArgs: [runtimeRoot('runc')] })
    try {
      const init = await container.start()
      const started = mark()
      await init.wait()
      await ended(init.pid)
      const deleting = mark()
      await container.delete()
      const after = mark()
      parts.library.push({ start: Number(started - before), delete: Number(after - deleting) })
      waitIncluded.push(Number(after - before))
      return Number(started - before + (after - deleting))
    } catch (error) {
      await container.delete({ force: true }).catch(() => undefined)
      throw error
    }
  }

  async function byRunc() {
    const id = `bench-${process.pid}-life-${++serial}`
    try {
      const create = await runc('create', '--bundle', bundle, id)
      const pid = JSON.parse(readFileSync(join(records, id, 'state.json'), 'utf8')).init_process_pid
      const start = await runc('start', id)
      await ended(pid)
      const remove = await runc('delete', id)
      parts.runc.push({ create, start, delete: remove })
      return create + start + remove
    } catch (error) {
      await runc('delete', '--force', id).catch(() => undefined)
      throw error
    }
  }

  const taken = await interleave(
    {
      libcontainer: async () => [await byLibrary(), await byLibrary()],
      'runc create, start, delete': async () => [await byRunc(), await byRunc()],
    },
    { rounds: Math.ceil(rounds / 3), random },
  )
  showKinds(taken)
  const medians = (samples) =>
    Object.fromEntries(
      Object.keys(samples[0]).map((key) => [key, median(samples.map((sample) => sample[key]))]),
    )
  const partMedians = { libcontainer: medians(parts.library), runc: medians(parts.runc) }
  for (const [name, part] of Object.entries(partMedians)) {
    const list = Object.entries(part).map(([key, ns]) => `${key} ${microseconds(ns)}`)
    say(`${name}: ${list.join(', ')} us`)
  }
  const life = compare(taken.libcontainer, taken['runc create, start, delete'])
  keep('life', taken, { parts: partMedians, waitIncluded: summarize(waitIncluded), ratio: life })
  atMost('start + delete / runc create, start, delete', life.ofMedians, 1.15)
}

async function benchShim() {
  heading('memory of a shim with three processes running')
  // Pages of its program are counted as a share of each shim that maps them, so the first one is measured while it is
  // the only one: a single container has nobody to share with.
  const containers = []
  const measured = {}
  for (const shims of [1, 2, 3, 4]) {
    const container = await makeContainer(`shim-${shims}`)
    containers.push(container)
    for (const name of ['one', 'two'])
      await container.exec(name, { args: ['/bin/busybox', 'sleep', '1000000'] })
    await new Promise((resolve) => setTimeout(resolve, 200))
    measured[shims] = memoryOf(parentOf(containers[0].processes.get('one').pid))
  }
  for (const container of containers) await container.delete({ force: true })
  table(
    ['', 'Pss KiB', 'of it anonymous'],
    Object.entries(measured).map(([shims, { pssKib, pssAnonKib }]) => [
      shims === '1' ? 'the only shim' : `one of ${shims}`,
      String(pssKib),
      String(pssAnonKib),
    ]),
  )
  say()
  results.shim = { processes: 3, byNumberOfShims: measured }
  atMost('Pss of the only shim in KiB', measured[1].pssKib, 600, String)
}

async function benchSequence() {
  const count = 1000
  heading(`${count} execs one after the other: what the program and its shim hold`)
  const container = await makeContainer('sequence')
  // V8 lets its young generation grow for thousands of turns of anything: of a fixed size it hides nothing.
  const host = startHost(['--expose-gc', '--max-semi-space-size=1'], {
    root: container.root,
    id: container.id,
    name: 'sequence',
    heapBytes: 0,
  })
  const marker = await container.exec('marker', { args: ['/bin/busybox', 'sleep', '1000000'] })
  const shim = parentOf(marker.pid)
  const warmUp = 2 * count
  await host.ask('sequence', { count: warmUp })
  const counts = [await host.ask('counts', { shim })]
  for (let i = 0; i < 2; ++i) {
    await host.ask('sequence', { count })
    counts.push(await host.ask('counts', { shim }))
  }
  await host.stop()
  await container.delete({ force: true })
  const rows = []
  for (const who of ['program', 'shim']) {
    for (const what of ['descriptors', 'threads', 'pssKib', 'pssAnonKib', 'privateKib']) {
      rows.push([`${who} ${what}`, ...counts.map((at) => String(at[who][what]))])
    }
  }
  table(['', 'before', `after ${count}`, `after ${2 * count}`], rows)
  say()
  results.sequence = { count, warmUp, counts }
  const [before, after] = counts
  const grown = (who, what) => after[who][what] - before[who][what]
  for (const who of ['program', 'shim']) {
    atMost(`descriptors of the ${who}, grown by`, grown(who, 'descriptors'), 0, String)
    atMost(`threads of the ${who}, grown by`, grown(who, 'threads'), 0, String)
  }
  // A collected heap breathes; what leaks with every exec, be it a kilobyte, does not stay below this.
  atMost('Pss of the program in KiB, grown by', grown('program', 'pssKib'), 1000, String)
  atMost('Pss of the shim in KiB, grown by', grown('shim', 'pssKib'), 16, String)
}

/** The containers that the sections share: one of runc, in which libcontainer, floor and runc exec, and one of crun. */
async function makePeers() {
  if (ground.container) return
  const withCrun = sections.has('exec') && isInstalled('crun')
  if (withCrun) mountHugetlb(undo)
  else if (sections.has('exec')) say('crun is not installed: its figures are left out')
  ground.container = await makeContainer('runc')
  if (withCrun) ground.crunContainer = await makeContainer('crun', { runtime: 'crun' })
}

async function main() {
  if (values.help) return say(usage)
  const runners = {
    shim: benchShim, // first: it wants to be alone
    exec: benchExec,
    heap: benchHeap,
    parallel: benchParallel,
    life: benchLife,
    sequence: benchSequence,
  }
  for (const name of sections) {
    if (!(name in runners)) throw new Error(`no section '${name}'\n${usage}`)
  }
  const machine = describeMachine()
  say(`${machine.cpu}, ${machine.cores} cores, Linux ${machine.kernel}, cgroup ${machine.cgroups}`)
  say(`Node ${machine.node}, ${machine.runc}, ${machine.crun}; load ${machine.loadAverage[0].toFixed(2)}`)

  ground = { directory: makeDirectory(undo) }
  ground.run = makeRunDirectory(ground.directory, undo)
  ground.bundles = makeBundles(ground.directory)
  ground.floorBinary = compile(new URL('floor.c', import.meta.url), join(ground.directory, 'floor'))
  for (const [name, run] of Object.entries(runners)) {
    if (!sections.has(name)) continue
    if (name !== 'shim') await makePeers()
    await run()
  }

  const settings = { rounds, batch, seed: Number(values.seed), heapGib, sections: [...sections] }
  const missed = report.finish('exec', machine, settings)
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
