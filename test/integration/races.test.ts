// Two programs that do all there is to do to one container, each in an order of its own: every outcome is one that
// docs/crashes.md names, and what is left in the end is one state and not a mixture.
import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { Container } from '../../lib/index.js'
import { Cgroup } from '../support/cgroups.js'
import { useContainers } from '../support/containers.js'
import { run } from '../support/expect.js'
import { cannotRunContainers, runtimes } from '../support/machine.js'
import { Program } from '../support/programs.js'

const skip = cannotRunContainers()

// Beside success. ETIMEDOUT is 110.
const running: Record<string, string[]> = {
  start: ['ERR_PROCESS_EXISTS'],
  exec: ['ERR_PROCESS_EXISTS', 'ERR_PROCESS_EXITED', 'ERR_CONTAINER_PAUSED'],
  pause: ['ERR_SYSCALL 110'],
  resume: ['ERR_SYSCALL 110'],
  update: [],
  kill: ['ERR_PROCESS_EXITED'],
  remove: ['ERR_PROCESS_NOT_FOUND', 'ERR_CONTAINER_NOT_STOPPED'],
  pids: [],
  stats: [],
  status: [],
}
const whileDeleted = ['ERR_CONTAINER_NOT_FOUND', 'ERR_CONTAINER_EXITED', 'ERR_SHIM_EXITED']

const code = `
let seed = args.seed
const random = (n) => ((seed = (Math.imul(seed, 1103515245) + 12345) >>> 0) >>> 8) % n
let c = await Container.load(args.root, args.id)
say('ready')
process.stdin.once('data', async () => {
  const said = {}
  const tried = async (what, work) => {
    let outcome = 'ok'
    try { await work() } catch (error) { outcome = error.code === 'ERR_SYSCALL' ? 'ERR_SYSCALL ' + error.errno :  error.code ?? String(error.stack) }
    ;(said[what] ??= {})[outcome] = (said[what][outcome] ?? 0) + 1
  }
  await tried('start', () => c.start())
  while ((await c.status()) === 'created') await sleep(1)
  const job = () => 'job-' + random(3)
  const verbs = {
    exec: () => c.exec(job(), { args: ['/bin/sh', '-c', 'exit 7'] }),
    pause: () => c.pause(),
    resume: () => c.resume(),
    update: () => c.updateResources({ pids: { limit: 100 + random(100) }, memory: { limit: (64 + random(64)) << 20 } }),
    kill: async () => { await (await Container.load(args.root, args.id)).processes.get(job())?.kill('SIGTERM') },
    remove: () => c.removeProcess(job()),
    pids: () => c.pids(),
    stats: () => c.stats(),
    status: () => c.status(),
  }
  const names = Object.keys(verbs)
  for (let n = 0; n < 150; ++n) {
    const name = names[random(names.length)]
    await tried(name, verbs[name])
    // Mostly it should run.
    if (random(3) === 0) await tried('resume', verbs.resume)
  }
  if (args.end) await tried('delete', () => c.delete({ force: true }))
  say(said)
  process.exit(0)
})`

describe.skipIf(skip).each(runtimes)('two programs at once, %s', (runtime) => {
  const ground = useContainers(runtime)

  async function race(
    seed: number,
    ends: [boolean, boolean],
  ): Promise<{ id: string; said: Record<string, object>[] }> {
    const container = await ground.create()
    const programs = ends.map(
      (end, n) =>
        new Program(code, { root: ground.root, id: container.id, seed: seed + n * 7919, end }, [
          'pipe',
          'pipe',
          'pipe',
        ]),
    )
    try {
      for (const program of programs) await program.next()
      for (const program of programs) program.child.stdin?.write('go')
      const said = await Promise.all(
        programs.map((program) => program.next() as Promise<Record<string, object>>),
      )
      return { id: container.id, said }
    } finally {
      for (const program of programs) program.child.kill('SIGKILL')
    }
  }

  test.each([1, 2, 3])('every outcome is a documented one, and the state is whole (%s)', async (seed) => {
    const { id, said } = await race(seed, [false, false])
    for (const [name, outcomes] of said.flatMap((each) => Object.entries(each))) {
      for (const outcome of Object.keys(outcomes))
        expect(['ok', ...(running[name] as string[])], name).toContain(outcome)
    }
    expect(said.flatMap((each) => Object.keys(each['start'] as object)).sort()).toEqual([
      'ERR_PROCESS_EXISTS',
      'ok',
    ])
    const container = await Container.load(ground.root, id)
    await container.resume()
    for (const [name, process] of container.processes) {
      if (name !== 'init') expect(await process.wait(), name).toMatchObject({ known: true })
    }
    expect((await run(container, 'echo alive')).stdout).toBe('alive\n')
    // Both fields are of the last update, and the record tells what the kernel has.
    const cgroup = new Cgroup(id)
    expect(await container.stats()).toMatchObject({ pids: { limit: Number(cgroup.read('pids.max')) } })
    if (runtime === 'runc') {
      const record = JSON.parse(readFileSync(join(ground.record(id), 'state.json'), 'utf8')) as {
        config: { cgroups: { pids_limit: number; memory: number } }
      }
      expect(record.config.cgroups.pids_limit).toBe(Number(cgroup.read('pids.max')))
      expect(record.config.cgroups.memory).toBe((await container.stats()).memory.usage.limit)
    }
  })

  test.each([11, 12])('one deletes it under the other (%s)', async (seed) => {
    const { id, said } = await race(seed, [true, seed === 12])
    for (const [name, outcomes] of said.flatMap((each) => Object.entries(each))) {
      for (const outcome of Object.keys(outcomes)) {
        expect(['ok', ...(running[name] ?? []), ...whileDeleted], name).toContain(outcome)
      }
    }
    expect(existsSync(join(ground.root, id))).toBe(false)
    await ground.expectNothingLeft(id)
  })
})
