// The real shim's protocol against peers who break it: lengths, descriptors, floods, silence. Whatever they do the shim
// serves everybody else, and keeps nothing of theirs.
import { execFileSync } from 'node:child_process'
import { once } from 'node:events'
import { existsSync } from 'node:fs'
import { connect, type Socket } from 'node:net'
import { join } from 'node:path'
import { beforeAll, describe, expect, test } from 'vitest'
import { Container } from '../../lib/index.js'
import { client, frame } from '../support/client.js'
import { compileProgram } from '../support/compile.js'
import { shimOf, useContainers } from '../support/containers.js'
import { expectCode, run } from '../support/expect.js'
import { cannotRunContainers, isMemoryTold } from '../support/machine.js'
import { descriptors, isAlive, read, statusLine } from '../support/processes.mjs'
import { eventually } from '../support/wait.js'

const skip = cannotRunContainers()
const maxPayload = 16 << 20

function header(length: number, count: number): Buffer {
  const out = Buffer.alloc(8)
  out.writeUInt32LE(length, 0)
  out.writeUInt32LE(count, 4)
  return out
}

/** A frame that says it has `count` descriptors. */
function claiming(count: number, request: object | string): Buffer {
  const payload = Buffer.from(typeof request === 'string' ? request : JSON.stringify(request))
  return Buffer.concat([header(payload.length, count), payload])
}

/** Ticks of the clock that the process has used. */
function processorTicks(pid: number): number {
  const fields = (read(`/proc/${pid}/stat`) ?? '').replace(/^.*\) /, '').split(' ')
  return Number(fields[11]) + Number(fields[12])
}

const residentKib = (pid: number): number => Number(statusLine(pid, 'VmRSS').split(' ')[0])

