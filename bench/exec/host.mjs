// A program as users have it, in a process of its own: with as much live heap as it is told to hold, it loads a
// container and runs execs in it on request. Driven by run.mjs over IPC.
import { Container } from '../../dist/index.mjs'
import { answer } from '../answer.mjs'
import { countsOf, timeSpawn } from '../ground.mjs'

const { root, id, heapBytes, name } = JSON.parse(process.argv[2])
const program = ['/bin/busybox', 'true']
const live = []
let serial = 0

/** Many small objects that point at each other, as a program's data does: maps, arrays, strings, numbers. */
function fillHeap() {
  // A little more, since some of what is used now is garbage.
  while (process.memoryUsage().heapUsed < heapBytes * 1.02 + 8 * 1024 ** 2) {
    const chunk = []
    for (let i = 0; i < 10000; ++i) {
      const at = live.length * 10000 + i
      chunk.push({
        id: at,
        name: `object ${at}`,
        size: at * 1.5,
        tags: [at % 7, at % 11, at % 13],
        previous: chunk[i - 1] ?? null,
      })
    }
    live.push(chunk)
  }
}

async function runOne(container) {
  const job = await container.exec(`${name}-${++serial}`, { args: program })
  const { exitCode } = await job.wait()
  if (exitCode !== 0) throw new Error(`exec ended with ${exitCode}`)
  return job
}

const operations = {
  /** Nanoseconds of each exec; what they leave is removed after the last. */
  async exec(container, { count }) {
    const samples = []
    const jobs = []
    for (let i = 0; i < count; ++i) {
      const before = process.hrtime.bigint()
      jobs.push(await runOne(container))
      samples.push(Number(process.hrtime.bigint() - before))
    }
    for (const job of jobs) await container.removeProcess(job.id)
    return samples
  },

  async spawn(container, { count }) {
    const samples = []
    for (let i = 0; i < count; ++i) samples.push(await timeSpawn(program[0], program.slice(1)))
    return samples
  },

  /** As a host that runs for long: each process is removed when it is done with. */
  async sequence(container, { count }) {
    for (let i = 0; i < count; ++i) {
      const job = await runOne(container)
      await container.removeProcess(job.id)
    }
  },

  async counts(container, { shim }) {
    // What is on its way to be closed or collected is no leak.
    for (let i = 0; i < 3; ++i) {
      await new Promise((resolve) => setTimeout(resolve, 100))
      globalThis.gc?.()
    }
    return { program: countsOf(process.pid), shim: countsOf(shim), heapUsed: process.memoryUsage().heapUsed }
  },
}

async function main() {
  fillHeap()
  // Live data is old data: two full collections move it there.
  globalThis.gc?.()
  globalThis.gc?.()
  const container = await Container.load(root, id)
  operations.heap = async () => ({ heapUsed: process.memoryUsage().heapUsed, objects: live.length * 10000 })
  const bound = Object.entries(operations).map(([name, work]) => [name, (rest) => work(container, rest)])
  answer(Object.fromEntries(bound), () => void container.close().finally(() => process.exit(0)))
}

main().catch((error) => {
  console.error(error)
  process.exit(1)
})
