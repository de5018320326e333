// The host program of the chaos: does what it is told by its parent, and may be killed at any moment.
import { readdirSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { Container } from '../../dist/index.mjs'
import { descriptors, shimIn } from '../support/processes.mjs'

const handles = new Map()
const [root] = process.argv.slice(2)

async function of(id) {
  let container = handles.get(id)
  if (!container) handles.set(id, (container = await Container.load(root, id)))
  return container
}

async function textOf(stream) {
  let all = ''
  for await (const chunk of stream) all += chunk
  return all
}

const verbs = {
  async create({ id, bundle, runtime }) {
    const shim = process.env.CHAOS_SHIM
    handles.set(id, await Container.create({ root, id, bundle, runtime, ...(shim ? { shim } : {}) }))
  },
  async start({ id }) {
    await (await of(id)).start()
  },
  async exec({ id, job, args, keep }) {
    await (await of(id)).exec(job, { args }, keep ? { stdout: 'keep' } : {})
  },
  async kill({ id, job, signal }) {
    const container = await of(id)
    const process = container.processes.get(job)
    // Started by a program before this one.
    if (process) await process.kill(signal)
    else await (await Container.load(root, id)).processes.get(job).kill(signal)
  },
  async pause({ id }) {
    await (await of(id)).pause()
  },
  async resume({ id }) {
    await (await of(id)).resume()
  },
  async update({ id, limit }) {
    await (await of(id)).updateResources({ pids: { limit } })
  },
  async remove({ id, job }) {
    await (await of(id)).removeProcess(job)
  },
  async delete({ id }) {
    await (await of(id)).delete({ force: true })
    handles.delete(id)
  },
  /** Ends and removes all but init; what there is then: pids, files, descriptors of the shim. */
  async bare({ id }) {
    const container = await Container.load(root, id)
    for (const [job, process] of container.processes) {
      if (job === 'init') continue
      await process.kill('SIGKILL').catch(() => undefined)
      await process.wait()
      await container.removeProcess(job)
    }
    // All handles of this program are one client of the shim's, and so is one of the parent's reference.
    await handles.get(id)?.close()
    handles.delete(id)
    const directory = join(root, id)
    const look = async () => ({
      pids: await container.pids(),
      files: readdirSync(directory).map((name) => name.replace(/\d+/g, 'N')),
      descriptors: [...descriptors(shimIn(directory)).values()].map((what) => what.replace(/\d+/g, 'N')),
    })
    let seen = await look()
    // The shim hears a moment later that the other connection is closed; a zombie's pid takes its time to go.
    for (let wait = 0; wait < 100; ++wait) {
      await sleep(20)
      const again = await look()
      if (wait > 5 && JSON.stringify(again) === JSON.stringify(seen)) break
      seen = again
    }
    await container.close()
    return seen
  },
  /** What a program that comes anew finds. */
  async look({ id, read }) {
    let container
    try {
      container = await Container.load(root, id)
    } catch (error) {
      if (error.code === 'ERR_CONTAINER_NOT_FOUND') return null
      throw error
    }
    try {
      const status = await container.status()
      const said =
        read && container.processes.get(read)?.exitStatus
          ? await textOf(container.processes.get(read).stdout)
          : null
      const processes = {}
      for (const [job, { pid, exitStatus }] of container.processes) processes[job] = { pid, exit: exitStatus }
      return { status, processes, said }
    } catch (error) {
      // A delete came to its end meanwhile.
      if (error.code === 'ERR_CONTAINER_NOT_FOUND') return null
      throw error
    } finally {
      await container.close()
    }
  },
}

process.on('message', ({ seq, verb, ...request }) => {
  verbs[verb](request).then(
    (value) => process.send({ seq, value: value ?? null }),
    (error) => process.send({ seq, code: error.code ?? error.name, message: String(error.stack) }),
  )
})
process.on('disconnect', () => process.exit(0))
process.send('ready')
