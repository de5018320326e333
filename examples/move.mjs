// Moves a running program from one container to a new one with another id: a counter goes on counting there, from the
// very number and with the same memory. Wants CRIU (apt-get install criu) and a kernel that it knows.
//
//   node examples/move.mjs
import { createInterface } from 'node:readline'
import { setTimeout as sleep } from 'node:timers/promises'
import { Container, ContainerError } from 'libcontainer'
import { makeBundle, temporaryDirectory } from './bundle.mjs'

const directory = temporaryDirectory('move')
const root = '/run/libcontainer'
const bundle = makeBundle(directory, {
  process: { args: ['/bin/sh', '-c', 'i=0; while :; do i=$((i + 1)); echo $i; sleep 0.2; done'] },
})

/** Runs a step and prints how long it took. */
async function timed(what, step) {
  const start = performance.now()
  const result = await step()
  console.log(`${what.padEnd(28)} ${(performance.now() - start).toFixed(0).padStart(7)} ms`)
  return result
}

/** The numbers that the program has counted so far; grows. */
function read(init) {
  const numbers = []
  createInterface({ input: init.stdout }).on('line', (line) => numbers.push(Number(line)))
  return numbers
}

async function atLeast(numbers, count) {
  while (numbers.length < count) await sleep(10)
}

const create = (name) =>
  Container.create({ root, id: `${name}-${process.pid}`, bundle, ephemeral: true, timeout: 120_000 })

const from = await create('move-from')
let to
try {
  const first = await timed('start', () => from.start({ stdout: 'pipe' }))
  const before = read(first)
  await atLeast(before, 5)

  // Memory first, while it counts on: what the dump then has to write, and the pause, get shorter.
  await timed('pre-dump', () => from.checkpoint({ name: 'memory', preDump: true }))
  await timed('checkpoint, container ends', () =>
    from.checkpoint({ name: 'whole', parent: 'memory', exit: true }),
  )
  const { signal } = await first.wait()
  console.log(`${from.id} counted ${before[0]} to ${before.at(-1)}, and ended by ${signal}`)
  await timed('delete', () => from.delete())

  to = await create('move-to')
  const second = await timed('restore', () => to.start({ checkpoint: 'whole', stdout: 'pipe' }))
  const after = read(second)
  await atLeast(after, 5)
  console.log(`${to.id} counted ${after[0]} to ${after.at(-1)}`)
  if (after[0] !== before.at(-1) + 1) throw new Error(`a number is missing after ${before.at(-1)}`)
} catch (error) {
  if (!(error instanceof ContainerError)) throw error
  console.error(`${error.code}: ${error.message}`)
  process.exitCode = 1
} finally {
  await from[Symbol.asyncDispose]()
  await to?.[Symbol.asyncDispose]()
}
