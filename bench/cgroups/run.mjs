// pids, stats, updates, pause and resume against C floors, Go's libcontainer, runc and crun: takes turns with all of
// them in one run, sweeps Container.stats over many containers, prints medians and ratios beside the figures to reach,
// and writes bench/results/cgroups.json. See bench/README.md.
import { readdirSync, readlinkSync, statSync, writeFileSync } from 'node:fs'
import { basename, join } from 'node:path'
import { monitorEventLoopDelay } from 'node:perf_hooks'
import { setTimeout as sleep } from 'node:timers/promises'
import { Container } from '../../dist/index.mjs'
import { cgroupProcsOf, timeSpawn } from '../ground.mjs'
import { openFilesLimit, Part } from '../part.mjs'
import { TimedProgram } from '../programs.mjs'
import { heading, microseconds, ratio, say, table } from '../report.mjs'
import { interleave } from '../rounds.mjs'
import { compare, median, repeat, summarize, time } from '../statistics.mjs'
import { makeCrowd } from './crowd.mjs'

const part = new Part(
  'cgroups',
  { calls: benchCalls, sweep: benchSweep },
  {
    rounds: ['40', 'rounds of the calls section, half of it for the sweep'],
    batch: ['20', 'samples of each kind in a round, a tenth of it for what is a process'],
    crowd: ['1000', 'containers of the sweep'],
    seconds: ['3', 'for which the event loop is watched during the sweep'],
  },
)
const { random, undo } = part
const { atMost, atLeast, figure, keep, results } = part.report
const rounds = part.number('rounds')
const batch = part.number('batch')
let shared

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

async function timeEach(count, call) {
  const samples = []
  for (let i = 0; i < count; ++i) {
    const before = now()
    await call()
    samples.push(Number(now() - before))
  }
  return samples
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
  const list = join(part.directory, name)
  writeFileSync(list, `${paths.join('\n')}\n`)
  return list
}

/**
 * What a floor reads is what this library reads: after the first statsSync it keeps every file that it has read, and
 * nothing else is open in a cgroup that nobody has asked for anything before.
 */
function findFiles(container) {
  container.statsSync()
  const stats = filesKept(container.id)
  const procs = cgroupProcsOf(container.processes.get('init').pid)
  const pids = procs.find((path) => path.includes('/devices')) ?? procs[0]
  const inPlaceOf = (controller, name) => {
    const found = procs.find((path) => path.split('/').includes(controller))
    return found && join(found, '..', name)
  }
  return {
    stats,
    pids,
    freezer: inPlaceOf('freezer', 'freezer.state'),
    pidsMax: inPlaceOf('pids', 'pids.max') ?? join(procs[0], '..', 'pids.max'),
  }
}

/** What both sections stand on: a container of runc, its files, and the floor program. */
async function prepare() {
  if (shared) return shared
  const container = await part.makeContainer('runc')
  const files = findFiles(container)
  const floor = new TimedProgram(part.compile(new URL('floor.c', import.meta.url)))
  undo.add('stop the floor program', () => floor.stop())
  const lists = { stats: writeList('stats.list', files.stats), pids: writeList('pids.list', [files.pids]) }
  return (shared = { container, files, floor, lists })
}

