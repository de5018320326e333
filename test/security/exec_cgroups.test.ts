// An exec is in the cgroups that init is in, whatever has become of those that the runtime made.
import { existsSync, mkdirSync, readdirSync, readFileSync, rmdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterEach, describe, expect, test } from 'vitest'
import { Container } from '../../lib/index.js'
import { Cgroup } from '../support/cgroups.js'
import { shimOf, useContainers } from '../support/containers.js'
import { run } from '../support/expect.js'
import { cannotRunContainers, runtimes } from '../support/machine.js'
import { isAlive } from '../support/processes.mjs'
import { eventually } from '../support/wait.js'

const skip = cannotRunContainers()

describe.skipIf(skip).each(runtimes)('the cgroups of an exec, %s', (runtime) => {
  const ground = useContainers(runtime)
  const moved: string[] = []

  afterEach(async () => {
    for (const directory of moved.splice(0)) {
      await eventually(
        `${directory} is empty`,
        () => readFileSync(join(directory, 'cgroup.procs'), 'utf8') === '',
      )
      rmdirSync(directory)
    }
  })

  /** Moves init to a cgroup beside its own in every hierarchy, and removes its own. */
  async function moveInit(container: Container): Promise<void> {
    const init = container.processes.get('init')?.pid ?? 0
    for (const directory of new Cgroup(container.id).directories) {
      const beside = `${directory}-beside`
      mkdirSync(beside)
      moved.push(beside)
      for (const file of ['cpuset.cpus', 'cpuset.mems']) {
        const value = existsSync(join(directory, file)) && readFileSync(join(directory, file), 'utf8').trim()
        if (value) writeFileSync(join(beside, file), value)
      }
      writeFileSync(join(beside, 'cgroup.procs'), String(init))
      await eventually(
        `${directory} is empty`,
        () => readFileSync(join(directory, 'cgroup.procs'), 'utf8') === '',
      )
      for (const below of readdirSync(directory, { withFileTypes: true })) {
        if (below.isDirectory()) rmdirSync(join(directory, below.name))
      }
      rmdirSync(directory)
    }
  }

  const cgroupsOf = (pid: number): string => readFileSync(`/proc/${pid}/cgroup`, 'utf8')

  test.each(['the shim that started it', 'a shim that takes over'])(
    'init was moved and the recorded cgroups removed: %s joins those of init',
    async (who) => {
      const container = await ground.running()
      if (who === 'the shim that started it') await run(container, ['/bin/true'])
      await moveInit(container)
      if (who !== 'the shim that started it') {
        const shim = shimOf(container)
        process.kill(shim, 'SIGKILL')
        await eventually('no shim', () => !isAlive(shim))
        await container.close()
      }
      const later = await Container.load(ground.root, container.id)
      const job = await later.exec('job', { args: ['/bin/sleep', '1000'] })
      expect(cgroupsOf(job.pid)).toBe(cgroupsOf(later.processes.get('init')?.pid ?? 0))
      expect(cgroupsOf(job.pid)).toContain('-beside')
      await later.kill('SIGKILL')
      await job.wait()
      await later.close()
    },
  )

  test('the container may not fork any more: an exec is let in, to the same cgroups', async () => {
    const container = await ground.running()
    const cgroup = new Cgroup(container.id)
    const idle = await container.exec('idle', { args: ['/bin/sleep', '1000'] })
    const now = Number(cgroup.read('pids.current'))
    for (const limit of [now + 1, now, 1]) {
      await container.updateResources({ pids: { limit } })
      const job = await container.exec(`job-${limit}`, { args: ['/bin/sleep', '1000'] })
      expect(cgroupsOf(job.pid)).toBe(cgroupsOf(idle.pid))
      await job.kill('SIGKILL')
      await job.wait()
    }
    const refused = await run(container, '/bin/true & echo forked')
    expect(refused.stdout).toBe('')
  })
})
