// pause() and resume(): done when the kernel says so, on whichever freezer the machine has.
import { execFileSync } from 'node:child_process'
import { closeSync, constants, openSync, readFileSync, rmdirSync, writeFileSync } from 'node:fs'
import { setImmediate as turn } from 'node:timers/promises'
import { describe, expect, test } from 'vitest'
import { Container } from '../../lib/index.js'
import { idler } from '../support/bundle.js'
import { Cgroup } from '../support/cgroups.js'
import { freeze, type Ground, shimOf, unfreeze, useContainers } from '../support/containers.js'
import { expectCode, run } from '../support/expect.js'
import { cannotRunContainers, isCgroupV2, runtimes } from '../support/machine.js'
import { descriptors, isAlive } from '../support/processes.mjs'
import { Program, runProgram } from '../support/programs.js'
import { makeStuck } from '../support/stuck.js'
import { eventually } from '../support/wait.js'
import { cgroupsNamed } from '../support/traces.mjs'

const skip = cannotRunContainers()

const ETIMEDOUT = 110
const busy = ['/bin/sh', '-c', 'while :; do :; done']

function cpuTicks(pid: number): number {
  const text = readFileSync(`/proc/${pid}/stat`, 'utf8')
  const fields = text.slice(text.lastIndexOf(')') + 2).split(' ')
  return Number(fields[11]) + Number(fields[12])
}

/** Whether a process gets processor time. It may have some microseconds to go when the kernel calls it frozen: a tick. */
async function runs(pid: number): Promise<boolean> {
  const before = cpuTicks(pid)
  await new Promise((resolve) => setTimeout(resolve, 150))
  return cpuTicks(pid) > before + 1
}

/** A container two cgroups deep, whose parent is nobody's container; `end` removes what the runtime leaves. */
async function nested(ground: Ground): Promise<{ container: Container; parent: string; end(): void }> {
  const id = ground.newId()
  const parent = `${id}-parent`
  const bundle = ground.bundle((config) => {
    config.linux.cgroupsPath = `/${parent}/${id}-leaf`
  })
  const container = await ground.running({ id, bundle })
  return {
    container,
    parent,
    end() {
      for (const directory of cgroupsNamed(parent)) rmdirSync(directory)
    },
  }
}

