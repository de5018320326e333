// exec against the C floor, child_process.spawn, Go's libcontainer, runc, crun and dockerd: takes turns with all of them in
// one run, prints medians and ratios beside the figures to reach, and writes bench/results/exec.json. See bench/README.md.
import { procStat } from '../../test/support/processes.mjs'
import { cgroupProcsOf, timeSpawn } from '../ground.mjs'
import { Part } from '../part.mjs'
import { Floor, Host } from '../programs.mjs'
import { heading, ratio, say, showKinds, table } from '../report.mjs'
import { interleave } from '../rounds.mjs'
import { compare, repeat, summarize, time } from '../statistics.mjs'

const part = new Part(
  'exec',
  { exec: benchExec, heap: benchHeap, parallel: benchParallel, sequence: benchSequence },
  {
    rounds: ['80', 'rounds of the exec section; the others take a share of it'],
    batch: ['8', 'samples of each kind in a round'],
    'heap-gib': ['2', 'live heap of the heap section'],
    sequence: ['1000', 'execs one after the other'],
  },
)
const { random, undo } = part
const { figure, atMost, atLeast, keep, results } = part.report
const rounds = part.number('rounds')
const batch = part.number('batch')
const heapGib = part.number('heap-gib')
const program = ['/bin/busybox', 'true']
const inFlight = 16

let serial = 0
let shared

/** The container that most sections share. */
async function sharedContainer() {
  shared ??= await part.makeContainer('runc')
  return shared
}

let floorBinary

function startFloor(container) {
  floorBinary ??= part.compile(new URL('floor.c', import.meta.url))
  const { pid } = container.processes.get('init')
  const floor = new Floor(floorBinary, pid, cgroupProcsOf(pid), program)
  undo.add('stop a floor program', () => floor.stop())
  return floor
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

function startHost(flags, settings) {
  const host = new Host(new URL('host.mjs', import.meta.url), flags, settings)
  undo.add('stop a host program', () => host.stop())
  return host
}

async function benchExec() {
  heading(`exec of ${program.join(' ')}, from the call to its end`)
  const container = await sharedContainer()
  const floor = startFloor(container)
  const few = Math.ceil(batch / 4)
  const byRuntime = (runtime, { id }) => {
    const args = [`--root=${part.recordsOf(runtime)}`, 'exec', id, ...program]
    return () => repeat(few, () => timeSpawn(runtime, args))
  }
  const kinds = {
    libcontainer: () => execBatch(container, batch),
    floor: () => floor.run(batch),
    'child_process.spawn': () => repeat(batch, () => timeSpawn(program[0], program.slice(1))),
    'runc exec': byRuntime('runc', container),
  }
  if (part.withCrun())
    kinds['crun exec'] = byRuntime('crun', await part.makeContainer('crun', { runtime: 'crun' }))
  const go = part.startGo()
  if (go) {
    await go.ask(`load ${container.id}`)
    kinds["Go's libcontainer"] = () => go.ask(`exec ${few} ${program.join(' ')}`)
  }
  const docker = await part.startDocker()
  if (docker) {
    const target = await docker.start(['/bin/busybox', 'sleep', '1000000'])
    kinds.dockerode = () => repeat(few, () => time(() => docker.exec(target, program)))
  }
  const taken = await interleave(kinds, { rounds, random, warmUp: 2 })
  await floor.stop()
  await go?.stop()
  await docker?.stop()
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
  const container = await sharedContainer()
  const settings = { root: container.root, id: container.id }
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
  const container = await sharedContainer()
  const floors = Array.from({ length: inFlight }, () => startFloor(container))
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

async function benchSequence() {
  const count = part.number('sequence')
  heading(`${count} execs one after the other: what the program and its shim hold`)
  const container = await part.makeContainer('sequence')
  // V8 lets its young generation grow for thousands of turns of anything: of a fixed size it hides nothing.
  const host = startHost(['--expose-gc', '--max-semi-space-size=1'], {
    root: container.root,
    id: container.id,
    name: 'sequence',
    heapBytes: 0,
  })
  const marker = await container.exec('marker', { args: ['/bin/busybox', 'sleep', '1000000'] })
  const shim = procStat(marker.pid).parent
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

await part.run()
