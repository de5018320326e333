// What a shim was in the middle of when it was killed, and what a reboot leaves.
import { execFileSync } from 'node:child_process'
import {
  closeSync,
  constants,
  existsSync,
  mkdirSync,
  openSync,
  readdirSync,
  readSync,
  writeFileSync,
} from 'node:fs'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { Container } from '../../lib/index.js'
import { idler } from '../support/bundle.js'
import { shimOf, useContainers } from '../support/containers.js'
import { expectCode, run } from '../support/expect.js'
import { withInjection } from '../support/faults.js'
import { cannotRunContainers, kernelAtLeast, runtimes, which } from '../support/machine.js'
import { isAlive, procStat, shimsBelow } from '../support/processes.mjs'
import { Program } from '../support/programs.js'
import { eventually } from '../support/wait.js'

const skip = cannotRunContainers()

describe.skipIf(skip).each(runtimes)('what is cut off, %s', (runtime) => {
  const ground = useContainers(runtime)

  /** A runtime that says when it is in the middle of `verb`, and stays there while `hold` exists. */
  function slow(verb: string, when: 'before' | 'after'): { path: string; reached: string; hold: string } {
    const directory = ground.newPath('wrapper')
    mkdirSync(directory)
    const [path, reached, hold] = [runtime, 'reached', 'hold'].map((name) => join(directory, name)) as [
      string,
      string,
      string,
    ]
    const wait = `: > ${reached}; while [ -e ${hold} ]; do sleep 0.02; done`
    const real = `${which(runtime)} "$@"`
    writeFileSync(
      path,
      `#!/bin/sh\ncase "$*" in *" ${verb} "*) ${when === 'before' ? `${wait}; exec ${real}` : `${real} || exit; ${wait}; exit 0`};; esac\nexec ${real}\n`,
      { mode: 0o755 },
    )
    writeFileSync(hold, '')
    return { path, reached, hold }
  }

  async function killShim(container: Container): Promise<void> {
    const shim = shimOf(container)
    process.kill(shim, 'SIGKILL')
    await eventually('it is gone', () => !isAlive(shim))
  }

  async function expectAsNew(container: Container): Promise<void> {
    const loaded = await Container.load(ground.root, container.id)
    expect([loaded.state, await loaded.status(), loaded.processes.size]).toEqual(['created', 'created', 0])
    expect(existsSync(ground.record(container.id))).toBe(false)
    expect(existsSync(join(ground.root, container.id, 'init'))).toBe(false)
    await loaded.start()
    expect((await run(loaded, 'echo alive')).stdout).toBe('alive\n')
    await loaded.delete({ force: true })
    await ground.expectNothingLeft(container.id)
  }

  test('a start, before the runtime made anything: undone', async () => {
    const { path, reached, hold } = slow('create', 'before')
    const container = await ground.create({ runtime: path })
    const starting = container.start()
    starting.catch(() => undefined)
    await eventually('create', () => existsSync(reached))
    await killShim(container)
    await expectCode(starting, 'ERR_SHIM_EXITED')
    // It goes on by itself, and is awaited.
    execFileSync('rm', [hold])
    await expectAsNew(container)
  })

  test('a start whose runtime hangs in create: it is ended, and the start undone', async () => {
    const { path, reached, hold } = slow('create', 'after')
    const container = await ground.create({ runtime: path })
    const starting = container.start()
    starting.catch(() => undefined)
    await eventually('create', () => existsSync(reached))
    await killShim(container)
    await expectCode(starting, 'ERR_SHIM_EXITED')
    const loaded = await Container.load(ground.root, container.id)
    execFileSync('rm', [hold])
    expect(loaded.state).toBe('created')
    await loaded.close()
    await expectAsNew(container)
  })

  test('a start in its hook: undone', async () => {
    const container = await ground.create()
    const starting = container.start({
      onCreated: async () => {
        await killShim(container)
        await new Promise(() => undefined)
      },
    })
    await expectCode(starting, 'ERR_SHIM_EXITED')
    // By this very handle too, at its next use.
    expect((await container.start()).state).toBe('running')
    await container.delete({ force: true })
    await ground.expectNothingLeft(container.id)
  })

  test('a start whose program runs: finished', async () => {
    const { path, reached, hold } = slow('start', 'after')
    const container = await ground.create({ runtime: path, bundle: ground.bundleOf(idler) })
    const starting = container.start()
    starting.catch(() => undefined)
    await eventually('start', () => existsSync(reached))
    await killShim(container)
    await expectCode(starting, 'ERR_SHIM_EXITED')
    execFileSync('rm', [hold])
    const loaded = await Container.load(ground.root, container.id)
    expect([loaded.state, await loaded.status()]).toEqual(['running', 'running'])
    expect((await run(loaded, 'echo alive')).stdout).toBe('alive\n')
    const init = loaded.processes.get('init')
    await loaded.kill()
    const known = kernelAtLeast(6, 15)
    expect(await init?.wait()).toMatchObject({ exitCode: known ? 7 : 255, signal: null, known })
    await loaded.delete()
    await ground.expectNothingLeft(container.id)
  })

  test('a delete: finished by the next load, or by the call itself', async () => {
    for (const ask of ['load', 'call'] as const) {
      const { path, reached, hold } = slow('delete', 'before')
      const container = await ground.create({ runtime: path })
      await container.start()
      const deleting = container.delete({ force: true })
      deleting.catch(() => undefined)
      await eventually('delete', () => existsSync(reached))
      if (ask === 'load') await container.close()
      await killShim(container)
      execFileSync('rm', [hold])
      if (ask === 'call') await deleting
      else await expectCode(Container.load(ground.root, container.id), 'ERR_CONTAINER_NOT_FOUND')
      await ground.expectNothingLeft(container.id)
    }
  })

  test('the removal of a process: done, and its id is free', async () => {
    const container = await ground.running()
    const directory = join(ground.root, container.id)
    // Its directory is kept for another process, or taken away when there is something else in it.
    const taking = 'unlink,unlinkat'
    for (const [calls, when] of [
      ['getdents64', 1],
      ['rename,renameat', 2],
      ...[1, 2, 3, 4].map((n) => [taking, n] as const),
    ] as const) {
      await (await container.exec('job', { args: ['/bin/sh', '-c', 'exit 5'] })).wait()
      if (calls === taking) writeFileSync(join(directory, 'job/other'), '')
      await withInjection(shimOf(container), calls, `signal=KILL:when=${when}`, () =>
        expectCode(container.removeProcess('job'), 'ERR_SHIM_EXITED'),
      )
      const loaded = await Container.load(ground.root, container.id)
      expect([...loaded.processes.keys()], `${calls} ${when}`).toEqual(['init'])
      await loaded.close()
      await expectCode(container.removeProcess('job'), 'ERR_PROCESS_NOT_FOUND')
    }
    expect(existsSync(join(directory, 'init/execs'))).toBe(false)
  })

  test('execs: each is there as a whole or not at all', async () => {
    const container = await ground.running()
    const directory = join(ground.root, container.id)
    for (let round = 0; round < 10; ++round) {
      await container.status()
      // Known before there are forks of it, which go by its name until they execute their program.
      const shim = await eventually('a shim', () => shimsBelow(directory)[0])
      const execs = Array.from({ length: 10 }, (_, n) =>
        container.exec(`job-${round}-${n}`, { args: ['/bin/sleep', '1000'] }),
      )
      const settled = Promise.allSettled(execs)
      await new Promise((resolve) => setTimeout(resolve, round * 2))
      process.kill(shim, 'SIGKILL')
      const results = await settled
      const loaded = await Container.load(ground.root, container.id)
      results.forEach((result, n) => {
        const found = loaded.processes.get(`job-${round}-${n}`)
        if (result.status === 'fulfilled') expect(found?.state).toBe('running')
        else expect(result.reason).toMatchObject({ code: 'ERR_SHIM_EXITED' })
        if (found?.exitStatus) expect(found.exitStatus).toMatchObject({ exitCode: 255, known: false })
        else if (found) expect(isAlive(found.pid)).toBe(true)
      })
      expect(readdirSync(directory).filter((name) => name.includes('.tmp.'))).toEqual([])
      // Every process in it is one that is known.
      const known = [...loaded.processes.values()]
        .filter(({ exitStatus }) => !exitStatus)
        .map(({ pid }) => pid)
      await eventually('no others', async () => (await loaded.pids()).every((pid) => known.includes(pid)))
      await loaded.close()
    }
  })

  test('an ephemeral container whose shim and program are both gone: the next load ends it', async () => {
    const options = ground.options({ ephemeral: true })
    const program = new Program(
      `const c = await Container.create(args)\nawait c.start()\nsay(1)\nawait sleep(1e6)`,
      options,
    )
    await program.next()
    process.kill(program.child.pid as number, 'SIGSTOP')
    const [shim] = shimsBelow(join(ground.root, options.id)) as [number]
    process.kill(shim, 'SIGKILL')
    await eventually('no shim', () => !isAlive(shim))
    program.kill()
    await program.ended
    expect(existsSync(join(ground.root, options.id))).toBe(true)
    await expectCode(Container.load(ground.root, options.id), 'ERR_CONTAINER_NOT_FOUND')
    await ground.expectNothingLeft(options.id)
  })

  test('what is written to a FIFO while no shim is there', async () => {
    const container = await ground.running()
    const fifo = ground.newPath('fifo')
    execFileSync('mkfifo', [fifo])
    const reader = openSync(fifo, constants.O_RDONLY | constants.O_NONBLOCK)
    const job = await container.exec(
      'job',
      { args: ['/bin/sh', '-c', 'sleep 0.3; echo one; sleep 0.3; echo two; sleep 1000'] },
      { stdout: fifo },
    )
    closeSync(reader)
    await container.close()
    await killShim(container)
    await new Promise((resolve) => setTimeout(resolve, 700))
    expect(isAlive(job.pid)).toBe(true)
    const later = openSync(fifo, constants.O_RDONLY | constants.O_NONBLOCK)
    const chunk = Buffer.alloc(100)
    let said = ''
    await eventually('both', () => {
      try {
        said += chunk.toString('utf8', 0, readSync(later, chunk))
      } catch (error) {
        expect(error).toMatchObject({ code: 'EAGAIN' })
      }
      return said === 'one\ntwo\n'
    })
    closeSync(later)
  })

  test('names of those who are gone are swept from the root, others stay', async () => {
    await ground.create()
    const mine = `:${process.pid}.${procStat(process.pid)?.starttime}.x`
    const theirs = `:${process.pid}.1.x`
    for (const name of [mine, theirs]) {
      mkdirSync(join(ground.root, name))
      writeFileSync(join(ground.root, name, 'state.json'), '{}')
    }
    await Container.list(ground.root)
    expect(readdirSync(ground.root).filter((name) => name.startsWith(':'))).toEqual([mine])
    execFileSync('rm', ['-r', join(ground.root, mine)])
  })

  test('a reboot: what ran is over, whoever has its pids now', async () => {
    const container = await ground.running()
    await (await container.exec('ended', { args: ['/bin/sh', '-c', 'exit 5'] })).wait()
    await container.exec('job', { args: ['/bin/sleep', '1000'] })
    await container.close()
    await killShim(container)
    execFileSync(runtime, ['delete', '--force', container.id])
    const directory = join(ground.root, container.id)
    expect(existsSync(join(directory, 'init/bootId'))).toBe(true)
    writeFileSync(join(directory, 'init/bootId'), '00000000-0000-0000-0000-000000000000')
    for (const id of ['init', 'job']) {
      writeFileSync(join(directory, id, 'pid'), String(process.pid))
      writeFileSync(join(directory, id, 'starttime'), String(procStat(process.pid)?.starttime))
    }
    const loaded = await Container.load(ground.root, container.id)
    expect([loaded.state, await loaded.status(), loaded.endedByReboot]).toEqual(['stopped', 'stopped', true])
    expect(loaded.processes.get('init')?.exitStatus).toMatchObject({ exitCode: 255, known: false })
    expect(loaded.processes.get('job')?.exitStatus).toMatchObject({ exitCode: 255, known: false })
    expect(loaded.processes.get('ended')?.exitStatus).toMatchObject({ exitCode: 5, known: true })
    expect(shimsBelow(directory)).toEqual([])
    await expectCode(loaded.exec('more', { args: ['/bin/true'] }), 'ERR_CONTAINER_EXITED')
    await loaded.delete({ force: true })
    await ground.expectNothingLeft(container.id)
  })
})
