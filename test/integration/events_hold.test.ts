// Watchers keep a program running while they are read, and at no other time; an abort ends their iterations.
import { describe, expect, test } from 'vitest'
import { useContainers } from '../support/containers.js'
import { expectCode, failure } from '../support/expect.js'
import { cannotRunContainers, packageRoot } from '../support/machine.js'
import { smallBundle } from '../support/memory.js'
import { Program, runProgram } from '../support/programs.js'

const trigger = `resource: 'memory', kind: 'some', stallUsec: 100_000, windowUsec: 2_000_000`
const watchers = [
  ['events', (options: string) => `container.events({ ${options} })`],
  ['oom', (options: string) => `await container.oom({ ${options} })`],
  ['pressure', (options: string) => `await container.pressure({ ${trigger}, ${options} })`],
] as const

const load = `
const container = await Container.load(args.root, args.id)
process.on('beforeExit', () => say('ends'))
`

describe.skipIf(cannotRunContainers()).each(watchers)('%s', (_, open) => {
  const ground = useContainers('runc')

  test('a loop over it is the main loop of a program', async () => {
    const container = await ground.running({ bundle: smallBundle(ground) })
    const program = new Program(
      `${load}
      const watcher = ${open('')}
      say('reading')
      for await (const event of watcher) void event
      say('read')
      await watcher.close()`,
      { root: ground.root, id: container.id },
    )
    expect(await program.next()).toBe('reading')
    await container.delete({ force: true })
    expect(await program.next()).toBe('read')
    expect(await program.next()).toBe('ends')
    expect(await program.ended).toEqual({ code: 0, signal: null })
  })

  test.each([
    ['persistent: false', open('persistent: false'), 'for await (const event of watcher) say(event)'],
    ['unref()', open(''), 'watcher.ref().unref().unref(); for await (const event of watcher) say(event)'],
    [
      'unref() after next()',
      open(''),
      'const next = watcher[Symbol.asyncIterator]().next(); watcher.unref(); await next',
    ],
    ['nobody reads', open(''), ''],
    ['ref(), and nobody reads', open('persistent: false'), 'watcher.ref()'],
    [
      'a pending next() of an iteration that was left',
      open(''),
      `const iteration = watcher[Symbol.asyncIterator]()
       const next = iteration.next()
       await iteration.return()
       say((await next).done)`,
    ],
    [
      'a pending next() of one that was closed',
      open(''),
      `const next = watcher[Symbol.asyncIterator]().next()
       await watcher.close()
       watcher.ref()
       say((await next).done)`,
    ],
  ])('keeps no program running: %s', async (_case, opened, reading) => {
    const container = await ground.running({ bundle: smallBundle(ground) })
    const said = await runProgram(`${load} const watcher = ${opened}\n${reading}`, {
      root: ground.root,
      id: container.id,
    })
    expect(said.filter((word) => word !== true)).toEqual(['ends'])
  })

  test('ref() takes persistent: false back; an abort lets the program end', async () => {
    const container = await ground.running({ bundle: smallBundle(ground) })
    // The timer of AbortSignal.timeout() keeps no program running: the pending next() alone does.
    const said = await runProgram(
      `${load}
      const signal = AbortSignal.timeout(300)
      const watcher = (${open('persistent: false, signal')}).ref()
      const iterations = [1, 2].map(async () => { for await (const event of watcher) say(event) })
      for (const { reason } of await Promise.allSettled(iterations)) say(reason === signal.reason)
      say((await watcher[Symbol.asyncIterator]().next().catch(({ name }) => name)))
      await watcher.close()
      say((await watcher[Symbol.asyncIterator]().next()).done)`,
      { root: ground.root, id: container.id },
    )
    expect(said).toEqual([true, true, 'TimeoutError', true, 'ends'])
  })

  test('in a worker: held while it is read, and terminated all the same', async () => {
    const container = await ground.running({ bundle: smallBundle(ground) })
    const program = new Program(
      `const { Worker } = require('node:worker_threads')
      const { once } = require('node:events')
      const source = (persistent) => \`
        const { parentPort, workerData: args } = require('node:worker_threads')
        const { Container } = require(args.package)
        void (async () => {
          const container = await Container.load(args.root, args.id)
          const watcher = ${open('persistent: ${persistent}')}
          parentPort.postMessage('reading')
          for await (const event of watcher) void event
          parentPort.postMessage('read')
        })()\`
      const start = (persistent) => {
        const worker = new Worker(source(persistent), { eval: true, workerData: args })
        return { worker, exited: once(worker, 'exit'), reading: once(worker, 'message') }
      }
      const idle = start(false)
      say((await idle.reading)[0])
      say(await idle.exited)
      const ended = start(true)
      say((await ended.reading)[0])
      say(await ended.worker.terminate())
      const held = start(true)
      say((await held.reading)[0])
      held.worker.on('message', say)
      say(await held.exited)`,
      { root: ground.root, id: container.id, package: packageRoot },
    )
    expect([await program.next(), await program.next()]).toEqual(['reading', [0]])
    expect([await program.next(), await program.next()]).toEqual(['reading', 1])
    expect(await program.next()).toBe('reading')
    await container.delete({ force: true })
    expect([await program.next(), await program.next()]).toEqual(['read', [0]])
    expect(await program.ended).toEqual({ code: 0, signal: null })
  })
})

