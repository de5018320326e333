// A program of its own that finds running containers, for its memory and for the time it takes: nothing else is in it.
// Driven by run.mjs over IPC.
import { readdirSync, readFileSync } from 'node:fs'
import { Container } from '../../dist/index.mjs'
import { memoryOf } from '../../test/support/processes.mjs'
import { answer } from '../answer.mjs'

const { root, ids, heap } = JSON.parse(process.argv[2])
const containers = []

/** After collection; memory that malloc keeps for later is counted, as the system counts it. */
async function look() {
  for (let i = 0; i < 3; ++i) {
    await new Promise((resolve) => setTimeout(resolve, 100))
    globalThis.gc()
  }
  const { heapUsed, external } = process.memoryUsage()
  return {
    ...memoryOf(process.pid),
    heapUsed,
    external,
    mallocBytes: Number(readFileSync(heap).readBigInt64LE()),
    descriptors: readdirSync('/proc/self/fd').length,
  }
}

const operations = {
  look,

  /** One by one; every one is asked for its figures, so that all that is looked up late is there. */
  async load({ from, to }) {
    for (const id of ids.slice(from, to)) containers.push(await Container.load(root, id))
    for (const answer of await Container.stats(containers)) if (answer instanceof Error) throw answer
  },

  /** All that are there, at once, as a program does that comes back: nanoseconds. */
  async reload() {
    const before = process.hrtime.bigint()
    const found = await Container.list(root)
    containers.push(...(await Promise.all(found.map((id) => Container.load(root, id)))))
    const took = Number(process.hrtime.bigint() - before)
    const running = containers.filter(({ state }) => state === 'running').length
    if (running !== ids.length) throw new Error(`${running} of ${ids.length} found running`)
    return took
  },
}

answer(operations)
