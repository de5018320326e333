// run(): every end of a program, its output, its input, and that nothing of it stays.
import { readdirSync } from 'node:fs'
import { join } from 'node:path'
import { Readable } from 'node:stream'
import { setTimeout as sleep } from 'node:timers/promises'
import { describe, expect, test } from 'vitest'
import { Container, type ContainerError } from '../../lib/index.js'
import { shimOf, useContainers } from '../support/containers.js'
import { expectCode, failure } from '../support/expect.js'
import { cannotRunContainers, runtimes } from '../support/machine.js'
import { isAlive } from '../support/processes.mjs'
import { Program } from '../support/programs.js'
import { ownCgroups } from '../support/traces.mjs'
import { eventually } from '../support/wait.js'

const sh = (script: string): string[] => ['/bin/sh', '-c', script]

/** By a shim that was not killed. */
async function isServed(container: Container): Promise<boolean> {
  return container.run(['/bin/true']).then(
    ({ known }) => known,
    (error: ContainerError) => {
      if (error.code !== 'ERR_SHIM_EXITED') throw error
      return false
    },
  )
}

describe.skipIf(cannotRunContainers()).each(runtimes)('run() in a container of %s', (runtime) => {
  const ground = useContainers(runtime)

  async function expectNothingRuns(container: Container): Promise<void> {
    const init = container.processes.get('init')
    expect(await container.pids()).toEqual([init?.pid])
    expect([...container.processes.keys()]).toEqual(['init'])
    await eventually('no own cgroup is left', () => ownCgroups(container.id).length === 0)
    const directory = join(container.root, container.id)
    await eventually('no record is left', () => !readdirSync(directory).some((name) => name.startsWith('~')))
  }

  test('output, exit code and what it used', async () => {
    const container = await ground.running()
    const result = await container.run(sh('echo out; echo err >&2; exit 3'))
    expect(result).toMatchObject({
      exitCode: 3,
      signal: null,
      known: true,
      timedOut: false,
      aborted: false,
      truncated: false,
      oomKilled: false,
      stdout: 'out\n',
      stderr: 'err\n',
    })
    expect(result.durationMs).toBeGreaterThan(0)
    expect(result.maxRssBytes).toBeGreaterThan(0)
    expect(result.cpuUsec).toBeGreaterThanOrEqual(0)
    await expectNothingRuns(container)
  })

  test('a signal of its own, and a spec as well as arguments', async () => {
    const container = await ground.running()
    const result = await container.run({ args: sh('pwd; kill -SEGV $$'), cwd: '/tmp', env: ['PATH=/bin'] })
    expect(result).toMatchObject({ exitCode: 139, signal: 'SIGSEGV', stdout: '/tmp\n' })
  })

  test.each([
    ['a string', (): string => 'häßlich'],
    ['bytes', (): Uint8Array => Buffer.from('häßlich')],
    ['a stream', (): Readable => Readable.from([Buffer.from('hä'), Buffer.from('ßlich')])],
    [
      'an async iterable',
      async function* (): AsyncGenerator<string> {
        yield 'hä'
        await sleep(20)
        yield 'ßlich'
      },
    ],
  ])('input may be %s', async (_, input) => {
    const container = await ground.running()
    expect((await container.run(['/bin/cat'], { input: input() })).stdout).toBe('häßlich')
  })

  test('input that the program ignores, and input without an end', async () => {
    const container = await ground.running()
    expect((await container.run(['/bin/true'], { input: Buffer.alloc(1 << 20) })).exitCode).toBe(0)
    let ended = false
    const endless = async function* (): AsyncGenerator<string> {
      try {
        for (;;) yield 'x'.repeat(10_000)
      } finally {
        ended = true
      }
    }
    const result = await container.run(['/bin/head', '-c', '5'], { input: endless() })
    expect(result).toMatchObject({ exitCode: 0, stdout: 'xxxxx' })
    await eventually('the source is let go', () => ended)
  })

  test('input that fails kills the program, and is what run() rejects with', async () => {
    const container = await ground.running()
    const failing = async function* (): AsyncGenerator<string> {
      yield 'x'
      await sleep(10)
      throw new Error('no more')
    }
    const error = await failure(container.run(sh('cat; sleep 1000'), { input: failing() }))
    expect(error.message).toBe('no more')
    await expectNothingRuns(container)
  })

  test('decoding across chunks; bytes when asked for; a cut character is left out', async () => {
    const container = await ground.running()
    const split = String.raw`printf '\303'; sleep 0.2; printf '\244'`
    expect((await container.run(sh(split))).stdout).toBe('ä')
    const bytes = await container.run(sh(split), { encoding: 'buffer' })
    expect(bytes.stdout).toEqual(Buffer.from('ä'))
    expect((await container.run(sh(split), { encoding: 'hex' })).stdout).toBe('c3a4')
    const cut = await container.run(sh('echo aää'), { maxBuffer: 4, onOverflow: 'truncate' })
    expect(cut).toMatchObject({ stdout: 'aä', truncated: true, exitCode: 0 })
  })

  test('output is bounded: killed, or read on and dropped', async () => {
    const container = await ground.running()
    const killed = await container.run(['/bin/yes'], { maxBuffer: 100 })
    expect(killed).toMatchObject({ signal: 'SIGKILL', truncated: true, timedOut: false, aborted: false })
    expect(killed.stdout).toHaveLength(100)
    const sizes = { stdout: 0, stderr: 0 }
    const options = {
      maxBuffer: 100,
      onOverflow: 'truncate',
      onStdout: (chunk: Buffer) => (sizes.stdout += chunk.length),
      onStderr: (chunk: Buffer) => (sizes.stderr += chunk.length),
    } as const
    const script = 'head -c 3000000 /dev/zero; head -c 50 /dev/zero >&2'
    const truncated = await container.run(sh(script), options)
    expect(truncated).toMatchObject({ exitCode: 0, signal: null, truncated: true })
    expect(truncated.stdout).toHaveLength(100)
    expect(truncated.stderr).toHaveLength(50)
    expect(sizes).toEqual({ stdout: 3_000_000, stderr: 50 })
    const exact = await container.run(sh('head -c 100 /dev/zero'), { maxBuffer: 100 })
    expect(exact).toMatchObject({ exitCode: 0, truncated: false })
    await expectNothingRuns(container)
  })

  test('a callback that throws kills the program, and is what run() rejects with', async () => {
    const container = await ground.running()
    const onStdout = (): void => {
      throw new Error('enough')
    }
    const error = await failure(container.run(sh('echo x; sleep 1000'), { onStdout }))
    expect(error.message).toBe('enough')
    await expectNothingRuns(container)
  })

  test('what the program leaves behind is killed before run() resolves', async () => {
    const container = await ground.running()
    const script =
      'for i in 1 2 3 4 5; do setsid sleep 1000 & (setsid sh -c "sleep 1000 & sleep 1000" &); done; echo done'
    const result = await container.run(sh(script))
    expect(result).toMatchObject({ exitCode: 0, stdout: 'done\n' })
    await expectNothingRuns(container)
  })

  test('timeout: killed, with what was written by then', async () => {
    const container = await ground.running()
    const result = await container.run(sh('echo x; sleep 1000 & sleep 1000'), { timeout: 200 })
    expect(result).toMatchObject({ signal: 'SIGKILL', timedOut: true, aborted: false, stdout: 'x\n' })
    await expectNothingRuns(container)
  })

  test('timeout by another signal: the program may clean up, and SIGKILL follows', async () => {
    const container = await ground.running()
    const options = { timeout: 300, killSignal: 'SIGTERM' } as const
    const polite = sh('trap "echo bye; exit 7" TERM; echo x; while :; do sleep 0.01; done')
    expect(await container.run(polite, options)).toMatchObject({
      exitCode: 7,
      timedOut: true,
      stdout: 'x\nbye\n',
    })
    const stubborn = sh('trap "" TERM; echo x; while :; do sleep 0.01; done')
    const result = await container.run(stubborn, { ...options, killGraceMs: 50 })
    expect(result).toMatchObject({ signal: 'SIGKILL', timedOut: true, stdout: 'x\n' })
    await expectNothingRuns(container)
  })

  test('timeout holds in a container that is paused', async () => {
    const container = await ground.running()
    let output = ''
    const onStdout = (chunk: Buffer): void => {
      output += chunk.toString()
    }
    const running = container.run(sh('echo x; sleep 1000'), { timeout: 1000, onStdout })
    await eventually('it runs', () => output === 'x\n')
    await container.pause()
    const result = await running
    expect(result).toMatchObject({ signal: 'SIGKILL', timedOut: true })
    await container.resume()
    await expectNothingRuns(container)
  })

  test('abort: before it runs it rejects with the reason, afterwards it kills', async () => {
    const container = await ground.running()
    const before = AbortSignal.abort(new Error('not at all'))
    expect((await failure(container.run(['/bin/true'], { signal: before }))).message).toBe('not at all')
    const controller = new AbortController()
    const onStdout = (): void => controller.abort(new Error('no more'))
    const result = await container.run(sh('echo x; sleep 1000'), { signal: controller.signal, onStdout })
    expect(result).toMatchObject({ signal: 'SIGKILL', aborted: true, timedOut: false, stdout: 'x\n' })
    await expectNothingRuns(container)
  })

  test('a program that cannot be started, and options that make no sense', async () => {
    const container = await ground.running()
    await expectCode(container.run(['/nowhere']), 'ERR_SYSCALL')
    const refused: [object, string][] = [
      [{ cgroup: false }, 'cgroup'],
      [{ cgroup: '../x' }, 'cgroup'],
      [{ stdout: 'pipe' }, 'stdout'],
      [{ maxBufer: 1 }, 'maxBuffer'],
      [{ maxBuffer: -1 }, 'maxBuffer'],
      [{ onOverflow: 'drop' }, 'onOverflow'],
      [{ encoding: 'utf-17' }, 'encoding'],
      [{ input: 5 }, 'input'],
      [{ timeout: 0 }, 'timeout'],
      [{ killSignal: 0 }, 'killSignal'],
      [{ addEnv: ['X'] }, 'addEnv[0]'],
      [{ fds: [-1] }, 'fds[0]'],
    ]
    for (const [options, word] of refused) {
      const error = await failure(container.run(['/bin/true'], options as never))
      expect(error.message).toContain(word)
      expect((error as { code?: string }).code).toBe(
        'ERR_INVALID_ARG_VALUE'.replace('VALUE', word === 'input' ? 'TYPE' : 'VALUE'),
      )
    }
    const error = await failure(container.run({ args: ['/bin/true'], terminal: true }))
    expect(error.message).toContain('terminal')
    await expectNothingRuns(container)
  })

  test('many at a time', async () => {
    const container = await ground.running()
    const runs = Array.from({ length: 40 }, (_, n) => container.run(sh(`echo ${n}; sleep 1000 & exit ${n}`)))
    const results = await Promise.all(runs)
    expect(results.map(({ exitCode, stdout }) => [exitCode, stdout])).toEqual(
      Array.from({ length: 40 }, (_, n) => [n, `${n}\n`]),
    )
    await expectNothingRuns(container)
  })

  test('addEnv extends, spec.env replaces', async () => {
    const container = await ground.running()
    const inherited = await container.run(sh('echo $PATH:$X'), { addEnv: ['X=1'] })
    expect(inherited.stdout).toMatch(/bin.*:1\n$/)
    const spec = { args: sh('echo $PATH:$X'), env: ['PATH=/bin', 'X=0'] }
    expect((await container.run(spec, { addEnv: ['X=2'] })).stdout).toBe('/bin:2\n')
  })

  test('a child that the OOM killer ended is told from an ordinary 137', async () => {
    const container = await ground.running()
    await container.updateResources({ memory: { limit: 24 << 20, swap: 24 << 20 } })
    const ordinary = await container.run(sh('exit 137'))
    expect(ordinary).toMatchObject({ exitCode: 137, signal: null, oomKilled: false, containerOomKills: 0 })
    const eater = sh('sh -c "x=\\$(head -c 60000000 /dev/zero | tr \\\\\\\\0 x)"; exit 137')
    const result = await container.run(eater)
    expect(result).toMatchObject({ exitCode: 137, signal: null, oomKilled: false })
    expect(result.containerOomKills).toBeGreaterThan(0)
  })

  test('the handle is closed: it is killed', async () => {
    const container = await ground.running()
    const other = await Container.load(container.root, container.id)
    const pending = failure(other.run(sh('sleep 1000 & sleep 1000')))
    await eventually('it runs', async () => (await container.pids()).length > 1)
    await other.close()
    expect(((await pending) as ContainerError).code).toBe('ERR_SHIM_EXITED')
    await eventually('it is gone', async () => (await container.pids()).length === 1)
  })

  test.each([['SIGKILL'], ['SIGTERM']] as const)('the program dies by %s: it is killed', async (signal) => {
    const container = await ground.running()
    const program = new Program(
      `const c = await Container.load(args.root, args.id)
       void c.run(['/bin/sh', '-c', 'sleep 1000 & sleep 1000'])
       while ((await c.pids()).length < 3) await sleep(10)
       say(1)
       await sleep(1e6)`,
      { root: container.root, id: container.id },
    )
    await program.next()
    process.kill(program.child.pid as number, signal)
    await program.ended
    await eventually('it is gone', async () => (await container.pids()).length === 1)
    await expectNothingRuns(container)
  })

  test('the shim is killed, then the program: the next shim ends it', async () => {
    const container = await ground.running()
    const program = new Program(
      `const c = await Container.load(args.root, args.id)
       void c.run(['/bin/sh', '-c', 'sleep 1000 & sleep 1000']).catch(() => undefined)
       while ((await c.pids()).length < 3) await sleep(10)
       say(1)
       await sleep(1e6)`,
      { root: container.root, id: container.id },
    )
    await program.next()
    process.kill(program.child.pid as number, 'SIGSTOP')
    process.kill(shimOf(container), 'SIGKILL')
    await eventually('another shim serves', () => isServed(container))
    expect((await container.pids()).length).toBe(3)
    program.kill()
    await program.ended
    await eventually('it is gone', async () => (await container.pids()).length === 1)
    await expectNothingRuns(container)
  })

  test('the shim is killed: the result says that the end is not known, and nothing is left', async () => {
    const container = await ground.running()
    const pending = container.run(sh('echo x; sleep 1000'), {
      onStdout: () => process.kill(shimOf(container), 'SIGKILL'),
    })
    const own = (): number[] => ownCgroups(container.id).map(() => 1)
    await eventually('it runs', () => own().length > 0)
    const init = container.processes.get('init')
    await eventually('another shim serves', () => isServed(container))
    for (const pid of await container.pids())
      if (pid !== init?.pid && isAlive(pid)) process.kill(pid, 'SIGKILL')
    const result = await pending
    // Before Linux 6.15 nobody is told how a process ended that is not one's own child.
    const ended = result.known ? { exitCode: 137, signal: 'SIGKILL' } : { exitCode: 255, signal: null }
    expect(result).toMatchObject({ ...ended, stdout: 'x\n' })
    await expectNothingRuns(container)
  })
})
