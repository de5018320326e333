// Descriptors that the native part waits for, for hosts whose event loop cannot.
import { closeSync, readSync, writeSync } from 'node:fs'
import { describe, expect, it } from 'vitest'
import { load } from '../../lib/native/load.js'
import { eventually } from '../support/wait.js'

const { native } = load()
const told: number[] = []
native.listenToReadiness((numbers) => void told.push(...numbers))
const heard = (number: number): Promise<unknown> =>
  eventually(`${number} is told`, () => told.includes(number))
const turns = async (): Promise<void> => {
  // As far as another pipe, which becomes ready after all that was to be told.
  const [other, end] = native.pipe()
  const number = native.awaitReadiness(other, false)
  writeSync(end, 'x')
  await heard(number)
  closeSync(other)
  closeSync(end)
}

describe('readiness', () => {
  it('is told once, when there is something to read, and again when it is asked for again', async () => {
    const [ours, theirs] = native.pipe()
    const number = native.awaitReadiness(ours, false)
    await turns()
    expect(told).not.toContain(number)
    writeSync(theirs, 'ab')
    await heard(number)
    writeSync(theirs, 'c')
    await turns()
    expect(told.filter((one) => one === number)).toEqual([number])
    const second = native.awaitReadiness(ours, false)
    expect(second).not.toBe(number)
    await heard(second)
    expect(readSync(ours, Buffer.alloc(8))).toBe(3)
    // Non-blocking from the first time on.
    expect(() => readSync(ours, Buffer.alloc(8))).toThrow(expect.objectContaining({ code: 'EAGAIN' }))
    closeSync(ours)
    closeSync(theirs)
  })

  it('is told when the other side is gone', async () => {
    const [ours, theirs] = native.pipe()
    const number = native.awaitReadiness(ours, false)
    closeSync(theirs)
    await heard(number)
    expect(readSync(ours, Buffer.alloc(8))).toBe(0)
    closeSync(ours)
  })

  it('of a pipe that is full comes when it is read', async () => {
    const [theirs, ours] = native.pipe()
    await heard(native.awaitReadiness(ours, true))
    const full = writeSync(ours, Buffer.alloc(1_000_000))
    expect(full).toBeGreaterThan(0)
    const number = native.awaitReadiness(ours, true)
    await turns()
    expect(told).not.toContain(number)
    readSync(theirs, Buffer.alloc(full))
    await heard(number)
    closeSync(ours)
    closeSync(theirs)
  })

  it('that is forgotten is never told, also where it was ready already', async () => {
    const [ours, theirs] = native.pipe()
    const idle = native.awaitReadiness(ours, false)
    native.forgetReadiness(idle)
    writeSync(theirs, 'x')
    const ready = native.awaitReadiness(ours, false)
    const end = performance.now() + 20
    while (performance.now() < end); // the epoll thread has seen it, this one has not
    native.forgetReadiness(ready)
    native.forgetReadiness(ready)
    await turns()
    expect(told).not.toContain(idle)
    expect(told).not.toContain(ready)
    closeSync(ours)
    closeSync(theirs)
  })

  it('of what cannot be waited for is an error', () => {
    expect(() => native.awaitReadiness(-1, false)).toThrow(expect.objectContaining({ code: 'ERR_SYSCALL' }))
    const [ours, theirs] = native.pipe()
    const number = native.awaitReadiness(ours, false)
    expect(() => native.awaitReadiness(ours, false)).toThrow()
    native.forgetReadiness(number)
    closeSync(ours)
    closeSync(theirs)
  })
})
