// What containers cost while they run: memory of the shim, of a program that has them loaded, of descriptors, and the time
// in which a new program finds them all; beside dockerd's shim and daemon and Go's libcontainer. Writes
// bench/results/memory.json. See bench/README.md.
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { memoryOf, procStat } from '../../test/support/processes.mjs'
import { compile, timeSpawn } from '../ground.mjs'
import { Part } from '../part.mjs'
import { Host } from '../programs.mjs'
import { heading, microseconds, say, showKinds, table } from '../report.mjs'
import { interleave } from '../rounds.mjs'
import { median, quantile } from '../statistics.mjs'

const part = new Part(
  'memory',
  { shim: benchShim, many: benchMany },
  {
    containers: ['500', 'of the section many'],
    rounds: ['9', 'new programs that find them'],
    'docker-containers': ['20', 'of dockerd, for the memory of its shims'],
  },
)
const { random, report, undo } = part
const count = part.number('containers')
const atOnce = 4
const program = ['/bin/busybox', 'sleep', '1000000']

/** Time for what was started to come to rest. */
const settle = () => new Promise((resolve) => setTimeout(resolve, 200))

async function benchShim() {
  heading('memory of a shim with three processes running')
  // Pages of its program are counted as a share of each shim that maps them, so the first one is measured while it is
  // the only one: a single container has nobody to share with.
  const containers = []
  const measured = {}
  for (const shims of [1, 2, 3, 4]) {
    const container = await part.makeContainer(`shim-${shims}`)
    containers.push(container)
    for (const name of ['one', 'two']) await container.exec(name, { args: program })
    await settle()
    measured[shims] = memoryOf(procStat(containers[0].processes.get('one').pid).parent)
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
  report.results.shim = { processes: 3, byNumberOfShims: measured }
  report.atMost('Pss of the only shim in KiB', measured[1].pssKib, 600, String)
}

/** `work` for each of the items, a few at once. */
async function forEach(items, work) {
  const left = items[Symbol.iterator]()
  await Promise.all(
    Array.from({ length: atOnce }, async () => {
      for (let next = left.next(); !next.done; next = left.next()) await work(next.value)
    }),
  )
}

const medianOf = (list, key) => median(list.map((one) => one[key]))

async function benchDocker() {
  const docker = await part.startDocker()
  if (!docker) return null
  const containers = part.number('docker-containers')
  await forEach(Array(containers).keys(), () => docker.start(program))
  await settle()
  const shims = docker.shims().map(memoryOf)
  if (shims.length !== containers)
    throw new Error(`${shims.length} shims for ${containers} containers of dockerd`)
  const daemons = docker.daemons().map(memoryOf)
  await docker.stop()
  return {
    containers,
    shimPssKib: medianOf(shims, 'pssKib'),
    shimPssAnonKib: medianOf(shims, 'pssAnonKib'),
    daemonsPssKib: daemons.reduce((sum, { pssKib }) => sum + pssKib, 0),
  }
}

/** Memory of a program that has half of the containers loaded already, per container of the other half. */
async function loadedInNode(ids) {
  const half = Math.floor(ids.length / 2)
  const heap = join(part.directory, 'heap')
  writeFileSync(heap, Buffer.alloc(8))
  const counter = compile(new URL('../events/heap.c', import.meta.url), join(part.directory, 'heap.so'), [
    '-shared',
    '-fPIC',
    '-fno-builtin',
  ])
  const host = new Host(
    new URL('host.mjs', import.meta.url),
    ['--expose-gc', '--max-semi-space-size=1'],
    { root: part.root, ids, heap },
    { LD_PRELOAD: counter, BENCH_HEAP: heap },
  )
  undo.add('stop a host program', () => host.stop())
  // The first half grows what is there once: code, pools, the heap's own slack.
  await host.ask('load', { from: 0, to: half })
  const before = await host.ask('look')
  await host.ask('load', { from: half, to: ids.length })
  const after = await host.ask('look')
  await host.stop()
  const each = (key) => (after[key] - before[key]) / (ids.length - half)
  return {
    anonymousKib: each('pssAnonKib'),
    heapKib: each('heapUsed') / 1024,
    mallocKib: each('mallocBytes') / 1024,
    descriptors: each('descriptors'),
  }
}

async function loadedInGo(go, ids) {
  const half = Math.floor(ids.length / 2)
  const hold = async (name, some) => {
    const file = join(part.directory, name)
    writeFileSync(file, some.join('\n'))
    await go.ask(`hold ${file}`)
    await settle()
    return memoryOf(go.pid).pssAnonKib
  }
  const before = await hold('first-half', ids.slice(0, half))
  const after = await hold('second-half', ids.slice(half))
  return { anonymousKib: (after - before) / (ids.length - half) }
}

async function benchMany() {
  heading(`${count} running containers`)
  const docker = await benchDocker()
  const containers = []
  const removeAll = () => forEach(containers.splice(0), (container) => container.delete({ force: true }))
  undo.add(`delete ${count} containers`, removeAll)
  await forEach(Array(count).keys(), async (index) => {
    containers.push(await part.makeContainer(`many-${index}`))
  })
  await settle()
  const shims = containers.map((container) => memoryOf(procStat(container.processes.get('init').pid).parent))
  const go = part.startGo()
  const ids = containers.map(({ id }) => id)
  const node = await loadedInNode(ids)
  const goMemory = go && (await loadedInGo(go, ids))

  const list = join(part.directory, 'all')
  writeFileSync(list, ids.join('\n'))
  const kinds = {
    libcontainer: async () => {
      const host = new Host(new URL('host.mjs', import.meta.url), [], { root: part.root, ids })
      undo.add('stop a host program', () => host.stop())
      const took = await host.ask('reload')
      await host.stop()
      return [took]
    },
    'runc list': async () => [
      await timeSpawn('runc', [`--root=${part.recordsOf('runc')}`, 'list', '--format=json']),
    ],
  }
  if (go) kinds["Go's libcontainer"] = () => go.ask(`hold ${list}`)
  const taken = await interleave(kinds, { rounds: part.number('rounds'), random, warmUp: 1 })
  await go?.stop()
  await removeAll()

  say('found by a new program, all of them:')
  showKinds(taken)
  const rows = [
    ['shim, Pss KiB each', medianOf(shims, 'pssKib'), docker?.shimPssKib],
    ['of it anonymous', medianOf(shims, 'pssAnonKib'), docker?.shimPssAnonKib],
    ['loaded, anonymous pages, KiB each', node.anonymousKib, undefined, goMemory?.anonymousKib],
    ['JavaScript heap in use', node.heapKib],
    ['malloc in use', node.mallocKib],
    ['descriptors each', node.descriptors],
    ['daemons, Pss KiB', 0, docker?.daemonsPssKib],
  ]
  const show = (value) => (value === undefined || value === null ? '' : value.toFixed(value < 100 ? 2 : 0))
  table(
    ['', 'libcontainer', `dockerd, ${docker?.containers ?? 0} running`, 'Go'],
    rows.map(([name, ...values]) => [name, ...[0, 1, 2].map((column) => show(values[column]))]),
  )
  say()
  const reload = median(taken.libcontainer.flat())
  report.keep('reload', taken, { containers: count })
  report.results.many = {
    containers: count,
    shim: {
      pssKib: medianOf(shims, 'pssKib'),
      pssAnonKib: medianOf(shims, 'pssAnonKib'),
      largestPssKib: quantile(
        shims.map(({ pssKib }) => pssKib),
        1,
      ),
    },
    loaded: { node, go: goMemory },
    docker,
  }
  report.atMost('memory in use by a loaded container in KiB', node.heapKib + node.mallocKib, 12)
  report.figure(
    `reload of ${count} running containers, ms`,
    reload / 1e6,
    'below 1000',
    reload < 1e9,
    () => `${microseconds(reload / 1000)}`,
  )
}

await part.run()
