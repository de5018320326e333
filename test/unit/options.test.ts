// Every bad argument: a TypeError or RangeError with Node's code, that names what is wrong.
import { describe, expect, it } from 'vitest'
import { Container, events } from '../../lib/index.js'
import {
  checkContainerOptions,
  checkDescriptorLimit,
  checkTimeout,
  type ContainerOptions,
} from '../../lib/container/options.js'
import { checkResources } from '../../lib/oci/resources.js'
import { checkProcessSpec } from '../../lib/oci/spec.js'
import { signalName } from '../../lib/process/exit_status.js'
import { checkStdio } from '../../lib/process/stdio.js'
import { checkId, checkProcessId, checkSignal, checkSize } from '../../lib/validate.js'

const good: ContainerOptions = { root: '/r', id: 'web', bundle: '/b' }

describe('many containers', () => {
  it.each<[string, unknown, string]>([
    ['none', undefined, 'containers'],
    ['no list', {}, 'containers'],
    ['one that is no container', [{ id: 'web' }], 'containers[0]'],
    ['null among them', [null], 'containers[0]'],
  ])('%s', async (_name, containers, named) => {
    const error = { name: 'TypeError', code: 'ERR_INVALID_ARG_TYPE', message: expect.stringContaining(named) }
    await expect(Container.stats(containers as Container[])).rejects.toMatchObject(error)
    expect(() => events(containers as Container[])).toThrow(expect.objectContaining(error))
  })
})

describe('container options', () => {
  it('have defaults, and paths made absolute', () => {
    expect(checkContainerOptions({ root: 'r', id: 'a+b_c.d-1', bundle: 'b', runtime: './runc' })).toEqual({
      root: `${process.cwd()}/r`,
      id: 'a+b_c.d-1',
      bundle: `${process.cwd()}/b`,
      runtime: `${process.cwd()}/runc`,
      runtimeArgs: [],
      shim: '',
      labels: [],
      noPivotRoot: false,
      ephemeral: false,
      timeout: 15000,
      subgroups: false,
    })
  })

  it.each<[string, unknown, string, string]>([
    ['options', null, 'ERR_INVALID_ARG_TYPE', 'options'],
    ['options', 'x', 'ERR_INVALID_ARG_TYPE', 'options'],
    ['root missing', { ...good, root: undefined }, 'ERR_INVALID_ARG_TYPE', 'root'],
    ['root empty', { ...good, root: '' }, 'ERR_INVALID_ARG_VALUE', 'root'],
    ['root with NUL', { ...good, root: '/a\0b' }, 'ERR_INVALID_ARG_VALUE', 'root'],
    ['bundle a number', { ...good, bundle: 1 }, 'ERR_INVALID_ARG_TYPE', 'bundle'],
    ['runtime empty', { ...good, runtime: '' }, 'ERR_INVALID_ARG_VALUE', 'runtime'],
    ['runtimeArgs a string', { ...good, runtimeArgs: '--root' }, 'ERR_INVALID_ARG_TYPE', 'runtimeArgs'],
    ['runtimeArgs with a number', { ...good, runtimeArgs: [1] }, 'ERR_INVALID_ARG_TYPE', 'runtimeArgs[0]'],
    ['labels', { ...good, labels: {} }, 'ERR_INVALID_ARG_TYPE', 'labels'],
    ['noPivotRoot', { ...good, noPivotRoot: 1 }, 'ERR_INVALID_ARG_TYPE', 'noPivotRoot'],
    ['ephemeral', { ...good, ephemeral: 'yes' }, 'ERR_INVALID_ARG_TYPE', 'ephemeral'],
    ['timeout a string', { ...good, timeout: '1' }, 'ERR_INVALID_ARG_TYPE', 'timeout'],
    ['timeout 0', { ...good, timeout: 0 }, 'ERR_INVALID_ARG_VALUE', 'timeout'],
    ['timeout NaN', { ...good, timeout: NaN }, 'ERR_INVALID_ARG_VALUE', 'timeout'],
    ['timeout 1.5', { ...good, timeout: 1.5 }, 'ERR_INVALID_ARG_VALUE', 'timeout'],
    ['timeout 2^31', { ...good, timeout: 2 ** 31 }, 'ERR_INVALID_ARG_VALUE', 'timeout'],
  ])('%s', (_name, options, code, named) => {
    expect(() => checkContainerOptions(options as ContainerOptions)).toThrow(
      expect.objectContaining({ code, message: expect.stringContaining(named) }),
    )
  })
})

