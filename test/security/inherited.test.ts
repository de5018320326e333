// What a config.json carries is the runtime's to judge: an exec inherits it as the runtime's own exec does, to the last digit.
// What a caller types is strict all the same.
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { Container, type Process, type ProcessSpec } from '../../lib/index.js'
import type { Config } from '../support/bundle.js'
import { runCommand } from '../support/command.js'
import { useContainers } from '../support/containers.js'
import { expectCode, failure, run } from '../support/expect.js'
import { cannotRunContainers, runtimes } from '../support/machine.js'

describe.skipIf(cannotRunContainers()).each(runtimes)('inherited from config.json, %s', (runtime) => {
  const ground = useContainers(runtime)

  /** Started with that config.json; null where the runtime itself refuses it. */
  async function started(
    edit: (config: Config) => void,
    mend?: (text: string) => string | Buffer,
  ): Promise<Container | null> {
    const bundle = ground.bundle(edit)
    const path = join(bundle, 'config.json')
    if (mend) writeFileSync(path, mend(readFileSync(path, 'utf8')))
    const container = await ground.create({ bundle })
    try {
      await container.start()
      return container
    } catch (error) {
      expect(error).toMatchObject({ code: 'ERR_RUNTIME' })
      return null
    }
  }

  /** What `args` print, by this handle's exec and by that of a handle which has it from disk. */
  async function both(container: Container, args: string[]): Promise<string> {
    const { stdout } = await run(container, args)
    const loaded = await Container.load(ground.root, container.id)
    expect((await run(loaded, args)).stdout).toBe(stdout)
    await loaded.close()
    return stdout
  }

  const lines = (text: string, pattern: RegExp): string[] =>
    text.split(/[\n\0]/).filter((line) => pattern.test(line))

  test.each(['CAP_FUTURE', 'cap_net_raw', 'NET_RAW'])(
    'a capability that is not known here: %s',
    async (name) => {
      const container = await started((config) => {
        for (const set of ['bounding', 'effective', 'permitted'])
          config.process.capabilities[set] = [...config.process.capabilities[set], name]
      })
      if (!container) throw new Error('the runtime refuses it')
      const args = ['/bin/grep', '^Cap', '/proc/self/status']
      const theirs = ground.runtimeCommand('exec', container.id, ...args)
      // runc's warnings go there too.
      expect(lines(await both(container, args), /./)).toEqual(lines(theirs, /^Cap/))
      const typed = { args, capabilities: { bounding: [name] } }
      expect(await failure(container.exec('typed', typed))).toMatchObject({
        code: 'ERR_INVALID_ARG_VALUE',
        message: expect.stringContaining(`capabilities.bounding names an unknown capability: ${name}`),
      })
    },
  )

  test('numbers that JavaScript has not', async () => {
    const container = await started(
      (config) => {
        config.process.rlimits = [
          { type: 'RLIMIT_CORE', soft: 0, hard: '18446744073709551615' },
          { type: 'RLIMIT_FSIZE', soft: '9007199254740993', hard: '9007199254740995' },
        ]
      },
      (text) => text.replace(/"(\d{16,})"/g, '$1'),
    )
    if (!container) throw new Error('the runtime refuses it')
    const said = await both(container, ['/bin/cat', '/proc/self/limits'])
    expect(lines(said, /^Max (core file|file) size/).map((line) => line.split(/ {2,}/).slice(1, 3))).toEqual([
      ['9007199254740993', '9007199254740995'],
      ['0', 'unlimited'],
    ])
    const typed = { args: ['/bin/true'], rlimits: [{ type: 'RLIMIT_CORE', soft: 0, hard: 2 ** 64 }] }
    expect(await failure(container.exec('typed', typed))).toMatchObject({ code: 'ERR_INVALID_ARG_VALUE' })
  })

  test('of two limits of one type the last', async () => {
    const container = await started((config) => {
      config.process.rlimits = [
        { type: 'RLIMIT_NOFILE', soft: 100, hard: 200 },
        { type: 'RLIMIT_NOFILE', soft: 50, hard: 60 },
      ]
    })
    if (!container) throw new Error('the runtime refuses it')
    expect(await both(container, ['/bin/sh', '-c', 'ulimit -Sn; ulimit -Hn'])).toBe('50\n60\n')
  })

  test.each([
    ['PLAIN'],
    ['PLAIN', '=x', 'A=1', 'A=2'],
    ['A=1', 'B=1', 'A'],
    ['A=1', 'A', 'A=2', 'B'],
    ['', 'A=1'],
  ])('environment: %j, %j, %j, %j', async (...entries) => {
    const container = await started((config) => {
      config.process.env = ['PATH=/bin', 'HOME=/root', ...entries]
    })
    if (!container) return expect(runtime).toBe('runc')
    const args = ['/bin/cat', '/proc/self/environ']
    const theirs = ground.runtimeCommand('exec', container.id, ...args)
    expect(lines(await both(container, args), /./).sort()).toEqual(lines(theirs, /./).sort())
    const typed = { args, env: entries.filter((entry) => entry !== undefined) }
    if (typed.env.some((entry) => !/^.+=/.test(entry)))
      expect(await failure(container.exec('typed', typed))).toMatchObject({
        code: 'ERR_INVALID_ARG_VALUE',
        message: expect.stringContaining('spec.env'),
      })
    const told = await runCommand(ground.root, ['exec', '-e', 'ADDED=1', container.id, ...args])
    expect(told).toMatchObject({ code: 0, stderr: '' })
    expect(lines(told.stdout, /^ADDED/)).toEqual(['ADDED=1'])
  })

  const ignored: [string, Partial<ProcessSpec>][] = [
    ['scheduler', { scheduler: { policy: 'SCHED_FUTURE' } }],
    ['I/O priority', { ioPriority: { class: 'IOPRIO_CLASS_FUTURE' } }],
    ['processors', { execCPUAffinity: { initial: 'first' } }],
    ['umask', { user: { uid: 0, gid: 0, umask: 0o7777 } }],
    ['directory', { cwd: 'tmp' }],
  ]
  test.each(ignored)('what a runtime passes over, or bends: %s', async (_, part) => {
    const container = await started((config) => {
      Object.assign(config.process, part)
    })
    // A later version of the runtime refuses it.
    if (!container) return
    expect(await both(container, ['/bin/echo', 'runs'])).toBe('runs\n')
    const error = await failure(container.exec('typed', { args: ['/bin/true'], ...part }))
    expect(error).toMatchObject({ code: 'ERR_INVALID_ARG_VALUE' })
  })

  test.each<[string, (text: string) => string | Buffer]>([
    ['half a surrogate pair', (text) => text.replace('HALF', '\\ud800')],
    ['bytes that are no UTF-8', (text) => Buffer.from(text.replace('HALF', '\xff'), 'latin1')],
  ])('a text with %s', async (_, mend) => {
    const container = await started((config) => {
      config.process.env = ['PATH=/bin', 'HOME=/root', 'X=aHALFb']
      config.annotations = { text: 'HALF' }
    }, mend)
    if (!container) return expect(runtime).toBe('crun')
    expect(lines(await both(container, ['/bin/cat', '/proc/self/environ']), /^X/)).toEqual(['X=a\ufffdb'])
  })

  test('a container that the runtime refuses: its own words', async () => {
    const bundle = ground.bundle((config) => {
      config.process.rlimits = [{ type: 'RLIMIT_FUTURE', soft: 1, hard: 2 }]
    })
    const error = await expectCode((await ground.create({ bundle })).start(), 'ERR_RUNTIME')
    expect(error.runtimeLog).toContain('RLIMIT_FUTURE')
  })
})

