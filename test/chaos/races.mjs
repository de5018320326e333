// Every verb against the end of its container: whoever ends it, by whatever means, and however late, each call succeeds
// or says what became of the container, in the words of docs/crashes.md; and nothing is left.
//   node test/chaos/races.mjs [--rounds N] [--runtime runc|crun] [--ends NAME,...] [--seed N] [--load N]
// --load N: beside N processes that do nothing but take the processors.
import { execFile, execFileSync, spawn } from 'node:child_process'
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { parseArgs, promisify } from 'node:util'
import { Container } from '../../dist/index.mjs'
import { makeBundle } from '../../examples/bundle.mjs'
import { isAlive } from '../support/processes.mjs'
import { leftIn } from '../support/traces.mjs'
import { randomOf } from './random.mjs'
import { mountHugetlb } from '../support/hugetlb.mjs'

const { values } = parseArgs({
  options: {
    rounds: { type: 'string', default: '100' },
    runtime: { type: 'string', default: 'runc,crun' },
    ends: { type: 'string', default: '' },
    seed: { type: 'string' },
    load: { type: 'string', default: '0' },
  },
})
const seed = Number(values.seed ?? Math.floor(Math.random() * 2 ** 31))
const random = randomOf(seed)
const directory = mkdtempSync(join(tmpdir(), 'libcontainer-races-'))
const root = join(directory, 'root')
mkdirSync(root)
const unique = `races${process.pid}`
const bundle = makeBundle(join(directory, 'bundle'), { process: { args: ['/bin/sleep', '100000'] } })

const NOT_FOUND = 'ERR_CONTAINER_NOT_FOUND'
const EXITED = 'ERR_CONTAINER_EXITED'

/** `c` acts, `mine` are its jobs; the outcomes beside success that are right whatever ended the container. */
const verbs = {
  exec: [(c, n) => c.exec(`e-${n}`, { args: ['/bin/true'] }), ['ERR_PROCESS_EXITED', 'ERR_CONTAINER_PAUSED']],
  execKept: [
    async (c, n) => {
      const job = await c.exec(`k-${n}`, { args: ['/bin/echo', 'kept'] }, { stdout: 'keep' })
      job.stdout.on('error', () => undefined).resume()
      await job.wait()
    },
    ['ERR_PROCESS_EXITED', 'ERR_CONTAINER_PAUSED'],
  ],
  execPiped: [
    async (c, n) => {
      const job = await c.exec(`p-${n}`, { args: ['/bin/cat'] }, { stdin: 'pipe', stdout: 'pipe' })
      job.stdin.on('error', () => undefined).end('said')
      job.stdout.on('error', () => undefined).resume()
      await job.wait()
    },
    ['ERR_PROCESS_EXITED', 'ERR_CONTAINER_PAUSED'],
  ],
  execTerminal: [
    async (c, n) => {
      const job = await c.exec(
        `t-${n}`,
        { args: ['/bin/sleep', '1000'], terminal: true },
        { stdin: 'pipe', stdout: 'pipe' },
      )
      job.stdin.on('error', () => undefined)
      job.stdout.on('error', () => undefined).resume()
      await job.resize({ columns: 80, rows: 25 })
      await job.kill('SIGKILL')
    },
    ['ERR_PROCESS_EXITED', 'ERR_CONTAINER_PAUSED'],
  ],
  killJob: [(c) => c.processes.get('job').kill('SIGCONT'), ['ERR_PROCESS_EXITED']],
  resize: [(c) => c.processes.get('tty').resize({ columns: 80, rows: 25 }), ['ERR_PROCESS_EXITED']],
  closeStdin: [(c) => c.processes.get('tty').closeStdin(), ['ERR_PROCESS_EXITED']],
  kill: [(c) => c.kill('SIGCONT'), []],
  killAll: [(c) => c.kill('SIGCONT', { all: true }), []],
  pids: [(c) => c.pids(), []],
  pidsSync: [(c) => c.pidsSync(), []],
  stats: [(c) => c.stats(), []],
  statsSync: [(c) => c.statsSync(), []],
  statsOfMany: [
    async (c) => {
      const [answer] = await Container.stats([c])
      if (answer instanceof Error) throw answer
    },
    [],
  ],
  status: [(c) => c.status(), []],
  pause: [
    async (c) => {
      await c.pause()
      await c.resume()
    },
    [],
  ],
  resume: [(c) => c.resume(), []],
  update: [
    (c, n) => c.updateResources({ pids: { limit: 200 + (n % 100) }, cpu: { shares: 512 + (n % 100) } }),
    [],
  ],
  oom: [async (c) => (await c.oom()).close(), []],
  pressure: [
    async (c) =>
      (
        await c.pressure({ resource: 'memory', kind: 'some', stallUsec: 100_000, windowUsec: 2_000_000 })
      ).close(),
    [],
  ],
  remove: [(c) => c.removeProcess('ended'), ['ERR_PROCESS_NOT_FOUND']],
  wait: [(c) => c.processes.get('job').wait(), []],
  load: [async (c) => (await Container.load(root, c.id)).close(), []],
  list: [() => Container.list(root), []],
  start: [(c) => c.start(), ['ERR_PROCESS_EXISTS']],
  checkpoints: [(c) => c.checkpoints(), []],
}

