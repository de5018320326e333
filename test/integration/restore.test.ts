// Checkpoint and restore for real, with CRIU: wants a kernel that CRIU knows, as `make vm-checkpoint` has one.
import { execFileSync } from 'node:child_process'
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { Container, type Process } from '../../lib/index.js'
import { criuWorks } from '../support/checkpoints.js'
import { shimOf, useContainers } from '../support/containers.js'
import { expectCode, run } from '../support/expect.js'
import { cannotRunContainers } from '../support/machine.js'
import { eventually } from '../support/wait.js'
import { cgroupsNamed } from '../support/traces.mjs'

const skip = cannotRunContainers() || !criuWorks()
const timeout = 240_000

/** Counts, one number a line; `sleep` is a child, so that there is a process tree. */
const counter = ['/bin/sh', '-c', 'i=0; while :; do i=$((i+1)); echo $i; sleep 0.1; done']

/** All the numbers that it has counted so far. */
function numbers(init: Process): () => number[] {
  let text = ''
  init.stdout?.on('data', (chunk: Buffer) => (text += chunk.toString()))
  return () => text.split(/\s+/).slice(0, -1).filter(Boolean).map(Number)
}

async function counts(seen: () => number[], more = 3): Promise<void> {
  const from = seen().length
  await eventually('numbers', () => seen().length >= from + more)
}

