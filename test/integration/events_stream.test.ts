// events(): what happens to containers, as one stream in its order; the same on node:diagnostics_channel.
import { subscribe, unsubscribe } from 'node:diagnostics_channel'
import { describe, expect, test } from 'vitest'
import { Container, type ContainerEvent, events, type EventStream } from '../../lib/index.js'
import { shimOf, useContainers } from '../support/containers.js'
import { failure } from '../support/expect.js'
import { cannotRunContainers, kernelAtLeast, runtimes } from '../support/machine.js'
import { runOut, smallBundle } from '../support/memory.js'
import { isAlive } from '../support/processes.mjs'
import { Program, runProgram } from '../support/programs.js'
import { eventually } from '../support/wait.js'

const skip = cannotRunContainers()

async function all(stream: EventStream): Promise<ContainerEvent[]> {
  const out: ContainerEvent[] = []
  for await (const event of stream) out.push(event)
  return out
}

/** `started:job`, `paused`. */
function inWords(event: ContainerEvent): string {
  if ('process' in event) return `${event.type}:${event.process.id}`
  return event.type === 'oom' ? `oom:${event.count}` : event.type
}

describe.skipIf(skip).each(runtimes)('events, %s', (runtime) => {
  const ground = useContainers(runtime)

  test("a container's life, in its order, by stream and by channel", async () => {
    const container = await ground.create({ bundle: smallBundle(ground) })
    const told = all(container.events())
    const published: ContainerEvent[] = []
    const onMessage = (message: unknown): void => void published.push(message as ContainerEvent)
    const names = ['start', 'exit', 'oom', 'pause', 'resume', 'update', 'delete'].map(
      (name) => `libcontainer:${name}`,
    )
    for (const name of names) subscribe(name, onMessage)
    const before = Date.now()
    try {
      await container.start()
      const job = await container.exec('job', { args: ['/bin/sh', '-c', 'exit 3'] })
      const status = await job.wait()
      await container.pause()
      await container.resume()
      await container.updateResources({ pids: { limit: 100 } })
      await runOut(container)
      await container.delete({ force: true })
      const list = await told
      const words = list.map(inWords)
      // The kernel's two words on a kill come by two ways.
      expect(words.filter((word) => !word.startsWith('oom') && !word.includes(':hog'))).toEqual([
        ...['started:init', 'started:job', 'exited:job'],
        ...['paused', 'resumed', 'updated', 'exited:init', 'deleted'],
      ])
      expect(words.filter((word) => word.startsWith('oom'))).toEqual(['oom:1'])
      for (const event of list) {
        expect(event.containerId).toBe(container.id)
        expect(event.container).toBe(container)
        expect(event.at.getTime()).toBeGreaterThanOrEqual(before)
        expect(event.at.getTime()).toBeLessThanOrEqual(Date.now())
      }
      expect(list.find((event) => inWords(event) === 'exited:job')).toMatchObject({ status, process: job })
      expect(published.map(inWords)).toEqual(words)
    } finally {
      for (const name of names) unsubscribe(name, onMessage)
    }
  })

  test('the OOM kill of an init that hogs from its first moment on', async () => {
    const container = await ground.create({ bundle: smallBundle(ground, ['/bin/tail', '/dev/zero']) })
    const told = all(container.events())
    const init = await container.start()
    expect(await init.wait()).toMatchObject({ signal: 'SIGKILL', oomKilled: true })
    await container.delete()
    const words = (await told).map(inWords)
    expect(words.filter((word) => word !== 'oom:1')).toEqual(['started:init', 'exited:init', 'deleted'])
    expect(words.filter((word) => word === 'oom:1')).toHaveLength(1)
    expect(words.at(-1)).toBe('deleted')
  })

  test('an init that has exited before its start is answered; a start that comes to nothing', async () => {
    for (let i = 0; i < 5; ++i) {
      const container = await ground.create({ bundle: ground.bundleOf(['/bin/true']) })
      const told = all(container.events())
      await (await container.start()).wait()
      await container.delete()
      expect((await told).map(inWords)).toEqual(['started:init', 'exited:init', 'deleted'])
    }
    const container = await ground.create({ bundle: ground.bundleOf(['/none']) })
    const told = all(container.events())
    await failure(container.start())
    await container.delete()
    expect((await told).map(inWords)).toEqual(['deleted'])
  })

  test('many containers in one stream, each in its order, of two handles too', async () => {
    const containers = await Promise.all([1, 2, 3, 4].map(() => ground.running()))
    const stream = events(containers)
    await stream.ready
    const told = all(stream)
    await Promise.all(
      containers.map(async (container) => {
        for (let i = 0; i < 5; ++i) {
          await (await container.exec(`job-${i}`, { args: ['/bin/true'] })).wait()
        }
      }),
    )
    const second = await Container.load(ground.root, containers[0]?.id as string)
    const heard = all(second.events())
    await Promise.all(containers.map((container) => container.delete({ force: true })))
    const list = await told
    for (const { id } of containers) {
      const words = list.filter(({ containerId }) => containerId === id).map(inWords)
      const jobs = [0, 1, 2, 3, 4].flatMap((i) => [`started:job-${i}`, `exited:job-${i}`])
      expect(words).toEqual([...jobs, 'exited:init', 'deleted'])
    }
    expect((await heard).map(inWords)).toEqual(['exited:init', 'deleted'])
  })

  test('ends by abort, by close and with the loop', async () => {
    const container = await ground.running()
    const controller = new AbortController()
    const aborted = all(container.events({ signal: controller.signal }))
    const reason = new Error('enough')
    controller.abort(reason)
    expect(await failure(aborted)).toBe(reason)
    expect(await failure(all(container.events({ signal: AbortSignal.abort(reason) })))).toBe(reason)
    const stream = container.events()
    const waiting = all(stream)
    await stream.close()
    await stream.close()
    expect(await waiting).toEqual([])
    await container.pause()
    await container.resume()
    const left = container.events()
    await container.pause()
    for await (const event of left) {
      expect(event.type).toBe('paused')
      break
    }
    await container.resume()
    expect(await all(left)).toEqual([])
    expect(await all(events([]))).toEqual([])
    const last = all(container.events())
    await container.close()
    expect(await last).toEqual([])
    expect(await all(container.events())).toEqual([])
  })

  test('bad arguments', async () => {
    const container = await ground.create()
    const type = { name: 'TypeError', code: 'ERR_INVALID_ARG_TYPE' }
    for (const bad of [undefined, null, container, 'x', [1], [container, {}], [null]]) {
      expect(() => events(bad as never)).toThrow(expect.objectContaining(type))
    }
    for (const bad of [null, 1, { signal: 1 }]) {
      expect(() => container.events(bad as never)).toThrow(expect.objectContaining(type))
    }
  })

  test('a program that reads a stream runs until its end; what is dropped is collected', async () => {
    const container = await ground.running({ bundle: smallBundle(ground) })
    const where = { root: ground.root, id: container.id }
    const said = await runProgram(
      `const container = await Container.load(args.root, args.id)
      const count = () => require('node:fs').readdirSync('/proc/self/fd').length
      await (await container.oom()).close()
      const before = count()
      await container.events().ready
      say(count() - before >= 0)
      for (let i = 0; i < 200 && count() > before; ++i) { gc(); await sleep(10) }
      say(count() - before)
      await container.close()`,
      where,
    )
    expect(said).toEqual([true, 0])
    const held = new Program(
      `const container = await Container.load(args.root, args.id)
      const stream = container.events()
      say('ready')
      for await (const { type } of stream) say(type)`,
      where,
    )
    expect(await held.next()).toBe('ready')
    await container.delete({ force: true })
    expect(await held.next()).toBe('exited')
    expect(await held.next()).toBe('deleted')
    expect(await held.ended).toMatchObject({ code: 0 })
  })

  test.runIf(kernelAtLeast(6, 15))('goes on over the end of a shim', async () => {
    const container = await ground.running()
    const job = await container.exec('job', { args: ['/bin/sleep', '1000'] })
    const stream = container.events()
    const told = all(stream)
    const first = shimOf(container)
    process.kill(first, 'SIGKILL')
    await job.kill('SIGKILL')
    await job.wait()
    await eventually('another shim', () => !isAlive(first))
    await container.delete({ force: true })
    expect((await told).map(inWords)).toEqual(['exited:job', 'exited:init', 'deleted'])
  })

  test('a burst of exits: all of them, in order, none twice', async () => {
    const container = await ground.running()
    const told = all(container.events())
    const jobs = await Promise.all(
      Array.from({ length: 100 }, (_, i) => container.exec(`job-${i}`, { args: ['/bin/sleep', '1000'] })),
    )
    await container.kill('SIGKILL')
    await Promise.all(jobs.map((job) => job.wait()))
    await container.delete()
    const list = await told
    const exits = list.filter(({ type }) => type === 'exited')
    expect(exits).toHaveLength(101)
    expect(new Set(exits.map(inWords)).size).toBe(101)
    const words = list.map(inWords)
    for (const { id } of jobs) {
      expect(words.indexOf(`started:${id}`)).toBeLessThan(words.indexOf(`exited:${id}`))
    }
  })
})