// One runtime: nothing of this is about containers.
describe.skipIf(skip)('the protocol of the shim', () => {
  const ground = useContainers('runc')
  let sender = ''
  beforeAll(() => {
    sender = compileProgram('descriptors', ground.directory)
  })

  const socketOf = (container: Container): string => join(ground.root, container.id, 'shim.sock')
  /** What the shim answered to these bytes with this many descriptors, and whether it then hung up. */
  const send = (container: Container, count: number, bytes: Buffer): string =>
    execFileSync(sender, [socketOf(container), String(count), bytes.toString('hex')], { encoding: 'utf8' })

  async function expectWell(container: Container, open: number): Promise<void> {
    const shim = shimOf(container)
    await eventually('the descriptors are given back', () => descriptors(shim).size <= open)
    expect((await run(container, 'echo alive')).stdout).toBe('alive\n')
    await eventually('the descriptors are given back', () => descriptors(shim).size <= open)
    expect(shimOf(container)).toBe(shim)
  }

  test.each<[string, Buffer]>([
    ['a length above the bound', claiming(0, '{}').fill(0xff, 0, 4)],
    ['a length just above the bound', header(maxPayload + 1, 0)],
    ['another protocol', Buffer.from('GET / HTTP/1.1\r\nHost: shim\r\n\r\n')],
    ['noise', Buffer.alloc(40_000, 0xa5)],
  ])('%s: hung up', async (_, bytes) => {
    const container = await ground.running()
    const open = descriptors(shimOf(container)).size
    expect(send(container, 0, bytes)).toMatch(/closed\n$/)
    await expectWell(container, open)
  })

  test('a frame that does not come to its end costs what was sent of it', async () => {
    const container = await ground.running()
    const shim = shimOf(container)
    await run(container, ['/bin/true'])
    const [open, before] = [descriptors(shim).size, residentKib(shim)]
    const peers = await Promise.all(Array.from({ length: 20 }, () => client(socketOf(container))))
    for (const { socket } of peers) socket.write(Buffer.concat([header(maxPayload, 0), Buffer.alloc(1000)]))
    await run(container, ['/bin/true'])
    expect(residentKib(shim) - before).toBeLessThan(2048)
    for (const { socket } of peers) socket.destroy()
    await expectWell(container, open)
  })

  test('a frame of the greatest length, and one byte by byte, are frames', async () => {
    const container = await ground.running()
    const { socket, hear } = await client(socketOf(container))
    await hear()
    const refused = { error: { code: 'ERR_INVALID_ARG_VALUE' } }
    socket.write(frame(' '.repeat(maxPayload)))
    expect(await hear()).toMatchObject(refused)
    for (const byte of frame('{"op":"dance","seq":7}')) {
      socket.write(Buffer.from([byte]))
      await new Promise((resolve) => setImmediate(resolve))
    }
    expect(await hear()).toMatchObject({ seq: 7, ...refused })
    socket.write(Buffer.concat([frame(''), frame('{"op":"own","seq":8}'), frame('[]')]))
    expect(await hear()).toMatchObject(refused)
    expect(await hear()).toMatchObject({ seq: 8, result: {} })
    expect(await hear()).toMatchObject(refused)
    socket.destroy()
  })

  const stdio = (...kinds: string[]): object[] => kinds.map((kind) => ({ kind }))
  const exec = (id: string, seq: number, ...kinds: string[]): string =>
    `${JSON.stringify({ op: 'exec', process: id, seq, stdio: stdio(...kinds) })}\0{"args":["/bin/true"]}`
  test.each<[string, number, Buffer, RegExp]>([
    ['none where one is claimed', 0, claiming(1, '{"op":"own"}'), /closed\n$/],
    ['fewer than are claimed', 2, claiming(3, exec('job', 1, 'fd', 'fd', 'fd')), /closed\n$/],
    ['one that nobody claims', 1, claiming(0, '{"op":"own"}'), /closed\n$/],
    ['more than are claimed', 3, claiming(2, '{"op":"own"}'), /closed\n$/],
    ['more than a frame may have', 65, claiming(65, '{"op":"own"}'), /closed\n$/],
    ['as many as the kernel takes', 253, claiming(8, '{"op":"own"}'), /closed\n$/],
    ['some with half a header', 65, header(2, 0).subarray(0, 4), /closed\n$/],
    [
      'some for a request that has no use for them',
      8,
      claiming(8, '{"op":"own","seq":1}'),
      /"result".*open\n$/,
    ],
    [
      'more than the stdio wants',
      2,
      claiming(2, exec('job', 1, 'fd', 'null', 'null')),
      /ERR_INVALID_ARG_VALUE.*open\n$/,
    ],
    [
      'fewer than the stdio wants',
      1,
      claiming(1, exec('job', 1, 'fd', 'fd', 'null')),
      /ERR_INVALID_ARG_VALUE.*open\n$/,
    ],
  ])('descriptors: %s', async (_, count, bytes, answer) => {
    const container = await ground.running()
    const open = descriptors(shimOf(container)).size
    expect(send(container, count, bytes)).toMatch(new RegExp(answer.source, 's'))
    await expectWell(container, open)
    expect(await container.pids()).toEqual([container.processes.get('init')?.pid])
  })

  test('a shim that has no descriptor left turns clients away, and does not spin', async () => {
    const container = await ground.running()
    const shim = shimOf(container)
    const open = descriptors(shim).size
    const limit = (value: string): void => {
      execFileSync('prlimit', ['--pid', String(shim), `--nofile=${value}`])
    }
    const [soft, hard] = /^Max open files\s+(\d+)\s+(\d+)/m
      .exec(read(`/proc/${shim}/limits`) ?? '')
      ?.slice(1) as [string, string]
    limit(`${Math.max(...descriptors(shim).keys()) + 2}:${hard}`)
    const sockets: Socket[] = []
    let ended = 0
    while (ended < 5) {
      const socket = connect(socketOf(container)).resume()
      sockets.push(socket)
      socket.on('close', () => ++ended)
      await Promise.race([once(socket, 'data'), once(socket, 'close')])
    }
    expect(sockets.length).toBeLessThan(100)
    const before = processorTicks(shim)
    await new Promise((resolve) => setTimeout(resolve, 1000))
    expect(processorTicks(shim) - before).toBeLessThan(30) // of 100 that a second has
    limit(`${soft}:${hard}`)
    expect(send(container, 8, claiming(8, '{"op":"own","seq":1}'))).toMatch(/"result"/)
    for (const socket of sockets) socket.destroy()
    await expectWell(container, open)
  })

  test('a client that stops reading is let go, and holds nobody up', async () => {
    const container = await ground.running()
    const shim = shimOf(container)
    const open = descriptors(shim).size
    const { socket } = await client(socketOf(container))
    socket.pause()
    let closed = false
    socket.on('close', () => {
      closed = true
    })
    const requests = Buffer.concat(Array.from({ length: 2000 }, () => frame('{"op":"dance","seq":1}')))
    let most = 0
    let served = 0
    const deadline = Date.now() + 50_000
    while (!closed && Date.now() < deadline) {
      if (socket.write(requests)) await new Promise((resolve) => setImmediate(resolve))
      else await Promise.race([once(socket, 'drain'), once(socket, 'close')]).catch(() => undefined)
      most = Math.max(most, residentKib(shim))
      if (++served % 50 === 0) expect((await run(container, 'echo alive')).stdout).toBe('alive\n')
    }
    expect(closed).toBe(true)
    // What is kept for it is bounded by 32 MiB; a string that grows holds twice of that for a moment.
    if (isMemoryTold) expect(most).toBeLessThan(100 << 10)
    await expectWell(container, open)
  })

  test('a client that never stops talking keeps nobody from being served', async () => {
    const container = await ground.running()
    const open = descriptors(shimOf(container)).size
    const { socket } = await client(socketOf(container))
    const noise = frame(' '.repeat(1 << 20))
    let on = true
    const talking = (async () => {
      while (on) if (!socket.write(noise)) await once(socket, 'drain')
    })()
    for (let n = 0; n < 20; ++n) {
      const began = Date.now()
      expect((await run(container, 'echo alive')).stdout).toBe('alive\n')
      expect(Date.now() - began).toBeLessThan(2000)
    }
    on = false
    await talking
    socket.destroy()
    await expectWell(container, open)
  })

  test('ten thousand connections, two hundred at a time', async () => {
    const container = await ground.running()
    const shim = shimOf(container)
    await run(container, ['/bin/true'])
    const [open, before] = [descriptors(shim).size, residentKib(shim)]
    let greeted = 0
    for (let n = 0; n < 10_000; n += 200) {
      await Promise.all(
        Array.from({ length: 200 }, async () => {
          const socket = connect(socketOf(container))
          const [hello] = (await once(socket, 'data')) as [Buffer]
          if (hello.includes('"hello"')) ++greeted
          socket.destroy()
        }),
      )
      // Those that went are noticed one by one.
      await eventually('room for more', () => descriptors(shim).size <= open + 20)
    }
    expect(greeted).toBe(10_000)
    if (isMemoryTold) expect(residentKib(shim) - before).toBeLessThan(1024)
    await expectWell(container, open)
  })

  test('a thousand clients are served at once', async () => {
    const container = await ground.running()
    const open = descriptors(shimOf(container)).size
    const sockets: Socket[] = []
    let greeted = 0
    let ended = 0
    try {
      for (let n = 0; n < 1000; n += 100) {
        for (let i = 0; i < 100; ++i) {
          const socket = connect(socketOf(container))
          socket.on('error', () => undefined)
          socket.on('close', () => ++ended)
          socket.once('data', () => ++greeted)
          sockets.push(socket)
        }
        await eventually('a hello for each', () => greeted === sockets.length)
      }
      expect(ended).toBe(0)
      expect((await run(container, 'echo alive')).stdout).toBe('alive\n')
    } finally {
      for (const socket of sockets) socket.destroy()
    }
    await expectWell(container, open)
  })

  test('clients for whom there is no descriptor are told so, and leave some to those that are there', async () => {
    const container = await ground.running()
    const shim = shimOf(container)
    const open = descriptors(shim).size
    const [soft, hard] = /^Max open files\s+(\d+)\s+(\d+)/m
      .exec(read(`/proc/${shim}/limits`) ?? '')
      ?.slice(1) as [string, string]
    execFileSync('prlimit', ['--pid', String(shim), `--nofile=600:${hard}`])
    const peers: Awaited<ReturnType<typeof client>>[] = []
    try {
      let refused: Record<string, unknown> | null = null
      while (!refused && peers.length < 600) {
        const peer = await client(socketOf(container))
        peers.push(peer)
        const said = await peer.hear()
        if (said['event'] !== 'hello') refused = said
      }
      expect(peers.length).toBeGreaterThan(500)
      expect(refused).toMatchObject({
        event: 'failed',
        error: {
          code: 'ERR_SYSCALL',
          errno: 24,
          text: expect.stringMatching(/^the shim serves 5\d\d connections/),
        },
      })
      const other = await Container.load(ground.root, container.id)
      expect(other.processes.get('init')?.state).toBe('running')
      const error = await expectCode(other.exec('other', { args: ['/bin/true'] }), 'ERR_SYSCALL')
      expect(error).toMatchObject({ errno: 24, containerId: container.id })
      expect(error.message).toMatch(/the shim serves \d+ connections .* open files/)
      await other.close()
      const outputs = Array.from({ length: 4 }, () => run(container, 'echo alive'))
      for (const { stdout } of await Promise.all(outputs)) expect(stdout).toBe('alive\n')
    } finally {
      execFileSync('prlimit', ['--pid', String(shim), `--nofile=${soft}:${hard}`])
      for (const { socket } of peers) socket.destroy()
    }
    await expectWell(container, open)
  })

  test('a request that is cancelled before it was read is not begun', async () => {
    const container = await ground.running()
    const { socket, hear } = await client(socketOf(container))
    await hear()
    socket.write(
      Buffer.concat([
        frame('{"op":"delete","force":true,"seq":5}'),
        frame('{"op":"cancel","target":5,"seq":6}'),
        frame('{"op":"ping","seq":7}'),
      ]),
    )
    expect(await hear()).toMatchObject({ seq: 5, error: { code: 'ABORTED' } })
    expect(await hear()).toMatchObject({ seq: 6, result: {} })
    expect(await hear()).toMatchObject({ seq: 7, result: {} })
    expect(await container.status()).toBe('running')
    socket.destroy()
  })

  test('an exec that came to run when its caller had given up is taken back', async () => {
    const container = await ground.running()
    const { socket, hear } = await client(socketOf(container))
    await hear()
    const sleeper = JSON.stringify({
      op: 'exec',
      process: 'late',
      seq: 5,
      stdio: stdio('null', 'null', 'null'),
    })
    socket.write(frame(`${sleeper}\0{"args":["/bin/sleep","1000"]}`))
    const { result } = (await hear()) as unknown as { result: { pid: number } }
    // Of another request of this client, or of another process, it changes nothing.
    socket.write(frame('{"op":"cancel","target":4,"undo":true,"process":"late","seq":6}'))
    expect(await hear()).toMatchObject({ seq: 6, result: {} })
    expect(isAlive(result.pid)).toBe(true)
    socket.write(frame('{"op":"cancel","target":5,"undo":true,"process":"late","seq":7}'))
    expect(await hear()).toMatchObject({ seq: 7, result: {} })
    expect(await hear()).toMatchObject({ event: 'exit', process: 'late' })
    await eventually('its record is gone', () => !existsSync(join(ground.root, container.id, 'late')))
    const again = await container.exec('late', { args: ['/bin/true'] })
    expect((await again.wait()).exitCode).toBe(0)
    socket.destroy()
  })

  test('a number that is in use, times and sizes out of range', async () => {
    const container = await ground.running()
    const { socket, hear } = await client(socketOf(container))
    await hear()
    const fifo = ground.newPath('fifo')
    execFileSync('mkfifo', [fifo])
    const waiting = JSON.stringify({
      op: 'exec',
      process: 'waiting',
      seq: 5,
      timeoutMs: Number.MAX_SAFE_INTEGER,
      stdio: [{ kind: 'null' }, { kind: 'path', path: fifo }, { kind: 'null' }],
    })
    socket.write(frame(`${waiting}\0{"args":["/bin/true"]}`))
    socket.write(frame(exec('other', 5, 'null', 'null', 'null')))
    expect(await hear()).toMatchObject({ seq: 5, error: { code: 'ERR_INVALID_ARG_VALUE' } })
    socket.write(frame('{"op":"cancel","seq":6,"target":5}'))
    expect(await hear()).toMatchObject({ seq: 5, error: { code: 'ABORTED' } })
    expect(await hear()).toMatchObject({ seq: 6, result: {} })
    socket.write(
      frame(
        `${waiting.replace(/"timeoutMs":\d+/, '"timeoutMs":-9223372036854775808')}\0{"args":["/bin/true"]}`,
      ),
    )
    expect(await hear()).toMatchObject({ seq: 5, error: { code: 'ERR_START_TIMEOUT' } })
    const job = await container.exec('job', { args: ['/bin/sleep', '1000'], terminal: true })
    for (const rows of [65536, -1, 1.5, '24', null]) {
      socket.write(frame(JSON.stringify({ op: 'resize', process: 'job', seq: 9, rows, columns: 80 })))
      expect(await hear(), String(rows)).toMatchObject({ seq: 9, error: { code: 'ERR_INVALID_ARG_VALUE' } })
    }
    expect(isAlive(job.pid)).toBe(true)
    socket.destroy()
  })
})
