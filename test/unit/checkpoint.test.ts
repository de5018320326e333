// Checkpoints on disk, whoever wrote them: what is read, what is refused, what is passed over.
import {
  mkdirSync,
  mkdtempSync,
  readdirSync,
  rmSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from 'node:fs'
import { execFileSync } from 'node:child_process'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import {
  checkCheckpointOptions,
  metadataOf,
  readCheckpoint,
  readCheckpoints,
  readRestorable,
  removeCheckpoint,
} from '../../lib/state/checkpoints.js'
import { expectCode } from '../support/expect.js'

const created = '2026-01-02T03:04:05.678Z'
let bundle = ''

beforeEach(() => {
  bundle = mkdtempSync(join(tmpdir(), 'libcontainer-checkpoint-'))
})
afterEach(() => rmSync(bundle, { recursive: true, force: true }))

function put(name: string, config: unknown): string {
  const directory = join(bundle, 'checkpoints', name)
  mkdirSync(directory, { recursive: true })
  const path = join(directory, 'config.json')
  writeFileSync(path, typeof config === 'string' ? config : JSON.stringify(config))
  return path
}

const plain = {
  exit: false,
  tcp: false,
  unixSockets: false,
  shell: false,
  emptyNamespaces: [],
  preDump: false,
  parent: '',
}

describe('the metadata of checkpoints', () => {
  test('what is written is read', async () => {
    const options = {
      name: 'all',
      exit: true,
      tcp: true,
      unixSockets: true,
      shell: true,
      emptyNamespaces: ['network'],
      preDump: false,
      parent: 'before',
    }
    put('all', metadataOf(options, new Date(created)))
    expect(await readCheckpoint(bundle, 'all', 'c')).toEqual({ ...options, createdAt: new Date(created) })
  })

  test('has the keys of containerd 0.2, whose own is read', async () => {
    expect(Object.keys(JSON.parse(metadataOf({ name: 'x', ...plain }, new Date(created))))).toEqual(
      expect.arrayContaining(['created', 'name', 'tcp', 'unixSockets', 'shell', 'exit', 'emptyNS']),
    )
    put('old', {
      created: '2016-10-05T09:08:07.123456789+02:00',
      name: 'old',
      tcp: true,
      unixSockets: false,
      shell: false,
      exit: true,
      emptyNS: null,
    })
    expect(await readCheckpoint(bundle, 'old', 'c')).toEqual({
      ...plain,
      name: 'old',
      tcp: true,
      exit: true,
      createdAt: new Date('2016-10-05T07:08:07.123Z'),
    })
  })

  test('the list is by age, and passes over what is no checkpoint', async () => {
    expect(await readCheckpoints(bundle, 'c')).toEqual([])
    put('b', { created: '2026-01-03T00:00:00Z' })
    put('c', { created: '2026-01-01T00:00:00Z' })
    put('a', { created: '2026-01-03T00:00:00Z' })
    put(':under-way', { created })
    put('no name', { created })
    mkdirSync(join(bundle, 'checkpoints/empty'))
    writeFileSync(join(bundle, 'checkpoints/file'), '')
    symlinkSync(join(bundle, 'checkpoints/a'), join(bundle, 'checkpoints/link'))
    expect((await readCheckpoints(bundle, 'c')).map(({ name }) => name)).toEqual(['c', 'a', 'b'])
  })

  test.each([
    ['nothing', ''],
    ['half of it', '{"created":"2026-01-0'],
    ['no object', '[]'],
    ['null', 'null'],
    ['no time', {}],
    ['a time that is none', { created: 'yesterday' }],
    ['a number for a time', { created: 5 }],
    ['a flag that is a word', { created, tcp: 'yes' }],
    ['namespaces that are no list', { created, emptyNS: 'network' }],
    ['an option for a namespace', { created, emptyNS: ['network', '--work-path=/etc'] }],
    ['a parent elsewhere', { created, parent: '../../../etc' }],
    ['a parent that is a number', { created, parent: 7 }],
  ])('%s: ERR_STATE_CORRUPT with its path', async (_, config) => {
    const path = put('bad', config)
    put('good', { created })
    for (const read of [
      () => readCheckpoint(bundle, 'bad', 'c'),
      () => readCheckpoints(bundle, 'c'),
      () => readRestorable(bundle, 'bad', 'c'),
    ]) {
      expect(await expectCode(read(), 'ERR_STATE_CORRUPT')).toMatchObject({ containerId: 'c', path })
    }
    await removeCheckpoint(bundle, 'bad', 'c')
    expect((await readCheckpoints(bundle, 'c')).map(({ name }) => name)).toEqual(['good'])
  })

  test('a link, a FIFO, a directory or a giant in the place of config.json: ERR_STATE_CORRUPT', async () => {
    const secret = put('other', { created })
    const path = (name: string): string => {
      mkdirSync(join(bundle, 'checkpoints', name))
      return join(bundle, 'checkpoints', name, 'config.json')
    }
    symlinkSync(secret, path('link'))
    execFileSync('mkfifo', [path('fifo')])
    mkdirSync(path('directory'))
    truncateSync(put('giant', { created }), 2 ** 31)
    for (const name of ['link', 'fifo', 'directory', 'giant']) {
      await expectCode(readCheckpoint(bundle, name, 'c'), 'ERR_STATE_CORRUPT')
      await removeCheckpoint(bundle, name, 'c')
    }
    expect(readdirSync(join(bundle, 'checkpoints'))).toEqual(['other'])
  })

  test('the name is the directory’s, whatever config.json says', async () => {
    put('here', { created, name: '../../elsewhere' })
    expect(await readCheckpoint(bundle, 'here', 'c')).toMatchObject({ name: 'here' })
  })

  test('a link in the place of a checkpoint is none, and is not followed by a deletion', async () => {
    put('real', { created })
    symlinkSync(join(bundle, 'checkpoints/real'), join(bundle, 'checkpoints/link'))
    await expectCode(readCheckpoint(bundle, 'link', 'c'), 'ERR_CHECKPOINT_NOT_FOUND')
    await expectCode(removeCheckpoint(bundle, 'link', 'c'), 'ERR_CHECKPOINT_NOT_FOUND')
    expect(await readCheckpoint(bundle, 'real', 'c')).toMatchObject({ name: 'real' })
  })

  test('an unknown one: ERR_CHECKPOINT_NOT_FOUND; of many deletions of one, one succeeds', async () => {
    await expectCode(readCheckpoint(bundle, 'none', 'c'), 'ERR_CHECKPOINT_NOT_FOUND')
    await expectCode(removeCheckpoint(bundle, 'none', 'c'), 'ERR_CHECKPOINT_NOT_FOUND')
    put('one', { created })
    const outcomes = await Promise.allSettled([1, 2, 3, 4].map(() => removeCheckpoint(bundle, 'one', 'c')))
    expect(outcomes.map((one) => (one.status === 'fulfilled' ? 'done' : one.reason.code)).sort()).toEqual([
      'ERR_CHECKPOINT_NOT_FOUND',
      'ERR_CHECKPOINT_NOT_FOUND',
      'ERR_CHECKPOINT_NOT_FOUND',
      'done',
    ])
    expect(readdirSync(join(bundle, 'checkpoints'))).toEqual([])
  })

  test('a restore wants all parents; a pre-dump, a lost parent and a circle are refused', async () => {
    put('first', { created, preDump: true })
    put('second', { created, preDump: true, parent: 'first' })
    put('whole', { created, parent: 'second' })
    expect(await readRestorable(bundle, 'whole', 'c')).toMatchObject({ name: 'whole', parent: 'second' })
    await expectCode(readRestorable(bundle, 'second', 'c'), 'ERR_UNSUPPORTED')
    put('first', { created, preDump: true, parent: 'second' })
    await expectCode(readRestorable(bundle, 'whole', 'c'), 'ERR_STATE_CORRUPT')
    await removeCheckpoint(bundle, 'first', 'c')
    expect(await expectCode(readRestorable(bundle, 'whole', 'c'), 'ERR_CHECKPOINT_NOT_FOUND')).toMatchObject({
      path: join(bundle, 'checkpoints/first/config.json'),
    })
  })
})

describe('the options of checkpoints', () => {
  test('what is left out', () => {
    expect(checkCheckpointOptions({ name: 'x' })).toEqual({ name: 'x', ...plain })
  })

  test.each([
    ['no options', undefined, 'ERR_INVALID_ARG_TYPE'],
    ['no name', {}, 'ERR_INVALID_ARG_TYPE'],
    ['a number for a name', { name: 5 }, 'ERR_INVALID_ARG_TYPE'],
    ['an empty name', { name: '' }, 'ERR_INVALID_ARG_VALUE'],
    ['a slash', { name: 'a/b' }, 'ERR_INVALID_ARG_VALUE'],
    ['..', { name: '..' }, 'ERR_INVALID_ARG_VALUE'],
    ['.', { name: '.' }, 'ERR_INVALID_ARG_VALUE'],
    ['a way up', { name: '../x' }, 'ERR_INVALID_ARG_VALUE'],
    ['a NUL', { name: 'a\0b' }, 'ERR_INVALID_ARG_VALUE'],
    ['a line', { name: 'a\n' }, 'ERR_INVALID_ARG_VALUE'],
    ['a colon', { name: ':a' }, 'ERR_INVALID_ARG_VALUE'],
    ['241 characters', { name: 'a'.repeat(241) }, 'ERR_INVALID_ARG_VALUE'],
    ['a flag that is a word', { name: 'x', exit: 'yes' }, 'ERR_INVALID_ARG_TYPE'],
    ['a flag that is null', { name: 'x', tcp: null }, 'ERR_INVALID_ARG_TYPE'],
    ['namespaces that are a word', { name: 'x', emptyNamespaces: 'network' }, 'ERR_INVALID_ARG_TYPE'],
    ['a namespace that is none', { name: 'x', emptyNamespaces: ['net'] }, 'ERR_INVALID_ARG_VALUE'],
    ['a parent that leads away', { name: 'x', parent: '../y' }, 'ERR_INVALID_ARG_VALUE'],
    ['itself as a parent', { name: 'x', parent: 'x' }, 'ERR_INVALID_ARG_VALUE'],
    ['a pre-dump that exits', { name: 'x', preDump: true, exit: true }, 'ERR_INVALID_ARG_VALUE'],
  ])('%s', (_, options, code) => {
    expect(() => checkCheckpointOptions(options as never)).toThrow(expect.objectContaining({ code }))
    expect(() => checkCheckpointOptions(options as never)).toThrow(TypeError)
  })
})
