// What comes over a connection, in whatever pieces, through a real descriptor.
import { closeSync, writeSync } from 'node:fs'
import { describe, expect, it } from 'vitest'
import { load } from '../../lib/native/load.js'
import { receiverOf } from '../../lib/process/fd_streams.js'
import { FrameParser } from '../../lib/shim/frames.js'
import { eventually } from '../support/wait.js'

const { native } = load()
const receive = receiverOf(native)

function frame(text: string, fds = 0, length = Buffer.byteLength(text)): Buffer {
  const header = Buffer.alloc(8)
  header.writeUInt32LE(length, 0)
  header.writeUInt32LE(fds, 4)
  return Buffer.concat([header, Buffer.from(text)])
}

const long = 'é€'.repeat(5_000)
const texts = ['', 'a', '{"event":"exit"}', long, 'ü', 'end']
const whole = Buffer.concat(texts.map((text) => frame(text)))

describe('frames', () => {
  it.each([1, 7, 8, 9, 4096, whole.length])('in pieces of %i bytes are the same', (size) => {
    const parser = new FrameParser()
    const got: string[] = []
    // One buffer for all of them, as of a socket.
    const shared = Buffer.alloc(size)
    for (let at = 0; at < whole.length; at += size) {
      const piece = whole.subarray(at, at + size)
      piece.copy(shared)
      expect(parser.push(shared.subarray(0, piece.length), (text) => got.push(text))).toBe(true)
    }
    expect(got).toEqual(texts)
  })

  it.each([
    ['too long', frame('', 0, 16 * 1024 * 1024 + 1)],
    ['with descriptors', frame('x', 1)],
  ])('%s: what came before is told, and then that it is over', async (_what, garbage) => {
    const [ours, theirs] = native.pipe()
    const got: (string | null)[] = []
    receive(ours, (text) => got.push(text))
    writeSync(theirs, Buffer.concat([frame('good'), garbage, frame('lost')]))
    await eventually('it is over', () => got.includes(null))
    expect(got).toEqual(['good', null])
    closeSync(theirs)
  })

  it('all that was written before the end is told before it; nothing after close()', async () => {
    const [ours, theirs] = native.pipe()
    const got: (string | null)[] = []
    receive(ours, (text) => got.push(text))
    const [others, closed] = native.pipe()
    const { close } = receive(others, () => expect.unreachable())
    writeSync(theirs, frame('one'))
    writeSync(theirs, frame('two').subarray(0, 9))
    await eventually('the first', () => got.length === 1)
    writeSync(theirs, Buffer.concat([frame('two').subarray(9), frame('three'), frame('cut').subarray(0, 10)]))
    writeSync(closed, frame('nobody hears it'))
    close()
    closeSync(theirs)
    closeSync(closed)
    await eventually('the end', () => got.includes(null))
    expect(got).toEqual(['one', 'two', 'three', null])
  })

  it('a receiver that closes in the middle of a piece hears no more of it', async () => {
    const [ours, theirs] = native.pipe()
    const got: (string | null)[] = []
    const receiver = receive(ours, (text) => {
      got.push(text)
      receiver.close()
    })
    writeSync(theirs, Buffer.concat([frame('one'), frame('two')]))
    await eventually('the first', () => got.length > 0)
    await new Promise((resolve) => setImmediate(resolve))
    expect(got).toEqual(['one'])
    closeSync(theirs)
  })
})
