// More than one program: load(), list() and labels elsewhere; races; programs that are killed; shims that are killed.
import { existsSync, mkdirSync, readdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { Container } from '../../lib/index.js'
import { idler } from '../support/bundle.js'
import { freeze, shimOf, useContainers } from '../support/containers.js'
import { expectCode, run } from '../support/expect.js'
import { cannotRunContainers, kernelAtLeast, runtimes, which } from '../support/machine.js'
import { isAlive, procStat, shimsBelow } from '../support/processes.mjs'
import { Program, runProgram } from '../support/programs.js'
import { eventually } from '../support/wait.js'

const skip = cannotRunContainers()

// PIDFD_GET_INFO tells the status of a process that is nobody's child.
const status = (exitCode: number, signal: string | null): object =>
  kernelAtLeast(6, 15) ? { exitCode, signal, known: true } : { exitCode: 255, signal: null, known: false }

describe.skipIf(skip).each(runtimes)('several programs, %s', (runtime) => {
  const ground = useContainers(runtime)

  test('labels, list, load; exec, wait and kill from a second program', async () => {
    const container = await ground.running({ bundle: ground.bundleOf(idler), labels: ['a=1', 'é'] })
    const job = await container.exec('job', { args: ['/bin/sh', '-c', 'sleep 1000'] })
    const [about, execed, killed] = await runProgram(
      `const c = await Container.load(args.root, args.id)
       say({ list: await Container.list(args.root), id: c.id, root: c.root, bundle: c.bundle, labels: c.labels,
             runtime: c.runtime, state: c.state, status: await c.status(),
             processes: [...c.processes.values()].map((p) => [p.id, p.pid, p.state, p.spec.args]) })
       const job = await c.exec('theirs', { args: ['/bin/sh', '-c', 'hostname; exit 4'] }, { stdout: 'pipe' })
       let out = ''
       job.stdout.on('data', (chunk) => { out += chunk })
       say([await job.wait(), out])
       await c.processes.get('job').kill('SIGTERM')
       say(await c.processes.get('job').wait())
       await c.close()`,
      { root: ground.root, id: container.id },
    )
    const init = container.processes.get('init')
    expect(about).toEqual({
      list: [container.id],
      id: container.id,
      root: ground.root,
      bundle: container.bundle,
      labels: ['a=1', 'é'],
      runtime,
      state: 'running',
      status: 'running',
      processes: [
        ['init', init?.pid, 'running', idler],
        ['job', job.pid, 'running', ['/bin/sh', '-c', 'sleep 1000']],
      ],
    })
    expect(execed).toEqual([expect.objectContaining({ exitCode: 4, signal: null, known: true }), 'inside\n'])
    expect(killed).toMatchObject({ exitCode: 143, signal: 'SIGTERM', known: true })
    expect(await job.wait()).toMatchObject({ exitCode: 143, signal: 'SIGTERM', known: true })
    // The id that the other one took is taken here too.
    await expectCode(container.exec('theirs', { args: ['/bin/true'] }), 'ERR_PROCESS_EXISTS')
    await container.removeProcess('theirs')
    expect((await (await container.exec('theirs', { args: ['/bin/true'] })).wait()).exitCode).toBe(0)
  })

  test('a second program starts, execs in and deletes what this one created', async () => {
    const container = await ground.create({ bundle: ground.bundleOf(idler) })
    await runProgram(
      `const c = await Container.load(args.root, args.id)
       await c.start()
       await c.close()`,
      { root: ground.root, id: container.id },
    )
    expect(await container.status()).toBe('running')
    expect((await run(container, 'echo mine')).stdout).toBe('mine\n')
    await runProgram(
      `const c = await Container.load(args.root, args.id)
       await c.delete({ force: true })`,
      { root: ground.root, id: container.id },
    )
    await expectCode(container.status(), 'ERR_CONTAINER_NOT_FOUND')
    await expectCode(container.exec('job', { args: ['/bin/true'] }), 'ERR_CONTAINER_NOT_FOUND')
    await ground.expectNothingLeft(container.id)
  })

  test('a handle from before the start knows of it at its first use', async () => {
    const verbs: ((container: Container) => Promise<unknown>)[] = [
      (container) => container.exec('job', { args: ['/bin/true'] }),
      (container) => container.pids(),
      (container) => container.stats(),
      (container) => container.pause().then(() => container.resume()),
      (container) => container.updateResources({ pids: { limit: 100 } }),
      (container) => container.oom().then((watcher) => watcher.close()),
      (container) => container.kill('SIGCONT'),
    ]
    const container = await ground.create()
    const others = await Promise.all(verbs.map(() => Container.load(ground.root, container.id)))
    await expectCode(
      others[0]?.exec('job', { args: ['/bin/true'] }) as Promise<unknown>,
      'ERR_CONTAINER_NOT_STARTED',
    )
    await container.start()
    for (const [n, verb] of verbs.entries()) await verb(others[n] as Container)
    await container.delete({ force: true })
    await expectCode(container.pids(), 'ERR_CONTAINER_NOT_FOUND')
  })

  test('exits that come while a handle is made are heard of', async () => {
    const container = await ground.running()
    const ids = Array.from({ length: 40 }, (_, n) => `job-${n}`)
    for (const [n, id] of ids.entries()) {
      await container.exec(id, { args: ['/bin/sh', '-c', `read x; exit ${n}`] }, { stdin: 'pipe' })
    }
    // One process after the other ends while one handle after the other is made.
    const loaded: Container[] = []
    for (const id of ids) {
      const loading = [1, 2].map(() => Container.load(ground.root, container.id))
      container.processes.get(id)?.stdin?.end()
      loaded.push(...(await Promise.all(loading)))
    }
    for (const handle of loaded) {
      const exits = await Promise.all(ids.map((id) => handle.processes.get(id)?.wait()))
      expect(exits.map((exit) => exit?.exitCode)).toEqual(ids.map((_, n) => n))
      await handle.close()
    }
  })

  test('two handles both hear of the exit', async () => {
    const container = await ground.running({ bundle: ground.bundleOf(idler) })
    const other = await Container.load(ground.root, container.id)
    const both = [container.processes.get('init')?.wait(), other.processes.get('init')?.wait()]
    await container.kill()
    for (const exit of await Promise.all(both))
      expect(exit).toMatchObject({ exitCode: 7, signal: null, known: true })
    expect([container.state, other.state]).toEqual(['stopped', 'stopped'])
  })

  test('load after the exits: the statuses as they were', async () => {
    const container = await ground.running({ bundle: ground.bundleOf(idler) })
    await run(container, 'exit 23')
    await run(container, 'kill -SEGV $$')
    await container.kill()
    const exits = await Promise.all([...container.processes.values()].map((process) => process.wait()))
    await container.close()
    const loaded = await Container.load(ground.root, container.id)
    expect([...loaded.processes.keys()].sort()).toEqual([...container.processes.keys()].sort())
    const again = await Promise.all(
      [...container.processes.keys()].map((id) => loaded.processes.get(id)?.wait()),
    )
    expect(again).toEqual(exits)
    expect(exits.map(({ exitCode }) => exitCode)).toEqual([7, 23, 139])
    // And again without a shim.
    await loaded.close()
    await eventually('no shim', () => shimsBelow(join(ground.root, container.id)).length === 0)
    const cold = await Container.load(ground.root, container.id)
    expect(
      await Promise.all([...container.processes.keys()].map((id) => cold.processes.get(id)?.wait())),
    ).toEqual(exits)
    expect(await cold.status()).toBe('stopped')
  })

  describe('races', () => {
    test('of creates with one id one wins, in one program and in several', async () => {
      const options = ground.options()
      const here = await Promise.allSettled(Array.from({ length: 8 }, () => Container.create(options)))
      expect(here.filter(({ status: s }) => s === 'fulfilled')).toHaveLength(1)
      for (const result of here) {
        if (result.status === 'rejected')
          expect(result.reason).toMatchObject({ code: 'ERR_CONTAINER_EXISTS' })
      }
      const other = ground.options()
      const code = `try { await Container.create(args); say('won') } catch (error) { say(error.code) }`
      const there = await Promise.all([1, 2, 3, 4].map(() => runProgram(code, other)))
      expect(there.flat().sort()).toEqual([
        'ERR_CONTAINER_EXISTS',
        'ERR_CONTAINER_EXISTS',
        'ERR_CONTAINER_EXISTS',
        'won',
      ])
      expect((await Container.load(ground.root, other.id)).state).toBe('created')
      expect(readdirSync(ground.root).sort()).toEqual([options.id, other.id].sort())
    })

    test('of starts one wins', async () => {
      const container = await ground.create()
      const others = await Promise.all([1, 2, 3].map(() => Container.load(ground.root, container.id)))
      const results = await Promise.allSettled(
        [container, ...others, container].map((handle) => handle.start()),
      )
      expect(results.filter(({ status: s }) => s === 'fulfilled')).toHaveLength(1)
      for (const result of results) {
        if (result.status === 'rejected') expect(result.reason).toMatchObject({ code: 'ERR_PROCESS_EXISTS' })
      }
      expect(await container.status()).toBe('running')
      expect((await container.pids()).length).toBe(1)
      for (const handle of others) expect(await handle.status()).toBe('running')
    })

    test('of deletes all end, and the container is gone', async () => {
      for (const force of [true, false]) {
        const container = await ground.running({
          bundle: ground.bundleOf(force ? ['/bin/sleep', '1000'] : ['/bin/true']),
        })
        if (!force) await container.processes.get('init')?.wait()
        const others = await Promise.all([1, 2, 3].map(() => Container.load(ground.root, container.id)))
        const results = await Promise.allSettled(
          [container, ...others].map((handle) => handle.delete({ force })),
        )
        expect(results.some(({ status: s }) => s === 'fulfilled')).toBe(true)
        for (const result of results) {
          if (result.status === 'rejected')
            expect(result.reason).toMatchObject({ code: 'ERR_CONTAINER_NOT_FOUND' })
        }
        await ground.expectNothingLeft(container.id)
      }
    })

    test('delete against exec: the exec runs or is refused, and nothing is left', async () => {
      for (let n = 0; n < 5; ++n) {
        const container = await ground.running()
        const execs = Array.from({ length: 10 }, (_, i) =>
          container.exec(`job-${i}`, { args: ['/bin/sleep', '1000'] }, { stdout: 'pipe' }).then(
            (job) => job.wait(),
            (error: unknown) => error,
          ),
        )
        await container.delete({ force: true })
        for (const result of await Promise.all(execs)) {
          const { code, signal } = result as { code?: string; signal?: string }
          expect(['ERR_CONTAINER_NOT_FOUND', 'ERR_CONTAINER_EXITED', 'ERR_SHIM_EXITED', 'SIGKILL']).toContain(
            code ?? signal,
          )
        }
        await ground.expectNothingLeft(container.id)
      }
    })

    test('delete with force while it is paused', async () => {
      const container = await ground.running()
      await container.exec('job', { args: ['/bin/sleep', '1000'] })
      await freeze(container.id)
      await expectCode(container.delete(), 'ERR_CONTAINER_NOT_STOPPED')
      await container.delete({ force: true })
      await ground.expectNothingLeft(container.id)
    })
  })

  describe('a program that is killed', () => {
    const moments: [string, string, killFirst?: boolean][] = [
      ['after create', 'say(1)'],
      ['at once during start', 'c.start(); say(1)'],
      ['a little later during start', 'c.start(); await sleep(15); say(1)'],
      ['in onCreated', 'await c.start({ onCreated: () => { say(1); return new Promise(() => {}) } })'],
      ['after start', 'await c.start(); say(1)'],
      [
        'during exec',
        `await c.start(); for (let n = 0; ; ++n) { if (n === 3) say(1); await (await c.exec('job-' + n, { args: ['/bin/true'] })).wait() }`,
      ],
      [
        'in the middle of many execs',
        `await c.start(); for (let n = 0; n < 20; ++n) c.exec('job-' + n, { args: ['/bin/sleep', '1000'] }, { stdout: 'pipe' }).catch(() => {}); await sleep(3); say(1)`,
      ],
    ]

    test.each(moments)('%s: an ephemeral container goes with it', async (_, code) => {
      const options = ground.options({ ephemeral: true })
      const program = new Program(
        `const c = await Container.create(args)\n${code}\nawait sleep(1e6)`,
        options,
      )
      await program.next()
      program.kill()
      expect(await program.ended).toEqual({ code: null, signal: 'SIGKILL' })
      await ground.expectNothingLeft(options.id)
      expect(existsSync(join(ground.root, options.id))).toBe(false)
      // The id is free again.
      const again = await Container.create(options)
      await again[Symbol.asyncDispose]()
    })

    test.each([
      ['process.exit', 'process.exit(3)', 3],
      ['an exception', 'throw new Error("on purpose")', 1],
      ['running to its end', 'await c.close()', 0],
    ])('and so it does with %s', async (_, code, exitCode) => {
      const options = ground.options({ ephemeral: true })
      const program = new Program(`const c = await Container.create(args)\nawait c.start()\n${code}`, options)
      expect(await program.ended).toEqual({ code: exitCode, signal: null })
      await ground.expectNothingLeft(options.id)
    })

    test('close() of an ephemeral handle does not end the container, the program’s end does', async () => {
      const options = ground.options({ ephemeral: true })
      const program = new Program(
        `const c = await Container.create(args)\nawait c.start()\nawait c.close()\nsay(1)\nawait sleep(1e6)`,
        options,
      )
      await program.next()
      const other = await Container.load(ground.root, options.id)
      expect((await run(other, 'echo alive')).stdout).toBe('alive\n')
      const init = other.processes.get('init')?.wait()
      program.kill()
      expect(await init).toMatchObject({ signal: 'SIGKILL' })
      await ground.expectNothingLeft(options.id)
    })

    test('a closed handle of an ephemeral container still deletes it when it is disposed of', async () => {
      const options = ground.options({ ephemeral: true })
      const said = await runProgram(
        `const c = await Container.create(args)
         await c.start()
         const loaded = await Container.load(args.root, args.id)
         await loaded.close()
         say(await loaded.exec('job', { args: ['/bin/true'] }).catch(({ code }) => code))
         await c.close()
         say(await c.delete({ force: true }).catch(({ code }) => code))
         await loaded[Symbol.asyncDispose]()
         say(await c.status().catch(({ code }) => code))
         await c[Symbol.asyncDispose]()
         say(await Container.list(args.root))`,
        options,
      )
      const closed = 'ERR_SHIM_EXITED'
      expect(said.slice(0, 3)).toEqual([closed, closed, closed])
      expect(said[3]).not.toContain(options.id)
      await ground.expectNothingLeft(options.id)
    })

    test('an ephemeral container that is paused goes too', async () => {
      const options = ground.options({ ephemeral: true })
      const program = new Program(
        `const c = await Container.create(args)\nawait c.start()\nsay(1)\nawait sleep(1e6)`,
        options,
      )
      await program.next()
      await freeze(options.id)
      program.kill()
      await ground.expectNothingLeft(options.id)
    })

    test('a lasting container runs on, and its true exit is there for the next', async () => {
      const options = ground.options({ bundle: ground.bundleOf(idler) })
      const program = new Program(
        `const c = await Container.create(args)
         await c.start()
         const job = await c.exec('job', { args: ['/bin/sh', '-c', 'sleep 0.3; exit 33'] })
         say([c.processes.get('init').pid, job.pid])
         await sleep(1e6)`,
        options,
      )
      const [initPid, jobPid] = await program.next()
      program.kill()
      await program.ended
      expect(isAlive(initPid)).toBe(true)
      await eventually('the job ends while no program is there', () => !isAlive(jobPid))
      const container = await Container.load(ground.root, options.id)
      expect(container.processes.get('init')).toMatchObject({ pid: initPid, state: 'running' })
      expect(await container.processes.get('job')?.wait()).toMatchObject({
        exitCode: 33,
        signal: null,
        known: true,
      })
      const init = container.processes.get('init')
      await container.kill()
      expect(await init?.wait()).toMatchObject({ exitCode: 7, signal: null, known: true })
      await container.delete()
      await ground.expectNothingLeft(options.id)
    })

    test('in the middle of a start: the start goes through, or was undone with the hook', async () => {
      const options = ground.options()
      const program = new Program(
        `const c = await Container.create(args)\nc.start()\nsay(1)\nawait sleep(1e6)`,
        options,
      )
      await program.next()
      await eventually('a shim', () => shimsBelow(join(ground.root, options.id)).length > 0)
      await eventually('init', () => existsSync(join(ground.root, options.id, 'init')))
      program.kill()
      const container = await Container.load(ground.root, options.id)
      await eventually('it runs', async () => (await container.status()) === 'running')
      expect((await run(container, 'echo alive')).stdout).toBe('alive\n')

      const other = ground.options()
      const second = new Program(
        `const c = await Container.create(args)\nawait c.start({ onCreated: () => { say(1); return new Promise(() => {}) } })`,
        other,
      )
      await second.next()
      second.kill()
      await second.ended
      await eventually('it is undone', () => !existsSync(ground.record(other.id)))
      await eventually('its shim leaves', () => shimsBelow(join(ground.root, other.id)).length === 0)
      const fresh = await Container.load(ground.root, other.id)
      expect((await fresh.start()).state).toBe('running')
    })
  })

  describe('a shim that is killed', () => {
    test('wait() still resolves, and the container is as usable as before', async () => {
      const container = await ground.running({ bundle: ground.bundleOf(idler) })
      const init = container.processes.get('init')
      const job = await container.exec('job', {
        args: ['/bin/sh', '-c', 'trap "exit 9" TERM; while :; do sleep 1000 & wait; done'],
      })
      const ended = await container.exec('ended', { args: ['/bin/sh', '-c', 'exit 12'] })
      await ended.wait()
      const waits = [job.wait(), init?.wait()]
      const shim = shimOf(container)
      process.kill(shim, 'SIGKILL')
      await eventually('another shim', () =>
        shimsBelow(join(ground.root, container.id)).some((pid) => pid !== shim),
      )
      expect(await container.status()).toBe('running')
      expect((await run(container, 'echo alive; exit 2')).status).toMatchObject({ exitCode: 2, known: true })
      expect(await ended.wait()).toMatchObject({ exitCode: 12 })
      await job.kill('SIGTERM')
      expect(await waits[0]).toMatchObject(status(9, null))
      await container.kill('SIGTERM')
      expect(await waits[1]).toMatchObject(status(7, null))
      expect(await container.status()).toBe('stopped')
      await container.delete()
      await ground.expectNothingLeft(container.id)
    })

    test('while no program is there: load() takes over', async () => {
      const container = await ground.running({ bundle: ground.bundleOf(idler) })
      const job = await container.exec('job', { args: ['/bin/sleep', '1000'] })
      await container.close()
      process.kill(shimOf(container), 'SIGKILL')
      await eventually('no shim', () => shimsBelow(join(ground.root, container.id)).length === 0)
      const loaded = await Container.load(ground.root, container.id)
      expect(await loaded.status()).toBe('running')
      const exit = loaded.processes.get('job')?.wait()
      await eventually('a new shim', () => shimsBelow(join(ground.root, container.id)).length > 0)
      await new Promise((resolve) => setTimeout(resolve, 50))
      process.kill(job.pid, 'SIGKILL')
      expect(await exit).toMatchObject(status(137, 'SIGKILL'))
      expect((await run(loaded, 'echo alive')).stdout).toBe('alive\n')
      await loaded.delete({ force: true })
      await ground.expectNothingLeft(container.id)
    })

    test('an exit that nobody saw: said to be unknown, and the container can be deleted', async () => {
      const container = await ground.running()
      const init = container.processes.get('init')?.pid as number
      await container.close()
      process.kill(shimOf(container), 'SIGKILL')
      await eventually('no shim', () => shimsBelow(join(ground.root, container.id)).length === 0)
      process.kill(init, 'SIGKILL')
      await eventually('init is gone', () => procStat(init) === null)
      const loaded = await Container.load(ground.root, container.id)
      expect(loaded.state).toBe('stopped')
      expect(await loaded.status()).toBe('stopped')
      expect(await loaded.processes.get('init')?.wait()).toMatchObject({
        exitCode: 255,
        signal: null,
        known: false,
      })
      await expectCode(loaded.exec('job', { args: ['/bin/true'] }), 'ERR_CONTAINER_EXITED')
      await loaded.delete()
      await ground.expectNothingLeft(container.id)
    })

    test('during a start: ERR_SHIM_EXITED, and force deletes what is left', async () => {
      const real = which(runtime) as string
      const directory = ground.newPath('wrapper')
      mkdirSync(directory)
      const path = join(directory, runtime)
      writeFileSync(path, `#!/bin/sh\ncase "$*" in *" start "*) sleep 1000;; esac\nexec ${real} "$@"\n`, {
        mode: 0o755,
      })
      const container = await ground.create({ runtime: path })
      const starting = container.start()
      starting.catch(() => undefined)
      await eventually(
        'the container is made',
        () =>
          existsSync(ground.record(container.id)) &&
          existsSync(join(ground.root, container.id, 'init/starttime')),
      )
      await new Promise((resolve) => setTimeout(resolve, 200))
      process.kill(shimOf(container), 'SIGKILL')
      await expectCode(starting, 'ERR_SHIM_EXITED')
      const loaded = await Container.load(ground.root, container.id)
      await loaded.delete({ force: true })
      await ground.expectNothingLeft(container.id)
    })

    test('of an ephemeral container: it still ends with its program', async () => {
      const options = ground.options({ ephemeral: true })
      const program = new Program(
        `const c = await Container.create(args)\nawait c.start()\nsay(1)\nawait sleep(1e6)`,
        options,
      )
      await program.next()
      const [shim] = shimsBelow(join(ground.root, options.id)) as [number]
      process.kill(shim, 'SIGKILL')
      await eventually('another shim', () =>
        shimsBelow(join(ground.root, options.id)).some((pid) => pid !== shim),
      )
      await new Promise((resolve) => setTimeout(resolve, 100))
      program.kill()
      await ground.expectNothingLeft(options.id)
    })
  })
})
