// load({ observe: true }): who only looks disturbs nobody.
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { Container } from '../../lib/index.js'
import { shimOf, useContainers } from '../support/containers.js'
import { failure, run } from '../support/expect.js'
import { cannotRunContainers } from '../support/machine.js'
import { descriptors, isAlive, shimsBelow } from '../support/processes.mjs'
import { eventually } from '../support/wait.js'

describe.skipIf(cannotRunContainers())('a handle that only looks', () => {
  const ground = useContainers('runc')

  const observe = (container: Container): Promise<Container> =>
    Container.load(ground.root, container.id, { observe: true })

  test('asks the kernel and leaves the shim alone', async () => {
    const container = await ground.running()
    await container.exec('job', { args: ['/bin/sleep', '1000'] })
    const shim = shimOf(container)
    const connections = (): number =>
      [...descriptors(shim).values()].filter((what) => what.startsWith('socket:')).length
    const before = connections()
    const seen = await observe(container)
    expect([...seen.processes.keys()]).toEqual(['init', 'job'])
    expect(seen.state).toBe('running')
    expect((await seen.stats()).pids.current).toBeGreaterThanOrEqual(2)
    expect(await seen.pids()).toHaveLength((await container.pids()).length)
    await seen.pause()
    expect(await container.status()).toBe('paused')
    expect(await seen.status()).toBe('paused')
    await seen.resume()
    const oom = await seen.oom()
    await oom.close()
    expect(connections()).toBe(before)
    await seen.kill('SIGKILL')
    expect(await container.processes.get('init')?.wait()).toMatchObject({ signal: 'SIGKILL' })
    expect(await seen.status()).toBe('stopped')
    expect((await observe(container)).processes.get('init')?.exitStatus).toMatchObject({ signal: 'SIGKILL' })
    await seen.close()
  })

  test('lets the shim of a container that has ended leave', async () => {
    const container = await ground.running()
    const seen = await observe(container)
    await container.close()
    await seen.kill('SIGKILL')
    await eventually('no shim', () => shimsBelow(join(ground.root, container.id)).length === 0)
    const again = await observe(container)
    expect(again.processes.get('init')?.exitStatus).toMatchObject({ signal: 'SIGKILL', known: true })
    expect(shimsBelow(join(ground.root, container.id))).toEqual([])
  })

  test('starts no shim in place of one that was killed, until a call needs one', async () => {
    const container = await ground.running()
    const shim = shimOf(container)
    await container.close()
    process.kill(shim, 'SIGKILL')
    await eventually('no shim', () => !isAlive(shim))
    const seen = await observe(container)
    expect(seen.state).toBe('running')
    expect((await seen.stats()).pids.current).toBeGreaterThanOrEqual(1)
    await seen.status()
    expect(shimsBelow(join(ground.root, container.id))).toEqual([])
    expect((await run(seen, 'echo still here')).stdout).toBe('still here\n')
    expect(isAlive(shimOf(container))).toBe(true)
    await seen.close()
  })

  test('sees a container start that was made later, and says of what ended unseen that it does not know', async () => {
    const container = await ground.create()
    const seen = await observe(container)
    expect(await seen.status()).toBe('created')
    const init = await container.start()
    expect(await seen.status()).toBe('running')
    expect(seen.processes.get('init')?.pid).toBe(init.pid)
    const shim = shimOf(container)
    await container.close()
    process.kill(shim, 'SIGKILL')
    await eventually('no shim', () => !isAlive(shim))
    process.kill(init.pid, 'SIGKILL')
    await eventually('its end', () => !isAlive(init.pid))
    const late = await observe(container)
    expect(late.processes.get('init')?.exitStatus).toMatchObject({ exitCode: 255, known: false })
    expect(shimsBelow(join(ground.root, container.id))).toEqual([])
  })

  test('takes a boolean', async () => {
    const container = await ground.create()
    const wrong = { observe: 'yes' as unknown as boolean }
    expect(await failure(Container.load(ground.root, container.id, wrong))).toMatchObject({
      code: 'ERR_INVALID_ARG_TYPE',
    })
  })
})
