// Roots that are in another user's reach, and roots that programs of several pid namespaces share.
import {
  chmodSync,
  chownSync,
  existsSync,
  lchownSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  symlinkSync,
} from 'node:fs'
import { constants } from 'node:os'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { Container } from '../../lib/index.js'
import { useContainers } from '../support/containers.js'
import { expectCode, run } from '../support/expect.js'
import { cannotRunContainers, runtimes } from '../support/machine.js'
import { shimsBelow } from '../support/processes.mjs'
import { Program } from '../support/programs.js'
import { eventually } from '../support/wait.js'

const skip = cannotRunContainers()

describe.skipIf(skip)('a root in the reach of another user', () => {
  const ground = useContainers('runc')

  const shapes: [string, (root: string) => string][] = [
    [
      'that belongs to one',
      (root) => {
        chownSync(root, 1000, 1000)
        return root
      },
    ],
    [
      'that its group may write to',
      (root) => {
        chmodSync(root, 0o770)
        return root
      },
    ],
    [
      'that others may write to',
      (root) => {
        chmodSync(root, 0o777)
        return root
      },
    ],
    [
      'that others may add to',
      (root) => {
        chmodSync(root, 0o1777)
        return root
      },
    ],
    [
      'that one may replace',
      (root) => {
        chownSync(join(root, '..'), 1000, 0)
        return join(root, '..')
      },
    ],
    [
      'that others may replace',
      (root) => {
        chmodSync(join(root, '..'), 0o777)
        return join(root, '..')
      },
    ],
  ]
  test.each(shapes)('%s is refused by each call, and nothing is changed', async (_, open) => {
    const above = ground.newPath('above')
    const root = join(above, 'root')
    mkdirSync(root, { recursive: true })
    const container = await ground.create({ root })
    const path = open(root)
    const before = readdirSync(root)
    for (const call of [
      () => Container.load(root, container.id),
      () => Container.list(root),
      () => ground.create({ root }),
      () => ground.create({ root, ephemeral: true }),
    ]) {
      const error = await expectCode(call(), 'ERR_STATE_CORRUPT')
      expect(error.path).toBe(path)
      expect(error.message).toContain(root)
    }
    expect(readdirSync(root)).toEqual(before)
    chownSync(path, 0, 0)
    chmodSync(path, 0o711)
    await (await Container.load(root, container.id)).delete()
  })

  test('one that is still to be made is as safe as where it is made', async () => {
    const above = ground.newPath('above')
    mkdirSync(above)
    chmodSync(above, 0o777)
    await expectCode(ground.create({ root: join(above, 'a/b') }), 'ERR_STATE_CORRUPT')
    expect(readdirSync(above)).toEqual([])
    chmodSync(above, 0o1777)
    const container = await ground.create({ root: join(above, 'a/b') })
    expect(await Container.list(join(above, 'a/b'))).toEqual([container.id])
    await container.delete()
  })

  test('one that a symbolic link leads to is looked at where it is', async () => {
    const above = ground.newPath('above')
    mkdirSync(join(above, 'root'), { recursive: true })
    const link = ground.newPath('link')
    symlinkSync(join(above, 'root'), link)
    await (await ground.create({ root: link })).delete()
    chmodSync(above, 0o777)
    await expectCode(Container.list(link), 'ERR_STATE_CORRUPT')
  })

  test('a symbolic link on the way that another user may replace is refused', async () => {
    const root = ground.newPath('good')
    const container = await ground.create({ root })
    const above = ground.newPath('links')
    mkdirSync(above)
    symlinkSync(root, join(above, 'link'))
    const further = ground.newPath('further')
    symlinkSync(join(above, 'link'), further)
    const refusedAt = async (path: string): Promise<void> => {
      for (const from of [join(above, 'link'), further]) {
        expect((await expectCode(Container.list(from), 'ERR_STATE_CORRUPT')).path).toBe(path)
        expect((await expectCode(Container.load(from, container.id), 'ERR_STATE_CORRUPT')).path).toBe(path)
        expect((await expectCode(ground.create({ root: from }), 'ERR_STATE_CORRUPT')).path).toBe(path)
      }
    }
    expect(await Container.list(further)).toEqual([container.id])
    lchownSync(join(above, 'link'), 1000, 1000)
    await refusedAt(join(above, 'link'))
    lchownSync(join(above, 'link'), 0, 0)
    chownSync(above, 1000, 1000)
    await refusedAt(above)
    chownSync(above, 0, 0)
    chmodSync(above, 0o1777)
    expect(await Container.list(further)).toEqual([container.id])
  })

  test('links that lead to a sticky directory or in a circle are no root', async () => {
    const above = ground.newPath('sticky')
    mkdirSync(join(above, 'below'), { recursive: true })
    chmodSync(above, 0o1777)
    const link = ground.newPath('link')
    for (const target of [above, `${above}/`, `${above}/.`, `${above}/below/..`]) {
      symlinkSync(target, link)
      expect((await expectCode(Container.list(link), 'ERR_STATE_CORRUPT')).path).toBe(above)
      rmSync(link)
    }
    symlinkSync(link, link)
    const error = await expectCode(Container.list(link), 'ERR_SYSCALL')
    expect(error.errno).toBe(constants.errno.ELOOP)
    rmSync(link)
  })

  test('a shim that is started for such a directory does not serve it', async () => {
    const container = await ground.create()
    chownSync(join(ground.root, container.id), 1000, 1000)
    try {
      const error = await expectCode(container.start(), 'ERR_STATE_CORRUPT')
      expect(error.path).toBe(join(ground.root, container.id))
    } finally {
      chownSync(join(ground.root, container.id), 0, 0)
    }
    await container.start()
  })
})

