// What is handed over wrong, found broken or written by others: a clear error by its code, and nothing left behind.
import { execFileSync } from 'node:child_process'
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { Container } from '../../lib/index.js'
import { idler } from '../support/bundle.js'
import { useContainers } from '../support/containers.js'
import { expectCode, failure, run } from '../support/expect.js'
import { cannotRunContainers, runtimes } from '../support/machine.js'
import { isAlive, procStat } from '../support/processes.mjs'

const skip = cannotRunContainers()

describe.skipIf(skip)('create, load and list', () => {
  const ground = useContainers('runc')

  function expectNoTrace(): void {
    expect(existsSync(ground.root) ? readdirSync(ground.root) : []).toEqual([])
  }

  test.each([
    ['id', '', 'ERR_INVALID_ARG_VALUE'],
    ['id', '.', 'ERR_INVALID_ARG_VALUE'],
    ['id', '..', 'ERR_INVALID_ARG_VALUE'],
    ['id', 'a/b', 'ERR_INVALID_ARG_VALUE'],
    ['id', '../a', 'ERR_INVALID_ARG_VALUE'],
    ['id', 'a\0b', 'ERR_INVALID_ARG_VALUE'],
    ['id', 'x'.repeat(300), 'ERR_INVALID_ARG_VALUE'],
    ['id', undefined, 'ERR_INVALID_ARG_TYPE'],
    ['root', '', 'ERR_INVALID_ARG_VALUE'],
    ['root', '/a\0b', 'ERR_INVALID_ARG_VALUE'],
    ['root', 7, 'ERR_INVALID_ARG_TYPE'],
    ['bundle', undefined, 'ERR_INVALID_ARG_TYPE'],
    ['bundle', '', 'ERR_INVALID_ARG_VALUE'],
    ['runtime', '', 'ERR_INVALID_ARG_VALUE'],
    ['runtime', null, 'ERR_INVALID_ARG_TYPE'],
    ['runtimeArgs', '--root=/x', 'ERR_INVALID_ARG_TYPE'],
    ['runtimeArgs', [1], 'ERR_INVALID_ARG_TYPE'],
    ['runtimeArgs', ['a\0'], 'ERR_INVALID_ARG_VALUE'],
    ['labels', { a: 1 }, 'ERR_INVALID_ARG_TYPE'],
    ['ephemeral', 'yes', 'ERR_INVALID_ARG_TYPE'],
    ['noPivotRoot', 1, 'ERR_INVALID_ARG_TYPE'],
    ['timeout', 0, 'ERR_INVALID_ARG_VALUE'],
    ['timeout', Infinity, 'ERR_INVALID_ARG_VALUE'],
    ['timeout', '1', 'ERR_INVALID_ARG_TYPE'],
    ['shim', '', 'ERR_INVALID_ARG_VALUE'],
  ])('%s: %j', async (key, value, code) => {
    const options = { ...ground.options(), [key]: value }
    const error = await failure(Container.create(options))
    expect(error).toMatchObject({ code })
    expect(error instanceof TypeError || error instanceof RangeError).toBe(true)
    expect(error.message).toContain(key)
    expectNoTrace()
  })

  test.each([
    ['missing', null, 'ERR_SYSCALL'],
    ['without a config.json', (bundle: string) => rmSync(join(bundle, 'config.json')), 'ERR_SYSCALL'],
    [
      'with an empty config.json',
      (bundle: string) => writeFileSync(join(bundle, 'config.json'), ''),
      'ERR_STATE_CORRUPT',
    ],
    [
      'with a truncated config.json',
      (bundle: string) => {
        const path = join(bundle, 'config.json')
        writeFileSync(path, readFileSync(path, 'utf8').slice(0, -20))
      },
      'ERR_STATE_CORRUPT',
    ],
    [
      'with a list for a config.json',
      (bundle: string) => writeFileSync(join(bundle, 'config.json'), '[]'),
      'ERR_STATE_CORRUPT',
    ],
    [
      'with a process of the wrong type',
      (bundle: string) => writeFileSync(join(bundle, 'config.json'), '{"process": "sh"}'),
      'ERR_STATE_CORRUPT',
    ],
    [
      'with a directory for a config.json',
      (bundle: string) => {
        rmSync(join(bundle, 'config.json'))
        mkdirSync(join(bundle, 'config.json'))
      },
      'ERR_STATE_CORRUPT',
    ],
    [
      'with a loop of links for a config.json',
      (bundle: string) => {
        rmSync(join(bundle, 'config.json'))
        symlinkSync('config.json', join(bundle, 'config.json'))
      },
      'ERR_SYSCALL',
    ],
  ] as const)('a bundle %s', async (_, spoil, code) => {
    for (const ephemeral of [false, true]) {
      const bundle = spoil === null ? ground.newPath('none') : ground.bundle()
      spoil?.(bundle)
      const options = ground.options({ bundle, ephemeral })
      const error = await expectCode(Container.create(options), code)
      expect(error).toMatchObject({ path: join(bundle, 'config.json'), containerId: options.id })
      expectNoTrace()
    }
  })

  test('a root that is a file, and one below a file', async () => {
    const file = ground.newPath('file')
    writeFileSync(file, '')
    for (const root of [file, join(file, 'root')]) {
      const error = await failure(Container.create({ ...ground.options(), root }))
      expect(error).toMatchObject({ name: 'ContainerError', code: 'ERR_SYSCALL' })
      expect([17, 20]).toContain(error.errno)
      expect(error.path).toContain(file)
    }
  })

  test('a shim that is missing, no program, or another program', async () => {
    const text = ground.newPath('text')
    writeFileSync(text, 'no program', { mode: 0o755 })
    for (const [shim, code] of [
      ['/no/such/shim', 'ERR_SYSCALL'],
      [text, 'ERR_SYSCALL'],
      ['/bin/true', 'ERR_SHIM_EXITED'],
    ] as const) {
      const container = await ground.create({ shim })
      const error = await expectCode(container.start({ stdout: 'pipe' }), code)
      if (code === 'ERR_SYSCALL') expect(error.path).toBe(shim)
      expect(container.state).toBe('created')
      await expectCode(Container.create(ground.options({ shim, ephemeral: true })), code)
      await container.delete()
    }
    expectNoTrace()
  })

  test('load of nothing and of garbage', async () => {
    await expectCode(Container.load(ground.root, 'none'), 'ERR_CONTAINER_NOT_FOUND')
    expect(await Container.list(ground.root)).toEqual([])
    expect(await Container.list('/no/such/root')).toEqual([])
    mkdirSync(join(ground.root, 'empty'), { recursive: true })
    mkdirSync(join(ground.root, 'garbage'))
    writeFileSync(join(ground.root, 'garbage/state.json'), '{"bundle":')
    writeFileSync(join(ground.root, 'file'), '')
    await expectCode(Container.load(ground.root, 'empty'), 'ERR_CONTAINER_NOT_FOUND')
    await expectCode(Container.load(ground.root, 'file'), 'ERR_CONTAINER_NOT_FOUND')
    expect(await expectCode(Container.load(ground.root, 'garbage'), 'ERR_STATE_CORRUPT')).toMatchObject({
      path: join(ground.root, 'garbage/state.json'),
    })
    expect(await Container.list(ground.root)).toEqual([])
    for (const id of ['..', 'a/b', '', 'x'.repeat(300)]) {
      expect(await failure(Container.load(ground.root, id))).toMatchObject({ code: 'ERR_INVALID_ARG_VALUE' })
    }
    expect(await failure(Container.load(ground.root, 'none', { timeout: -1 }))).toMatchObject({
      code: 'ERR_INVALID_ARG_VALUE',
    })
    rmSync(ground.root, { recursive: true })
  })

  test('wrong arguments of the verbs', async () => {
    const container = await ground.running()
    const bad = async (promise: Promise<unknown>, code: string): Promise<void> => {
      expect(await failure(promise)).toMatchObject({ code })
    }
    const c = container as unknown as Record<string, (...args: unknown[]) => Promise<unknown>>
    const call = (name: string, ...args: unknown[]): Promise<unknown> =>
      (c[name] as () => Promise<unknown>).apply(c, args as [])
    await bad(call('kill', 'SIGNONE'), 'ERR_INVALID_ARG_VALUE')
    await bad(call('kill', 65), 'ERR_INVALID_ARG_VALUE')
    await bad(call('kill', -1), 'ERR_INVALID_ARG_VALUE')
    await bad(call('kill', {}), 'ERR_INVALID_ARG_TYPE')
    await bad(call('kill', 0, 'all'), 'ERR_INVALID_ARG_TYPE')
    await bad(call('exec', 'job'), 'ERR_INVALID_ARG_TYPE')
    await bad(call('exec', 'job', { args: [] }), 'ERR_INVALID_ARG_VALUE')
    await bad(call('exec', 'job', { args: 'sh' }), 'ERR_INVALID_ARG_TYPE')
    await bad(call('exec', 'job', { args: ['a\0'] }), 'ERR_INVALID_ARG_VALUE')
    await bad(call('exec', 'job', { args: ['sh'], cwd: 'x' }), 'ERR_INVALID_ARG_VALUE')
    await bad(call('exec', 'job', { args: ['sh'], env: ['A'] }), 'ERR_INVALID_ARG_VALUE')
    await bad(call('exec', 'job', { args: ['sh'], oomScoreAdj: 1001 }), 'ERR_INVALID_ARG_VALUE')
    await bad(call('exec', 'job', { args: ['sh'] }, { stdout: {} }), 'ERR_INVALID_ARG_TYPE')
    await bad(call('exec', 'job', { args: ['sh'] }, { signal: 1 }), 'ERR_INVALID_ARG_TYPE')
    await bad(call('start', { onCreated: 1 }), 'ERR_INVALID_ARG_TYPE')
    await bad(call('start', null), 'ERR_INVALID_ARG_TYPE')
    await bad(call('delete', 'force'), 'ERR_INVALID_ARG_TYPE')
    await bad(call('delete', { force: 1 }), 'ERR_INVALID_ARG_TYPE')
    await bad(call('kill', 0, { all: 'yes' }), 'ERR_INVALID_ARG_TYPE')
    await bad(call('removeProcess', '../init'), 'ERR_INVALID_ARG_VALUE')
    expect([...container.processes.keys()]).toEqual(['init'])
    expect(await container.status()).toBe('running')
  })

  test('arguments of any length and content, up to the kernel’s own limit', async () => {
    const container = await ground.running()
    const odd = ['', ' ', '"', '\\', '\n', '\u{1f600}', '--', '-c', '$(reboot)', 'x'.repeat(100_000)]
    const { stdout } = await run(container, [
      '/bin/sh',
      '-c',
      'for a in "$@"; do printf "%s\\0" "$a"; done',
      'sh',
      ...odd,
    ])
    expect(stdout.split('\0').slice(0, -1)).toEqual(odd)
    const huge = Array.from({ length: 40 }, () => 'x'.repeat(131_000))
    const error = await expectCode(container.exec('huge', { args: ['/bin/true', ...huge] }), 'ERR_SYSCALL')
    expect(error).toMatchObject({ errno: 7, syscall: 'execve', path: '/bin/true' })
    expect((await run(container, 'echo alive')).stdout).toBe('alive\n')
  })
})

