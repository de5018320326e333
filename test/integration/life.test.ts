// A container's whole life, by runc and by crun.
import { existsSync, readdirSync, readFileSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { Container } from '../../lib/index.js'
import { idler } from '../support/bundle.js'
import { shimOf, useContainers } from '../support/containers.js'
import { expectCode, run, text } from '../support/expect.js'
import { cannotRunContainers, runtimes } from '../support/machine.js'
import { isAlive, procStat, shimsBelow } from '../support/processes.mjs'
import { eventually } from '../support/wait.js'

const skip = cannotRunContainers()

describe.skipIf(skip).each(runtimes)('a whole life by %s', (runtime) => {
  const ground = useContainers(runtime)

  test('create, start, exec, kill, wait, delete', async () => {
    const bundle = ground.bundleOf(idler)
    const options = ground.options({ bundle, labels: ['a=1', 'b'] })
    const container = await Container.create(options)
    expect(container).toMatchObject({
      id: options.id,
      root: ground.root,
      bundle,
      labels: ['a=1', 'b'],
      runtime,
      state: 'created',
    })
    expect(await container.status()).toBe('created')
    expect([...container.processes.keys()]).toEqual([])
    expect(shimsBelow(ground.root)).toEqual([])

    const init = await container.start()
    expect(init).toMatchObject({
      id: 'init',
      state: 'running',
      exitStatus: null,
      stdin: null,
      stdout: null,
      stderr: null,
      stdio: { stdin: '/dev/null', stdout: '/dev/null', stderr: '/dev/null' },
    })
    expect(init.spec.args).toEqual(idler)
    expect(init.container).toBe(container)
    expect(isAlive(init.pid)).toBe(true)
    expect(container.processes.get('init')).toBe(init)
    expect(container.state).toBe('running')
    expect(await container.status()).toBe('running')
    expect(ground.runtimeCommand('state', container.id)).toContain('"running"')
    expect(await container.pids()).toContain(init.pid)
    expect(container.pidsSync()).toContain(init.pid)

    const job = await container.exec(
      'job-1',
      { args: ['/bin/sh', '-c', 'echo out; echo err >&2; exit 3'] },
      { stdout: 'pipe', stderr: 'pipe' },
    )
    expect(job.stdio).toEqual({ stdin: '/dev/null', stdout: 'pipe', stderr: 'pipe' })
    expect([...container.processes.keys()]).toEqual(['init', 'job-1'])
    const [stdout, stderr, status] = await Promise.all([text(job.stdout), text(job.stderr), job.wait()])
    expect({ stdout, stderr }).toEqual({ stdout: 'out\n', stderr: 'err\n' })
    expect(status).toEqual({
      exitCode: 3,
      signal: null,
      exitedAt: expect.any(Date),
      oomKilled: false,
      known: true,
      timedOut: false,
      oomKills: undefined,
      containerOomKills: 0,
    })
    expect(Math.abs(status.exitedAt.getTime() - Date.now())).toBeLessThan(3_600_000)
    expect(job).toMatchObject({ state: 'stopped', exitStatus: status })
    expect(await job.wait()).toEqual(status)

    await container.kill()
    expect(await init.wait()).toMatchObject({ exitCode: 7, signal: null, known: true })
    expect(container.state).toBe('stopped')
    expect(await container.status()).toBe('stopped')

    await container.delete()
    expect(await Container.list(ground.root)).toEqual([])
    await ground.expectNothingLeft(container.id)
  })

  test('files and modes in the state directory, under an open umask too', async () => {
    const before = process.umask(0)
    try {
      const container = await ground.running({ labels: ['x'], runtimeArgs: ['--debug'], noPivotRoot: false })
      const job = await container.exec('job', { args: ['/bin/true'] })
      await job.wait()
      const at = (...names: string[]): string => join(ground.root, container.id, ...names)
      const json = (path: string): unknown => JSON.parse(readFileSync(path, 'utf8'))
      expect(json(at('state.json'))).toMatchObject({
        bundle: container.bundle,
        labels: ['x'],
        runtime,
        runtimeArgs: ['--debug'],
        noPivotRoot: false,
      })
      expect(json(at('state.json'))).toHaveProperty('shim')
      expect(json(at('job', 'process.json'))).toMatchObject({
        args: ['/bin/true'],
        cwd: '/',
        exec: true,
        containerdStdin: '/dev/null',
        containerdStdout: '/dev/null',
        containerdStderr: '/dev/null',
        runtimeArgs: ['--debug'],
        noPivotRoot: false,
        checkpoint: '',
        rootUID: 0,
        rootGID: 0,
      })
      expect(json(at('init', 'process.json'))).toMatchObject({ exec: false })
      expect(readFileSync(at('job', 'exitStatus'), 'utf8').trim()).toBe('0')
      expect(readFileSync(at('job', 'pid'), 'utf8').trim()).toBe(String(job.pid))
      const init = container.processes.get('init')
      expect(readFileSync(at('init', 'pid'), 'utf8').trim()).toBe(String(init?.pid))
      expect(readFileSync(at('init', 'starttime'), 'utf8').trim()).toBe(
        String(procStat(init?.pid as number)?.starttime),
      )
      expect(existsSync(at('init', 'exitStatus'))).toBe(false)

      const modes: Record<string, string> = {}
      const look = (directory: string): void => {
        for (const entry of readdirSync(directory, { withFileTypes: true })) {
          const path = join(directory, entry.name)
          const kind = entry.isDirectory() ? 'directory' : entry.isSocket() ? 'socket' : 'file'
          const mode = `${kind} ${(statSync(path).mode & 0o7777).toString(8)}`
          modes[mode] = path
          if (entry.isDirectory()) look(path)
        }
      }
      look(ground.root)
      expect(Object.keys(modes).sort(), JSON.stringify(modes)).toEqual([
        'directory 711',
        'file 600',
        'socket 600',
      ])
      expect((statSync(ground.root).mode & 0o7777).toString(8)).toBe('711')
      expect(readFileSync('/proc/net/unix', 'utf8')).not.toMatch(new RegExp(`@.*${container.id}`))
    } finally {
      process.umask(before)
    }
  })

  test('one shim a container, and none that outlives its use', async () => {
    const container = await ground.running()
    const shim = shimOf(container)
    await (await container.exec('one', { args: ['/bin/true'] })).wait()
    expect(shimOf(container)).toBe(shim)
    await container.close()
    // The container runs on, and so does its shim.
    expect(shimOf(container)).toBe(shim)
    const again = await Container.load(ground.root, container.id)
    await again.kill('SIGKILL')
    await again.processes.get('init')?.wait()
    await again.close()
    await eventually('the shim leaves when nothing is left to do', () => !isAlive(shim))
    const last = await Container.load(ground.root, container.id)
    expect(last.state).toBe('stopped')
    expect(last.processes.get('init')?.exitStatus).toMatchObject({
      exitCode: 137,
      signal: 'SIGKILL',
      known: true,
    })
    await last.delete()
    await ground.expectNothingLeft(container.id)
  })

  test('delete without force refuses while it runs, and leaves it running', async () => {
    const container = await ground.running()
    await expectCode(container.delete(), 'ERR_CONTAINER_NOT_STOPPED')
    expect(await container.status()).toBe('running')
    expect((await run(container, 'echo alive')).stdout).toBe('alive\n')
    await container.delete({ force: true })
    await ground.expectNothingLeft(container.id)
  })

  test('delete of a container that was never started needs no force', async () => {
    const container = await ground.create()
    await container.delete()
    await ground.expectNothingLeft(container.id)
  })

  test('kill by name and by number, SIGTERM by default; 0 asks only', async () => {
    const container = await ground.running({ bundle: ground.bundleOf(idler) })
    const job = await container.exec('job', { args: ['/bin/sleep', '1000'] })
    await job.kill(0)
    expect(isAlive(job.pid)).toBe(true)
    await job.kill('SIGUSR1')
    expect(await job.wait()).toMatchObject({
      exitCode: 138,
      signal: 'SIGUSR1',
      oomKilled: false,
      known: true,
    })
    const other = await container.exec('other', { args: ['/bin/sleep', '1000'] })
    await other.kill(34)
    expect(await other.wait()).toMatchObject({ exitCode: 162, signal: 'SIG34' })
    const third = await container.exec('third', { args: ['/bin/sleep', '1000'] })
    await third.kill()
    expect(await third.wait()).toMatchObject({ exitCode: 143, signal: 'SIGTERM' })
  })

  test('kill with all signals every process of the container', async () => {
    // Init has no handler, and pid 1 of a pid namespace ignores what it does not handle.
    const container = await ground.running()
    const jobs = await Promise.all(
      [1, 2, 3].map((n) => container.exec(`job-${n}`, { args: ['/bin/sleep', '1000'] })),
    )
    await container.kill('SIGTERM', { all: true })
    for (const job of jobs) expect(await job.wait()).toMatchObject({ signal: 'SIGTERM' })
    expect(await container.status()).toBe('running')
    await container.kill('SIGKILL', { all: true })
    expect(await container.processes.get('init')?.wait()).toMatchObject({ signal: 'SIGKILL' })
  })

  test('the end of init is the end of all that ran in it', async () => {
    const container = await ground.running()
    const job = await container.exec('job', { args: ['/bin/sleep', '1000'] })
    await container.kill('SIGKILL')
    expect(await job.wait()).toMatchObject({
      exitCode: 137,
      signal: 'SIGKILL',
      known: true,
      oomKilled: false,
    })
    expect(await container.processes.get('init')?.wait()).toMatchObject({ signal: 'SIGKILL' })
  })

  test('removeProcess frees the id and its directory', async () => {
    const container = await ground.running()
    const job = await container.exec('job', { args: ['/bin/true'] })
    await job.wait()
    await expectCode(container.exec('job', { args: ['/bin/true'] }), 'ERR_PROCESS_EXISTS')
    await container.removeProcess('job')
    expect(existsSync(join(ground.root, container.id, 'job'))).toBe(false)
    expect(container.processes.has('job')).toBe(false)
    await expectCode(container.removeProcess('job'), 'ERR_PROCESS_NOT_FOUND')
    const again = await container.exec('job', { args: ['/bin/sleep', '1000'] })
    await expectCode(container.removeProcess('job'), 'ERR_CONTAINER_NOT_STOPPED')
    expect(isAlive(again.pid)).toBe(true)
    await expect(container.removeProcess('init')).rejects.toMatchObject({ code: 'ERR_INVALID_ARG_VALUE' })
  })

  test('init that ends by itself: its code, then delete', async () => {
    const container = await ground.create({ bundle: ground.bundleOf(['/bin/sh', '-c', 'echo hi; exit 42']) })
    const init = await container.start({ stdout: 'pipe' })
    const [stdout, status] = await Promise.all([text(init.stdout), init.wait()])
    expect(stdout).toBe('hi\n')
    expect(status).toMatchObject({ exitCode: 42, signal: null, known: true })
    await container.delete()
    await ground.expectNothingLeft(container.id)
  })

  test('runtimeArgs --root is honoured by the runtime and by the native paths', async () => {
    const records = ground.newPath('records')
    const container = await ground.running({ runtimeArgs: [`--root=${records}`] })
    expect(existsSync(join(records, container.id))).toBe(true)
    expect(existsSync(ground.record(container.id))).toBe(false)
    expect((await run(container, 'hostname')).stdout).toBe('inside\n')
    expect(await container.status()).toBe('running')
    expect((await container.pids()).length).toBe(1)
    await container.kill('SIGKILL', { all: true })
    await container.processes.get('init')?.wait()
    await container.delete()
    expect(existsSync(join(records, container.id))).toBe(false)
    const loadedFrom = await ground.running({ runtimeArgs: ['--root', records] })
    const loaded = await Container.load(ground.root, loadedFrom.id)
    expect((await run(loaded, 'hostname')).stdout).toBe('inside\n')
    await loaded.delete({ force: true })
    expect(readdirSync(records)).toEqual([])
  })

  test('await using: close lets a lasting container run on, ephemeral ends it', async () => {
    const lasting = ground.newId()
    {
      await using container = await ground.running({ id: lasting })
      expect(container.state).toBe('running')
    }
    const loaded = await Container.load(ground.root, lasting)
    expect(await loaded.status()).toBe('running')
    const passing = ground.newId()
    {
      await using container = await ground.running({ id: passing, ephemeral: true })
      expect(await container.status()).toBe('running')
    }
    await ground.expectNothingLeft(passing)
  })

  test('noPivotRoot is handed to the runtime', async () => {
    const container = await ground.create({ noPivotRoot: true })
    await container.start()
    expect((await run(container, 'hostname')).stdout).toBe('inside\n')
  })
})
