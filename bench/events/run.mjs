// How long after the kernel a JavaScript handler learns of an OOM and of an exit, beside a C program that waits on the same
// descriptors; a burst of exits; what thousands of idle watchers cost; thousands of OOM kills, every one accounted for.
// See bench/README.md.
import { readFileSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { parseArgs } from 'node:util'
import { Container, events } from '../../dist/index.mjs'
import { makeBundle } from '../../examples/bundle.mjs'
import { makeCrowd } from '../cgroups/crowd.mjs'
import {
  cgroupProcsOf,
  compile,
  describeMachine,
  makeDirectory,
  makeRunDirectory,
  mountHugetlb,
  timeSpawn,
  Undo,
} from '../ground.mjs'
import { Host, TimedProgram } from '../programs.mjs'
import { heading, microseconds, Report, say, showKinds } from '../report.mjs'
import { median, quantile } from '../statistics.mjs'
import { traceKills } from './kills.mjs'

const usage = `usage: node bench/events/run.mjs [options]
  --only=SECTIONS   comma-separated, of: oom, exit, burst, idle, soak; all
  --samples=N       OOM kills and exits of which each is timed; 100
  --burst=N         exits at once; 1000
  --watchers=N      idle watchers, each on a cgroup of its own; 10000
  --idle=SECONDS    how long they are left alone; 30
  --kills=N         OOM kills of the soak; 5000
  --soakers=N       containers that they happen in, by turns; 100
  --check           exit with 1 when a figure is not reached
`
const { values } = parseArgs({
  options: {
    only: { type: 'string', default: 'oom,exit,burst,idle,soak' },
    samples: { type: 'string', default: '100' },
    burst: { type: 'string', default: '1000' },
    watchers: { type: 'string', default: '10000' },
    idle: { type: 'string', default: '30' },
    kills: { type: 'string', default: '5000' },
    soakers: { type: 'string', default: '100' },
    check: { type: 'boolean', default: false },
    help: { type: 'boolean', default: false },
  },
})
const sections = new Set(values.only.split(','))
const samples = Number(values.samples)
const settleMs = 20
const limitBytes = 16 * 1024 * 1024
const burstContainers = 10
/** Soaking containers that run out of memory at the same time: the kernel does one after the other anyway. */
const soakAtOnce = 4
const hog = ['/bin/busybox', 'tail', '/dev/zero']

const undo = new Undo()
undo.onSignals()
const report = new Report()
const { atMost, figure } = report
const now = () => Number(process.hrtime.bigint())
const whole = (value) => value.toFixed(0)
let ground
let serial = 0

async function makeContainer() {
  const id = `bench-${process.pid}-${++serial}`
  const container = await Container.create({
    root: join(ground.run, 'state'),
    id,
    bundle: ground.bundle,
    runtimeArgs: [`--root=${join(ground.run, 'runc')}`],
    ephemeral: true,
  })
  undo.add(`delete container ${id}`, () => container[Symbol.asyncDispose]())
  await container.start()
  return container
}

/** Where the container's memory is counted, and the file that says how many were killed. */
function memoryOf(container) {
  const files = cgroupProcsOf(container.processes.get('init').pid)
  const v1 = files.find((path) => path.includes('/memory/'))
  const directory = dirname(v1 ?? files.at(-1))
  return {
    directory,
    v1: v1 !== undefined,
    counters: join(directory, v1 ? 'memory.oom_control' : 'memory.events'),
  }
}

const countOf = (counters) => Number(/^oom_kill (\d+)$/m.exec(readFileSync(counters, 'utf8'))[1])

function startFloor(args = []) {
  ground.floorBinary ??= compile(new URL('floor.c', import.meta.url), join(ground.directory, 'floor'))
  const floor = new TimedProgram(ground.floorBinary, args)
  undo.add('end the floor', () => floor.stop())
  return floor
}

function judge(what, late) {
  atMost(`${what}, median, us`, median(late) / 1000, 150, whole)
  atMost(`${what}, p99, us`, quantile(late, 0.99) / 1000, 1000, whole)
}

async function benchOom() {
  heading('OOM: how long after the C program')
  const container = await makeContainer()
  const { directory, v1 } = memoryOf(container)
  if (!v1) return say('no memory controller on v1: the C program has no descriptor to wait on')
  const kills = traceKills(undo)
  if (!kills) say('no tracing in this kernel: the moments of the kills are not known')
  const floor = startFloor([directory])
  const watcher = await container.oom()
  const iteration = watcher[Symbol.asyncIterator]()
  const taken = { 'after the signal': [], 'from the signal to the kill': [], 'after signal and kill': [] }
  for (let i = 0; i < samples; ++i) {
    floor.note('signal')
    const heard = iteration.next().then(now)
    // It takes its time before it hogs, so that this loop has come to rest.
    const args = ['/bin/busybox', 'sh', '-c', `busybox usleep ${settleMs}000; exec ${hog.join(' ')}`]
    const job = await container.exec(`hog-${i}`, { args, cwd: '/' })
    const at = await heard
    await job.wait()
    const [signal] = await floor.ask('tell')
    taken['after the signal'].push(at - signal)
    const kill = kills?.take(job.pid)
    if (kill !== undefined) {
      taken['from the signal to the kill'].push(kill - signal)
      taken['after signal and kill'].push(at - Math.max(signal, kill))
    }
    await container.removeProcess(job.id)
  }
  const kinds = Object.fromEntries(Object.entries(taken).map(([name, late]) => [name, [late]]))
  showKinds(kinds)
  judge('OOM after the C program', taken['after the signal'])
  if (kills) judge('OOM after the C program and the kill', taken['after signal and kill'])
  report.keep('oom', kinds)
  await watcher.close()
}

async function benchExit() {
  heading('exit: how long after the C program')
  const container = await makeContainer()
  const floor = startFloor()
  const late = []
  for (let i = 0; i < samples; ++i) {
    const job = await container.exec(`job-${i}`, { args: ['/bin/busybox', 'sleep', '1000'], cwd: '/' })
    floor.note(`exits ${job.pid}`)
    const heard = job.wait().then(now)
    await sleep(settleMs)
    await job.kill('SIGKILL')
    const at = await heard
    late.push(at - (await floor.ask('tell'))[0])
    await container.removeProcess(job.id)
  }
  showKinds({ exit: [late] })
  judge('exit after the C program', late)
  report.keep('exit', { exit: [late] })
}

async function benchBurst() {
  const size = Number(values.burst)
  heading(`${size} exits at once`)
  const containers = []
  while (containers.length < burstContainers) containers.push(await makeContainer())
  const jobs = []
  for (let i = 0; i < size; ++i) {
    const host = containers[i % containers.length]
    jobs.push(await host.exec(`burst-${i}`, { args: ['/bin/busybox', 'sleep', '1000'], cwd: '/' }))
  }
  const stream = events(containers)
  await stream.ready
  const floor = startFloor()
  floor.note(`exits ${jobs.map(({ pid }) => pid).join(' ')}`)
  await sleep(settleMs * 10)
  const told = []
  const heard = (async () => {
    for await (const event of stream) {
      if (event.type === 'exited' && told.push(event) === size) return now()
    }
    return NaN
  })()
  for (const job of jobs) process.kill(job.pid, 'SIGKILL')
  const at = await heard
  const times = await floor.ask('tell')
  const last = Math.max(...times)
  say(`from the first to the last exit: ${microseconds(last - Math.min(...times))} us`)
  atMost(`the last of ${size} told after the last exit, ms`, (at - last) / 1e6, 50, (ms) => ms.toFixed(1))
  const different = new Set(told.map(({ process: job }) => job)).size
  figure('exits told, each once', different, `${size}`, different === size && told.length === size, whole)
  // As their container's shim saw them: never a later one first.
  const before = new Map()
  let late = 0
  for (const { container, at: exitedAt } of told) {
    if (exitedAt < (before.get(container) ?? 0)) ++late
    before.set(container, exitedAt)
  }
  figure('exits told after a later one of the same container', late, '0', late === 0, whole)
  await stream.close()
}

async function benchIdle() {
  const size = Number(values.watchers)
  const seconds = Number(values.idle)
  heading(`${size} idle watchers`)
  const model = await makeContainer()
  const { directory, v1 } = memoryOf(model)
  const name = `bench-${process.pid}-crowd`
  const crowd = await makeCrowd({
    count: size,
    name,
    model,
    root: model.root,
    runtimeRoot: join(ground.run, 'runc'),
    sleepers: compile(new URL('../cgroups/sleepers.c', import.meta.url), join(ground.directory, 'sleepers')),
    // Every hierarchy would do, and take nine times as long to make.
    only: v1 ? 'memory' : undefined,
    undo,
  })
  const heap = join(ground.directory, 'heap')
  writeFileSync(heap, Buffer.alloc(8))
  const counter = compile(new URL('heap.c', import.meta.url), join(ground.directory, 'heap.so'), [
    '-shared',
    '-fPIC',
    '-fno-builtin',
  ])
  const host = new Host(
    new URL('watchers.mjs', import.meta.url),
    ['--expose-gc', '--max-semi-space-size=1'],
    { root: model.root, crowd: name, size, heap },
    { LD_PRELOAD: counter, BENCH_HEAP: heap },
  )
  undo.add('stop a host program', () => host.stop())
  await host.ask('load')
  const before = await host.ask('look')
  await host.ask('watch')
  const after = await host.ask('look')
  const each = (key) => (after[key] - before[key]) / size
  say(
    `anonymous memory ${(each('pssAnonKib') * 1024).toFixed(0)} bytes each, of it JavaScript heap ${each('heapTotal').toFixed(0)}`,
  )
  say(`descriptors ${each('descriptors').toFixed(2)} each; ${after.threads - before.threads} more threads`)
  atMost('native memory of a watcher (malloc), bytes', each('mallocBytes'), 1024, whole)
  figure('threads of this library that wait for events', after.ownThreads, '1', after.ownThreads === 1, whole)
  const { ownNs, allNs } = await host.ask('idle', { ms: seconds * 1000 })
  const perMinute = (ns) => ns / 1e6 / (seconds / 60)
  const ms = (value) => value.toFixed(3)
  atMost('CPU time of that thread, ms a minute', perMinute(ownNs), 1, ms)
  say(`the whole program, Node's own threads included: ${ms(perMinute(allNs))} ms a minute`)

  // They are no less awake for it: some run out of memory, and their watchers alone tell.
  const some = crowd.ids.filter((_, index) => index % Math.ceil(size / 20) === 0)
  for (const id of some) {
    const cgroup = directory.replaceAll(model.id, id)
    writeFileSync(join(cgroup, v1 ? 'memory.limit_in_bytes' : 'memory.max'), String(limitBytes))
    if (!v1) writeFileSync(join(cgroup, 'memory.swap.max'), '0')
    const script = `echo $$ >${join(cgroup, 'cgroup.procs')}; exec busybox tail /dev/zero`
    await timeSpawn('busybox', ['sh', '-c', script]).catch(() => {})
  }
  const expected = new Map(
    some.map((id) => [
      id,
      countOf(join(directory.replaceAll(model.id, id), v1 ? 'memory.oom_control' : 'memory.events')),
    ]),
  )
  let told = {}
  for (let i = 0; i < 100 && Object.keys(told).length < some.length; ++i) {
    await sleep(settleMs)
    told = await host.ask('told')
  }
  const right = some.filter((id) => told[id] === expected.get(id) && told[id] > 0).length
  figure(
    `of ${some.length} that ran out of memory then, told as often as the kernel counts`,
    right,
    `${some.length}, and nobody else`,
    right === some.length && Object.keys(told).length === some.length,
    whole,
  )
  await host.ask('close')
  const closed = await host.ask('look')
  say(
    `after close: ${closed.descriptors - before.descriptors} descriptors, ${((closed.mallocBytes - before.mallocBytes) / size).toFixed(0)} bytes of malloc each are left`,
  )
  report.results.idle = { size, before, after, closed, ownNs, allNs, seconds }
  await host.stop()
}

async function benchSoak() {
  const kills = Number(values.kills)
  const soakContainers = Number(values.soakers)
  heading(`${kills} OOM kills over ${soakContainers} containers`)
  const containers = []
  while (containers.length < soakContainers) containers.push(await makeContainer())
  const watchers = await Promise.all(containers.map((container) => container.oom()))
  const stream = events(containers)
  await stream.ready
  const streamed = new Map(containers.map((container) => [container, 0]))
  const exited = new Map(containers.map((container) => [container, 0]))
  void (async () => {
    for await (const event of stream) {
      if (event.type === 'oom') streamed.set(event.container, streamed.get(event.container) + event.count)
      if (event.type === 'exited' && event.status.oomKilled) {
        exited.set(event.container, exited.get(event.container) + 1)
      }
    }
  })()
  const iterated = new Map(containers.map((container) => [container, 0]))
  watchers.forEach((watcher, index) => {
    void (async () => {
      for await (const { count } of watcher)
        iterated.set(containers[index], iterated.get(containers[index]) + count)
    })()
  })
  let next = 0
  const before = now()
  const lane = async () => {
    while (next < kills) {
      const turn = next++
      const container = containers[turn % containers.length]
      const job = await container.exec(`hog-${turn}`, { args: hog, cwd: '/' })
      await job.wait()
      await container.removeProcess(job.id)
    }
  }
  await Promise.all(Array.from({ length: soakAtOnce }, lane))
  const took = (now() - before) / 1e9
  const counted = new Map(containers.map((container) => [container, countOf(memoryOf(container).counters)]))
  const total = (counts) => [...counts.values()].reduce((sum, count) => sum + count, 0)
  const same = (counts) =>
    containers.filter((container) => counts.get(container) === counted.get(container)).length
  // The last word is on its way.
  for (let i = 0; i < 100 && same(streamed) + same(iterated) < 2 * soakContainers; ++i) await sleep(settleMs)
  const flushed = new Map(containers.map((container, index) => [container, watchers[index].flush()]))
  say(`${total(counted)} counted by the kernel in ${took.toFixed(0)} s`)
  for (const [what, counts] of Object.entries({
    flush: flushed,
    iteration: iterated,
    stream: streamed,
    oomKilled: exited,
  })) {
    const right = same(counts)
    figure(
      `containers of which ${what} agrees with the kernel (${total(counts)} in all)`,
      right,
      `${soakContainers}`,
      right === soakContainers,
      whole,
    )
  }
  figure('OOM kills in all', total(counted), `at least ${kills}`, total(counted) >= kills, whole)
  await stream.close()
  for (const watcher of watchers) await watcher.close()
}

async function main() {
  if (values.help) return say(usage)
  const runners = { oom: benchOom, exit: benchExit, burst: benchBurst, idle: benchIdle, soak: benchSoak }
  for (const name of sections) {
    if (!(name in runners)) throw new Error(`no section '${name}'\n${usage}`)
  }
  const machine = describeMachine()
  ground = { directory: makeDirectory(undo) }
  ground.run = makeRunDirectory(ground.directory, undo)
  mountHugetlb(undo)
  ground.bundle = makeBundle(join(ground.directory, 'bundle'), {
    process: { args: ['/bin/busybox', 'sleep', '1000000'] },
    resources: { memory: { limit: limitBytes, swap: limitBytes } },
  })
  for (const [name, run] of Object.entries(runners)) if (sections.has(name)) await run()
  const missed = report.finish('events', machine, values)
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
