// How long after the kernel a JavaScript handler learns of an OOM and of an exit, beside a C program that waits on the same
// descriptors; and a burst of exits. See bench/README.md.
import { dirname, join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { parseArgs } from 'node:util'
import { Container, events } from '../../dist/index.mjs'
import { makeBundle } from '../../examples/bundle.mjs'
import {
  cgroupProcsOf,
  compile,
  describeMachine,
  makeDirectory,
  makeRunDirectory,
  mountHugetlb,
  Undo,
} from '../ground.mjs'
import { TimedProgram } from '../programs.mjs'
import { heading, microseconds, Report, say, showKinds } from '../report.mjs'
import { median, quantile } from '../statistics.mjs'

const { values } = parseArgs({
  options: {
    samples: { type: 'string', default: '100' },
    burst: { type: 'string', default: '1000' },
    check: { type: 'boolean', default: false },
  },
})
const count = Number(values.samples)
const burst = Number(values.burst)
const burstContainers = 10
const settleMs = 20
const limitBytes = 16 * 1024 * 1024

const undo = new Undo()
undo.onSignals()
const report = new Report()
const now = () => Number(process.hrtime.bigint())

async function main() {
  const machine = describeMachine()
  const directory = makeDirectory(undo)
  const run = makeRunDirectory(directory, undo)
  mountHugetlb(undo)
  const binary = compile(new URL('floor.c', import.meta.url), join(directory, 'floor'))
  const bundle = makeBundle(join(directory, 'bundle'), {
    process: { args: ['/bin/busybox', 'sleep', '1000000'] },
    resources: { memory: { limit: limitBytes, swap: limitBytes } },
  })
  let serial = 0
  const makeContainer = async () => {
    const id = `bench-${process.pid}-${++serial}`
    const container = await Container.create({
      root: join(run, 'state'),
      id,
      bundle,
      runtimeArgs: [`--root=${join(run, 'runc')}`],
      ephemeral: true,
    })
    undo.add(`delete container ${id}`, () => container[Symbol.asyncDispose]())
    await container.start()
    return container
  }
  const floorOf = (args) => {
    const floor = new TimedProgram(binary, args)
    undo.add('end the floor', () => floor.stop())
    return floor
  }
  const judge = (what, late) => {
    report.atMost(`${what}, median over the floor, us`, median(late) / 1000, 150, (us) => us.toFixed(0))
    report.atMost(`${what}, p99 over the floor, us`, quantile(late, 0.99) / 1000, 1000, (us) => us.toFixed(0))
  }

  const container = await makeContainer()
  const memory = cgroupProcsOf(container.processes.get('init').pid).find((path) => path.includes('/memory/'))
  if (memory) {
    heading('OOM: how long after the C program')
    const floor = floorOf([dirname(memory)])
    const watcher = await container.oom()
    const iteration = watcher[Symbol.asyncIterator]()
    const taken = { 'after the signal': [], 'after the count': [] }
    for (let i = 0; i < count * 2; ++i) {
      const counted = i % 2 === 1
      const told = floor.ask(counted ? 'counted' : 'signal')
      const heard = iteration.next().then(now)
      await sleep(settleMs)
      const hog = await container.exec(`hog-${i}`, { args: ['/bin/busybox', 'tail', '/dev/zero'], cwd: '/' })
      const late = (await heard) - (await told)[0]
      taken[counted ? 'after the count' : 'after the signal'].push(late)
      await hog.wait()
      await container.removeProcess(hog.id)
    }
    showKinds(Object.fromEntries(Object.entries(taken).map(([name, samples]) => [name, [samples]])))
    judge('OOM after the signal', taken['after the signal'])
    judge('OOM after the count', taken['after the count'])
    report.keep('oom', Object.fromEntries(Object.entries(taken).map(([name, samples]) => [name, [samples]])))
    await watcher.close()
  } else {
    say('no memory controller on v1: the C program has no descriptor to wait on')
  }

  heading('exit: how long after the C program')
  const floor = floorOf([])
  const late = []
  for (let i = 0; i < count; ++i) {
    const job = await container.exec(`job-${i}`, { args: ['/bin/busybox', 'sleep', '1000'], cwd: '/' })
    const ended = floor.ask(`exits ${job.pid}`)
    const heard = job.wait().then(now)
    await sleep(settleMs)
    await job.kill('SIGKILL')
    late.push((await heard) - (await ended)[0])
    await container.removeProcess(job.id)
  }
  showKinds({ exit: [late] })
  judge('exit', late)
  report.keep('exit', { exit: [late] })

  heading(`${burst} exits at once`)
  const containers = [container]
  while (containers.length < burstContainers) containers.push(await makeContainer())
  const jobs = []
  for (let i = 0; i < burst; ++i) {
    const host = containers[i % containers.length]
    jobs.push(await host.exec(`burst-${i}`, { args: ['/bin/busybox', 'sleep', '1000'], cwd: '/' }))
  }
  const stream = events(containers)
  await stream.ready
  const ended = floor.ask(`exits ${jobs.map(({ pid }) => pid).join(' ')}`)
  await sleep(settleMs * 10)
  const heard = (async () => {
    const seen = new Set()
    for await (const event of stream) {
      if (event.type === 'exited') seen.add(event.process)
      if (seen.size === burst) return now()
    }
    return NaN
  })()
  for (const job of jobs) process.kill(job.pid, 'SIGKILL')
  const times = await ended
  const last = Math.max(...times)
  const lag = (await heard) - last
  say(`from the first to the last exit: ${microseconds(last - Math.min(...times))} us`)
  report.atMost(`the last of ${burst} told after the last exit, ms`, lag / 1e6, 50, (ms) => ms.toFixed(1))
  report.finish('events', machine, values)
}

try {
  await main()
} catch (error) {
  if (!undo.interrupted) throw error
} finally {
  await undo.run()
}
if (values.check && report.figures.some(({ met }) => !met)) process.exitCode = 1