/** `call, who` -> function that gives samples. */
function kindsOfCalls({ container, crunContainer, floor, go, docker, files, lists }) {
  const kinds = {}
  const few = Math.max(1, Math.round(batch / 10))
  const add = (call, who, take) => (kinds[`${call}, ${who}`] = take)
  let serial = 0
  const limit = () => ({ pids: { limit: 1000 + (++serial % 2) } })
  const spawned = (call, runtime, target, ...commands) => {
    if (!target) return
    const root = `--root=${part.recordsOf(runtime)}`
    add(call, commands.map((command) => `${runtime} ${command(target.id)[0]}`).join(' + '), () =>
      repeat(few, async () => {
        let took = 0
        for (const command of commands) took += await timeSpawn(runtime, [root, ...command(target.id)])
        return took
      }),
    )
  }

  const byDocker = (call, take) => {
    if (docker) add(call, 'dockerode', () => repeat(few, () => time(() => take(docker))))
  }

  add('pids', 'floor, opened', () => floor.ask(`open ${lists.pids} ${batch}`))
  // None that keeps cgroup.procs: v1 gives such a descriptor the list of its first read for a whole second.
  add('pids', 'pidsSync', () => timeSync(batch, () => container.pidsSync()))
  add('pids', 'pids', () => timeEach(batch, () => container.pids()))
  if (go) add('pids', 'Go', () => go.ask(`pids ${batch}`))
  spawned('pids', 'runc', container, (id) => ['ps', '--format=json', id])
  spawned('pids', 'crun', crunContainer, (id) => ['ps', '--format=json', id])
  byDocker('pids', (target) => target.top())

  add('stats', 'floor, opened', () => floor.ask(`open ${lists.stats} ${batch}`))
  add('stats', 'floor, kept', () => floor.ask(`keep ${lists.stats} ${batch}`))
  add('stats', 'statsSync', () => timeSync(batch, () => container.statsSync()))
  add('stats', 'stats', () => timeEach(batch, () => container.stats()))
  add('stats', 'Container.stats', () => timeEach(batch, () => Container.stats([container])))
  if (go) add('stats', 'Go', () => go.ask(`stats ${batch}`))
  spawned('stats', 'runc', container, (id) => ['events', '--stats', id])
  // What is asked twice within a second waits for dockerd's own next look, so it is asked as seldom as it takes.
  let asked = 0
  if (docker)
    add('stats', 'dockerode', async () => {
      if (asked++ % 4 > 0) return []
      await sleep(1500)
      return [await time(() => docker.stats({ stream: false, 'one-shot': true }))]
    })

  add('status', 'status', () => timeEach(batch, () => container.status()))
  if (go) add('status', 'Go', () => go.ask(`status ${batch}`))
  spawned('status', 'runc', container, (id) => ['state', id])
  spawned('status', 'crun', crunContainer, (id) => ['state', id])
  byDocker('status', (target) => target.inspect())

  const record = join(part.runDirectory, 'floor-record.json')
  writeFileSync(record, JSON.stringify({ filler: 'x'.repeat(5700) }))
  add('update', 'floor', () => floor.ask(`update ${files.pidsMax} ${batch} ${record}`))
  add('update', 'updateResources', () => timeEach(batch, () => container.updateResources(limit())))
  if (go) add('update', 'Go', () => go.ask(`update ${batch}`))
  const limitFlag = () => `--pids-limit=${1000 + (++serial % 2)}`
  spawned('update', 'runc', container, (id) => ['update', limitFlag(), id])
  spawned('update', 'crun', crunContainer, (id) => ['update', limitFlag(), id])
  byDocker('update', (target) => target.update({ PidsLimit: 1000 + (++serial % 2) }))

  if (files.freezer) add('pause', 'floor', () => floor.ask(`freeze ${files.freezer} ${batch}`))
  else say('no v1 freezer: the floor of pause + resume is left out')
  add('pause', 'pause + resume', () =>
    timeEach(batch, async () => {
      await container.pause()
      await container.resume()
    }),
  )
  if (go) add('pause', 'Go', () => go.ask(`freeze ${batch}`))
  const pauseAndResume = [(id) => ['pause', id], (id) => ['resume', id]]
  spawned('pause', 'runc', container, ...pauseAndResume)
  spawned('pause', 'crun', crunContainer, ...pauseAndResume)
  // dockerd knows of either only a little after it has said so, and refuses until then; the wait is in neither time.
  const docked = async (paused) => {
    while ((await docker.inspect()).State.Paused !== paused) await sleep(1)
  }
  if (docker)
    add('pause', 'dockerode', () =>
      repeat(few, async () => {
        const pause = await time(() => docker.pause())
        await docked(true)
        const resume = await time(() => docker.unpause())
        await docked(false)
        return pause + resume
      }),
    )
  return kinds
}

async function benchCalls() {
  const { container, files, floor, lists } = await prepare()
  const crunContainer = part.withCrun() ? await part.makeContainer('crun', { runtime: 'crun' }) : null
  const go = part.startGo()
  await go?.ask(`load ${container.id}`)
  const dockerd = await part.startDocker()
  const docker = await dockerd?.start(['/bin/busybox', 'sleep', '1000000'])
  heading(`one container; ${files.stats.length} files for its stats`)
  const kinds = kindsOfCalls({ container, crunContainer, floor, go, docker, files, lists })
  const taken = await interleave(kinds, { rounds, random, warmUp: 2 })
  await go?.stop()
  await dockerd?.stop()
  keep('calls', taken, { statsFiles: files.stats.map((path) => basename(path)) })
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

async function benchSweep() {
  const { container, files, floor, lists } = await prepare()
  const crowd = await makeCrowd({
    count: part.number('crowd'),
    name: part.id('crowd'),
    model: container,
    root: container.root,
    runtimeRoot: part.recordsOf('runc'),
    sleepers: part.compile(new URL('sleepers.c', import.meta.url)),
    undo,
  })
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
      const samples = await timeEach(passes, async () => {
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
  const watchedMs = part.number('seconds') * 1000
  const idle = await loopDelay(() => sleep(watchedMs / 2))
  const until = Date.now() + watchedMs
  const busy = await loopDelay(async () => {
    while (Date.now() < until) await Container.stats(handles)
  })
  const descriptors = readdirSync('/proc/self/fd').filter((fd) => {
    try {
      return readlinkSync(`/proc/self/fd/${fd}`).includes(part.id('crowd'))
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

await part.run()