describe.skipIf(cannotRunContainers())('half a surrogate pair that a caller types', () => {
  const ground = useContainers('runc')
  const half = 'x\ud83dy'
  const other = 'x\ude00y'

  test('is refused at every depth, with the name of the field, and nothing is done', async () => {
    const container = await ground.running()
    const sh = (part: object): ProcessSpec => ({ args: ['/bin/true'], ...part })
    const refused: [string, () => Promise<unknown>][] = [
      ['root', () => Container.create(ground.options({ root: `/${half}` }))],
      ['id', () => Container.create(ground.options({ id: half }))],
      ['bundle', () => Container.create(ground.options({ bundle: `/${half}` }))],
      ['runtime', () => Container.create(ground.options({ runtime: half }))],
      ['runtimeArgs[1]', () => Container.create(ground.options({ runtimeArgs: ['--debug', half] }))],
      ['shim', () => Container.create(ground.options({ shim: `/${half}` }))],
      ['labels[0]', () => Container.create(ground.options({ labels: [other] }))],
      ['root', () => Container.load(`/${half}`, 'x')],
      ['id', () => Container.load(ground.root, half)],
      ['shim', () => Container.load(ground.root, container.id, { shim: `/${half}` })],
      ['root', () => Container.list(half)],
      ['process id', () => container.exec(half, sh({}))],
      ['spec.args[1]', () => container.exec('job', { args: ['/bin/true', half] })],
      ['spec.env[0]', () => container.exec('job', sh({ env: [`A=${other}`] }))],
      ['spec.cwd', () => container.exec('job', sh({ cwd: `/${half}` }))],
      [
        'spec.capabilities.bounding[0]',
        () => container.exec('job', sh({ capabilities: { bounding: [half] } })),
      ],
      [
        'spec.rlimits[0].type',
        () => container.exec('job', sh({ rlimits: [{ type: half, soft: 1, hard: 1 }] })),
      ],
      ['spec.apparmorProfile', () => container.exec('job', sh({ apparmorProfile: half }))],
      [
        'spec.scheduler.flags[0]',
        () => container.exec('job', sh({ scheduler: { policy: 'x', flags: [half] } })),
      ],
      ['a key of spec.scheduler', () => container.exec('job', sh({ scheduler: { policy: 'x', [half]: 1 } }))],
      ['stdin', () => container.exec('job', sh({}), { stdin: `/${half}` })],
      ['stdout', () => container.exec('job', sh({}), { stdout: `/${half}` })],
      ['signal', () => container.kill(half as NodeJS.Signals)],
      ['process id', () => container.removeProcess(half)],
      ['checkpoint name', () => container.deleteCheckpoint(half)],
      ['name', () => container.checkpoint({ name: half })],
      ['emptyNamespaces[0]', () => container.checkpoint({ name: 'x', emptyNamespaces: [half] })],
      ['a key of resources.unified', () => container.updateResources({ unified: { [half]: '1' } })],
      ['resources.cpu.cpus', () => container.updateResources({ cpu: { cpus: half } })],
    ]
    for (const [field, call] of refused) {
      const error = await failure(call())
      expect(error, field).toMatchObject({ code: 'ERR_INVALID_ARG_VALUE' })
      expect(error.message).toContain(field)
    }
    expect(await Container.list(ground.root)).toEqual([container.id])
    expect([...container.processes.keys()]).toEqual(['init'])
    // A whole pair is a character like any other.
    const job: Process = await container.exec('job', { args: ['/bin/true', '😀'], env: ['A=😀'] })
    expect((await job.wait()).exitCode).toBe(0)
  })
})
