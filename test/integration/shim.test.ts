// The shim against those who speak to it wrongly, and what it costs to have one.
import { spawnSync } from 'node:child_process'
import { chmodSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { Container } from '../../lib/index.js'
import { client, frame } from '../support/client.js'
import { shimOf, useContainers } from '../support/containers.js'
import { run } from '../support/expect.js'
import { cannotRunContainers, isMemoryTold, runtimes } from '../support/machine.js'
import {
  descriptors,
  isAlive,
  memoryOf,
  procStat,
  read,
  statusLine,
  threadCount,
} from '../support/processes.mjs'
import { eventually } from '../support/wait.js'

const skip = cannotRunContainers()

describe.skipIf(skip).each(runtimes)('the shim, %s', (runtime) => {
  const ground = useContainers(runtime)

  test('outlives garbage on its socket', async () => {
    const container = await ground.running()
    const shim = shimOf(container)
    const before = descriptors(shim).size
    const path = join(ground.root, container.id, 'shim.sock')
    const garbage: (Buffer | string)[] = [
      'GET / HTTP/1.1\r\n\r\n',
      Buffer.alloc(100_000, 0xff),
      Buffer.alloc(3),
      Buffer.from([0xff, 0xff, 0xff, 0x7f, 0, 0, 0, 0]),
      Buffer.from([1, 0, 0, 0, 0xff, 0, 0, 0, 0x7b]),
      Buffer.from([2, 0, 0, 0, 3, 0, 0, 0, 0x7b, 0x7d]), // descriptors that never came
    ]
    for (const bytes of garbage) {
      const { socket } = await client(path)
      socket.end(bytes)
      socket.resume()
      // Reset or ended, as it comes.
      await new Promise((resolve) => socket.once('close', resolve))
    }
    await eventually('the descriptors are given back', () => descriptors(shim).size <= before)
    expect(isAlive(shim)).toBe(true)
    expect((await run(container, 'echo alive')).stdout).toBe('alive\n')
  })

  test('that takes nothing for a while loses no request, whatever its size', async () => {
    const container = await ground.running()
    const shim = shimOf(container)
    process.kill(shim, 'SIGSTOP')
    const jobs = Array.from({ length: 40 }, (_, i) =>
      container.exec(`job-${i}`, {
        args: ['/bin/busybox', 'test', '-n', 'x'],
        env: [`LONG=${'x'.repeat(100_000)}`, `I=${i}`],
      }),
    )
    const gone = Container.load(ground.root, container.id)
    process.kill(shim, 'SIGCONT')
    const pids = []
    for (const job of await Promise.all(jobs)) {
      expect((await job.wait()).exitCode).toBe(0)
      pids.push(job.pid)
    }
    expect(new Set(pids).size).toBe(jobs.length)
    expect(container.processes.size).toBe(1 + jobs.length)
    await (await gone).close()
  })

  test('answers each wrong request by its code, and does nothing', async () => {
    const container = await ground.running()
    const { socket, hear } = await client(join(ground.root, container.id, 'shim.sock'))
    const hello = await hear()
    expect(hello).toMatchObject({ event: 'hello', pid: shimOf(container), processes: [{ id: 'init' }] })
    let seq = 0
    const ask = async (request: object | string, body?: string): Promise<Record<string, never>> => {
      ++seq
      const head = typeof request === 'string' ? request : JSON.stringify({ ...request, seq })
      socket.write(frame(body === undefined ? head : `${head}\0${body}`))
      for (;;) {
        const message = await hear()
        if (!('event' in message)) return message
      }
    }
    const stdio = [{ kind: 'null' }, { kind: 'null' }, { kind: 'null' }]
    const exec = (more: object, body = '{"args":["/bin/true"]}'): Promise<Record<string, never>> =>
      ask({ op: 'exec', process: 'job', stdio, timeoutMs: 1000, ...more }, body)
    const invalid = { error: { code: 'ERR_INVALID_ARG_VALUE' } }
    expect(await ask('no JSON')).toMatchObject(invalid)
    expect(await ask('[]')).toMatchObject(invalid)
    expect(await ask({ op: 'dance' })).toMatchObject(invalid)
    expect(await ask({})).toMatchObject(invalid)
    for (const process of ['', '.', '..', '../x', 'a/b', '/tmp/x']) {
      expect(await exec({ process }), process).toMatchObject(invalid)
    }
    for (const wrong of [
      null,
      [],
      [{ kind: 'fd' }, ...stdio.slice(1)],
      [...stdio, ...stdio],
      [{ kind: 'path', path: 'x' }, ...stdio.slice(1)],
    ]) {
      expect(await exec({ stdio: wrong }), JSON.stringify(wrong)).toMatchObject(invalid)
    }
    for (const body of [
      '',
      '{}',
      '[]',
      'null',
      '{"args":[]}',
      '{"args":[""]}',
      '{"args":["a\\u0000"]}',
      '{"args":["x"],"cwd":"x"}',
      '{"args":["x"],"user":{"uid":-1}}',
      '{"args":["x"],"user":{"uid":null}}',
      '{"args":["x"],"user":7}',
    ]) {
      expect(await exec({}, body), body).toMatchObject(invalid)
    }
    expect(await exec({ process: 'init' })).toMatchObject({ error: { code: 'ERR_PROCESS_EXISTS' } })
    expect(await ask({ op: 'remove', process: 'none' })).toMatchObject({
      error: { code: 'ERR_PROCESS_NOT_FOUND' },
    })
    expect(await ask({ op: 'remove', process: 'init' })).toMatchObject({
      error: { code: 'ERR_CONTAINER_NOT_STOPPED' },
    })
    expect(await ask({ op: 'start', stdio }, '{"args":["x"]}')).toMatchObject({
      error: { code: 'ERR_PROCESS_EXISTS' },
    })
    expect(await ask({ op: 'delete' })).toMatchObject({ error: { code: 'ERR_CONTAINER_NOT_STOPPED' } })
    expect(await ask({ op: 'cancel', target: 12345 })).toMatchObject({ result: {} })
    expect(await exec({})).toMatchObject({ result: { pid: expect.any(Number) } })
    socket.destroy()
    expect(await container.status()).toBe('running')
    const init = container.processes.get('init')?.pid
    await eventually('init is alone', async () => (await container.pids()).join() === String(init))
  })

  test('is for its own user alone', async () => {
    const container = await ground.running()
    const path = join(ground.root, container.id, 'shim.sock')
    expect(statSync(path).mode & 0o777).toBe(0o600)
    chmodSync(ground.directory, 0o711)
    const code = `require('node:net').connect(process.argv[1]).on('error', (e) => { console.log(e.code); process.exit(3) }).on('data', () => process.exit(0)).on('close', () => process.exit(4))`
    const closed = spawnSync(process.execPath, ['-e', code, path], {
      uid: 1000,
      gid: 1000,
      cwd: '/',
      encoding: 'utf8',
    })
    expect([closed.status, closed.stdout]).toEqual([3, 'EACCES\n'])
    // Even where someone opened the file's mode: the peer's credentials count.
    chmodSync(path, 0o666)
    const refused = spawnSync(process.execPath, ['-e', code, path], {
      uid: 1000,
      gid: 1000,
      cwd: '/',
      encoding: 'utf8',
    })
    expect(refused.status).not.toBe(0)
    expect((await run(container, 'echo alive')).stdout).toBe('alive\n')
  })

  test('is a small process of its own: session, parent, threads, descriptors, memory', async () => {
    const container = await ground.running()
    const shim = shimOf(container)
    expect(procStat(shim)?.parent).not.toBe(process.pid)
    expect(threadCount(shim)).toBe(1)
    expect(statusLine(shim, 'Name')).toBe('lc-shim')
    const stat = (read(`/proc/${shim}/stat`) ?? '').replace(/^.*\) /, '').split(' ')
    expect(stat[3]).toBe(String(shim))
    expect([...descriptors(shim).values()].filter((what) => what === '/dev/null')).toHaveLength(4) // its own three, and the one its processes get
    await Promise.all([1, 2].map((n) => container.exec(`job-${n}`, { args: ['/bin/sleep', '1000'] })))
    const { pssKib } = memoryOf(shim)
    expect(pssKib).toBeGreaterThan(0)
    // Most of it is the program, which the shims of all containers share.
    if (isMemoryTold) expect(pssKib).toBeLessThanOrEqual(700)
  })

  test('hears no terminal or service signal that is not for it', async () => {
    const container = await ground.running()
    const shim = shimOf(container)
    for (const signal of ['SIGHUP', 'SIGINT', 'SIGTERM', 'SIGPIPE', 'SIGQUIT'] as const)
      process.kill(shim, signal)
    expect((await run(container, 'echo alive')).stdout).toBe('alive\n')
    expect(shimOf(container)).toBe(shim)
  })

  test('serves many handles at once', async () => {
    const container = await ground.running()
    const handles = await Promise.all(
      Array.from({ length: 30 }, () => Container.load(ground.root, container.id)),
    )
    const codes = await Promise.all(
      handles.map(
        async (handle, n) =>
          (await (await handle.exec(`job-${n}`, { args: ['/bin/sh', '-c', `exit ${n}`] })).wait()).exitCode,
      ),
    )
    expect(codes).toEqual(handles.map((_, n) => n))
    await Promise.all(handles.map((handle) => handle.close()))
    expect((await run(container, 'echo alive')).stdout).toBe('alive\n')
  })
})