describe.skipIf(skip)('checkpoint and restore', () => {
  const ground = useContainers('runc')
  const checkpoints = (container: Container): string[] =>
    readdirSync(join(container.bundle, 'checkpoints')).sort()

  test('a program that counts goes on counting, in a new container with another id', async () => {
    const first = await ground.create({ bundle: ground.bundleOf(counter), timeout })
    let init = await first.start({ stdout: 'pipe' })
    const before = numbers(init)
    await counts(before)
    const job = await first.exec('job', { args: ['/bin/sleep', '100000'] })

    // It runs on after this one, and with it what exec() started.
    await first.checkpoint({ name: 'live' })
    expect(await first.status()).toBe('running')
    await counts(before)
    expect(job.exitStatus).toBe(null)

    // Memory first; of two at once one has the name; each waits for the one before.
    const [pre, second, whole] = await Promise.allSettled([
      first.checkpoint({ name: 'pre', preDump: true }),
      first.checkpoint({ name: 'pre' }),
      first.checkpoint({ name: 'whole', parent: 'pre', exit: true }),
    ])
    expect([pre.status, whole.status], JSON.stringify([pre, whole])).toEqual(['fulfilled', 'fulfilled'])
    expect(second).toMatchObject({ status: 'rejected', reason: { code: 'ERR_CHECKPOINT_EXISTS' } })
    expect(first.state).toBe('stopped')
    expect(await init.wait()).toMatchObject({ exitCode: 137, signal: 'SIGKILL', known: true })
    expect(await job.wait()).toMatchObject({ signal: 'SIGKILL' })
    expect(await first.checkpoints()).toMatchObject([
      { name: 'live', exit: false, preDump: false },
      { name: 'pre', preDump: true },
      { name: 'whole', exit: true, parent: 'pre' },
    ])
    expect(checkpoints(first)).toEqual(['live', 'pre', 'whole'])
    for (const name of readdirSync(join(first.bundle, 'checkpoints/whole'))) {
      if (!name.endsWith('.img')) continue
      const mode = execFileSync('stat', ['-c', '%a', join(first.bundle, 'checkpoints/whole', name)])
      expect(`${name} ${mode.toString().trim()}`).toBe(`${name} 600`)
    }
    expect(cgroupsNamed(first.id)).toEqual([])
    await expectCode(first.checkpoint({ name: 'late' }), 'ERR_CONTAINER_EXITED')
    await first.delete()
    await ground.expectNothingLeft(first.id)

    // A whole container: its shim is its parent, its cgroup its own, and every verb works.
    const other = await ground.create({ bundle: first.bundle, timeout })
    init = await other.start({ checkpoint: 'whole', stdout: 'pipe' })
    const after = numbers(init)
    await counts(after)
    const last = before().at(-1) as number
    expect(after()[0]).toBe(last + 1)
    expect(await other.status()).toBe('running')
    const cgroups = readFileSync(`/proc/${init.pid}/cgroup`, 'utf8').trim().split('\n')
    expect(cgroups.filter((line) => !line.includes(other.id))).toEqual([])
    expect(await other.pids()).toContain(init.pid)
    expect((await other.stats()).pids?.current).toBeGreaterThan(0)
    expect((await run(other, 'echo $((6*7))')).stdout).toBe('42\n')
    expect((await run(other, 'ls /proc | grep -c "^[0-9]*$"')).stdout).not.toBe('0\n')
    await other.pause()
    expect(await other.status()).toBe('paused')
    await expectCode(other.checkpoint({ name: 'paused' }), 'ERR_CONTAINER_PAUSED')
    await other.resume()
    const stored = JSON.parse(readFileSync(join(other.root, other.id, 'init/process.json'), 'utf8'))
    expect(stored).toMatchObject({ checkpoint: 'whole' })
    await expectCode(other.start({ checkpoint: 'live' }), 'ERR_PROCESS_EXISTS')
    const loaded = await Container.load(ground.root, other.id)
    expect(loaded.state).toBe('running')
    await other.kill('SIGKILL')
    expect(await loaded.processes.get('init')?.wait()).toMatchObject({ signal: 'SIGKILL', known: true })

    // And beside each other, of one checkpoint, with a file for output.
    const output = ground.newPath('output')
    const twins = await Promise.all([1, 2].map(() => ground.create({ bundle: first.bundle, timeout })))
    await twins[0]?.start({ checkpoint: 'live', stdout: output })
    const twin = await twins[1]?.start({ checkpoint: 'live', stdout: 'pipe' })
    await counts(numbers(twin as Process))
    await eventually('numbers in a file', () => readFileSync(output, 'utf8').split('\n').length > 3)
    await Promise.all(twins.map((one) => one.delete({ force: true })))
  })

  test('a terminal', async () => {
    const bundle = ground.bundleOf(
      ['/bin/sh', '-c', 'read a; echo "first $a"; read b; echo "then $a $b"; exit 9'],
      {
        terminal: true,
      },
    )
    const first = await ground.create({ bundle, timeout })
    const before = await first.start({ stdin: 'pipe', stdout: 'pipe' })
    let said = ''
    before.stdout?.on('data', (chunk: Buffer) => (said += chunk.toString()))
    before.stdin?.write('one\n')
    await eventually('an answer', () => said.includes('first one'))
    await first.checkpoint({ name: 'tty', exit: true })
    await first.delete()

    const other = await ground.create({ bundle, timeout })
    const after = await other.start({ checkpoint: 'tty', stdin: 'pipe', stdout: 'pipe' })
    said = ''
    after.stdout?.on('data', (chunk: Buffer) => (said += chunk.toString()))
    await after.resize({ columns: 99, rows: 44 })
    after.stdin?.write('two\n')
    expect(await after.wait()).toMatchObject({ exitCode: 9 })
    expect(said).toContain('then one two')
  })

  test('an established TCP connection survives, and wants to be asked for', async () => {
    // Both ends are in the container; every half second a line goes through the connection.
    const script =
      '(sleep 100000 | nc -l -p 7000 > /tmp/got) & sleep 1; ' +
      '(i=0; while :; do i=$((i+1)); echo $i; sleep 0.5; done) | nc 127.0.0.1 7000 & ' +
      'while :; do sleep 0.2; tail -n 1 /tmp/got; done'
    // runc restores a network namespace empty; a hook is the place to fill it, before the connections come back.
    const fill =
      'pid=$(sed \'s/.*"pid":\\([0-9]*\\).*/\\1/\'); exec nsenter -t "$pid" -n busybox ip link set lo up'
    const bundle = ground.bundle((config) => {
      Object.assign(config.process, { args: ['/bin/sh', '-c', script] })
      config.hooks = {
        createRuntime: [{ path: '/bin/sh', args: ['sh', '-c', fill], env: [`PATH=${process.env['PATH']}`] }],
      }
    })
    const first = await ground.create({ bundle, timeout })
    const before = numbers(await first.start({ stdout: 'pipe' }))
    await eventually('lines through the connection', () => (before().at(-1) ?? 0) > 2)
    // A failed dump: it runs on, and nothing of the checkpoint is left.
    for (const exit of [false, true]) {
      const error = await expectCode(first.checkpoint({ name: 'tcp', exit }), 'ERR_RUNTIME')
      expect(error.runtimeLog).toMatch(/Error \(criu\/.*tcp-established/)
      expect(error.message).toContain('tcp-established')
      expect(checkpoints(first)).toEqual([])
      expect(await first.status()).toBe('running')
    }
    const seen = before().at(-1) as number
    await eventually('it goes on', () => (before().at(-1) as number) > seen)
    await first.checkpoint({ name: 'tcp', tcp: true, exit: true })
    const last = before().at(-1) as number
    await first.delete()

    const other = await ground.create({ bundle, timeout })
    const after = numbers(await other.start({ checkpoint: 'tcp', stdout: 'pipe' }))
    await eventually('more through the connection', () => (after().at(-1) ?? 0) > last + 2)
    expect(after()[0]).toBeGreaterThanOrEqual(last)
  })

  test('images of another machine, of another CRIU, and cut off: an error, and nothing is left', async () => {
    const first = await ground.create({ bundle: ground.bundleOf(counter), timeout })
    await counts(numbers(await first.start({ stdout: 'pipe' })))
    await first.checkpoint({ name: 'good', exit: true })
    const good = join(first.bundle, 'checkpoints/good')
    /** A copy, in which the byte at `offset` of an image is another one, or the image ends there. */
    const spoil = (name: string, image: string, offset: number, byte: number | null): void => {
      execFileSync('cp', ['-a', good, join(first.bundle, 'checkpoints', name)])
      const path = join(first.bundle, 'checkpoints', name, image)
      const bytes = readFileSync(path)
      if (byte !== null) bytes[offset] = byte
      writeFileSync(path, byte === null ? bytes.subarray(0, offset) : bytes)
    }
    // The first field of each, `08` and a number, is after one magic number or two, and a length.
    expect(readFileSync(join(good, 'core-1.img'))[12]).toBe(0x08)
    expect(readFileSync(join(good, 'inventory.img'))[8]).toBe(0x08)
    spoil('aarch64', 'core-1.img', 13, 3)
    spoil('version', 'inventory.img', 9, 99)
    spoil('short', 'mm-1.img', 40, null)
    const other = await ground.create({ bundle: first.bundle, timeout })
    for (const name of ['aarch64', 'version', 'short']) {
      const error = await expectCode(other.start({ checkpoint: name, stdout: 'pipe' }), 'ERR_RUNTIME')
      expect(error.runtimeLog, name).toMatch(/Error \(criu\//)
      expect(await other.status()).toBe('created')
      expect(other.processes.size).toBe(0)
      expect(cgroupsNamed(other.id)).toEqual([])
      expect(readdirSync(join(other.root, other.id))).not.toContain('init')
    }
    // And then it can be restored from what is whole.
    const init = await other.start({ checkpoint: 'good', stdout: 'pipe' })
    await counts(numbers(init))
  })

  test('a shim that is killed in the middle: a whole checkpoint or none, and one container or none', async () => {
    const container = await ground.create({ bundle: ground.bundleOf(counter), timeout })
    const seen = numbers(await container.start({ stdout: 'pipe' }))
    const directory = join(container.bundle, 'checkpoints')
    for (const [n, exit, log] of [
      [0, false, 'Error|Dumping processes'],
      [1, false, 'Dumping finished'],
      [2, true, 'Dumping processes'],
    ] as const) {
      const name = `cut-${n}`
      const checkpoint = container.checkpoint({ name, exit }).then(
        () => null,
        (error: { code: string }) => error,
      )
      const shim = shimOf(container)
      await eventually(`'${log}' in its log`, () => {
        try {
          return new RegExp(log).test(readFileSync(join(directory, `:${name}/criu.work/dump.log`), 'utf8'))
        } catch {
          return existsSync(join(directory, name))
        }
      })
      process.kill(shim, 'SIGKILL')
      const error = await checkpoint
      if (error) expect(error.code).toBe('ERR_SHIM_EXITED')
      const loaded = await Container.load(ground.root, container.id)
      const status = await loaded.status()
      const whole = (await loaded.checkpoints()).some((one) => one.name === name)
      expect(checkpoints(container).filter((one) => one.includes(':'))).toEqual([])
      if (exit) expect(whole ? 'stopped' : 'running').toBe(status)
      else expect(status).toBe('running')
      await loaded.close()
      if (status === 'stopped') break
      await counts(seen)
    }
    await container.delete({ force: true })
    await ground.expectNothingLeft(container.id)
    const [name] = checkpoints(container)
    expect(name).toBeDefined()
    // And a restore: undone, or finished.
    const other = await ground.create({ bundle: container.bundle, timeout })
    const starting = other.start({ checkpoint: name as string, stdout: 'ignore' }).then(
      () => null,
      (error: { code: string }) => error,
    )
    await eventually('CRIU is at work', () =>
      existsSync(join(other.root, other.id, 'init/criu.work/restore.log')),
    )
    process.kill(shimOf(other), 'SIGKILL')
    expect((await starting)?.code ?? 'ERR_SHIM_EXITED').toBe('ERR_SHIM_EXITED')
    const loaded = await Container.load(ground.root, other.id)
    if ((await loaded.status()) === 'created') await loaded.start({ checkpoint: name as string })
    expect((await run(loaded, 'echo alive')).stdout).toBe('alive\n')
    await loaded.delete({ force: true })
    await ground.expectNothingLeft(other.id)
  })

  test('a disk that is full in the middle, and a delete: no half checkpoint', async () => {
    const container = await ground.create({ bundle: ground.bundleOf(counter), timeout })
    const seen = numbers(await container.start({ stdout: 'pipe' }))
    await counts(seen)
    const small = join(container.bundle, 'checkpoints')
    mkdirSync(small)
    execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=64k,mode=711', 'none', small])
    try {
      for (const exit of [false, true]) {
        await expectCode(container.checkpoint({ name: 'full', exit }), 'ERR_RUNTIME')
        expect(readdirSync(small)).toEqual([])
        expect(await container.status()).toBe('running')
        await counts(seen)
      }
    } finally {
      execFileSync('umount', [small])
    }
    const [checkpoint] = await Promise.allSettled([
      container.checkpoint({ name: 'cut' }),
      container.delete({ force: true }),
    ])
    expect(checkpoint).toMatchObject({ status: 'rejected', reason: { code: 'ERR_CONTAINER_NOT_FOUND' } })
    expect(readdirSync(small)).toEqual([])
    await ground.expectNothingLeft(container.id)
  })
})