describe.skipIf(cannotRunContainers())('watch options', () => {
  const ground = useContainers('runc')

  test('an abort closes the descriptors; a stream first gives what was not read', async () => {
    const container = await ground.running({ bundle: smallBundle(ground) })
    const controller = new AbortController()
    const reason = new Error('enough')
    const watcher = await container.oom({ signal: controller.signal })
    const stream = container.events({ signal: controller.signal })
    await container.pause()
    await container.resume()
    controller.abort(reason)
    expect(watcher.fd).toBe(-1)
    expect(watcher.flush()).toBe(0)
    expect(await failure(watcher[Symbol.asyncIterator]().next())).toBe(reason)
    const types: string[] = []
    const streaming = (async () => {
      for await (const { type } of stream) types.push(type)
    })()
    expect(await failure(streaming)).toBe(reason)
    expect(types).toEqual(['paused', 'resumed'])
    await watcher.close()
    for await (const event of watcher) expect.unreachable(JSON.stringify(event))
  })

  test('a signal that is aborted before, or while the watcher is made', async () => {
    const container = await ground.running({ bundle: smallBundle(ground) })
    const pressure = { resource: 'memory', kind: 'some', stallUsec: 1000, windowUsec: 2_000_000 } as const
    const reason = new Error('enough')
    const signal = AbortSignal.abort(reason)
    expect(await failure(container.oom({ signal }))).toBe(reason)
    expect(await failure(container.pressure({ ...pressure, signal }))).toBe(reason)
    const controller = new AbortController()
    const made = container.oom({ signal: controller.signal })
    controller.abort(reason)
    expect(await failure(made)).toBe(reason)
  })

  test('a closed watcher leaves no listener on its signal', async () => {
    const container = await ground.running({ bundle: smallBundle(ground) })
    const [left] = await runProgram(
      `const { getEventListeners } = require('node:events')
      const container = await Container.load(args.root, args.id)
      const { signal } = new AbortController()
      const watcher = await container.oom({ signal })
      const stream = container.events({ signal })
      const before = getEventListeners(signal, 'abort').length
      await watcher.close()
      await stream.close()
      say([before, getEventListeners(signal, 'abort').length])`,
      { root: ground.root, id: container.id },
    )
    expect(left).toEqual([2, 0])
  })

  test('are checked', async () => {
    const container = await ground.create()
    for (const bad of [{ persistent: 1 }, { persistent: null }, { signal: {} }, null, 'x']) {
      const error = { name: 'TypeError', code: 'ERR_INVALID_ARG_TYPE' }
      expect(await failure(container.oom(bad as never))).toMatchObject(error)
      expect(() => container.events(bad as never)).toThrow(expect.objectContaining(error))
    }
    const error = await failure(container.oom({ persistant: false } as never))
    expect(error.message).toBe('options.persistant is not known; did you mean "persistent"?')
    await expectCode(container.oom(), 'ERR_CONTAINER_NOT_STARTED')
  })
})
