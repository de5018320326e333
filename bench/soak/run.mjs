// A long run in one program: execs and whole lives of containers, with memory, descriptors, threads and zombies of the
// program and its shim looked at all along; and how long it takes a new program to find many running containers.
//   node bench/soak/run.mjs [--execs 100000] [--lives 2000] [--reload 500] [--runtime runc] [--rows] [--warming]
// It runs in a copy of Node of its own: a file's part of Pss is divided by how many processes map the file, and the
// neighbours' Nodes that come and go would be all that is seen of it. And without what makes a program that has only
// just begun grow, and no more when it is warm: V8's optimised code, and an arena of malloc(3) for each thread. --warming
// leaves both in.
import { execFileSync, spawnSync } from 'node:child_process'
import { copyFileSync, mkdirSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { setTimeout as sleep } from 'node:timers/promises'
import { Container } from '../../dist/index.mjs'
import { makeBundle } from '../../examples/bundle.mjs'
import {
  descriptors,
  memoryOf,
  shimIn,
  shimsBelow,
  threadCount,
  zombiesOf,
} from '../../test/support/processes.mjs'
import { tracesOf } from '../../test/support/traces.mjs'

const { values } = parseArgs({
  options: {
    execs: { type: 'string', default: '100000' },
    lives: { type: 'string', default: '2000' },
    reload: { type: 'string', default: '500' },
    runtime: { type: 'string', default: 'runc' },
    root: { type: 'string' },
    directory: { type: 'string' },
    warming: { type: 'boolean', default: false },
    rows: { type: 'boolean', default: false },
  },
})
const { runtime } = values

/** What a program that comes anew needs to find all of them; run as a program of its own. */
if (values.root) {
  const before = performance.now()
  const ids = await Container.list(values.root)
  const containers = await Promise.all(ids.map((id) => Container.load(values.root, id)))
  const took = performance.now() - before
  const running = containers.filter(({ state }) => state === 'running').length
  process.stdout.write(`${JSON.stringify({ took, running })}\n`)
  process.exit(0)
}

if (!values.directory) {
  const directory = mkdtempSync(join(tmpdir(), 'libcontainer-soak-'))
  const node = join(directory, 'node')
  copyFileSync(process.execPath, node)
  const flags = [...process.execArgv, '--expose-gc', '--max-semi-space-size=1']
  if (!values.warming) flags.push('--no-opt', '--no-sparkplug')
  const own = [...flags, fileURLToPath(import.meta.url)]
  const { status } = spawnSync(node, [...own, ...process.argv.slice(2), '--directory', directory], {
    stdio: 'inherit',
    env: values.warming ? process.env : { ...process.env, MALLOC_ARENA_MAX: '1' },
  })
  rmSync(directory, { recursive: true })
  process.exit(status ?? 1)
}

const { directory } = values
const root = join(directory, 'root')
mkdirSync(root)
const bundle = makeBundle(join(directory, 'bundle'), { process: { args: ['/bin/sleep', '100000'] } })
const unique = `soak${process.pid}`
const bad = []

/** Parts of a run, after each of which there is a look. */
const parts = 100

/** Looks over a run; the last tenth against the second. */
class Watch {
  #rows = []
  #pids

  constructor(pids) {
    this.#pids = pids
  }

  async look() {
    // Twice, for what the first one's finalizers let go of.
    for (let n = 0; n < 2; ++n) {
      globalThis.gc?.()
      await sleep(20)
    }
    const row = {}
    for (const [name, pid] of Object.entries(this.#pids())) {
      const memory = memoryOf(pid)
      row[`${name} own memory kB`] = memory.pssAnonKib + memory.pssShmemKib
      row[`${name} Pss kB`] = memory.pssKib
      row[`${name} descriptors`] = descriptors(pid).size
      row[`${name} threads`] = threadCount(pid)
      row[`${name} zombies`] = zombiesOf(pid).length
    }
    this.#rows.push(row)
  }

  tell(what) {
    if (values.rows) process.stdout.write(`${this.#rows.map((row) => JSON.stringify(row)).join('\n')}\n`)
    const tenth = this.#rows.length / 10
    const mean = (rows, key) => rows.reduce((sum, row) => sum + row[key], 0) / rows.length
    for (const key of Object.keys(this.#rows[0])) {
      const second = mean(this.#rows.slice(tenth, 2 * tenth), key)
      const last = mean(this.#rows.slice(-tenth), key)
      // Its own memory alone grows and shrinks by pages of V8's, 256 KiB, each 2 % of it: measured by the whole.
      const whole = mean(this.#rows.slice(tenth, 2 * tenth), key.replace('own memory', 'Pss'))
      const growth = whole === 0 ? last : (last - second) / whole
      const verdict = growth > 0.02 ? 'GROWS' : 'flat'
      if (growth > 0.02) bad.push(`${what}: ${key}`)
      process.stdout.write(
        `  ${key.padEnd(22)} ${second.toFixed(1).padStart(10)} -> ${last.toFixed(1).padStart(10)}  ${verdict}\n`,
      )
    }
  }
}

async function execs(total) {
  const container = await Container.create({ root, id: `${unique}-execs`, bundle, runtime })
  await container.start()
  const shim = shimIn(join(root, container.id))
  const watch = new Watch(() => ({ program: process.pid, shim }))
  const started = performance.now()
  let wrong = 0
  for (let part = 0; part < parts; ++part) {
    let next = 0
    const size = Math.floor(total / parts)
    await Promise.all(
      Array.from({ length: 4 }, async () => {
        for (let n = next++; n < size; n = next++) {
          const id = `job-${part}-${n}`
          const job = await container.exec(
            id,
            { args: ['/bin/sh', '-c', `echo ${n}; exit ${n % 256}`] },
            { stdout: n % 10 === 0 ? 'keep' : n % 2 ? 'pipe' : 'ignore' },
          )
          if (n % 2 || n % 10 === 0) job.stdout.resume()
          if ((await job.wait()).exitCode !== n % 256) ++wrong
          await container.removeProcess(id)
        }
      }),
    )
    await watch.look()
  }
  const seconds = (performance.now() - started) / 1000
  process.stdout.write(`${total} execs in ${seconds.toFixed(1)} s, ${wrong} wrong statuses\n`)
  if (wrong > 0) bad.push('exit statuses')
  watch.tell('execs')
  await container.delete({ force: true })
}

async function lives(total) {
  const watch = new Watch(() => ({ program: process.pid }))
  const started = performance.now()
  for (let part = 0; part < parts; ++part) {
    for (let n = 0; n < Math.floor(total / parts); ++n) {
      const container = await Container.create({ root, id: `${unique}-${part}-${n}`, bundle, runtime })
      await container.start()
      await container.delete({ force: true })
    }
    await watch.look()
  }
  const seconds = (performance.now() - started) / 1000
  process.stdout.write(`${total} lives in ${seconds.toFixed(1)} s\n`)
  watch.tell('lives')
}

async function reload(total) {
  const containers = []
  let next = 0
  await Promise.all(
    Array.from({ length: 4 }, async () => {
      for (let n = next++; n < total; n = next++) {
        const container = await Container.create({ root, id: `${unique}-r${n}`, bundle, runtime })
        await container.start()
        containers.push(container)
      }
    }),
  )
  const times = []
  for (let n = 0; n < 5; ++n) {
    const said = JSON.parse(
      execFileSync(process.execPath, [fileURLToPath(import.meta.url), '--root', root], { encoding: 'utf8' }),
    )
    if (said.running !== total) bad.push(`reload found ${said.running} of ${total}`)
    times.push(said.took)
  }
  times.sort((a, b) => a - b)
  process.stdout.write(`reload of ${total} running containers: median ${times[2].toFixed(0)} ms\n`)
  next = 0
  await Promise.all(
    Array.from({ length: 4 }, async () => {
      for (let n = next++; n < total; n = next++) await containers[n].delete({ force: true })
    }),
  )
}

if (Number(values.execs) > 0) await execs(Number(values.execs))
if (Number(values.lives) > 0) await lives(Number(values.lives))
if (Number(values.reload) > 0) await reload(Number(values.reload))
const left = () => [...shimsBelow(root), ...tracesOf(unique)]
for (let wait = 0; wait < 100 && left().length > 0; ++wait) await sleep(50)
if (left().length > 0) bad.push(`left behind: ${left().join(', ')}`)
if (bad.length > 0) {
  process.stderr.write(`${bad.join('\n')}\n`)
  process.exitCode = 1
}