describe('ids', () => {
  it.each(['', '.', '..', 'a/b', '/', '../x', 'a\0', 'a b', 'ä', 'a\n', 'x'.repeat(241)])(
    '%j is refused',
    (id) => {
      expect(() => checkId(id)).toThrow(expect.objectContaining({ code: 'ERR_INVALID_ARG_VALUE' }))
    },
  )

  it.each([1, null, undefined, {}, ['a']])('%j is no string', (id) => {
    expect(() => checkId(id)).toThrow(expect.objectContaining({ code: 'ERR_INVALID_ARG_TYPE' }))
  })

  it.each(['a', '...', '-', '+1', 'x'.repeat(240)])('%s is fine', (id) => {
    expect(checkId(id)).toBe(id)
  })

  it.each(['state.json', 'shim.sock', 'shim.lock', 'log.json', 'console.sock'])(
    'a process cannot be called %s, which the state directory uses',
    (id) => {
      expect(() => checkProcessId(id)).toThrow(expect.objectContaining({ code: 'ERR_INVALID_ARG_VALUE' }))
    },
  )
})

describe('signals', () => {
  it('by name and number, and back', () => {
    expect(checkSignal('SIGKILL')).toBe(9)
    expect(checkSignal(0)).toBe(0)
    expect(checkSignal(64)).toBe(64)
    expect(signalName(9)).toBe('SIGKILL')
    expect(signalName(6)).toBe('SIGABRT')
    expect(signalName(29)).toBe('SIGIO')
    expect(signalName(0)).toBeNull()
    expect(signalName(40)).toBe('SIG40')
  })

  it.each<[unknown, string]>([
    ['SIGNOPE', 'ERR_INVALID_ARG_VALUE'],
    ['kill', 'ERR_INVALID_ARG_VALUE'],
    [-1, 'ERR_INVALID_ARG_VALUE'],
    [65, 'ERR_INVALID_ARG_VALUE'],
    [1.5, 'ERR_INVALID_ARG_VALUE'],
    [null, 'ERR_INVALID_ARG_TYPE'],
  ])('%j', (signal, code) => {
    expect(() => checkSignal(signal)).toThrow(expect.objectContaining({ code }))
  })
})

describe('stdio', () => {
  it('is ignored when left out; paths are made absolute', () => {
    expect(checkStdio(undefined, 'stdin')).toBe('ignore')
    expect(checkStdio('pipe', 'stdin')).toBe('pipe')
    expect(checkStdio('./log', 'stdout')).toBe(`${process.cwd()}/log`)
    expect(checkStdio(2, 'stderr')).toBe(2)
  })

  it.each<[unknown, string]>([
    ['', 'ERR_INVALID_ARG_VALUE'],
    ['a\0b', 'ERR_INVALID_ARG_VALUE'],
    [-1, 'ERR_INVALID_ARG_VALUE'],
    [1.5, 'ERR_INVALID_ARG_VALUE'],
    [99999, 'ERR_INVALID_ARG_VALUE'],
    [{}, 'ERR_INVALID_ARG_TYPE'],
    [[], 'ERR_INVALID_ARG_TYPE'],
    [true, 'ERR_INVALID_ARG_TYPE'],
  ])('%j', (stdio, code) => {
    expect(() => checkStdio(stdio, 'stdout')).toThrow(
      expect.objectContaining({ code, message: expect.stringContaining('stdout') }),
    )
  })

  it('of input is not kept, and nothing that is no stdio is called kept', () => {
    const thrown = (stdio: unknown) => expect(() => checkStdio(stdio, 'stdin'))
    thrown('keep').toThrow(expect.objectContaining({ code: 'ERR_INVALID_ARG_VALUE' }))
    thrown({ keep: 1 }).toThrow(expect.objectContaining({ code: 'ERR_INVALID_ARG_VALUE' }))
    thrown({}).toThrow(expect.objectContaining({ code: 'ERR_INVALID_ARG_TYPE' }))
  })
})