describe.skipIf(skip).each(runtimes)('a directory of containerd 0.2, %s', (runtime) => {
  const ground = useContainers(runtime)

  test('its running container is loaded, exec’d into, waited for and deleted', async () => {
    const bundle = ground.bundleOf(idler)
    const id = ground.newId()
    const pidFile = ground.newPath('pid')
    // As containerd did: the runtime by hand, and the directory beside it.
    for (const args of [
      ['create', '--bundle', bundle, '--pid-file', pidFile, id],
      ['start', id],
    ]) {
      execFileSync(runtime, args, { stdio: 'ignore' })
    }
    const pid = Number(readFileSync(pidFile, 'utf8'))
    const directory = join(ground.root, id)
    mkdirSync(join(directory, 'init'), { recursive: true })
    writeFileSync(
      join(directory, 'state.json'),
      JSON.stringify({
        bundle,
        labels: ['old'],
        stdin: '',
        stdout: '',
        stderr: '',
        runtime,
        runtimeArgs: null,
        shim: 'containerd-shim',
        noPivotRoot: false,
      }),
    )
    const config = JSON.parse(readFileSync(join(bundle, 'config.json'), 'utf8'))
    writeFileSync(
      join(directory, 'init', 'process.json'),
      JSON.stringify({
        ...config.process,
        exec: false,
        containerdStdin: '/dev/null',
        containerdStdout: '/dev/null',
        containerdStderr: '/dev/null',
        runtimeArgs: null,
        noPivotRoot: false,
        checkpoint: '',
        rootUID: 0,
        rootGID: 0,
      }),
    )
    writeFileSync(join(directory, 'init', 'pid'), String(pid))
    writeFileSync(join(directory, 'init', 'starttime'), String(procStat(pid)?.starttime))

    expect(await Container.list(ground.root)).toEqual([id])
    const container = await Container.load(ground.root, id)
    expect(container).toMatchObject({ bundle, labels: ['old'], runtime, state: 'running' })
    expect(container.processes.get('init')).toMatchObject({
      pid,
      state: 'running',
      stdio: { stdout: '/dev/null' },
    })
    expect(await container.status()).toBe('running')
    expect((await run(container, 'hostname; exit 3')).stdout).toBe('inside\n')
    await container.kill()
    const exit = await container.processes.get('init')?.wait()
    expect(isAlive(pid)).toBe(false)
    expect([7, 255]).toContain(exit?.exitCode)
    expect(exit?.known).toBe(exit?.exitCode === 7)
    await container.delete()
    await ground.expectNothingLeft(id)
  })
})
