// A watcher's iterations, told by a fake of the native part when a test says so.
import { expect, test } from 'vitest'
import { OomWatcher } from '../../lib/events/oom.js'
import { openWatch } from '../../lib/events/watcher.js'
import type { LiveContainer, NativeBinding, WatchFact } from '../../lib/native/binding.js'
import { failure } from '../support/expect.js'

function fake(): {
  native: NativeBinding
  tell: (facts: WatchFact[]) => void
  closed: number[]
  refs: () => number
} {
  let listener: (facts: WatchFact[]) => void = () => undefined
  let refs = 0
  let last = 0
  const closed: number[] = []
  const native: Partial<NativeBinding> = {
    ref: () => void ++refs,
    unref: () => void --refs,
    listenToWatches: (given) => void (listener = given),
    watch: () => Promise.resolve(++last),
    closeWatch: (watch) => void closed.push(watch),
  }
  return {
    native: native as NativeBinding,
    tell: (facts) => listener(facts),
    closed,
    refs: () => refs,
  }
}

async function open(native: NativeBinding, signal?: AbortSignal, persistent = true): Promise<OomWatcher> {
  const options = { persistent, signal }
  return new OomWatcher(await openWatch(native, {} as LiveContainer, 'c', { kind: 'oom' }, options))
}

test('holds from next() to its answer, for each of two iterations', async () => {
  const { native, tell, refs } = fake()
  const watcher = await open(native)
  const [first, second] = [watcher[Symbol.asyncIterator](), watcher[Symbol.asyncIterator]()]
  expect(refs()).toBe(0)
  const one = first.next()
  const two = second.next()
  expect(refs()).toBe(1)
  tell([[1, 2, 5, false]])
  expect(await one).toEqual({ value: { containerId: 'c', at: new Date(5), count: 2 }, done: false })
  expect(refs()).toBe(1)
  await second.return?.()
  expect(refs()).toBe(0)
  expect(await two).toEqual({ value: undefined, done: true })
  tell([[1, 3, 6, false]])
  expect(await first.next()).toMatchObject({ value: { count: 3 } })
  const last = first.next()
  tell([[1, 0, 0, true]])
  expect(await last).toEqual({ value: undefined, done: true })
  expect(refs()).toBe(0)
  await watcher.close()
})

test('unref() and ref() while next() is pending', async () => {
  const { native, refs, closed } = fake()
  const watcher = await open(native, undefined, false)
  const next = watcher[Symbol.asyncIterator]().next()
  expect(refs()).toBe(0)
  watcher.ref().ref()
  expect(refs()).toBe(1)
  watcher.unref()
  expect(refs()).toBe(0)
  watcher.ref()
  await watcher.close()
  expect(refs()).toBe(0)
  expect(closed).toEqual([1])
  expect(await next).toEqual({ value: undefined, done: true })
})

test('an abort: what was not read, then the reason for each iteration, then the end', async () => {
  const { native, tell, refs, closed } = fake()
  const controller = new AbortController()
  const watcher = await open(native, controller.signal)
  const pending = watcher[Symbol.asyncIterator]()
  tell([[1, 4, 5, false]])
  expect(await pending.next()).toMatchObject({ value: { count: 4 } })
  const next = pending.next()
  const other = await open(native, controller.signal)
  tell([[2, 7, 6, false]])
  const reason = new Error('enough')
  controller.abort(reason)
  expect(closed).toEqual([1, 2])
  expect(refs()).toBe(0)
  expect(await failure(next)).toBe(reason)
  expect(await pending.next()).toEqual({ value: undefined, done: true })
  const later = other[Symbol.asyncIterator]()
  expect(await later.next()).toMatchObject({ value: { count: 7 } })
  expect(await failure(later.next())).toBe(reason)
  expect(await later.next()).toEqual({ value: undefined, done: true })
})

test('a signal that is aborted while the kernel is asked: the watch is closed', async () => {
  const { native, closed } = fake()
  const controller = new AbortController()
  const reason = new Error('enough')
  native.watch = () => {
    controller.abort(reason)
    return Promise.resolve(8)
  }
  expect(await failure(open(native, controller.signal))).toBe(reason)
  expect(closed).toEqual([8])
})