describe.skipIf(skip).each(runtimes)('pause and resume, %s', (runtime) => {
  const ground = useContainers(runtime)

  test('stands still when it resolves, runs when resumed, and everyone sees it', async () => {
    const container = await ground.running({ bundle: ground.bundleOf(busy) })
    const { pid } = container.processes.get('init') as { pid: number }
    const cgroup = new Cgroup(container.id)
    await eventually('it runs', () => runs(pid))

    await container.pause()
    expect(cgroup.freezer()).toBe('FROZEN')
    expect(await runs(pid)).toBe(false)
    expect(container.state).toBe('paused')
    expect(await container.status()).toBe('paused')
    expect(ground.runtimeCommand('state', container.id)).toContain('"paused"')
    const other = await Container.load(container.root, container.id)
    expect(other.state).toBe('paused')

    await other.resume()
    expect(cgroup.freezer()).toBe('THAWED')
    await eventually('it runs', () => runs(pid))
    expect(await container.status()).toBe('running')
    expect(container.state).toBe('running')
    expect(ground.runtimeCommand('state', container.id)).toContain('"running"')
    await other.close()
  })

  test('again and again, twice in a row, and all at once', async () => {
    const container = await ground.running()
    await container.resume()
    for (let round = 0; round < 10; ++round) {
      await container.pause()
      await container.pause()
      expect(await container.status()).toBe('paused')
      await container.resume()
      await container.resume()
      expect(await container.status()).toBe('running')
    }
    await Promise.all(Array.from({ length: 8 }, () => container.pause()))
    expect(await container.status()).toBe('paused')
    await Promise.all(Array.from({ length: 8 }, () => container.resume()))
    expect(await container.status()).toBe('running')
    expect((await run(container, 'echo alive')).stdout).toBe('alive\n')
  })

  test('goes together with the runtime’s own pause and resume', async () => {
    const container = await ground.running()
    ground.runtimeCommand('pause', container.id)
    expect(await container.status()).toBe('paused')
    await container.pause()
    await container.resume()
    expect(ground.runtimeCommand('state', container.id)).toContain('"running"')
    await container.pause()
    ground.runtimeCommand('resume', container.id)
    expect(await container.status()).toBe('running')
    expect(container.state).toBe('running')
  })

  test('reaches processes that fork without an end, and those of nested cgroups', async () => {
    const container = await ground.running({
      bundle: ground.bundleOf(['/bin/sh', '-c', 'while :; do /bin/true; done']),
    })
    const cgroup = new Cgroup(container.id)
    const job = await container.exec('job', { args: busy })
    cgroup.makeChild('inner')
    cgroup.join(job.pid, 'inner')
    for (let round = 0; round < 5; ++round) {
      await container.pause()
      // v2 takes its word back for a moment when a parent ends its wait for a vforked child, and runs nothing of it.
      await eventually('frozen', () => cgroup.freezer() === 'FROZEN')
      expect(await runs(job.pid)).toBe(false)
      await container.resume()
    }
    await eventually('it runs', () => runs(job.pid))
    await job.kill('SIGKILL')
    await job.wait()
    await eventually('the nested cgroup can go', () => {
      try {
        cgroup.removeChild('inner')
        return true
      } catch {
        return false
      }
    })
  })

  test('an exec that a pause overtakes is refused and undone', async () => {
    const container = await ground.running()
    const [stdin, stdout] = [ground.newPath('file'), ground.newPath('fifo')]
    writeFileSync(stdin, '')
    execFileSync('mkfifo', ['-m', '600', stdout])
    // Past the look at the freezer it waits for a reader; then its child joins a cgroup that is frozen.
    const refused = expectCode(
      container.exec('job', { args: ['/bin/true'] }, { stdin, stdout }),
      'ERR_CONTAINER_PAUSED',
    )
    await eventually('the exec waits', () => [...descriptors(shimOf(container)).values()].includes(stdin))
    await freeze(container.id)
    const reader = openSync(stdout, constants.O_RDONLY | constants.O_NONBLOCK)
    await refused
    closeSync(reader)
    expect(new Cgroup(container.id).freezer()).toBe('FROZEN')
    unfreeze(container.id)
    await eventually('init alone is left', async () => (await container.pids()).length === 1)
    expect((await (await container.exec('job', { args: ['/bin/true'] })).wait()).exitCode).toBe(0)
  })

  test('an exec is refused while paused, leaves nothing, and works again after', async () => {
    const container = await ground.running()
    await container.pause()
    const error = await expectCode(container.exec('job', { args: ['/bin/true'] }), 'ERR_CONTAINER_PAUSED')
    expect(error).toMatchObject({ containerId: container.id, processId: 'job' })
    expect([...container.processes.keys()]).toEqual(['init'])
    expect(await container.pids()).toHaveLength(1)
    await container.resume()
    expect(await (await container.exec('job', { args: ['/bin/true'] })).wait()).toMatchObject({ exitCode: 0 })
  })

  test('a frozen parent: paused, though nobody paused it; its own state is another', async () => {
    const { container, parent, end } = await nested(ground)
    try {
      await freeze(parent)
      expect(await container.status()).toBe('paused')
      await expectCode(container.exec('job', { args: ['/bin/true'] }), 'ERR_CONTAINER_PAUSED')
      await container.pause()
      // It is no longer frozen by itself, and stands still all the same.
      await container.resume()
      expect(await container.status()).toBe('paused')
      expect(container.state).toBe('paused')
      await container.pause()
      unfreeze(parent)
      await eventually('the parent thawed', () => new Cgroup(parent).freezer() === 'THAWED')
      expect(await container.status()).toBe('paused')
      await container.resume()
      expect(await container.status()).toBe('running')
      expect((await run(container, 'echo alive')).stdout).toBe('alive\n')
      await container.delete({ force: true })
    } finally {
      unfreeze(parent)
      await container.delete({ force: true }).catch(() => undefined)
      end()
    }
  })

  test.each([false, true])('SIGKILL ends it while it is paused (all: %s)', async (all) => {
    const container = await ground.running({ bundle: ground.bundleOf(idler) })
    const init = container.processes.get('init')
    await container.pause()
    await container.kill('SIGKILL', { all })
    expect(await init?.wait()).toMatchObject({ exitCode: 137, signal: 'SIGKILL' })
    expect(await container.status()).toBe('stopped')
    await container.delete()
    await ground.expectNothingLeft(container.id)
  })

  test('another signal waits until it runs again', async () => {
    const container = await ground.running({ bundle: ground.bundleOf(idler) })
    const init = container.processes.get('init')
    await eventually('the trap is set', () =>
      readFileSync(`/proc/${init?.pid}/status`, 'utf8').match(/^SigCgt:\t0*[1-9a-f]/m),
    )
    await container.pause()
    await container.kill('SIGTERM')
    await expect(init?.wait({ signal: AbortSignal.timeout(200) })).rejects.toThrow()
    expect(await container.status()).toBe('paused')
    await container.resume()
    expect(await init?.wait()).toMatchObject({ exitCode: 7 })
  })

  test('a process of a paused container that is killed ends; the container stays paused', async () => {
    const container = await ground.running()
    const job = await container.exec('job', { args: ['/bin/sleep', '1000'] })
    await container.pause()
    await job.kill('SIGKILL')
    if (isCgroupV2()) {
      // v2 lets a killed process die in a frozen cgroup.
      expect(await job.wait()).toMatchObject({ exitCode: 137 })
      expect(await container.status()).toBe('paused')
    }
    await container.resume()
    expect(await job.wait()).toMatchObject({ exitCode: 137, signal: 'SIGKILL' })
    expect(await container.status()).toBe('running')
  })

  test('is deleted while paused, by force and only so', async () => {
    const container = await ground.running()
    await container.pause()
    await expectCode(container.delete(), 'ERR_CONTAINER_NOT_STOPPED')
    expect(await container.status()).toBe('paused')
    await container.delete({ force: true })
    await ground.expectNothingLeft(container.id)
  })

  test('an ephemeral one that is paused goes with its program', async () => {
    const options = ground.options({ ephemeral: true })
    const program = new Program(
      `const c = await Container.create(args)
       const init = await c.start()
       await c.pause()
       say(init.pid)
       setInterval(() => {}, 1000)`,
      options,
    )
    const pid = (await program.next()) as number
    expect(isAlive(pid)).toBe(true)
    program.kill()
    await ground.expectNothingLeft(options.id)
    await eventually('its init is gone', () => !isAlive(pid))
  })

  test('what cannot be frozen in time: ETIMEDOUT with the file, and it runs on', async () => {
    const container = await ground.create({ bundle: ground.bundleOf(busy), timeout: 400 })
    // The short time-out is for the pause alone; a start may take longer on a busy machine.
    await Container.load(container.root, container.id, { timeout: 60_000 }).then((other) => other.start())
    const impatient = await Container.load(container.root, container.id, { timeout: 400 })
    const { pid } = impatient.processes.get('init') as { pid: number }
    const cgroup = new Cgroup(container.id)
    const file = cgroup.path(isCgroupV2() ? 'cgroup.freeze' : 'freezer.state') as string
    const stuck = await makeStuck(ground.newPath('stuck'), (it) => cgroup.join(it))
    try {
      const error = await expectCode(impatient.pause(), 'ERR_SYSCALL')
      expect(error).toMatchObject({ errno: ETIMEDOUT, path: file, containerId: container.id })
      expect(String(error.message)).toContain('thawed again')
      expect(cgroup.freezer()).toBe('THAWED')
      expect(readFileSync(file, 'utf8').trim()).toBe(isCgroupV2() ? '0' : 'THAWED')
      await eventually('it runs', () => runs(pid))
      expect(impatient.state).toBe('running')
      expect(await impatient.status()).toBe('running')
      // Asked for by another hand, who does not wait: it is as good as paused, for an exec too.
      writeFileSync(file, isCgroupV2() ? '1' : 'FROZEN')
      expect(await impatient.status()).toBe('paused')
      await impatient.resume()
      expect(await impatient.status()).toBe('running')
    } finally {
      await stuck.end()
    }
    await impatient.pause()
    expect(await impatient.status()).toBe('paused')
    await impatient.resume()
  })

  test('keeps its files open from one call to the next, within the limit, and gives them back', async () => {
    const container = await ground.running()
    const record = ground.record(container.id)
    const [said] = await runProgram(
      `const fs = require('node:fs')
      const kept = () => [...new Set(fs.readdirSync('/proc/self/fd').flatMap((fd) => {
        try {
          const path = fs.readlinkSync('/proc/self/fd/' + fd)
          if (path === args.record) return ['record']
          if (/freezer.state|cgroup.freeze/.test(path)) return ['freezer']
          return path === 'anon_inode:[pidfd]' || path.startsWith('pidfd:') ? ['init'] : []
        } catch { return [] }
      }))].sort()
      const before = kept()
      const container = await Container.load(args.root, args.id)
      let limit = 1000
      const use = async () => {
        for (let i = 0; i < 2; ++i) {
          await container.pause()
          await container.resume()
          await container.updateResources({ pids: { limit: ++limit } })
        }
        return kept()
      }
      const told = { before, used: await use() }
      // Another directory in the place of the record's: what was kept is of no use any more.
      fs.renameSync(args.record, args.record + '.was')
      fs.cpSync(args.record + '.was', args.record, { recursive: true, preserveTimestamps: true })
      fs.rmSync(args.record + '.was', { recursive: true })
      await use()
      const state = args.record + '/state.json'
      told.moved = fs.existsSync(state) && JSON.parse(fs.readFileSync(state, 'utf8')).config.cgroups.pids_limit
      told.limit = limit
      Container.limitDescriptors(0)
      told.none = kept()
      told.still = await use()
      Container.limitDescriptors(100)
      told.again = await use()
      await container.close()
      told.closed = kept()
      const other = await Container.load(args.root, args.id)
      await other.pause()
      await other.delete({ force: true })
      told.deleted = kept()
      say(told)`,
      { root: ground.root, id: container.id, record },
    )
    const all = ['freezer', 'init', 'record']
    expect(said).toMatchObject({
      before: [],
      used: all,
      none: [],
      still: [],
      again: all,
      closed: [],
      deleted: [],
    })
    // crun keeps no limits in its record.
    expect(said.moved).toBe(runtime === 'runc' ? said.limit : false)
    await container.close()
  })

  test('a container that exits in the middle: ERR_CONTAINER_EXITED', async () => {
    const container = await ground.running()
    const init = container.processes.get('init')
    let ended = false
    const pausing = (async () => {
      while (!ended) {
        for (const call of [() => container.pause(), () => container.resume()]) {
          const error: unknown = await call().catch((reason: unknown) => reason)
          await turn() // an answer that needs no kernel would else leave no turn to anything else
          if (error !== undefined) {
            expect(error).toMatchObject({ code: 'ERR_CONTAINER_EXITED', containerId: container.id })
          }
        }
      }
    })()
    process.kill(init?.pid as number, 'SIGKILL')
    await init?.wait()
    await expectCode(container.pause(), 'ERR_CONTAINER_EXITED')
    await expectCode(container.resume(), 'ERR_CONTAINER_EXITED')
    ended = true
    await pausing
    await container.delete()
    await ground.expectNothingLeft(container.id)
  })
})
