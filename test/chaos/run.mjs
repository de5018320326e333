// Chaos: a seeded random schedule of everything that can be done to containers, with SIGKILLs of the host program and of
// shims at random moments, against a simple model. Prints its seed; the same seed makes the same schedule (how threads
// and processes interleave is the machine's).
//   node test/chaos/run.mjs [--seed N] [--seconds N | --steps N | --kills N] [--containers N] [--lanes N]
//                           [--kill-rate P] [--keep]
// --kills N ends it once the program was killed N times, and shims were too.
// CHAOS_SHIM: another shim, one that is built with sanitizers.
// --keep leaves everything as it is after a failure, to be looked at.
import { mkdirSync, mkdtempSync, rmSync, writeFileSync, readFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { makeBundle } from '../../examples/bundle.mjs'
import { Host } from './host.mjs'
import { Lane, Violation } from './lane.mjs'
import { shimIn } from '../support/processes.mjs'
import { leftIn } from '../support/traces.mjs'
import { randomOf } from './random.mjs'
import { mountHugetlb } from '../support/hugetlb.mjs'

const { values } = parseArgs({
  options: {
    seed: { type: 'string' },
    seconds: { type: 'string', default: '300' },
    steps: { type: 'string', default: '1000000000' },
    kills: { type: 'string', default: '1000000000' },
    containers: { type: 'string', default: '50' },
    lanes: { type: 'string', default: '4' },
    'kill-rate': { type: 'string', default: '0.25' },
    keep: { type: 'boolean', default: false },
  },
})
const seed = Number(values.seed ?? Math.floor(Math.random() * 2 ** 31))
const lanes = Number(values.lanes)
const end = Date.now() + Number(values.seconds) * 1000
const kills = Number(values.kills)
const stepsOfLane = Math.ceil(Number(values.steps) / lanes)
const directory = mkdtempSync(join(tmpdir(), 'libcontainer-chaos-'))
const unique = `chaos${process.pid}`
const root = join(directory, 'root')
mkdirSync(root)
const bundle = await makeBundle(join(directory, 'bundle'))
const config = JSON.parse(readFileSync(join(bundle, 'config.json'), 'utf8'))
config.process.args = ['/bin/sleep', '100000']
config.linux.resources = { ...config.linux.resources, memory: { limit: 24 * 1024 * 1024 } }
writeFileSync(join(bundle, 'config.json'), JSON.stringify(config))

const count = { steps: 0, shimKills: 0, exits: 0, unknown: 0 }
const host = new Host(root)
const ground = { root, bundle, unique, runtimes: ['runc', 'crun'], killRate: Number(values['kill-rate']) }
const unmountHugetlb = mountHugetlb()
const started = Date.now()
process.stdout.write(`chaos: seed ${seed}\n`)
const all = Array.from(
  { length: lanes },
  (_, n) =>
    new Lane(`l${n}`, {
      host,
      random: randomOf(seed * 31 + n),
      ground,
      count,
      size: Math.ceil(Number(values.containers) / lanes),
    }),
)
const over = () => Date.now() > end || (host.kills >= kills && count.shimKills >= kills)
/** What nothing ever happened to, running beside the rest: its shim is another one's successor, as many are by then. */
async function reference() {
  const id = `${unique}-reference`
  const bare = async () => (await host.ask('bare', { id })).value
  await host.ask('create', { id, bundle, runtime: 'runc' })
  await host.ask('start', { id })
  const first = await bare()
  process.kill(shimIn(join(root, id)), 'SIGKILL')
  const second = await bare()
  await host.ask('delete', { id })
  return {
    files: [...first.files, ...second.files],
    descriptors:
      first.descriptors.length > second.descriptors.length ? first.descriptors : second.descriptors,
  }
}

let failed = null
let looked = 0
try {
  await Promise.all(
    all.map(async (lane) => {
      for (let step = 0; step < stepsOfLane && !over() && !failed; ++step) {
        try {
          await lane.step()
          if (step % 50 === 49) lane.inspect()
        } catch (error) {
          failed ??= { error, history: lane.history }
        }
      }
    }),
  )
  if (!failed) {
    const bare = await reference()
    for (const lane of all) looked += await lane.bare(bare)
    await Promise.all(all.map((lane) => lane.clear()))
    const left = await leftIn(root, unique)
    if (left.length > 0)
      failed = { error: new Violation(`left behind: ${left.join(', ')}`, 'left'), history: [] }
  }
} catch (error) {
  failed ??= { error, history: [] }
}
if (failed && !values.keep) for (const lane of all) await lane.scrape().catch(() => undefined)
await host.end()
await unmountHugetlb?.()
const seconds = ((Date.now() - started) / 1000).toFixed(0)
process.stdout.write(
  `chaos: ${count.steps} steps in ${seconds} s, ${host.kills} kills of the program, ${count.shimKills} of shims; ` +
    `${count.exits} exits checked, ${count.unknown} of them unknown (their shim was killed); ` +
    `${looked} running containers bare in the end\n`,
)
const kind = failed ? (failed.error.kind ?? 'wrong') : null
const tally = (name) => (kind === name ? 1 : 0)
process.stdout.write(
  `chaos: ${tally('containersLost')} containers or processes lost, ${tally('exitsLost')} exit statuses lost, ` +
    `${tally('exitsWrong')} wrong; ${tally('left')} cgroups, mounts, processes, descriptors or files left; ` +
    `${tally('wrong')} other violations\n`,
)
if (failed) {
  process.stderr.write(`${failed.history.slice(-40).join('\n')}\n${failed.error.stack}\n`)
  process.stderr.write(
    `chaos: FAILED with seed ${seed}${values.keep ? `; what is there stays in ${directory}` : ''}\n`,
  )
  process.exitCode = 1
}
if (!failed || !values.keep) rmSync(directory, { recursive: true })
