// wait() and who reads: what was written before the exit is in the reader's hands when it resolves, whatever the reader is and
// however it pauses; and who does not read is not waited for.
import { PassThrough, type Readable, Writable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { setTimeout as sleep } from 'node:timers/promises'
import { describe, expect, test } from 'vitest'
import type { Process } from '../../lib/index.js'
import { useContainers } from '../support/containers.js'
import { cannotRunContainers, runtimes } from '../support/machine.js'
import { statusLine } from '../support/processes.mjs'
import { eventually } from '../support/wait.js'

const sh = (code: string): { args: string[] } => ({ args: ['/bin/sh', '-c', code] })

/** False also for one that is gone. */
function ignoresHangup(pid: number): boolean {
  try {
    return (BigInt(`0x${statusLine(pid, 'SigIgn')}`) & 1n) === 1n
  } catch {
    return false
  }
}

/** A slow destination: takes `pauseMs` for each chunk. */
class Slow extends Writable {
  bytes = 0

  constructor(readonly pauseMs: number) {
    super({ highWaterMark: 1 })
  }

  override _write(chunk: Buffer, _encoding: string, callback: () => void): void {
    setTimeout(() => {
      this.bytes += chunk.length
      callback()
    }, this.pauseMs)
  }
}

/** Each begins to read and tells how much it has been handed. */
const readers = {
  "'data' listeners that pause and resume"(stream: Readable, pauseMs: number): () => number {
    let bytes = 0
    stream.on('data', (chunk: Buffer) => {
      bytes += chunk.length
      stream.pause()
      setTimeout(() => stream.resume(), pauseMs)
    })
    return () => bytes
  },
  'for await'(stream: Readable, pauseMs: number): () => number {
    let bytes = 0
    void (async () => {
      for await (const chunk of stream) {
        bytes += (chunk as Buffer).length
        await sleep(pauseMs)
      }
    })()
    return () => bytes
  },
  "'readable' listeners"(stream: Readable, pauseMs: number): () => number {
    let bytes = 0
    stream.on('readable', () => {
      setTimeout(() => {
        for (let chunk; (chunk = stream.read() as Buffer | null) !== null;) bytes += chunk.length
      }, pauseMs)
    })
    return () => bytes
  },
  'pipe()'(stream: Readable, pauseMs: number): () => number {
    const slow = new Slow(pauseMs)
    stream.pipe(slow)
    return () => slow.bytes + slow.writableLength
  },
  'pipeline()'(stream: Readable, pauseMs: number): () => number {
    let bytes = 0
    void pipeline(
      stream,
      async function* (source: AsyncIterable<Buffer>) {
        for await (const chunk of source) {
          bytes += chunk.length
          yield chunk
        }
      },
      new Slow(pauseMs),
    ).catch(() => undefined)
    return () => bytes
  },
  "'data' listeners of strings"(stream: Readable, pauseMs: number): () => number {
    let bytes = 0
    stream.setEncoding('utf8').on('data', (chunk: string) => {
      bytes += Buffer.byteLength(chunk)
      stream.pause()
      setTimeout(() => stream.resume(), pauseMs)
    })
    return () => bytes
  },
}

describe.skipIf(cannotRunContainers()).each(runtimes)('wait() and its readers, %s', (runtime) => {
  const ground = useContainers(runtime)

  describe.each(Object.entries(readers))('%s', (_, read) => {
    test('a reader that pauses has all 120,000 bytes of a pipe', async () => {
      const container = await ground.running()
      for (const pauseMs of [0, 3, 50]) {
        const job = await container.exec(`job-${pauseMs}`, sh('head -c 120000 /dev/zero'), { stdout: 'pipe' })
        const bytes = read(job.stdout, pauseMs)
        expect((await job.wait()).exitCode).toBe(0)
        expect(bytes()).toBe(120_000)
      }
    })

    test('a reader that pauses has half a megabyte of a terminal', async () => {
      const container = await ground.running()
      const job = await container.exec(
        'job',
        { ...sh('head -c 500000 /dev/zero'), terminal: true },
        { stdout: 'pipe' },
      )
      const bytes = read(job.stdout, 3)
      expect((await job.wait()).exitCode).toBe(0)
      expect(bytes()).toBe(500_000)
    })

    test('a reader that pauses has all that is kept', async () => {
      const container = await ground.running()
      const job = await container.exec('job', sh('read x; head -c 120000 /dev/zero'), {
        stdin: 'pipe',
        stdout: { keep: 1 << 20 },
      })
      const bytes = read(job.stdout, 3)
      job.stdin.end('go\n')
      expect((await job.wait()).exitCode).toBe(0)
      expect(bytes()).toBe(120_000)
    })

    test('a background child that holds the pipe, and writes on, delays nothing', async () => {
      const container = await ground.running()
      const job = await container.exec('job', sh('yes & head -c 50000 /dev/zero'), { stdout: 'pipe' })
      const bytes = read(job.stdout, 1)
      expect((await job.wait()).exitCode).toBe(0)
      expect(bytes()).toBeGreaterThanOrEqual(50_000)
    })
  })

  const unread: Record<string, (job: Process & { stdout: Readable }) => unknown> = {
    'nobody began to read': () => undefined,
    'paused before anything came': ({ stdout }) => stdout.on('data', () => undefined).pause(),
    'paused for good in the middle': ({ stdout }) => stdout.on('data', () => stdout.pause()),
    'a destination that takes no more': ({ stdout }) => stdout.pipe(new PassThrough()),
    'a reader that awaits wait() itself': async (job) => {
      for await (const _ of job.stdout) {
        await job.wait()
        break
      }
    },
    destroyed: ({ stdout }) => stdout.destroy(),
  }

  test.each(Object.entries(unread))('no wait for one that does not read: %s', async (_, begin) => {
    const container = await ground.running()
    for (const [id, terminal] of [
      ['pipe', false],
      ['terminal', true],
    ] as const) {
      const job = await container.exec(
        id,
        {
          ...sh(
            'trap "" HUP PIPE; (sleep 1000; :) & head -c 60000 /dev/zero; head -c 60000 /dev/zero & exit 5',
          ),
          terminal,
        },
        { stdout: 'pipe' },
      )
      // A terminal that is let go of before that ends the shell by SIGHUP.
      await eventually('the shell ignores SIGHUP', () => job.state === 'stopped' || ignoresHangup(job.pid))
      const begun = begin(job)
      expect((await job.wait()).exitCode).toBe(5)
      // Found once, it is known.
      expect((await job.wait()).exitCode).toBe(5)
      job.stdout.destroy()
      await begun
    }
  })

  test('an aborted wait ends while the reader stands still', async () => {
    const container = await ground.running()
    const job = await container.exec('job', sh('head -c 60000 /dev/zero; exit 5'), { stdout: 'pipe' })
    job.stdout.on('data', () => job.stdout.pause())
    await eventually('its exit is known', () => job.state === 'stopped')
    const reason = new Error('enough')
    const controller = new AbortController()
    job.stdout.unshift(Buffer.alloc(1))
    const waiting = job.wait({ signal: controller.signal })
    controller.abort(reason)
    await expect(waiting).rejects.toBe(reason)
    await job.wait()
  })

  test('a reader that begins after the exit has all before its wait() resolves', async () => {
    const container = await ground.running()
    const job = await container.exec('job', sh('head -c 60000 /dev/zero; exit 5'), { stdout: 'pipe' })
    expect((await job.wait()).exitCode).toBe(5)
    const bytes = readers['for await'](job.stdout, 3)
    expect((await job.wait()).exitCode).toBe(5)
    expect(bytes()).toBe(60_000)
  })
})
