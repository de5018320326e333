// Options are closed at every depth: a misspelt key is refused by name and runs nothing.
import { existsSync, readdirSync } from 'node:fs'
import { join } from 'node:path'
import { beforeAll, describe, expect, test } from 'vitest'
import { Container, events } from '../../lib/index.js'
import { useContainers } from '../support/containers.js'
import { cannotRunContainers } from '../support/machine.js'

const args = ['/bin/true']
const spec = (more: object): [string, object] => ['job', { args, ...more }]

/** A call, what it is given, and the words of the message. */
type Row = [call: string, given: unknown[], words: string[]]

const rows: Row[] = [
  ['exec', spec({ capabilites: {} }), ['spec', 'capabilites', 'capabilities']],
  ['exec', spec({ user: { uuid: 1 } }), ['spec.user', 'uuid', 'uid']],
  ['exec', spec({ user: { additionalGid: [] } }), ['additionalGid', 'additionalGids']],
  ['exec', spec({ capabilities: { bounded: [] } }), ['spec.capabilities', 'bounded', 'bounding']],
  [
    'exec',
    spec({ rlimits: [{ type: 'RLIMIT_CORE', sofft: 0, soft: 0, hard: 0 }] }),
    ['rlimits[0]', 'sofft', 'soft'],
  ],
  ['exec', spec({ consoleSize: { height: 1, widht: 1, width: 1 } }), ['widht', 'width']],
  ['exec', spec({ ioPriority: { clas: 'IOPRIO_CLASS_BE' } }), ['clas', 'class']],
  ['exec', spec({ scheduler: { policy: 'SCHED_OTHER', nise: 1 } }), ['nise', 'nice']],
  ['exec', spec({ execCPUAffinity: { finale: '0' } }), ['finale', 'final']],
  ['exec', spec({ noNewPriviliges: true }), ['noNewPriviliges', 'noNewPrivileges']],
  ['exec', [...spec({}), { stdOut: 'pipe' }], ['stdOut', 'stdout']],
  ['exec', [...spec({}), { sginal: null }], ['sginal', 'signal']],
  ['exec', [...spec({}), { timeoutMs: 5 }], ['timeoutMs']],
  ['exec', [...spec({}), { stdout: 'Pipe' }], ['stdout', 'Pipe', 'pipe']],
  ['exec', [...spec({}), { stdout: 'pip' }], ['stdout', 'pip', 'pipe']],
  ['exec', [...spec({}), { stdout: 'some/file' }], ['stdout', 'some/file', './']],
  ['exec', [...spec({}), { stdout: { keep: 5, keap: 5 } }], ['stdout', 'keap', 'keep']],
  ['start', [{ onCreate: () => undefined }], ['onCreate', 'onCreated']],
  ['start', [{ checkpiont: 'c' }], ['checkpiont', 'checkpoint']],
  ['kill', ['SIGKILL', { al: true }], ['al', 'all']],
  ['delete', [{ forced: true }], ['forced', 'force']],
  ['checkpoint', [{ name: 'c', preDumped: true }], ['preDumped', 'preDump']],
  ['pressure', [{ resource: 'memory', kind: 'high', stalUsec: 1 }], ['stalUsec', 'stallUsec']],
  ['events', [{ signl: null }], ['signl', 'signal']],
  ['updateResources', [{ memori: {} }], ['memori', 'memory']],
  ['updateResources', [{ memory: { limt: 1 } }], ['resources.memory', 'limt', 'limit']],
  ['updateResources', [{ cpu: { share: 2 } }], ['share', 'shares']],
  ['updateResources', [{ pids: { limits: 2 } }], ['limits', 'limit']],
  ['updateResources', [{ blockIO: { wieght: 10 } }], ['wieght', 'weight']],
  [
    'updateResources',
    [{ blockIO: { throttleReadBpsDevice: [{ major: 8, minor: 0, rates: 1 }] } }],
    ['throttleReadBpsDevice[0]', 'rates', 'rate'],
  ],
  ['updateResources', [{ hugepageLimits: [{ pagesize: '2MB', limit: 1 }] }], ['pagesize', 'pageSize']],
  ['updateResources', [{ rdma: { mlx5: { hcaHandle: 1 } } }], ['rdma.mlx5', 'hcaHandle', 'hcaHandles']],
]

describe.skipIf(cannotRunContainers())('closed options', () => {
  const ground = useContainers('runc')
  let container: Container
  beforeAll(async () => {
    container = await Container.create(ground.options())
  })

  /** What the call says: it throws or rejects. */
  async function refusal(call: () => unknown): Promise<Error & { code: string }> {
    try {
      await call()
    } catch (error) {
      return error as Error & { code: string }
    }
    throw new Error('not refused')
  }

  test.each(rows)('%s(%j)', async (call, given, words) => {
    const method = container[call as 'exec'] as (...given: unknown[]) => unknown
    const error = await refusal(() => method.apply(container, given))
    expect(error).toMatchObject({ name: 'TypeError', code: 'ERR_INVALID_ARG_VALUE' })
    for (const word of words) expect(error.message).toContain(word)
    expect(container.processes.size).toBe(0)
    expect(existsSync(join(ground.root, container.id, 'job'))).toBe(false)
  })

  test('create, load, events: a misspelt key leaves nothing', async () => {
    const before = readdirSync(ground.root)
    const options = ground.options()
    for (const [misspelt, meant] of [
      ['ephemral', 'ephemeral'],
      ['runTime', 'runtime'],
      ['label', 'labels'],
      ['noPivotroot', 'noPivotRoot'],
    ] as const) {
      const error = await refusal(() => Container.create({ ...options, [misspelt]: true } as never))
      expect(error.code).toBe('ERR_INVALID_ARG_VALUE')
      expect(error.message).toContain(`options.${misspelt} is not known; did you mean "${meant}"?`)
    }
    expect(readdirSync(ground.root)).toEqual(before)
    const load = await refusal(() => Container.load(ground.root, container.id, { observ: true } as never))
    expect(load.message).toContain('options.observ is not known; did you mean "observe"?')
    expect((await refusal(() => events([container], { sgnal: null } as never))).message).toContain(
      'did you mean "signal"?',
    )
  })

  test('a key that nothing resembles: all known ones are named', async () => {
    const error = await refusal(() => container.kill('SIGTERM', { tree_of_everything: true } as never))
    expect(error.message).toContain('known: all')
  })

  test('a value of undefined counts as left out, an inherited key does not', async () => {
    const options = { ...ground.options(), ephemral: undefined }
    const created = await Container.create(options)
    await created.delete()
    const inherited = Object.assign(Object.create({ ephemral: true }) as object, ground.options())
    expect((await refusal(() => Container.create(inherited as never))).message).toContain('ephemral')
  })

  test('what an update cannot change is unsupported, not unknown', async () => {
    const running = await ground.running()
    for (const name of ['devices', 'network']) {
      const error = await refusal(() => running.updateResources({ [name]: {} } as never))
      expect(error.code).toBe('ERR_UNSUPPORTED')
    }
  })
})
