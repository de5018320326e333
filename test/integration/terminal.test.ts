// Terminals: size, resizing, Ctrl-C, end of file, hang-up; of init and of exec.
import { mkdirSync } from 'node:fs'
import { join } from 'node:path'
import type { Readable } from 'node:stream'
import { describe, expect, test } from 'vitest'
import { Container, type ProcessSpec } from '../../lib/index.js'
import { useContainers } from '../support/containers.js'
import { collect, expectCode, failure } from '../support/expect.js'
import { cannotRunContainers, runtimes } from '../support/machine.js'
import { isAlive } from '../support/processes.mjs'
import { eventually } from '../support/wait.js'

const skip = cannotRunContainers()
const terminal: Partial<ProcessSpec> = { terminal: true, consoleSize: { height: 24, width: 80 } }

describe.skipIf(skip).each(runtimes)('terminals, %s', (runtime) => {
  // Longer than a socket address may be, so that nothing here depends on short paths.
  const ground = useContainers(runtime, `root-${'long-'.repeat(24)}`)

  test('exec: a controlling terminal of the given size', async () => {
    const container = await ground.running()
    expect(join(ground.root, container.id).length).toBeGreaterThan(108)
    const job = await container.exec(
      'job',
      {
        ...terminal,
        args: ['/bin/sh', '-c', 'tty; stty size; test -t 0 && test -t 1 && test -t 2 && echo all; exit 6'],
      },
      { stdin: 'pipe', stdout: 'pipe' },
    )
    const out = collect(job.stdout)
    expect((await job.wait()).exitCode).toBe(6)
    expect(out()).toMatch(/^\/dev\/pts\/\d+\r\n24 80\r\nall\r\n$/)
    expect(job.stderr).toBe(null)
  })

  test.each([
    { columns: 91, rows: 17 },
    { width: 91, height: 17 },
  ])('a size as %j', async (consoleSize) => {
    const container = await ground.running()
    const spec = { args: ['/bin/stty', 'size'], terminal: true, consoleSize }
    const job = await container.exec('job', spec, { stdout: 'pipe' })
    const out = collect(job.stdout)
    await job.wait()
    expect(out()).toBe('17 91\r\n')
    expect(job.spec.consoleSize).toEqual({ height: 17, width: 91 })
    const other = await Container.load(ground.root, container.id)
    expect(other.processes.get('job')?.spec.consoleSize).toEqual({ height: 17, width: 91 })
    await other.close()
  })

  test('init: a terminal of its own', async () => {
    const container = await ground.create({
      bundle: ground.bundleOf(
        ['/bin/sh', '-c', 'tty; stty size; read line; echo "got $line"; exit 5'],
        terminal,
      ),
    })
    const init = await container.start({ stdin: 'pipe', stdout: 'pipe' })
    const out = collect(init.stdout)
    await eventually('the size', () => out().includes('24 80\r\n'))
    init.stdin?.write('hello\n')
    expect((await init.wait()).exitCode).toBe(5)
    expect(out()).toMatch(/got hello\r\n$/)
    await container.delete()
    await ground.expectNothingLeft(container.id)
  })

  test('resize reaches the program as SIGWINCH', async () => {
    const container = await ground.running()
    const job = await container.exec(
      'job',
      {
        ...terminal,
        args: ['/bin/sh', '-c', 'trap "stty size" WINCH; echo ready; while :; do sleep 0.05; done'],
      },
      { stdout: 'pipe' },
    )
    const out = collect(job.stdout)
    await eventually('ready', () => out().includes('ready'))
    await job.resize({ columns: 132, rows: 43 })
    await eventually('the new size', () => out().includes('43 132'))
    for (const size of [
      { columns: -1, rows: 1 },
      { columns: 65536, rows: 1 },
      { columns: 1.5, rows: 1 },
      { columns: '80', rows: 24 },
      null,
    ]) {
      expect((await failure(job.resize(size as { columns: number; rows: number }))).code).toMatch(
        /^ERR_INVALID_ARG_/,
      )
    }
    const other = await Container.load(ground.root, container.id)
    await other.processes.get('job')?.resize({ columns: 99, rows: 11 })
    await eventually('the size by another handle', () => out().includes('11 99'))
    await other.close()
    await job.kill('SIGKILL')
    await job.wait()
    await expectCode(job.resize({ columns: 80, rows: 24 }), 'ERR_PROCESS_EXITED')
    const plain = await container.exec('plain', { args: ['/bin/sleep', '1000'] })
    await expectCode(plain.resize({ columns: 80, rows: 24 }), 'ERR_NOT_A_TERMINAL')
  })

  test('Ctrl-C goes to the foreground group', async () => {
    const container = await ground.running()
    const job = await container.exec(
      'job',
      { ...terminal, args: ['/bin/sh', '-c', 'echo ready; sleep 1000'] },
      { stdin: 'pipe', stdout: 'pipe' },
    )
    const out = collect(job.stdout)
    await eventually('ready', () => out().includes('ready'))
    job.stdin?.write('\x03')
    expect(await job.wait()).toMatchObject({ exitCode: 130, signal: 'SIGINT' })
  })

  test('closeStdin is the end-of-file character', async () => {
    const container = await ground.running()
    for (const [id, end] of [
      ['by-call', (job: { closeStdin(): Promise<void> }) => job.closeStdin()],
      ['by-stream', (job: { stdin: { end(): void } | null }) => Promise.resolve(job.stdin?.end())],
    ] as const) {
      const job = await container.exec(
        id,
        { ...terminal, args: ['/bin/cat'] },
        { stdin: 'pipe', stdout: 'pipe' },
      )
      const out = collect(job.stdout)
      job.stdin?.write('line\n')
      await eventually('the echo', () => out() === 'line\r\nline\r\n')
      await end(job)
      expect((await job.wait()).exitCode, id).toBe(0)
    }
    const ignored = await container.exec('ignored', { ...terminal, args: ['/bin/cat'] }, { stdout: 'pipe' })
    ignored.stdout?.resume()
    await ignored.closeStdin()
    expect((await ignored.wait()).exitCode).toBe(0)
  })

  test('closing the handle hangs the terminal up', async () => {
    const container = await ground.running()
    const job = await container.exec(
      'job',
      { ...terminal, args: ['/bin/sh', '-c', 'while :; do echo x; sleep 0.05; done'] },
      { stdin: 'pipe', stdout: 'pipe' },
    )
    const quiet = await container.exec(
      'quiet',
      { ...terminal, args: ['/bin/sleep', '1000'] },
      { stdout: 'pipe' },
    )
    await job.close()
    await quiet.close()
    expect(await job.wait()).toMatchObject({ exitCode: 129, signal: 'SIGHUP' })
    expect(await quiet.wait()).toMatchObject({ exitCode: 129, signal: 'SIGHUP' })
  })

  test('nothing of a terminal’s output is lost at the exit, and none of it is late', async () => {
    const container = await ground.running()
    for (let n = 0; n < 50; ++n) {
      const job = await container.exec(
        `job-${n}`,
        { terminal: true, args: ['/bin/sh', '-c', `seq 1 500; echo end ${n}`] },
        { stdout: 'pipe' },
      )
      const out = collect(job.stdout)
      await job.wait()
      expect(out().endsWith(`500\r\nend ${n}\r\n`), `${n}: ${JSON.stringify(out().slice(-40))}`).toBe(true)
      expect(out().split('\r\n')).toHaveLength(502)
    }
  })

  test('a megabyte through a terminal to a slow reader', async () => {
    const container = await ground.running()
    const job = await container.exec(
      'job',
      { terminal: true, args: ['/bin/sh', '-c', 'yes 0123456789abcdef | head -n 60000'] },
      { stdout: 'pipe' },
    )
    let bytes = 0
    for await (const chunk of job.stdout as Readable) {
      bytes += (chunk as Buffer).length
      if (bytes % 7 === 0) await new Promise((resolve) => setTimeout(resolve, 1))
    }
    expect(bytes).toBe(60000 * 18)
    expect((await job.wait()).exitCode).toBe(0)
  })

  test('a terminal to files and FIFOs, with a program that stays', async () => {
    const container = await ground.running()
    const file = ground.newPath('terminal-log')
    const job = await container.exec('job', { ...terminal, args: ['/bin/stty', 'size'] }, { stdout: file })
    await job.wait()
    const { readFileSync } = await import('node:fs')
    await eventually('the output in the file', () => readFileSync(file, 'utf8') === '24 80\r\n')
  })

  test('a user of its own owns its terminal', async () => {
    const container = await ground.running()
    const job = await container.exec(
      'job',
      {
        ...terminal,
        args: ['/bin/sh', '-c', 'stat -c %u $(tty); echo x > $(tty)'],
        user: { uid: 1000, gid: 1000 },
      },
      { stdout: 'pipe' },
    )
    const out = collect(job.stdout)
    expect((await job.wait()).exitCode).toBe(0)
    expect(out()).toBe('1000\r\nx\r\n')
  })

  test('no ptmx in the container: refused, nothing started', async () => {
    const container = await ground.running()
    const setup = await container.exec('setup', {
      args: ['/bin/sh', '-c', 'rm -f /dev/ptmx; ln -s /dev/null /dev/ptmx'],
    })
    await setup.wait()
    const error = await expectCode(
      container.exec('job', { ...terminal, args: ['/bin/true'] }, { stdout: 'pipe' }),
      'ERR_SYSCALL',
    )
    expect(error.errno).toBe(19)
    expect([...container.processes.keys()]).toEqual(['init', 'setup'])
    const init = container.processes.get('init')
    expect(isAlive(init?.pid as number)).toBe(true)
    mkdirSync(ground.root, { recursive: true })
  })

  test('the long path: create, load, exec and delete by a second handle', async () => {
    const container = await ground.running()
    const other = await Container.load(ground.root, container.id)
    expect((await (await other.exec('job', { args: ['/bin/true'] })).wait()).exitCode).toBe(0)
    await other.delete({ force: true })
    await ground.expectNothingLeft(container.id)
  })
})