describe.skipIf(skip).each(runtimes)('a root of several pid namespaces, %s', (runtime) => {
  const ground = useContainers(runtime)
  const inside = ['unshare', '--pid', '--fork', '--kill-child', '--mount-proc']

  test('what a shim serves elsewhere is left alone', async () => {
    const container = await ground.running({ ephemeral: true })
    const idle = await ground.create({ ephemeral: true })
    const program = new Program(
      `const code = (error) => error.code
      const { root } = args
      for (const id of args.ids) {
        say({
          load: await Container.load(root, id).then(() => 'loaded', code),
          observe: await Container.load(root, id, { observe: true }).then(() => 'loaded', code),
          create: await Container.create({ ...args.options, root, id, ephemeral: true }).then(() => 'created', code),
        })
      }`,
      { root: ground.root, ids: [container.id, idle.id], options: ground.options() },
      ['ignore', 'pipe', 'pipe'],
      inside,
    )
    try {
      const refused = { load: 'ERR_UNSUPPORTED', create: 'ERR_CONTAINER_EXISTS' }
      expect(await program.next()).toEqual({ ...refused, observe: 'ERR_UNSUPPORTED' })
      expect(await program.next()).toMatchObject(refused)
    } finally {
      program.kill()
      await program.ended
    }
    expect(await container.status()).toBe('running')
    expect((await run(container, 'echo inside')).stdout).toBe('inside\n')
    expect((await idle.start()).state).toBe('running')
  })

  test('what ran in one that has ended has ended with it', async () => {
    const options = ground.options()
    const fleeting = ground.options({ ephemeral: true })
    const program = new Program(
      `const container = await Container.create(args.options)
      const init = await container.start()
      const fleeting = await Container.create(args.fleeting)
      await fleeting.start()
      say(init.pid)
      await sleep(1e6)`,
      { options, fleeting },
      ['ignore', 'pipe', 'pipe'],
      inside,
    )
    let pid = 0
    try {
      pid = (await program.next()) as number
      const recorded = readFileSync(join(ground.root, options.id, 'init/pidNamespace'), 'utf8')
      expect(recorded).toMatch(/^pid:\[\d+\]$/)
      expect(recorded).not.toBe(readlinkSync('/proc/self/ns/pid'))
    } finally {
      program.kill()
      await program.ended
    }
    await eventually('the end of all that ran there', () => shimsBelow(ground.root).length === 0)
    const container = await Container.load(ground.root, options.id)
    expect(container.endedByReboot).toBe(true)
    expect(container.processes.get('init')?.pid).toBe(pid)
    expect(container.processes.get('init')?.exitStatus).toMatchObject({ exitCode: 255, known: false })
    expect(await container.status()).toBe('stopped')
    await container.delete()
    await ground.expectNothingLeft(options.id)
    const again = await Container.create(fleeting)
    expect(again.processes.size).toBe(0)
    expect((await again.start()).state).toBe('running')
  })

  test('what another one is making or removing is not swept away', async () => {
    const container = await ground.create()
    const own = /\d+/.exec(readlinkSync('/proc/self/ns/pid'))?.[0]
    // No process 1 was started in that tick; of the other namespace nobody here can tell.
    const dead = join(ground.root, `:1.1.n${own}.0123456789ab`)
    const unknown = join(ground.root, ':1.1.n1.0123456789ab')
    try {
      mkdirSync(dead)
      mkdirSync(unknown)
      expect(await Container.list(ground.root)).toEqual([container.id])
      expect([dead, unknown].map(existsSync)).toEqual([false, true])
    } finally {
      rmSync(unknown, { recursive: true })
    }
  })
})