describe('process specs', () => {
  it.each<[unknown, string, string]>([
    [undefined, 'ERR_INVALID_ARG_TYPE', 'spec'],
    [[], 'ERR_INVALID_ARG_TYPE', 'spec'],
    [{}, 'ERR_INVALID_ARG_TYPE', 'spec.args'],
    [{ args: 'sh' }, 'ERR_INVALID_ARG_TYPE', 'spec.args'],
    [{ args: [] }, 'ERR_INVALID_ARG_VALUE', 'spec.args'],
    [{ args: [''] }, 'ERR_INVALID_ARG_VALUE', 'spec.args'],
    [{ args: ['a\0'] }, 'ERR_INVALID_ARG_VALUE', 'spec.args[0]'],
    [{ args: ['a'], env: ['X'] }, 'ERR_INVALID_ARG_VALUE', 'spec.env'],
    [{ args: ['a'], env: ['=x'] }, 'ERR_INVALID_ARG_VALUE', 'spec.env'],
    [{ args: ['a'], env: { A: '1' } }, 'ERR_INVALID_ARG_TYPE', 'spec.env'],
    [{ args: ['a'], cwd: 'tmp' }, 'ERR_INVALID_ARG_VALUE', 'spec.cwd'],
    [{ args: ['a'], cwd: 1 }, 'ERR_INVALID_ARG_TYPE', 'spec.cwd'],
    [{ args: ['a'], terminal: 1 }, 'ERR_INVALID_ARG_TYPE', 'spec.terminal'],
    [{ args: ['a'], consoleSize: { height: -1, width: 1 } }, 'ERR_INVALID_ARG_VALUE', 'height'],
    [{ args: ['a'], consoleSize: { rows: 1, columns: 65536 } }, 'ERR_INVALID_ARG_VALUE', 'columns'],
    [{ args: ['a'], consoleSize: { rows: 1 } }, 'ERR_INVALID_ARG_TYPE', 'spec.consoleSize.columns'],
    [{ args: ['a'], consoleSize: { height: 1 } }, 'ERR_INVALID_ARG_TYPE', 'spec.consoleSize.width'],
    [{ args: ['a'], consoleSize: {} }, 'ERR_INVALID_ARG_TYPE', 'spec.consoleSize.height'],
    [{ args: ['a'], consoleSize: { rows: 1, columns: 1, width: 1 } }, 'ERR_INVALID_ARG_VALUE', 'not both'],
    [{ args: ['a'], consoleSize: { height: 1, columns: 1 } }, 'ERR_INVALID_ARG_VALUE', 'not both'],
  ])('%j', (spec, code, named) => {
    expect(() => checkProcessSpec(spec)).toThrow(
      expect.objectContaining({ code, message: expect.stringContaining(named) }),
    )
  })
})

describe('a console size', () => {
  it.each([
    [
      { columns: 100, rows: 30 },
      { height: 30, width: 100 },
    ],
    [
      { height: 30, width: 100 },
      { height: 30, width: 100 },
    ],
  ])('%j', (consoleSize, oci) => {
    const given = { args: ['a'], terminal: true, consoleSize }
    expect(checkProcessSpec(given)).toEqual({ ...given, consoleSize: oci })
    expect(given.consoleSize).toBe(consoleSize)
  })
})

describe('numbers', () => {
  it.each([-1, 65536, 1.5, NaN])('%d is no size', (size) => {
    expect(() => checkSize(size, 'rows')).toThrow(expect.objectContaining({ code: 'ERR_INVALID_ARG_VALUE' }))
  })

  it('of resources are whole and within 64 bits', () => {
    checkResources({ memory: { limit: -1 }, cpu: { cpus: '0' }, blockIO: { weightDevice: [{ major: 1 }] } })
    for (const limit of [NaN, Infinity, 0.5, 2 ** 64, -(2 ** 64)]) {
      expect(() => checkResources({ memory: { limit } })).toThrow(/resources\.memory\.limit/)
    }
    expect(() => checkResources({ memory: { limit: 1n } })).toThrow(/resources\.memory\.limit/)
  })

  it.each(['1', null, undefined, 1n])('%s is no limit on descriptors', (limit) => {
    expect(() => checkDescriptorLimit(limit)).toThrow(
      expect.objectContaining({ code: 'ERR_INVALID_ARG_TYPE', message: expect.stringContaining('limit') }),
    )
  })

  it.each([-1, 0.5, NaN, Infinity, 2 ** 31])('nor is %d, which is out of range', (limit) => {
    expect(() => checkDescriptorLimit(limit)).toThrow(RangeError)
  })

  it('none and the most are', () => {
    expect([0, 2 ** 31 - 1].map(checkDescriptorLimit)).toEqual([0, 2 ** 31 - 1])
  })

  it('a timeout is 15 s when left out', () => {
    expect(checkTimeout(undefined)).toBe(15000)
  })
})
