// System calls that fail, one after the other, in whole lives of containers: the shim's in a start and in a delete, the
// addon's in every call of a program. Success or a clear error each time, then everything works, and nothing is left.
import { readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { Container } from '../../lib/index.js'
import { idler } from '../support/bundle.js'
import { criuWorks } from '../support/checkpoints.js'
import { compileProgram } from '../support/compile.js'
import { callsOf, faultsIn, resourceFaults, tryFault, withFault, withInjection } from '../support/faults.js'
import { shimOf, useContainers } from '../support/containers.js'
import { run, text } from '../support/expect.js'
import { cannotRunContainers, kernelAtLeast, packageRoot, which } from '../support/machine.js'
import { descriptors, isAlive, shimsBelow, statusLine } from '../support/processes.mjs'
import { Program } from '../support/programs.js'
import { eventually } from '../support/wait.js'

const skip = cannotRunContainers()

const settled = (work: Promise<unknown>): Promise<{ code: string; message: string } | null> =>
  work.then(
    () => null,
    (error: { code: string; message: string }) => error,
  )

describe.skipIf(skip)('faults in the shim', () => {
  const ground = useContainers('runc')
  // One that is ephemeral has its shim before it starts.
  const create = (): Promise<Container> => ground.create({ ephemeral: true })

  test('each system call of a start in turn', async () => {
    const measured = await create()
    const counts = await callsOf(shimOf(measured), ground.newPath('trace'), () => measured.start())
    await measured.delete({ force: true })
    expect(
      (counts.get('clone') ?? 0) + (counts.get('clone3') ?? 0) + (counts.get('vfork') ?? 0),
    ).toBeGreaterThan(0)
    const outcomes = new Map<string, number>()
    for (const { call, n, error, what } of faultsIn(counts)) {
      const container = await create()
      const outcome = await withFault(shimOf(container), call, n, error, () => settled(container.start()))
      const code = outcome?.code ?? 'success'
      outcomes.set(code, (outcomes.get(code) ?? 0) + 1)
      expect(
        ['success', 'ERR_SYSCALL', 'ERR_RUNTIME', 'ERR_SHIM_EXITED'],
        `${what}: ${outcome?.message}`,
      ).toContain(code)
      if (code === 'ERR_SYSCALL') {
        expect(outcome, what).toMatchObject({ errno: expect.any(Number), syscall: expect.any(String) })
      }
      if (code === 'ERR_SYSCALL' || code === 'ERR_RUNTIME') {
        expect(await container.status(), what).toBe('created')
        expect([...container.processes.keys()], what).toEqual([])
      }
      const loaded = await Container.load(ground.root, container.id)
      if ((await loaded.status()) === 'created') {
        expect([...loaded.processes.keys()], `after ${what}: ${code}`).toEqual([])
        await loaded.start()
      }
      const alive = await run(loaded, 'echo alive').catch((cause: Error) => {
        throw new Error(`after ${what}: ${code}: ${cause.message}`, { cause })
      })
      expect(alive.stdout, `after ${what}`).toBe('alive\n')
      await loaded.delete({ force: true })
      await ground.expectNothingLeft(container.id).catch((cause: Error) => {
        throw new Error(`after ${what}: ${cause.message}`, { cause })
      })
      await container.close()
    }
    expect(outcomes.get('success')).toBeGreaterThan(0)
    expect(outcomes.get('ERR_SYSCALL')).toBeGreaterThan(0)
  }, 300_000)

  test('each system call of a delete in turn', async () => {
    const measured = await ground.running()
    const counts = await callsOf(shimOf(measured), ground.newPath('trace'), () =>
      measured.delete({ force: true }),
    )
    const outcomes = new Map<string, number>()
    for (const { call, n, error, what } of faultsIn(counts)) {
      const container = await ground.running()
      const outcome = await withFault(shimOf(container), call, n, error, () =>
        settled(container.delete({ force: true })),
      )
      const code = outcome?.code ?? 'success'
      outcomes.set(code, (outcomes.get(code) ?? 0) + 1)
      expect(['success', 'ERR_SYSCALL', 'ERR_RUNTIME'], `${what}: ${outcome?.message}`).toContain(code)
      if (outcome) {
        const again = await settled(container.delete({ force: true }))
        expect([undefined, 'ERR_CONTAINER_NOT_FOUND'], `${what}: again: ${again?.message}`).toContain(
          again?.code,
        )
      }
      await ground.expectNothingLeft(container.id).catch((cause: Error) => {
        throw new Error(`after ${what}: ${cause.message}`, { cause })
      })
    }
    expect(outcomes.get('success')).toBeGreaterThan(0)
  }, 300_000)
})

describe.skipIf(skip)('faults in a shim that takes over', () => {
  const ground = useContainers('runc')

  test('each system call of it in turn: nothing is lost by what it could not see', async () => {
    const launcher = compileProgram('faulty_shim', ground.directory)
    const trace = ground.newPath('trace')
    const container = await ground.running()
    const { id } = container
    const directory = join(ground.root, id)
    await (await container.exec('done', { args: ['/bin/sh', '-c', 'exit 5'] })).wait()
    await (await container.exec('shot', { args: ['/bin/sh', '-c', 'kill -9 $$'] })).wait()
    await container.exec('kept', { args: ['/bin/sh', '-c', 'echo kept; sleep 1000'] }, { stdout: 'keep' })
    await container.exec('job', { args: ['/bin/sleep', '1000'] })
    const pids = new Map([...container.processes].map(([name, { pid }]) => [name, pid]))
    await container.close()
    const killShims = async (): Promise<void> => {
      for (const shim of shimsBelow(directory)) process.kill(shim, 'SIGKILL')
      await eventually('no shim', () => shimsBelow(directory).length === 0)
    }
    const takeOver = async (fault: string): Promise<Container> => {
      const said = {
        LIBCONTAINER_FAULT: fault,
        LIBCONTAINER_FAULT_SELF: launcher,
        LIBCONTAINER_FAULT_SHIM: join(packageRoot, 'build/Release/libcontainer-shim'),
        LIBCONTAINER_FAULT_TRACE: trace,
      }
      Object.assign(process.env, said)
      try {
        const loaded = await Container.load(ground.root, id, { shim: launcher })
        // It tells what is on disk where no shim can be started; this wants one.
        await loaded.processes.get('init')?.closeStdin()
        return loaded
      } finally {
        for (const name of Object.keys(said)) Reflect.deleteProperty(process.env, name)
      }
    }
    /** The shim that there is goes on without faults, which its children would have too. */
    const untrace = async (): Promise<void> => {
      for (const shim of shimsBelow(directory)) {
        const tracer = Number(statusLine(shim, 'TracerPid'))
        if (tracer > 0) process.kill(tracer, 'SIGINT')
        await eventually('no tracer', () => !isAlive(shim) || Number(statusLine(shim, 'TracerPid')) === 0)
      }
    }
    const expectAll = (loaded: Container, what: string): void => {
      const found = [...loaded.processes].map(([name, { pid, exitStatus }]) => [name, { pid, exitStatus }])
      const quiet = { oomKilled: false, timedOut: false, containerOomKills: 0 }
      const known = { exitedAt: expect.any(Date), known: true, ...quiet }
      const exits: Record<string, object> = {
        done: { exitCode: 5, signal: null, ...known },
        shot: { exitCode: 137, signal: 'SIGKILL', ...known },
      }
      const wanted = [...pids].map(([name, pid]) => [name, { pid, exitStatus: exits[name] ?? null }])
      expect(Object.fromEntries(found), what).toEqual(Object.fromEntries(wanted))
      for (const name of ['init', 'kept', 'job']) expect(isAlive(pids.get(name) as number), what).toBe(true)
    }

    await killShims()
    const first = await takeOver('')
    expectAll(first, 'no fault')
    const shim = shimOf(first)
    await first.close()
    await killShims()
    const counts = new Map<string, number>()
    const ofShim = await eventually('its trace', () => {
      const lines = readFileSync(trace, 'utf8').split('\n')
      return lines.some((line) => line.includes('killed by SIGKILL')) && lines
    })
    for (const line of ofShim) {
      const [, pid, call] = /^(\d+) +(\w+)\(/.exec(line) ?? []
      if (call !== undefined && Number(pid) === shim) counts.set(call, (counts.get(call) ?? 0) + 1)
    }
    expect(counts.get('pidfd_open')).toBeGreaterThan(0)
    const more = { pidfd_open: 'EMFILE', getdents64: 'EIO', access: 'ENOMEM', read: 'EIO', flock: 'ENOMEM' }
    const outcomes = new Map<string, number>()
    for (const [call, error] of Object.entries({ ...resourceFaults, ...more })) {
      for (let n = 1; n <= (counts.get(call) ?? 0); ++n) {
        const what = `${call} ${n} ${error}`
        await killShims()
        const outcome = await takeOver(`${call}:error=${error}:when=${n}`).then(
          async (loaded) => {
            expectAll(loaded, what)
            await loaded.close()
            return 'success'
          },
          ({ code }: { code: string }) => code,
        )
        outcomes.set(outcome, (outcomes.get(outcome) ?? 0) + 1)
        await untrace()
        expect(['success', 'ERR_SYSCALL', 'ERR_SHIM_EXITED'], what).toContain(outcome)
        const loaded = await Container.load(ground.root, id)
        expectAll(loaded, `after ${what}: ${outcome}`)
        const alive = await loaded.exec('alive', { args: ['/bin/sh', '-c', 'exit 3'] })
        expect(await alive.wait(), `after ${what}`).toMatchObject({ exitCode: 3, known: true })
        await loaded.removeProcess('alive')
        await loaded.close()
      }
    }
    expect(outcomes.get('success')).toBeGreaterThan(0)
    expect(outcomes.get('ERR_SYSCALL')).toBeGreaterThan(0)
    const last = await Container.load(ground.root, id)
    const job = last.processes.get('job')
    await job?.kill('SIGKILL')
    const known = kernelAtLeast(6, 15)
    expect(await job?.wait()).toMatchObject({ exitCode: known ? 137 : 255, known })
    await last.delete({ force: true })
    await ground.expectNothingLeft(id)
  }, 300_000)
})

describe.skipIf(skip)('faults in the small verbs of the shim', () => {
  const ground = useContainers('runc')

  test('each system call of remove, resize, closeStdin and follow in turn', async () => {
    const container = await ground.running()
    const shim = shimOf(container)
    let n = 0
    const good = { resize: 'ok', closeStdin: 'ok', kept: 'kept\n', remove: 'ok' }
    const round = async (inFault: (work: () => Promise<object>) => Promise<object>): Promise<object> => {
      const ids = [`tty-${++n}`, `cat-${n}`, `kept-${n}`] as const
      const tty = await container.exec(
        ids[0],
        { args: ['/bin/sleep', '1000'], terminal: true },
        { stdout: 'pipe' },
      )
      tty.stdout?.resume()
      const cat = await container.exec(ids[1], { args: ['/bin/cat'] })
      const kept = await container.exec(ids[2], { args: ['/bin/echo', 'kept'] }, { stdout: 'keep' })
      await kept.wait()
      const tried = async (work: Promise<unknown>): Promise<unknown> =>
        work.then(
          (value) => value ?? 'ok',
          ({ code, syscall }: { code: string; syscall: string }) => ({ code, syscall }),
        )
      const said = await inFault(async () => ({
        resize: await tried(tty.resize({ columns: 80, rows: 25 })),
        closeStdin: await tried(cat.closeStdin()),
        kept: await tried(text(kept.stdout)),
        remove: await tried(container.removeProcess(ids[2])),
      }))
      await tty.kill('SIGKILL')
      for (const process of [tty, cat]) {
        await process.wait()
        await container.removeProcess(process.id)
      }
      await container.removeProcess(ids[2]).catch(() => undefined)
      return said
    }
    expect(await round((work) => work())).toEqual(good)
    let counts = new Map<string, number>()
    await round(async (work) => {
      let said = {}
      counts = await callsOf(shim, ground.newPath('trace'), async () => {
        said = await work()
      })
      return said
    })
    await eventually('its descriptors', () => descriptors(shim).size > 0)
    const before = descriptors(shim).size
    let failures = 0
    const more = {
      unlink: 'EIO',
      unlinkat: 'EIO',
      rmdir: 'EIO',
      getdents64: 'EIO',
      read: 'EIO',
      ...resourceFaults,
    }
    for (const [call, error] of Object.entries(more)) {
      for (let at = 1; at <= (counts.get(call) ?? 0); ++at) {
        const what = `${call} ${at} ${error}`
        const said = await round((work) => withFault(shim, call, at, error, work))
        for (const [verb, answer] of Object.entries(said)) {
          if (answer === good[verb as keyof typeof good]) continue
          ++failures
          expect(answer, `${what}: ${verb} of ${JSON.stringify(said)}`).toEqual({
            code: 'ERR_SYSCALL',
            syscall: expect.any(String),
          })
        }
        expect(shimOf(container), what).toBe(shim)
      }
      if (!counts.has(call)) continue
      expect(await round((work) => work()), `after ${call}`).toEqual(good)
      await eventually(`descriptors after ${call}`, () => descriptors(shim).size <= before)
      expect(readdirSync(join(ground.root, container.id)).filter((name) => name.includes('tmp'))).toEqual([])
    }
    expect(failures).toBeGreaterThan(0)
  }, 300_000)
})

describe.skipIf(skip)('faults in the shim at a checkpoint', () => {
  const ground = useContainers('runc')

  /** Stands for a runtime with a CRIU that works: its dump is a file that everybody may read, as CRIU's are. */
  function dumper(): string {
    const path = ground.newPath('runc')
    const dump = `while [ "$1" != --image-path ]; do shift; done; umask 022; : > "$2/inventory.img"; exit 0`
    const real = which('runc') as string
    writeFileSync(path, `#!/bin/sh\ncase "$*" in *" checkpoint "*) ${dump};; esac\nexec ${real} "$@"\n`, {
      mode: 0o755,
    })
    return path
  }

  // What fails is the dump itself where CRIU does not work; what comes after a dump is then seen with the other one alone.
  test.each(['runc', 'a dump'] as const)(
    'each system call of it in turn, %s',
    async (kind) => {
      const container = await ground.running(kind === 'runc' ? {} : { runtime: dumper() })
      const checkpoints = join(container.bundle, 'checkpoints')
      const modes = (name: string): number[] =>
        readdirSync(join(checkpoints, name), { withFileTypes: true })
          .filter((entry) => entry.isFile())
          .map((entry) => statSync(join(checkpoints, name, entry.name)).mode & 0o777)
      let serial = 0
      /** Its code, and that it is there as a whole or not at all. */
      const checkpoint = async (
        what: string,
      ): Promise<{ code: string; errno?: number; syscall?: string }> => {
        const name = `point-${++serial}`
        const outcome = await container.checkpoint({ name }).then(
          () => ({ code: 'ok' }),
          (error: { code: string }) => error,
        )
        expect(readdirSync(checkpoints), `${what}: ${JSON.stringify(outcome)}`).toEqual(
          outcome.code === 'ok' ? [name] : [],
        )
        if (outcome.code !== 'ok') return outcome
        for (const mode of modes(name)) expect(mode, what).toBe(0o600)
        await container.deleteCheckpoint(name)
        return outcome
      }
      const good = (await checkpoint('no fault')).code
      expect(good).toBe(kind === 'a dump' || criuWorks() ? 'ok' : 'ERR_UNSUPPORTED')
      const shim = shimOf(container)
      const counts = await callsOf(shim, ground.newPath('trace'), () => checkpoint('no fault'))
      const before = descriptors(shim)
      const more = {
        unlink: 'EIO',
        unlinkat: 'EIO',
        rmdir: 'EIO',
        getdents64: 'EIO',
        flock: 'ENOLCK',
        fchmod: 'EIO',
        fchmodat: 'EIO',
        lstat: 'ENOMEM',
        newfstatat: 'ENOMEM',
        memfd_create: 'EMFILE',
        read: 'EIO',
        pread64: 'EIO',
      }
      const outcomes = new Map<string, number>()
      let tried = 0
      let hits = 0
      // Each attempt of the real one ends in a question to CRIU; the calls before the dump are the same.
      const most = kind === 'runc' ? 2 : Infinity
      for (const { call, n, error, what } of faultsIn(counts, { ...resourceFaults, ...more }, most)) {
        const { value, injected } = await tryFault(shim, call, n, error, () => checkpoint(what))
        ++tried
        hits += injected
        outcomes.set(value.code, (outcomes.get(value.code) ?? 0) + 1)
        expect([good, 'ERR_SYSCALL', 'ERR_RUNTIME'], `${what}: ${JSON.stringify(value)}`).toContain(
          value.code,
        )
        if (value.code === 'ERR_SYSCALL') {
          expect(value, what).toMatchObject({ errno: expect.any(Number), syscall: expect.any(String) })
        }
        expect(shimOf(container), what).toBe(shim)
        if (n < (counts.get(call) ?? 0)) continue
        expect((await checkpoint(`after ${what}`)).code, `after ${what}`).toBe(good)
        expect((await run(container, 'echo on')).stdout, `after ${what}`).toBe('on\n')
        expect(descriptors(shim).size, `after ${what}`).toBeLessThanOrEqual(before.size + 1)
      }
      expect(hits).toBeGreaterThan(tried * 0.8)
      expect(outcomes.get(good)).toBeGreaterThan(0)
      expect(outcomes.get('ERR_SYSCALL')).toBeGreaterThan(0)
    },
    300_000,
  )
})

describe.skipIf(skip)('a slow disk', () => {
  const ground = useContainers('runc')

  test('everything comes late, and as it should', async () => {
    // Some milliseconds for each thing that the shim asks of the file system.
    const slow = async <T>(pid: number, work: () => Promise<T>): Promise<T> => {
      const calls = 'open,openat,mkdir,rename,renameat,renameat2,unlink,unlinkat,rmdir,write,mkdirat'
      return withInjection(pid, calls, 'delay_enter=4000', work)
    }
    const container = await ground.create({ ephemeral: true, bundle: ground.bundleOf(idler) })
    const shim = shimOf(container)
    await slow(shim, async () => {
      const init = await container.start()
      const jobs = await Promise.all(
        Array.from({ length: 5 }, (_, n) =>
          container.exec(`job-${n}`, { args: ['/bin/sh', '-c', `echo ${n}; exit ${n}`] }, { stdout: 'keep' }),
        ),
      )
      const exits = await Promise.all(jobs.map((job) => job.wait()))
      expect(exits.map(({ exitCode }) => exitCode)).toEqual([0, 1, 2, 3, 4])
      expect(init.state).toBe('running')
      await container.delete({ force: true })
    })
    await ground.expectNothingLeft(container.id)
  })
})

describe.skipIf(skip)('faults in the addon', () => {
  const ground = useContainers('runc')

  test('each system call of its own in turn', async () => {
    const container = await ground.running()
    const program = new Program(
      `const c = await Container.load(args.root, args.id)
       const text = async ({ stdout }) => {
         let said = ''
         for await (const chunk of stdout) said += chunk
         return said
       }
       const withJob = async (id, spec, stdio, work) => {
         const job = await c.exec(id, spec, stdio)
         try {
           return await work(job)
         } finally {
           // Whatever fails once does not fail again.
           for (const end of [() => job.kill('SIGKILL'), () => job.wait(), () => c.removeProcess(id)])
             await end().catch(() => end()).catch(() => undefined)
         }
       }
       const once = async (n) => {
         const said = {}
         const tried = async (what, work) => {
           try { said[what] = (await work()) ?? 'ok' } catch (error) { said[what] = { code: error.code, errno: error.errno, syscall: error.syscall, path: error.path } }
         }
         await tried('load', async () => { await (await Container.load(args.root, args.id)).close() })
         await tried('exec', async () => (await (await c.exec('job-' + n, { args: ['/bin/sh', '-c', 'exit 7'] })).wait()).exitCode)
         await tried('remove', () => c.removeProcess('job-' + n))
         await tried('keep', () => withJob('kept-' + n, { args: ['/bin/sh', '-c', 'echo x; exit 7'] }, { stdout: 'keep' }, text))
         await tried('terminal', () => withJob('tty-' + n, { args: ['/bin/sh', '-c', 'read line; stty size'], terminal: true }, { stdin: 'pipe', stdout: 'pipe' }, async (job) => {
           await job.resize({ columns: 90, rows: 30 })
           job.stdin.write('go\\n')
           return (await text(job)).split('\\r\\n')[1]
         }))
         await tried('pause', () => c.pause())
         await tried('resume', () => c.resume())
         await tried('update', () => c.updateResources({ pids: { limit: 100 + n % 100 } }))
         await tried('stats', async () => { if ((await c.stats()).pids.current < 1) throw new Error('no pids') })
         await tried('pids', async () => { if ((await c.pids()).length < 1) throw new Error('no pids') })
         await tried('status', () => c.status())
         await tried('kill', () => c.kill('SIGCONT'))
         // What a handle that is closed held for its calls goes with it.
         gc()
         await sleep(1)
         return said
       }
       let n = 0
       for (let warm = 0; warm < 20; ++warm) await once(++n)
       say({ ready: true })
       for await (const line of require('node:readline').createInterface({ input: process.stdin })) say(await once(++n))
       process.exit(0)`,
      { root: ground.root, id: container.id },
      ['pipe', 'pipe', 'pipe'],
    )
    try {
      await program.next()
      const pid = program.child.pid as number
      const round = async (): Promise<Record<string, unknown>> => {
        program.child.stdin?.write('\n')
        return (await program.next()) as Record<string, unknown>
      }
      const good = {
        load: 'ok',
        exec: 7,
        remove: 'ok',
        keep: 'x\n',
        terminal: '30 90',
        pause: 'ok',
        resume: 'ok',
        update: 'ok',
        stats: 'ok',
        pids: 'ok',
        status: 'running',
        kill: 'ok',
      }
      expect(await round()).toEqual(good)
      const counts = await callsOf(pid, ground.newPath('trace'), round, ['-f'])
      const before = descriptors(pid)
      let failures = 0
      // What Node itself does not call here, and survives where it does.
      for (const call of [
        'pipe2',
        'socket',
        'connect',
        'sendmsg',
        'recvmsg',
        'pread64',
        'pwrite64',
        'pidfd_open',
        'pidfd_send_signal',
        'renameat',
        'renameat2',
        'flock',
        'fchmod',
        'fchown',
        'getdents64',
      ]) {
        for (let n = 1; n <= (counts.get(call) ?? 0); ++n) {
          const what = `${call} ${n}`
          const said = await withFault(pid, call, n, 'ENOMEM', round, ['-f'])
          for (const [verb, answer] of Object.entries(said)) {
            if (JSON.stringify(answer) === JSON.stringify(good[verb as keyof typeof good])) continue
            ++failures
            if (verb === 'status' && answer === 'paused') continue
            // What was paused and could not be resumed, or the other way round, is told so by the next call.
            expect(answer, `${what}: ${verb} of ${JSON.stringify(said)}`).toMatchObject({
              code: expect.stringMatching(/^ERR_(SYSCALL|SHIM_EXITED|CONTAINER_PAUSED|PROCESS_NOT_FOUND)$/),
            })
          }
          await container.resume().catch(() => undefined)
          expect(await round(), `after ${what}`).toEqual(good)
          await eventually('as few descriptors', () => descriptors(pid).size <= before.size + 1).catch(() => {
            const more = [...descriptors(pid)].filter(([fd]) => !before.has(fd))
            throw new Error(`descriptors after ${what}: ${JSON.stringify(more)}`)
          })
        }
      }
      expect(failures).toBeGreaterThan(0)
      expect(shimsBelow(join(ground.root, container.id))).toHaveLength(1)
      program.child.stdin?.end()
      expect(await program.ended).toMatchObject({ code: 0 })
    } finally {
      program.child.kill('SIGKILL')
    }
  }, 300_000)
})
