// Runs blocks of pages, one after the other, on the ground that docs/README.md tells of: page_host.mjs ROOT MODULE...
// What a block prints comes after a line that names its module.
import { readFileSync, writeSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import { Container } from 'libcontainer'
import { makeBundle, temporaryDirectory } from '../../examples/bundle.mjs'

const [root, ...modules] = process.argv.slice(2)
const memory = 64 * 1024 * 1024
const bundle = makeBundle(temporaryDirectory('page'), {
  hostname: 'runc', // as `runc spec` has it
  process: { args: ['/bin/sleep', '1000000'] },
  resources: { memory: { limit: memory, swap: memory }, pids: { limit: 64 } },
})
Object.assign(globalThis, { root, bundle })

async function makeContainer(id) {
  const container = await Container.create({ root, id, bundle, ephemeral: true })
  await container.start()
  return container
}

/** Containers of blocks that take one from the ground; the next one's is started while a block runs. */
const started = new Map()
function start(index) {
  const module = modules[index]
  if (module === undefined || started.has(index)) return
  const code = readFileSync(module, 'utf8')
  const wants = /\bcontainer\b/.test(code) && !/\b(const|using) container\b/.test(code)
  started.set(index, wants ? makeContainer(`ground-${index}-page-${process.ppid}`) : Promise.resolve())
}

function failed(module, error) {
  console.error(`${module}: ${error.stack}`)
  process.exitCode = 1
}

for (const [index, module] of modules.entries()) {
  start(index)
  start(index + 1)
  writeSync(1, `\n=== ${module}\n`)
  const container = (globalThis.container = await started.get(index))
  try {
    const late = sleep(30_000, null, { ref: false }).then(() => {
      throw new Error('does not end')
    })
    await Promise.race([import(module), late])
  } catch (error) {
    failed(module, error)
  }
  await container?.[Symbol.asyncDispose]()
  for (const id of await Container.list(root)) {
    if (id.startsWith('ground-')) continue
    failed(module, new Error(`left the container ${id}`))
    await (await Container.load(root, id)).delete({ force: true })
  }
}

// What a block that failed has left open must not hold up who waits to hear of it.
if (process.exitCode) process.exit()