const run = promisify(execFile)
const deletes = [NOT_FOUND, EXITED, 'ERR_SHIM_EXITED']
/** How the container comes to its end, and what calls may say then. */
const ends = {
  delete: [(c) => c.delete({ force: true }), deletes],
  'delete by another handle': [(c, other) => other.delete({ force: true }), deletes],
  'two deletes': [
    (c, other) => Promise.allSettled([c, other].map((it) => it.delete({ force: true }))),
    deletes,
  ],
  kill: [(c) => c.kill('SIGKILL'), [EXITED]],
  'kill by another hand': [(c) => process.kill(c.processes.get('init').pid, 'SIGKILL'), [EXITED]],
  'kill of all': [(c) => c.kill('SIGKILL', { all: true }), [EXITED]],
  'death and delete': [
    async (c, other) => {
      process.kill(c.processes.get('init').pid, 'SIGKILL')
      await other.delete({ force: true })
    },
    deletes,
  ],
  "the runtime's delete": [
    (c) => run(c.runtime, ['delete', '--force', c.id]).catch((error) => String(error.stderr)),
    [EXITED],
  ],
}

function told(error) {
  const { code, syscall, errno, path, runtimeLog } = error
  return `${error.stack}\n    ${JSON.stringify({ code, syscall, errno, path, runtimeLog })}`
}

const counts = new Map()
const bad = []
let calls = 0

/** More than any call may take, under sanitizers too. */
const stuckMs = 100_000

/** A call that never comes back is the end of this: process.exit() would wait for it. */
async function comesBack(call, runtime, id, what) {
  const stuck = setTimeout(() => {
    process.stderr.write(`${runtime}, ${what}: has not come back for ${stuckMs / 1000} s, seed ${seed}\n`)
    try {
      execFileSync(runtime, ['delete', '--force', id], { stdio: 'ignore' })
    } catch {
      // It is gone by now.
    }
    rmSync(directory, { recursive: true, force: true })
    process.kill(process.pid, 'SIGKILL')
  }, stuckMs)
  try {
    return await call
  } finally {
    clearTimeout(stuck)
  }
}

async function round(runtime, name, serial) {
  const [end, allowed] = ends[name]
  const id = `${unique}-${serial}`
  const container = await Container.create({ root, id, bundle, runtime })
  await container.start()
  await container.exec('job', { args: ['/bin/sleep', '100000'] })
  await container.exec(
    'tty',
    { args: ['/bin/sleep', '100000'], terminal: true },
    { stdin: 'pipe', stdout: 'pipe' },
  )
  container.processes.get('tty').stdin.on('error', () => undefined)
  container.processes
    .get('tty')
    .stdout.on('error', () => undefined)
    .resume()
  await (await container.exec('ended', { args: ['/bin/true'] })).wait()
  const other = await Container.load(root, id)
  const names = Object.keys(verbs)
  let over = false
  let n = 0
  const tried = async (verb, handle) => {
    const [work, own] = verbs[verb]
    const late = over
    let outcome = 'ok'
    ++calls
    try {
      await comesBack(work(handle, ++n), runtime, id, `${verb} against ${name}`)
    } catch (error) {
      outcome = error.code ?? error.name
      if (![...allowed, ...own].includes(outcome)) {
        bad.push(`${runtime}, ${verb} against ${name}${late ? ', afterwards' : ''}: ${told(error)}`)
      }
    }
    const key = `${name} | ${verb} | ${outcome}`
    counts.set(key, (counts.get(key) ?? 0) + 1)
  }
  // Some of the verbs, each over and over, so that the end falls into the middle of them.
  const chosen = Array.from({ length: 4 }, () => random.of(names))
  const loops = chosen.map(async (verb, at) => {
    const handle = at % 2 ? other : container
    for (let late = 0; late < 2;) {
      if (over) ++late
      const calls = [tried(verb, handle)]
      if (random.chance(0.3)) calls.push(tried(verb, handle))
      await Promise.all(calls)
      await (random.chance(0.5) ? sleep(random.next() * 2) : new Promise((resolve) => setImmediate(resolve)))
    }
  })
  await sleep(random.next() * 12)
  try {
    await comesBack(end(container, other), runtime, id, name)
  } catch (error) {
    if (error.code !== NOT_FOUND) bad.push(`${runtime}, ${name}: ${told(error)}`)
  }
  over = true
  await Promise.all(loops)
  await container.delete({ force: true }).catch((error) => {
    if (error.code !== NOT_FOUND) bad.push(`${runtime}, delete after ${name}: ${told(error)}`)
  })
  await Promise.all([container.close(), other.close()])
}

const load = Array.from({ length: Number(values.load) }, () =>
  spawn(process.execPath, ['-e', 'for (;;);'], { stdio: 'ignore' }),
)
process.stdout.write(`races: seed ${seed}\n`)
const unmountHugetlb = mountHugetlb()
const started = Date.now()
const names = values.ends ? values.ends.split(',') : Object.keys(ends)
try {
  let serial = 0
  for (let n = 0; n < Number(values.rounds) && bad.length < 20; ++n) {
    for (const runtime of values.runtime.split(',')) {
      for (const name of names) await round(runtime, name, ++serial)
    }
  }
  const left = await leftIn(root, unique)
  if (left.length > 0) bad.push(`left behind: ${left.join(', ')}`)
} finally {
  for (const child of load) if (isAlive(child.pid)) child.kill('SIGKILL')
  rmSync(directory, { recursive: true })
  await unmountHugetlb?.()
}
if (process.env.RACES_TABLE)
  for (const [key, count] of [...counts].sort()) process.stdout.write(`  ${key}: ${count}\n`)
process.stdout.write(
  `races: ${calls} calls in ${((Date.now() - started) / 1000).toFixed(0)} s, ${bad.length} wrong\n`,
)
if (bad.length > 0) {
  process.stderr.write(`${bad.join('\n')}\n`)
  process.exitCode = 1
}
