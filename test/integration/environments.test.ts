// The Node programs around containers: what keeps them running, how they may end, threads and garbage collection.
import { describe, expect, test } from 'vitest'
import { Container } from '../../lib/index.js'
import { join } from 'node:path'
import { useContainers } from '../support/containers.js'
import { cannotRunContainers, packageRoot } from '../support/machine.js'
import { Program, runProgram } from '../support/programs.js'

const skip = cannotRunContainers()

describe.skipIf(skip)('a Node program', () => {
  const ground = useContainers('runc')

  test('is not held open by idle handles of running containers', async () => {
    const options = ground.options()
    const said = await runProgram(
      `const c = await Container.create(args)
       const init = await c.start()
       const job = await c.exec('job', { args: ['/bin/sleep', '1000'] })
       const loaded = await Container.load(args.root, args.id)
       say([init.pid, job.pid, loaded.state])`,
      options,
    )
    const { processes } = await Container.load(ground.root, options.id)
    expect(processes.get('job')?.state).toBe('running')
    expect(said).toEqual([[processes.get('init')?.pid, processes.get('job')?.pid, 'running']])
  })

  test('is held open by a wait() alone, until it resolves', async () => {
    const options = ground.options()
    const program = new Program(
      `const c = await Container.create(args)
       await c.start()
       const job = await c.exec('job', { args: ['/bin/sh', '-c', 'sleep 1; exit 5'] })
       job.wait().then((status) => say(status.exitCode))
       say('waiting')`,
      options,
    )
    expect(await program.next()).toBe('waiting')
    expect(await program.next()).toBe(5)
    expect(await program.ended).toEqual({ code: 0, signal: null })
  })

  test('is held open by a wait() that a new shim has to answer', async () => {
    const options = ground.options()
    const program = new Program(
      `const c = await Container.create(args)
       await c.start()
       const job = await c.exec('job', { args: ['/bin/sleep', '1'] })
       job.wait().then((status) => say([status.exitCode, status.known]))
       say('waiting')`,
      options,
    )
    expect(await program.next()).toBe('waiting')
    const { shimsBelow } = await import('../support/processes.mjs')
    const [shim] = shimsBelow(join(ground.root, options.id))
    process.kill(shim as number, 'SIGKILL')
    // The shim that reaps is gone: a new one sees the end, and the exit code only where the kernel shows it.
    expect([
      [0, true],
      [255, false],
    ]).toContainEqual(await program.next())
    expect(await program.ended).toEqual({ code: 0, signal: null })
  })

  test('a handle that is closed while calls are in flight connects no more', async () => {
    const container = await ground.running()
    const said = await runProgram(
      `const code = (promise) => promise.then(() => 'done', ({ code }) => code)
       for (const turns of [0, 1, 5, 20]) {
         const c = await Container.load(args.root, args.id, { observe: true })
         const calls = [c.exec('job-' + turns, { args: ['/bin/sleep', '100'] }), c.processes.get('init').wait()]
         const codes = calls.map(code)
         for (let turn = 0; turn < turns; ++turn) await null
         await c.close()
         say(await Promise.all(codes))
       }`,
      { root: ground.root, id: container.id },
    )
    expect(said).toEqual(Array.from({ length: 4 }, () => ['ERR_SHIM_EXITED', 'ERR_SHIM_EXITED']))
  })

  test('an aborted wait() lets it go', async () => {
    const options = ground.options()
    const said = await runProgram(
      `const c = await Container.create(args)
       const init = await c.start()
       const controller = new AbortController()
       init.wait({ signal: controller.signal }).catch((error) => say(error.name))
       controller.abort()`,
      options,
    )
    expect(said).toEqual(['AbortError'])
  })

  test.each([
    ['process.exit', 'process.exit(3)', { code: 3, signal: null }],
    ['SIGTERM', "process.kill(process.pid, 'SIGTERM'); await sleep(1e6)", { code: null, signal: 'SIGTERM' }],
  ])('may end by %s with starts, execs, waits and questions in flight', async (_, end, ended) => {
    const options = ground.options({ ephemeral: true })
    const program = new Program(
      `const c = await Container.create(args)
       await c.start()
       for (let n = 0; n < 20; ++n) {
         c.exec('job-' + n, { args: ['/bin/sh', '-c', 'echo x; sleep 100'] }, { stdout: 'pipe' }).then((job) => job.wait()).catch(() => {})
         c.pids().catch(() => {})
         c.status().catch(() => {})
       }
       say(1)
       ${end}`,
      options,
    )
    expect(await program.next()).toBe(1)
    expect(await program.ended).toEqual(ended)
    expect(program.stderr).toBe('')
    await ground.expectNothingLeft(options.id)
  })

  test('garbage collection with calls in flight', async () => {
    const options = ground.options()
    const said = await runProgram(
      `let c = await Container.create(args)
       await c.start()
       c = null
       gc()
       const execs = []
       for (let n = 0; n < 50; ++n) {
         execs.push((async () => {
           const handle = await Container.load(args.root, args.id)
           const job = await handle.exec('job-' + n, { args: ['/bin/echo', String(n)] }, { stdout: 'pipe' })
           const exit = job.wait()
           let out = ''
           job.stdout.on('data', (chunk) => { out += chunk })
           handle.pids().catch(() => {})
           gc()
           await exit
           return out.trim()
         })())
         if (n % 10 === 0) { await Promise.all(execs); gc() }
       }
       say(await Promise.all(execs))`,
      options,
    )
    expect(said).toEqual([Array.from({ length: 50 }, (_, n) => String(n))])
  })

  test('workers use one container side by side, and may be ended in the middle', async () => {
    const options = ground.options()
    const said = await runProgram(
      `const { Worker } = require('node:worker_threads')
       const c = await Container.create(args.options)
       await c.start()
       const source = \`
         const { workerData, parentPort } = require('node:worker_threads')
         const { Container } = require(workerData.package)
         ;(async () => {
           const c = await Container.load(workerData.root, workerData.id)
           if (workerData.forever) {
             parentPort.postMessage('busy')
             for (let n = 0; ; ++n) c.exec('w' + workerData.n + '-' + n, { args: ['/bin/true'] }, { stdout: 'pipe' }).catch(() => {}), await c.pids()
           }
           const job = await c.exec('w' + workerData.n, { args: ['/bin/sh', '-c', 'exit ' + workerData.n] })
           parentPort.postMessage((await job.wait()).exitCode)
         })()\`
       const start = (data) => new Worker(source, { eval: true, workerData: { ...data, root: args.options.root, id: args.options.id, package: args.package } })
       const codes = await Promise.all([1, 2, 3, 4].map((n) => new Promise((resolve, reject) => {
         const worker = start({ n })
         worker.on('message', resolve).on('error', reject)
       })))
       say(codes)
       for (let n = 10; n < 14; ++n) {
         const worker = start({ n, forever: true })
         await new Promise((resolve) => worker.on('message', resolve))
         await sleep(20)
         await worker.terminate()
       }
       const job = await c.exec('last', { args: ['/bin/sh', '-c', 'exit 6'] })
       say((await job.wait()).exitCode)`,
      { options, package: join(packageRoot, 'dist/index.js') },
    )
    expect(said).toEqual([[1, 2, 3, 4], 6])
  })

  test('ESM and CommonJS are the same package', async () => {
    const said = await runProgram(
      `const esm = await import(args.esm)
       say([esm.Container === Container, esm.ContainerError === ContainerError, Object.keys(esm).sort().includes('Process')])`,
      { esm: join(packageRoot, 'dist/index.mjs') },
    )
    expect(said).toEqual([[true, true, true]])
  })
})
