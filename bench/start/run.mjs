// The life of a container, create, start and delete, against the runtime's own three processes, from Node and from C, Go's
// libcontainer and dockerd: takes turns with all of them in one run, and writes bench/results/start.json. See
// bench/README.md.
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { Container } from '../../dist/index.mjs'
import { isAlive } from '../../test/support/processes.mjs'
import { timeSpawn } from '../ground.mjs'
import { Part } from '../part.mjs'
import { TimedProgram } from '../programs.mjs'
import { heading, microseconds, say, showKinds } from '../report.mjs'
import { interleave } from '../rounds.mjs'
import { compare, median, time } from '../statistics.mjs'

const part = new Part('start', { life: benchLife }, { rounds: ['60', 'each kind takes one life in each'] })
const { random, report, undo } = part

let serial = 0
const nextId = () => part.id(`life-${++serial}`)

/** Until the program is no more; nobody's time counts it. */
async function ended(pid) {
  while (isAlive(pid)) await sleep(1)
}

/** A life: nanoseconds of create and start together, and of delete. */
const byLibrary = (runtime) => async () => {
  let container, init
  const start = await time(async () => {
    container = await Container.create({
      root: part.root,
      id: nextId(),
      bundle: part.bundles.brief,
      runtime,
      runtimeArgs: [`--root=${part.recordsOf(runtime)}`],
    })
    init = await container.start()
  })
  try {
    await init.wait()
    await ended(init.pid)
    return { start, delete: await time(() => container.delete()) }
  } catch (error) {
    await container.delete({ force: true }).catch(() => undefined)
    throw error
  }
}

const byRuntime = (runtime) => async () => {
  const id = nextId()
  const run = (...args) => timeSpawn(runtime, [`--root=${part.recordsOf(runtime)}`, ...args])
  const pidFile = join(part.directory, 'pid')
  try {
    const create = await run('create', '--bundle', part.bundles.brief, '--pid-file', pidFile, id)
    const start = create + (await run('start', id))
    await ended(Number(readFileSync(pidFile, 'utf8')))
    return { start, delete: await run('delete', id) }
  } catch (error) {
    await run('delete', '--force', id).catch(() => undefined)
    throw error
  }
}

/** A program that takes both times itself, in answer to `line`. */
const byProgram = (program, line) => async () => {
  const [start, removal] = await program.ask(line)
  return { start, delete: removal }
}

const byDocker = (docker) => async () => {
  let container
  const start = await time(async () => {
    container = await docker.start(['/bin/busybox', 'true'])
  })
  await container.wait()
  return { start, delete: await time(() => container.remove()) }
}

/** The runtime's processes, started from C. */
function startFloor(runtime) {
  const binary = part.compile(new URL('floor.c', import.meta.url))
  const floor = new TimedProgram(binary, [runtime, part.recordsOf(runtime), part.bundles.brief])
  undo.add('stop the floor program', () => floor.stop())
  return byProgram(floor, `life ${part.id('floor')} 1`)
}

async function benchLife() {
  heading('create + start, and delete, of a container whose program ends by itself')
  const lives = {
    libcontainer: byLibrary('runc'),
    floor: startFloor('runc'),
    'runc create, start, delete': byRuntime('runc'),
  }
  if (part.withCrun()) {
    lives['libcontainer over crun'] = byLibrary('crun')
    lives['crun create, start, delete'] = byRuntime('crun')
  }
  const go = part.startGo()
  if (go) lives["Go's libcontainer"] = byProgram(go, `life 1 ${part.bundles.brief}`)
  const docker = await part.startDocker()
  if (docker) lives.dockerode = byDocker(docker)

  const parts = {}
  const kinds = Object.fromEntries(
    Object.entries(lives).map(([name, life]) => {
      parts[name] = []
      return [
        name,
        async () => {
          const took = await life()
          parts[name].push(took)
          return [took.start + took.delete]
        },
      ]
    }),
  )
  const taken = await interleave(kinds, { rounds: part.number('rounds'), random, warmUp: 1 })
  showKinds(taken)
  const medians = Object.fromEntries(
    Object.entries(parts).map(([name, list]) => [
      name,
      { start: median(list.map((one) => one.start)), delete: median(list.map((one) => one.delete)) },
    ]),
  )
  for (const [name, one] of Object.entries(medians)) {
    say(`${name}: create and start ${microseconds(one.start)}, delete ${microseconds(one.delete)} us`)
  }
  const ratios = Object.fromEntries(
    Object.keys(taken)
      .filter((name) => name !== 'libcontainer')
      .map((name) => [name, compare(taken.libcontainer, taken[name])]),
  )
  report.keep('life', taken, { parts: medians, ratios })
  report.atMost(
    'start + delete / runc create, start, delete',
    ratios['runc create, start, delete'].ofMedians,
    1.15,
  )
}

await part.run()
