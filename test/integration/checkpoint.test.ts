// Checkpoints where CRIU or the runtime cannot make them, and what is refused anywhere; restore.test.ts has the rest.
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { Container } from '../../lib/index.js'
import { criuWorks } from '../support/checkpoints.js'
import { freeze, unfreeze, useContainers } from '../support/containers.js'
import { expectCode, failure, run } from '../support/expect.js'
import { cannotRunContainers, runtimes } from '../support/machine.js'
import { cgroupsNamed } from '../support/traces.mjs'

const skip = cannotRunContainers()
const created = '2026-01-02T03:04:05.678Z'

/** A checkpoint as another program may have left it: metadata, and images that are none. */
function plant(bundle: string, name: string, config: object = { created }): string {
  const directory = join(bundle, 'checkpoints', name)
  mkdirSync(directory, { recursive: true })
  writeFileSync(join(directory, 'config.json'), JSON.stringify(config))
  writeFileSync(join(directory, 'descriptors.json'), '["/dev/null","/dev/null","/dev/null"]')
  writeFileSync(join(directory, 'inventory.img'), 'not an image')
  return directory
}

describe.skipIf(skip).each(runtimes)('checkpoints, %s', (runtime) => {
  const ground = useContainers(runtime)
  const unsupported = runtime === 'crun' || !criuWorks()

  test('bad names and options are told before anything is done', async () => {
    const container = await ground.running()
    for (const name of ['a/b', '..', '.', '', '../x', 'a\0', ':a', 'a'.repeat(241)]) {
      for (const call of [
        () => container.checkpoint({ name }),
        () => container.deleteCheckpoint(name),
        () => container.start({ checkpoint: name }),
      ]) {
        expect(await failure(call()), name).toMatchObject({
          name: 'TypeError',
          code: 'ERR_INVALID_ARG_VALUE',
        })
      }
    }
    const wrong: [unknown, string][] = [
      [undefined, 'ERR_INVALID_ARG_TYPE'],
      [{ name: 1 }, 'ERR_INVALID_ARG_TYPE'],
      [{ name: 'a', exit: 1 }, 'ERR_INVALID_ARG_TYPE'],
      [{ name: 'a', emptyNamespaces: ['net'] }, 'ERR_INVALID_ARG_VALUE'],
      [{ name: 'a', preDump: true, exit: true }, 'ERR_INVALID_ARG_VALUE'],
    ]
    for (const [options, code] of wrong) {
      expect(await failure(container.checkpoint(options as never))).toMatchObject({ code })
    }
    expect(readdirSync(container.bundle)).toEqual(['config.json'])
  })

  test('only of a container that runs', async () => {
    const container = await ground.create({ bundle: ground.bundleOf(['/bin/cat']) })
    await expectCode(container.checkpoint({ name: 'a' }), 'ERR_CONTAINER_NOT_STARTED')
    const init = await container.start({
      stdin: 'pipe',
      onCreated: () => expectCode(container.checkpoint({ name: 'a' }), 'ERR_CONTAINER_NOT_STARTED').then(),
    })
    await freeze(container.id)
    await expectCode(container.checkpoint({ name: 'a' }), 'ERR_CONTAINER_PAUSED')
    unfreeze(container.id)
    await init.closeStdin()
    await init.wait()
    await expectCode(container.checkpoint({ name: 'a' }), 'ERR_CONTAINER_EXITED')
    await container.delete()
    for (const call of [
      () => container.checkpoint({ name: 'a' }),
      () => container.checkpoints(),
      () => container.deleteCheckpoint('a'),
      () => container.start({ checkpoint: 'a' }),
    ]) {
      await expectCode(call(), 'ERR_CONTAINER_NOT_FOUND')
    }
  })

  test('a name that exists, and an unknown one', async () => {
    const container = await ground.running()
    plant(container.bundle, 'taken')
    const error = await expectCode(container.checkpoint({ name: 'taken' }), 'ERR_CHECKPOINT_EXISTS')
    expect(error).toMatchObject({
      containerId: container.id,
      path: join(container.bundle, 'checkpoints/taken'),
    })
    await expectCode(container.deleteCheckpoint('none'), 'ERR_CHECKPOINT_NOT_FOUND')
    await expectCode(container.checkpoint({ name: 'a', parent: 'none' }), 'ERR_CHECKPOINT_NOT_FOUND')
    await expectCode(container.checkpoint({ name: 'a', parent: 'taken' }), 'ERR_CHECKPOINT_NOT_FOUND')
    expect((await container.checkpoints()).map(({ name }) => name)).toEqual(['taken'])
    await container.deleteCheckpoint('taken')
    expect(await container.checkpoints()).toEqual([])
    expect(readdirSync(join(container.bundle, 'checkpoints'))).toEqual([])
    expect((await run(container, 'echo on')).stdout).toBe('on\n')

    const fresh = await ground.create({ bundle: container.bundle })
    await expectCode(fresh.start({ checkpoint: 'none' }), 'ERR_CHECKPOINT_NOT_FOUND')
    expect(await fresh.status()).toBe('created')
  })

  test('what cannot be restored leaves nothing, and the container can be started', async () => {
    const container = await ground.create()
    plant(container.bundle, 'broken', {})
    plant(container.bundle, 'hostile', { created, emptyNS: ['network', '--bundle=/'] })
    plant(container.bundle, 'pre', { created, preDump: true })
    plant(container.bundle, 'orphan', { created, parent: 'gone' })
    plant(container.bundle, 'garbage')
    const shown = await expectCode(container.checkpoints(), 'ERR_STATE_CORRUPT')
    expect(shown.path).toMatch(/checkpoints\/(broken|hostile)\/config\.json$/)
    await expectCode(container.start({ checkpoint: 'broken' }), 'ERR_STATE_CORRUPT')
    await expectCode(container.start({ checkpoint: 'hostile' }), 'ERR_STATE_CORRUPT')
    await expectCode(container.start({ checkpoint: 'pre' }), 'ERR_UNSUPPORTED')
    await expectCode(container.start({ checkpoint: 'orphan' }), 'ERR_CHECKPOINT_NOT_FOUND')
    await expectCode(
      container.start({ checkpoint: 'garbage', onCreated: () => undefined }),
      'ERR_UNSUPPORTED',
    )
    const code = unsupported ? 'ERR_UNSUPPORTED' : 'ERR_RUNTIME'
    await expectCode(container.start({ checkpoint: 'garbage', stdout: 'pipe' }), code)
    expect(container.processes.size).toBe(0)
    expect(await container.status()).toBe('created')
    expect(cgroupsNamed(container.id)).toEqual([])
    await container.start()
    expect(await container.status()).toBe('running')
  })

  test.runIf(unsupported)(
    'not possible here: ERR_UNSUPPORTED, with the reason, and all is as before',
    async () => {
      const container = await ground.running()
      const outcomes = await Promise.all(
        [{ name: 'a' }, { name: 'b', exit: true }, { name: 'c', preDump: true }].map((options) =>
          expectCode(container.checkpoint(options), 'ERR_UNSUPPORTED'),
        ),
      )
      for (const error of outcomes) {
        expect(error).toMatchObject({ containerId: container.id })
        if (runtime === 'crun') expect(error.message).toContain('without CRIU')
        else expect(error.runtimeLog).toMatch(/Error \(criu\//)
      }
      expect(readdirSync(join(container.bundle, 'checkpoints'))).toEqual([])
      expect(await container.checkpoints()).toEqual([])
      expect((await run(container, 'echo on')).stdout).toBe('on\n')
      expect(readdirSync(join(container.root, container.id)).sort()).not.toContain('log.json')
    },
  )

  // crun has no such flag.
  test.runIf(runtime === 'runc')('no CRIU at all: ERR_UNSUPPORTED', async () => {
    const container = await ground.running({ runtimeArgs: ['--criu', '/no/such/criu'] })
    const error = await expectCode(container.checkpoint({ name: 'a' }), 'ERR_UNSUPPORTED')
    expect(error).toMatchObject({ path: '/no/such/criu' })
    expect(await container.checkpoints()).toEqual([])
  })

  test('a delete in the middle: both come to an end, and nothing is left', async () => {
    const container = await ground.running()
    const [checkpoint] = await Promise.allSettled([
      container.checkpoint({ name: 'a' }),
      container.delete({ force: true }),
    ])
    if (checkpoint.status === 'rejected') {
      expect(['ERR_CONTAINER_NOT_FOUND', 'ERR_UNSUPPORTED', 'ERR_SHIM_EXITED']).toContain(
        checkpoint.reason.code,
      )
      // Refused before anything was made, or undone.
      const directory = join(container.bundle, 'checkpoints')
      expect(existsSync(directory) ? readdirSync(directory) : []).toEqual([])
    }
    await ground.expectNothingLeft(container.id)
  })

  test('the metadata of containerd loads, and a checkpoint outlives its container', async () => {
    const container = await ground.create()
    plant(container.bundle, 'old', { created, name: 'old', tcp: true, exit: true, emptyNS: ['network'] })
    const loaded = await Container.load(ground.root, container.id)
    expect(await loaded.checkpoints()).toEqual([
      {
        name: 'old',
        exit: true,
        tcp: true,
        unixSockets: false,
        shell: false,
        emptyNamespaces: ['network'],
        preDump: false,
        parent: '',
        createdAt: new Date(created),
      },
    ])
    await container.delete()
    expect(readFileSync(join(container.bundle, 'checkpoints/old/config.json'), 'utf8')).toContain(created)
  })
})
