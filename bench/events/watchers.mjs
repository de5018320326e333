// A program of its own that holds many idle watchers, for its memory and its CPU time: nothing else is in it. Driven by
// run.mjs over IPC.
import { readdirSync, readFileSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import { Container } from '../../dist/index.mjs'
import { memoryOf } from '../../test/support/processes.mjs'
import { answer } from '../answer.mjs'

const { root, crowd, size, heap } = JSON.parse(process.argv[2])
const containers = []
const watchers = []
/** What was told, by container. */
const told = new Map()

async function follow(watcher) {
  for await (const { containerId, count } of watcher)
    told.set(containerId, (told.get(containerId) ?? 0) + count)
}

/** Nanoseconds of CPU time so far, of each thread. */
function cpuTimes() {
  return readdirSync('/proc/self/task').map((id) => ({
    name: readFileSync(`/proc/self/task/${id}/comm`, 'utf8').trim(),
    ns: Number(readFileSync(`/proc/self/task/${id}/schedstat`, 'utf8').split(' ')[0]),
  }))
}

const sum = (threads) => threads.reduce((total, { ns }) => total + ns, 0)
const own = (threads) => threads.filter(({ name }) => name === 'libcontainer')

const operations = {
  async load() {
    // No shim takes over: there is nothing for it to do here, and thousands of them would need the machine's memory.
    const options = { shim: '/nonexistent' }
    for (let i = 0; i < size; ++i) containers.push(await Container.load(root, `${crowd}-${i}`, options))
    // The thread, its tables and the first descriptors are no watcher's.
    await (await containers[0].oom()).close()
  },
  async watch() {
    for (const container of containers) watchers.push(await container.oom())
    for (const watcher of watchers) void follow(watcher)
  },
  /** After collection. */
  async look() {
    for (let i = 0; i < 3; ++i) {
      await sleep(100)
      globalThis.gc()
    }
    const { heapTotal, heapUsed } = process.memoryUsage()
    return {
      ...memoryOf(process.pid),
      mallocBytes: Number(readFileSync(heap).readBigInt64LE()),
      heapTotal,
      heapUsed,
      descriptors: readdirSync('/proc/self/fd').length,
      threads: readdirSync('/proc/self/task').length,
      ownThreads: own(cpuTimes()).length,
    }
  },
  async idle({ ms }) {
    const before = cpuTimes()
    await sleep(ms)
    const after = cpuTimes()
    return { ownNs: sum(own(after)) - sum(own(before)), allNs: sum(after) - sum(before) }
  },
  async told() {
    return Object.fromEntries(told)
  },
  async close() {
    for (const watcher of watchers.splice(0)) await watcher.close()
  },
}

answer(operations)
