// Starts that fail, time out or are called off: a clear error by its code, nothing left, and the next start works.
import { execFileSync } from 'node:child_process'
import { chmodSync, existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { Container, type Process } from '../../lib/index.js'
import { idler } from '../support/bundle.js'
import { type Ground, shimOf, useContainers } from '../support/containers.js'
import { expectCode, failure, run, text } from '../support/expect.js'
import { cannotRunContainers, kernelAtLeast, runtimes, which } from '../support/machine.js'
import { descriptors, isAlive, shimsBelow, statusLine } from '../support/processes.mjs'
import { eventually } from '../support/wait.js'
import { cgroupsNamed } from '../support/traces.mjs'

const skip = cannotRunContainers()

/** What a failed start must leave: a container as created, and no trace anywhere else. */
async function expectUndone(ground: Ground, container: Container): Promise<void> {
  expect(container.state).toBe('created')
  expect(await container.status()).toBe('created')
  expect([...container.processes.keys()]).toEqual([])
  expect(existsSync(ground.record(container.id))).toBe(false)
  await eventually('no cgroups', () => cgroupsNamed(container.id).length === 0)
  expect(readdirSync(join(ground.root, container.id)).filter((name) => !name.startsWith('shim.'))).toEqual([
    'state.json',
  ])
  await eventually('no shim', () => shimsBelow(join(ground.root, container.id)).length === 0)
}

describe.skipIf(skip).each(runtimes)('starts with %s', (runtime) => {
  const ground = useContainers(runtime)
  const real = which(runtime) as string

  function script(body: string, mode = 0o755): string {
    const path = ground.newPath('runtime')
    writeFileSync(path, `#!/bin/sh\n${body}\n`)
    chmodSync(path, mode)
    return path
  }

  /** Stands before the real runtime: `body` runs for that command, in which $@ are its arguments. */
  function wrapper(command: string, body: string): string {
    // Named as the real one, which is how its records are found.
    const directory = ground.newPath('wrapper')
    mkdirSync(directory)
    const path = join(directory, runtime)
    writeFileSync(
      path,
      `#!/bin/sh\nfor word in "$@"; do\n  if [ "$word" = ${command} ]; then\n${body}\n  fi\ndone\nexec ${real} "$@"\n`,
    )
    chmodSync(path, 0o755)
    return path
  }

  describe('onCreated', () => {
    test('runs when the namespaces exist and before the user’s program', async () => {
      const mark = join(ground.rootfs, 'etc/mark')
      rmSync(mark, { force: true })
      const container = await ground.create({
        bundle: ground.bundleOf(['/bin/sh', '-c', 'echo x > /etc/mark; sleep 1000']),
      })
      let seen: Process | undefined
      const init = await container.start({
        onCreated: async (process) => {
          seen = process
          expect(container.processes.get('init')).toBe(process)
          expect(container.state).toBe('created')
          expect(await container.status()).toBe('created')
          expect(isAlive(process.pid)).toBe(true)
          expect(existsSync(`/proc/${process.pid}/ns/net`)).toBe(true)
          expect(
            (
              await run(container, ['/bin/ip', 'link', 'set', 'lo', 'up'], {
                capabilities: {
                  bounding: ['CAP_NET_ADMIN'],
                  effective: ['CAP_NET_ADMIN'],
                  permitted: ['CAP_NET_ADMIN'],
                },
              })
            ).status.exitCode,
          ).toBe(0)
          await new Promise((resolve) => setTimeout(resolve, 50))
          expect(existsSync(mark)).toBe(false)
        },
      })
      expect(init).toBe(seen)
      await eventually('the mark', () => existsSync(mark))
      expect(await container.status()).toBe('running')
      expect((await run(container, ['/bin/ip', 'link', 'show', 'lo'])).stdout).toContain('UP')
    })

    test.each([
      [
        'throws',
        () => {
          throw new TypeError('no network')
        },
      ],
      ['rejects', () => Promise.reject(new TypeError('no network'))],
    ])('a hook that %s undoes the start, and its error comes out', async (_, onCreated) => {
      const container = await ground.create()
      let pid = 0
      const error = await failure(
        container.start({
          onCreated: (init) => {
            ;({ pid } = init)
            return onCreated()
          },
        }),
      )
      expect(error).toEqual(new TypeError('no network'))
      expect(isAlive(pid)).toBe(false)
      await expectUndone(ground, container)
      expect((await container.start()).state).toBe('running')
    })

    test('a hook that takes longer than the timeout', async () => {
      const container = await ground.create({ timeout: 1000 })
      await expectCode(
        container.start({ onCreated: () => new Promise(() => undefined) }),
        'ERR_START_TIMEOUT',
      )
      await expectUndone(ground, container)
    })

    test('init that is killed in the hook', async () => {
      const container = await ground.create()
      const error = await failure(container.start({ onCreated: (init) => init.kill('SIGKILL') }))
      expect(error).toMatchObject({ name: 'ContainerError', code: 'ERR_RUNTIME' })
      await expectUndone(ground, container)
    })
  })

  describe('AbortSignal', () => {
    test('aborted before: nothing happens', async () => {
      const container = await ground.create()
      const reason = new Error('changed my mind')
      expect(await failure(container.start({ signal: AbortSignal.abort(reason) }))).toBe(reason)
      await expectUndone(ground, container)
      await container.start()
      expect(
        await failure(container.exec('job', { args: ['/bin/true'] }, { signal: AbortSignal.abort(reason) })),
      ).toBe(reason)
      expect([...container.processes.keys()]).toEqual(['init'])
    })

    test.each([0, 1, 3, 10, 20, 30, 40, 60, 80])('aborted %i ms into the start', async (delay) => {
      const container = await ground.create()
      const controller = new AbortController()
      const reason = new Error('changed my mind')
      const starting = container.start({ signal: controller.signal })
      setTimeout(() => controller.abort(reason), delay)
      try {
        const init = await starting
        // It was done before.
        expect(init.state).toBe('running')
        return
      } catch (error) {
        expect(error).toBe(reason)
      }
      await expectUndone(ground, container)
      expect((await container.start()).state).toBe('running')
    })

    test('aborted in the hook', async () => {
      const container = await ground.create()
      const controller = new AbortController()
      const error = await failure(
        container.start({
          signal: controller.signal,
          onCreated: () => {
            controller.abort()
            return new Promise(() => undefined)
          },
        }),
      )
      expect(error).toMatchObject({ name: 'AbortError' })
      await expectUndone(ground, container)
    })

    test('aborted after: init runs on, a process of exec is killed', async () => {
      const controller = new AbortController()
      const container = await ground.create()
      const init = await container.start({ signal: controller.signal })
      const job = await container.exec('job', { args: ['/bin/sleep', '1000'] }, { signal: controller.signal })
      controller.abort()
      expect(await job.wait()).toMatchObject({ signal: 'SIGKILL', timedOut: false })
      expect(isAlive(init.pid)).toBe(true)
    })

    test('an exec that waits for a FIFO’s reader', async () => {
      const container = await ground.running()
      const path = ground.newPath('fifo')
      const { execFileSync } = await import('node:child_process')
      execFileSync('mkfifo', [path])
      const shim = shimOf(container)
      const before = descriptors(shim).size
      const controller = new AbortController()
      const job = container.exec(
        'job',
        { args: ['/bin/true'] },
        { stdout: path, stderr: 'pipe', signal: controller.signal },
      )
      setTimeout(() => controller.abort(new Error('enough')), 50)
      expect(await failure(job)).toEqual(new Error('enough'))
      expect([...container.processes.keys()]).toEqual(['init'])
      expect(readdirSync(join(ground.root, container.id))).not.toContain('job')
      await eventually('the descriptors are given back', () => descriptors(shim).size <= before)
      expect((await (await container.exec('job', { args: ['/bin/true'] })).wait()).exitCode).toBe(0)
    })

    test('execs aborted at once: rejected and gone, or killed', async () => {
      const container = await ground.running()
      for (let n = 0; n < 30; ++n) {
        const controller = new AbortController()
        const exec = container.exec(
          `job-${n}`,
          { args: ['/bin/sleep', '1000'] },
          { signal: controller.signal },
        )
        if (n % 3 === 0) controller.abort()
        else setTimeout(() => controller.abort(), n % 3)
        try {
          const job = await exec
          expect(await job.wait()).toMatchObject({ signal: 'SIGKILL' })
        } catch (error) {
          expect(error).toMatchObject({ name: 'AbortError' })
          expect(container.processes.has(`job-${n}`)).toBe(false)
        }
      }
      const init = container.processes.get('init')
      await eventually('init alone', async () => String(await container.pids()) === String(init?.pid))
    })

    test('wait() that is aborted ends nothing but itself', async () => {
      const container = await ground.running()
      const job = await container.exec('job', { args: ['/bin/sleep', '1000'] })
      expect(await failure(job.wait({ signal: AbortSignal.abort(new Error('no')) }))).toEqual(new Error('no'))
      const controller = new AbortController()
      const waiting = failure(job.wait({ signal: controller.signal }))
      const other = job.wait()
      controller.abort()
      expect(await waiting).toMatchObject({ name: 'AbortError' })
      await job.kill('SIGKILL')
      expect((await other).signal).toBe('SIGKILL')
      // Known already: told even so.
      expect((await job.wait()).signal).toBe('SIGKILL')
    })
  })

  describe('a runtime that', () => {
    test.each([
      ['is missing, by path', '/no/such/runtime', 2],
      ['is missing, by name', 'no-such-runtime-anywhere', 2],
    ])('%s', async (_, path, errno) => {
      const container = await ground.create({ runtime: path })
      const error = await expectCode(container.start({ stdout: 'pipe' }), 'ERR_RUNTIME')
      expect(error).toMatchObject({
        errno,
        syscall: 'execve',
        path,
        containerId: container.id,
        processId: 'init',
      })
      await expectUndone(ground, container)
    })

    test('is not executable', async () => {
      const path = script('exit 0', 0o644)
      const container = await ground.create({ runtime: path })
      expect(await expectCode(container.start(), 'ERR_RUNTIME')).toMatchObject({ errno: 13, path })
      await expectUndone(ground, container)
    })

    test('is no program', async () => {
      const path = ground.newPath('runtime')
      writeFileSync(path, '\x7fELF, or so', { mode: 0o755 })
      const container = await ground.create({ runtime: path })
      expect(await expectCode(container.start(), 'ERR_RUNTIME')).toMatchObject({ errno: 8, path })
      await expectUndone(ground, container)
    })

    test.each([
      ['exits at once', 'exit 3', /exited with 3/],
      ['exits with 0 and no pid file', 'exit 0', /without leaving a pid/],
      ['is killed', 'kill -9 $$', /killed by signal 9/],
      ['dies by SIGSEGV', 'kill -11 $$', /killed by signal 11/],
    ])('%s', async (_, body, message) => {
      const container = await ground.create({ runtime: script(body) })
      const error = await expectCode(container.start(), 'ERR_RUNTIME')
      expect(error.message).toMatch(message)
      expect(error).toMatchObject({ containerId: container.id, processId: 'init' })
      await expectUndone(ground, container)
    })

    test.each([
      ['garbage', 'garbage'],
      ['an empty', ''],
      ['a negative', '-1'],
      ['a huge', '99999999999999999999'],
      ['its own dead child’s', '$(sh -c "echo \\$\\$")'],
    ])('leaves %s pid', async (_, pid) => {
      const path = script(
        `while [ $# -gt 0 ]; do [ "$1" = --pid-file ] && printf '%s' "${pid}" > "$2"; shift; done`,
      )
      const container = await ground.create({ runtime: path })
      await expectCode(container.start(), 'ERR_RUNTIME')
      await expectUndone(ground, container)
    })

    test('writes garbage in its log: it comes along, bounded', async () => {
      const path = script(
        `while [ $# -gt 0 ]; do [ "$1" = --log ] && { head -c 1000000 /dev/zero | tr '\\0' y; echo; echo '{"level":"error","msg":"the last word"}'; echo '{"level":'; } > "$2"; shift; done; exit 1`,
      )
      const container = await ground.create({ runtime: path })
      const error = await expectCode(container.start(), 'ERR_RUNTIME')
      expect(error.message).toContain('the last word')
      expect(error.runtimeLog.length).toBe(65536)
      expect(error.runtimeLog).toMatch(/^y+\n.*the last word.*\n\{"level":\n$/)
      await expectUndone(ground, container)
    })

    test('says why on its own output only, in a terminal’s start', async () => {
      const bundle = ground.bundleOf(['/bin/true'], { terminal: true })
      const container = await ground.create({ bundle, runtime: script('echo "what is this?" >&2; exit 1') })
      const error = await expectCode(container.start(), 'ERR_RUNTIME')
      expect(error.message).toContain('what is this?')
      expect(error.runtimeLog).toBe('what is this?\n')
      await expectUndone(ground, container)
    })

    test('hangs in create: ERR_START_TIMEOUT, and all of it is ended', async () => {
      const mark = ground.newPath('pids')
      const container = await ground.create({
        timeout: 1500,
        runtime: wrapper('create', `echo $$ >> ${mark}; sleep 1000 & echo $! >> ${mark}; wait`),
      })
      expect(await expectCode(container.start(), 'ERR_START_TIMEOUT')).toMatchObject({
        containerId: container.id,
        processId: 'init',
      })
      const started = readFileSync(mark, 'utf8').trim().split('\n').map(Number)
      expect(started).toHaveLength(2)
      await eventually('none of it runs', () => !started.some(isAlive))
      await expectUndone(ground, container)
    })

    test('hangs in start: what create made is deleted', async () => {
      const container = await ground.create({ timeout: 3000, runtime: wrapper('start', 'sleep 1000') })
      let pid = 0
      await expectCode(container.start({ onCreated: (init) => void ({ pid } = init) }), 'ERR_START_TIMEOUT')
      expect(pid).toBeGreaterThan(0)
      expect(isAlive(pid)).toBe(false)
      await expectUndone(ground, container)
    })

    test('fails in start: what create made is deleted', async () => {
      const container = await ground.create({ runtime: wrapper('start', 'echo no such luck >&2; exit 9') })
      const error = await expectCode(container.start({ stdout: 'pipe' }), 'ERR_RUNTIME')
      expect(error.message).toContain('exited with 9')
      await expectUndone(ground, container)
    })

    test('is killed in the middle of create: what it had made is deleted', async () => {
      const container = await ground.create({ runtime: wrapper('create', `${real} "$@"; kill -9 $$`) })
      await expectCode(container.start(), 'ERR_RUNTIME')
      await expectUndone(ground, container)
    })

    test('deletes its own record before start: the error says so, and what create made goes', async () => {
      const remove = ground.newPath('remove')
      const container = await ground.create({
        runtime: wrapper('start', `rm -rf "$(cat ${remove})"; exec ${real} "$@"`),
      })
      writeFileSync(remove, ground.record(container.id))
      await expectCode(container.start(), 'ERR_RUNTIME')
      await expectUndone(ground, container)
      await container.delete()
      await ground.expectNothingLeft(container.id)
    })

    test('deletes its own record later: what runs is held, and goes with its cgroups', async () => {
      for (const shim of ['the same shim', 'another shim']) {
        const container = await ground.running({ bundle: ground.bundleOf(idler) })
        if (shim === 'the same shim') await run(container, 'true')
        const job = await container.exec('job', { args: ['/bin/sleep', '1000'] })
        rmSync(ground.record(container.id), { recursive: true })
        if (shim !== 'the same shim') {
          process.kill(shimOf(container), 'SIGKILL')
          await container.close()
        }
        const loaded = await Container.load(ground.root, container.id)
        await expectCode(loaded.stats(), 'ERR_CONTAINER_EXITED')
        await loaded.processes.get('job')?.kill('SIGKILL')
        expect(await loaded.processes.get('job')?.wait()).toMatchObject({
          known: kernelAtLeast(6, 15) || shim === 'the same shim',
        })
        expect(isAlive(job.pid)).toBe(false)
        expect(loaded.processes.get('init')?.state).toBe('running')
        await loaded.delete({ force: true })
        await ground.expectNothingLeft(container.id)
      }
    })

    test('has all capabilities that this program has, also after execs that have few', async () => {
      const mark = ground.newPath('mark')
      const container = await ground.running({
        runtime: wrapper('delete', `grep CapBnd: /proc/self/status > ${mark}`),
      })
      for (const bounding of [[], ['CAP_KILL'], ['CAP_KILL', 'CAP_SYS_ADMIN']]) {
        const { stdout } = await run(
          container,
          ['/bin/grep', '-c', 'CapBnd:.*[1-9a-f]', '/proc/self/status'],
          {
            capabilities: { bounding },
          },
        )
        expect(stdout, String(bounding)).toBe(bounding.length > 0 ? '1\n' : '0\n')
      }
      await container.delete({ force: true })
      expect(readFileSync(mark, 'utf8')).toBe(`CapBnd:\t${statusLine(process.pid, 'CapBnd')}\n`)
    })

    test('fails in delete: the error says so, and the container can still be deleted', async () => {
      const mark = ground.newPath('mark')
      const container = await ground.create({
        runtime: wrapper('delete', `[ -e ${mark} ] || { touch ${mark}; echo "not now" >&2; exit 1; }`),
        bundle: ground.bundleOf(['/bin/true']),
      })
      const init = await container.start()
      await init.wait()
      const error = await expectCode(container.delete(), 'ERR_RUNTIME')
      expect(error.message).toContain('not now')
      expect(await container.status()).toBe('stopped')
      await container.delete()
      await ground.expectNothingLeft(container.id)
    })
  })

  describe('a bundle whose', () => {
    test.each([
      ['args[0] is missing', ['/bin/none'], /none/],
      // crun 1.8 does not say which file.
      ['args[0] is not executable', ['/etc/plain'], /plain|Permission denied/],
      ['args[0] is a directory', ['/etc'], /\/etc|Operation not permitted/],
      ['args[0] is not in PATH', ['nowhere-to-be-found'], /nowhere-to-be-found/],
    ])('%s: the runtime’s word', async (_, args, message) => {
      const container = await ground.create({ bundle: ground.bundleOf(args) })
      const error = await expectCode(container.start({ stdout: 'pipe' }), 'ERR_RUNTIME')
      expect(error.message).toMatch(message)
      expect(error.runtimeLog).toMatch(message)
      await expectUndone(ground, container)
    })

    test('rootfs is missing', async () => {
      const container = await ground.create({
        bundle: ground.bundle((config) => {
          config.root.path = '/no/such/rootfs'
        }),
      })
      const error = await expectCode(container.start(), 'ERR_RUNTIME')
      expect(error.message).toContain('/no/such/rootfs')
      await expectUndone(ground, container)
    })

    test('config.json went after create()', async () => {
      const bundle = ground.bundle()
      const container = await ground.create({ bundle })
      rmSync(join(bundle, 'config.json'))
      expect(await expectCode(container.start(), 'ERR_SYSCALL')).toMatchObject({
        errno: 2,
        path: join(bundle, 'config.json'),
      })
      await expectUndone(ground, container)
    })

    test.each([
      ['missing', undefined],
      ['without args', { cwd: '/' }],
      ['with empty args', { args: [], cwd: '/' }],
      ['with args of the wrong type', { args: '/bin/true', cwd: '/' }],
    ])('process is %s', async (_, process) => {
      const bundle = ground.bundle((config) => {
        config.process = process
      })
      const container = await ground.create({ bundle })
      expect(await expectCode(container.start(), 'ERR_STATE_CORRUPT')).toMatchObject({
        path: join(bundle, 'config.json'),
      })
      await expectUndone(ground, container)
    })
  })

  /** Another hand's container. Its streams are its own: init keeps them open. */
  function runBehindOurBack(id: string): void {
    execFileSync(runtime, ['run', '--detach', '--bundle', ground.bundle(), id], { stdio: 'ignore' })
  }

  test('an id that the runtime has for somebody else: refused, and that container is left alone', async () => {
    const id = ground.newId()
    runBehindOurBack(id)
    const runs = (): boolean => ground.runtimeCommand('state', id).includes('"running"')
    try {
      const container = await ground.create({ id })
      for (let n = 0; n < 2; ++n) {
        const error = await expectCode(container.start(), 'ERR_RUNTIME')
        expect(error.runtimeLog).toContain('exist')
        expect(runs()).toBe(true)
        expect(await container.status()).toBe('created')
        expect(readdirSync(join(ground.root, id)).filter((name) => !name.startsWith('shim.'))).toEqual([
          'state.json',
        ])
      }
      await container.delete({ force: true })
      expect(existsSync(join(ground.root, id))).toBe(false)
      expect(runs()).toBe(true)
    } finally {
      ground.runtimeCommand('delete', '--force', id)
    }
  })

  test('of two that have one id in two roots the second is refused, and the first runs on', async () => {
    const first = await ground.running()
    const second = await ground.create({ id: first.id, root: ground.newPath('root') })
    await expectCode(second.start(), 'ERR_RUNTIME')
    expect(await first.status()).toBe('running')
    await second.delete({ force: true })
    expect(await first.status()).toBe('running')
    expect((await run(first, ['/bin/true'])).status.exitCode).toBe(0)
  })

  test('an id that somebody else took after this container was deleted behind our back', async () => {
    const container = await ground.running()
    const init = container.processes.get('init') as Process
    ground.runtimeCommand('delete', '--force', container.id)
    await init.wait()
    runBehindOurBack(container.id)
    try {
      await container.delete({ force: true })
      expect(ground.runtimeCommand('state', container.id)).toContain('"running"')
    } finally {
      ground.runtimeCommand('delete', '--force', container.id)
    }
  })

  test('a failed start may be tried again, and again', async () => {
    const gate = ground.newPath('gate')
    const container = await ground.create({ runtime: wrapper('create', `[ -e ${gate} ] || exit 1`) })
    for (let n = 0; n < 3; ++n) await expectCode(container.start(), 'ERR_RUNTIME')
    writeFileSync(gate, '')
    const init = await container.start({ stdout: 'pipe' })
    expect(init.state).toBe('running')
    await container.delete({ force: true })
    expect(await text(init.stdout)).toBe('')
    await ground.expectNothingLeft(container.id)
  })

  test('delete with force while it starts', async () => {
    const container = await ground.create({ runtime: wrapper('create', 'sleep 1000') })
    const starting = failure(container.start())
    await eventually('the runtime runs', () => shimsBelow(join(ground.root, container.id)).length > 0)
    await new Promise((resolve) => setTimeout(resolve, 100))
    const other = await Container.load(ground.root, container.id)
    await expectCode(other.delete(), 'ERR_CONTAINER_NOT_STOPPED')
    await other.delete({ force: true })
    expect(await starting).toMatchObject({ code: 'ERR_CONTAINER_NOT_FOUND' })
    await ground.expectNothingLeft(container.id)
  })
})

// The undoing has its own limit, ten seconds long: once is enough.
describe.skipIf(skip)('a runtime that hangs whatever it is asked', () => {
  const ground = useContainers('runc')

  test('the start is undone all the same', async () => {
    const path = ground.newPath('runtime')
    writeFileSync(path, '#!/bin/sh\nsleep 1000\n', { mode: 0o755 })
    const container = await ground.create({ runtime: path, timeout: 200 })
    await expectCode(container.start(), 'ERR_START_TIMEOUT')
    await expectUndone(ground, container)
  })
})
