// stdout: 'keep': what was said is there for whoever comes later.
import { existsSync, readdirSync, statSync } from 'node:fs'
import { join } from 'node:path'
import type { Readable } from 'node:stream'
import { describe, expect, test } from 'vitest'
import { Container, type Process } from '../../lib/index.js'
import { shimOf, useContainers } from '../support/containers.js'
import { expectCode, failure, text } from '../support/expect.js'
import { cannotRunContainers, runtimes } from '../support/machine.js'
import { descriptors, isAlive, shimsBelow } from '../support/processes.mjs'
import { Program, runProgram } from '../support/programs.js'
import { eventually } from '../support/wait.js'

const skip = cannotRunContainers()

const shell = (script: string): { args: string[] } => ({ args: ['/bin/sh', '-c', script] })

/** Collects what comes, to be looked at as it grows. */
function collect(stream: Readable | null): { all: string } {
  const got = { all: '' }
  stream?.setEncoding('utf8').on('data', (chunk: string) => {
    got.all += chunk
  })
  return got
}

describe.skipIf(skip).each(runtimes)('kept output, %s', (runtime) => {
  const ground = useContainers(runtime)

  const reload = (container: Container): Promise<Container> => Container.load(ground.root, container.id)

  async function withoutShim(container: Container): Promise<void> {
    await eventually('no shim', () => shimsBelow(join(ground.root, container.id)).length === 0)
  }

  test('is read by the program that started it, stdout and stderr apart', async () => {
    const container = await ground.running()
    const job = await container.exec('job', shell('echo out; echo err >&2; exit 3'), {
      stdout: 'keep',
      stderr: { keep: 100 },
    })
    expect(job.stdio).toEqual({ stdin: '/dev/null', stdout: 'keep', stderr: 'keep' })
    expect(await Promise.all([text(job.stdout), text(job.stderr)])).toEqual(['out\n', 'err\n'])
    expect(await job.wait()).toMatchObject({ exitCode: 3 })
  })

  test('a flowing reader has all of it when wait() resolves', async () => {
    const container = await ground.running()
    for (let n = 0; n < 10; ++n) {
      const job = await container.exec(`job-${n}`, shell('seq 1 5000'), { stdout: 'keep' })
      const got = collect(job.stdout)
      await job.wait()
      expect(got.all.split('\n')).toHaveLength(5001)
    }
  })

  test('is read by a program that loads the container later, then live', async () => {
    const container = await ground.create({
      bundle: ground.bundleOf(shell('echo one; read x; echo two $x; sleep 1000').args),
    })
    const init = await container.start({ stdin: 'pipe', stdout: 'keep' })
    await eventually('it is said', () =>
      statSync(join(ground.root, container.id, 'init/stdout.kept')).isFile(),
    )
    const other = await reload(container)
    const here = collect(init.stdout)
    const there = collect(other.processes.get('init')?.stdout ?? null)
    await eventually('what is kept', () => here.all === 'one\n' && there.all === 'one\n')
    init.stdin?.write('go\n')
    await eventually('what comes', () => here.all === 'one\ntwo go\n' && there.all === here.all)
    await container.kill('SIGKILL')
    await init.wait()
  })

  test('survives the program that started it', async () => {
    const options = ground.options()
    const program = new Program(
      `const c = await Container.create(args)
       await c.start()
       await c.exec('job', { args: ['/bin/sh', '-c', 'echo before; sleep 0.5; echo after; exit 4'] }, { stdout: 'keep' })
       say(1)
       await sleep(1e6)`,
      options,
    )
    await program.next()
    program.kill()
    await program.ended
    const container = await Container.load(ground.root, options.id)
    const job = container.processes.get('job') as Process
    expect(await text(job.stdout)).toBe('before\nafter\n')
    expect(await job.wait()).toMatchObject({ exitCode: 4, known: true })
  })

  test('is there when all has exited and the shim has left, again and again', async () => {
    const container = await ground.create({ bundle: ground.bundleOf(shell('echo init; exit 1').args) })
    const init = await container.start({ stdout: 'keep' })
    await init.wait()
    await container.close()
    await withoutShim(container)
    for (let n = 0; n < 2; ++n) {
      const [said] = await runProgram(
        `const c = await Container.load(args.root, args.id)
         let all = ''
         for await (const chunk of c.processes.get('init').stdout) all += chunk
         say(all)
         await c.close()`,
        { root: ground.root, id: container.id },
      )
      expect(said).toBe('init\n')
      await withoutShim(container)
    }
    expect(readdirSync(join(ground.root, container.id, 'init')).sort()).not.toContain('stdout.fifo')
  })

  test('of much the last bytes are kept, and nobody is waited for', async () => {
    const container = await ground.running()
    const all = Array.from({ length: 300_000 }, (_, n) => `${n + 1}\n`).join('')
    for (const [n, keep] of [1, 1000, 65536, 1_000_001].entries()) {
      const job = await container.exec(`job-${n}`, shell('seq 1 300000'), { stdout: { keep } })
      await job.wait()
      expect(await text(job.stdout)).toBe(all.slice(-keep))
    }
    const job = await container.exec('default', shell('seq 1 300000'), { stdout: 'keep' })
    await job.wait()
    expect(await text(job.stdout)).toBe(all.slice(-65536))
  })

  test('a reader that has begun misses nothing: who writes waits for it', async () => {
    const container = await ground.running()
    const job = await container.exec('job', shell('seq 1 300000'), { stdout: { keep: 1000 } })
    const stream = job.stdout as Readable
    const lines = (await text(stream)).split('\n')
    // It began some way in, and from there on has every one.
    const first = lines.findIndex((line, n) => n > 0 && line !== '')
    const start = Number(lines[first])
    expect(lines.slice(first, -1)).toEqual(
      Array.from({ length: 300_000 - start + 1 }, (_, n) => String(start + n)),
    )
    expect((await job.wait()).exitCode).toBe(0)
  })

  test('a reader that goes away frees who writes', async () => {
    const container = await ground.running()
    const job = await container.exec('job', shell('seq 1 300000'), { stdout: { keep: 1000 } })
    job.stdout?.once('readable', () => undefined)
    await new Promise((resolve) => setTimeout(resolve, 100))
    job.stdout?.destroy()
    expect((await job.wait()).exitCode).toBe(0)
  })

  test('shims that are killed: each byte comes once', async () => {
    const container = await ground.running()
    // What nobody has read yet always fits into what is kept, however long a shim and its reader take to come back.
    const job = await container.exec(
      'job',
      shell(
        'n=0; while [ $n -lt 20000 ]; do n=$((n+1)); echo $n; [ $((n % 500)) -ne 0 ] || { sleep 0.03; read x; }; done',
      ),
      { stdin: 'pipe', stdout: { keep: 3000 } },
    )
    const got = collect(job.stdout)
    let answered = 0
    job.stdout?.on('data', () => {
      const lines = got.all.split('\n').length - 1
      for (; answered + 500 <= lines; answered += 500) job.stdin?.write('\n')
    })
    await eventually('a beginning', () => got.all.length > 0)
    for (let n = 0; n < 8; ++n) {
      const [shim] = await eventually('a shim', () => {
        const shims = shimsBelow(join(ground.root, container.id))
        return shims.length > 0 && shims
      })
      process.kill(shim as number, 'SIGKILL')
      await new Promise((resolve) => setTimeout(resolve, 60 + n * 7))
    }
    await eventually('the end', () => got.all.endsWith('\n20000\n'))
    const lines = got.all.split('\n').slice(0, -1)
    const start = Number(lines[0])
    expect(lines).toEqual(Array.from({ length: 20000 - start + 1 }, (_, n) => String(start + n)))
    await job.wait()
  })

  test('what is written while no shim is there', async () => {
    const container = await ground.running()
    const job = await container.exec('job', shell('echo one; sleep 0.3; echo two; sleep 1000'), {
      stdout: 'keep',
    })
    await container.close()
    const shim = shimOf(container)
    process.kill(shim, 'SIGKILL')
    await eventually('it is gone', () => !isAlive(shim))
    await new Promise((resolve) => setTimeout(resolve, 500))
    expect(isAlive(job.pid)).toBe(true)
    const loaded = await reload(container)
    const got = collect(loaded.processes.get('job')?.stdout ?? null)
    await eventually('both', () => got.all === 'one\ntwo\n')
  })

  test('of a terminal', async () => {
    const container = await ground.running()
    const job = await container.exec(
      'job',
      { ...shell('tty; echo out; echo err >&2'), terminal: true },
      { stdout: 'keep', stderr: 'keep' },
    )
    await job.wait()
    expect(await text(job.stdout)).toMatch(/^\/dev\/pts\/\d+\r\nout\r\nerr\r\n$/)
    expect(await text(job.stderr)).toBe('')
    const init = await ground.create({
      bundle: ground.bundleOf(shell('tty; echo done').args, { terminal: true }),
    })
    const started = await init.start({ stdout: 'keep' })
    await started.wait()
    expect(await text(started.stdout)).toMatch(/^\/dev\/pts\/\d+\r\ndone\r\n$/)
  })

  test('leaves nothing behind: of an exec that fails, of many that end', async () => {
    const container = await ground.running()
    const directory = join(ground.root, container.id)
    await expectCode(container.exec('none', { args: ['/none'] }, { stdout: 'keep' }), 'ERR_SYSCALL')
    expect(existsSync(join(directory, 'none'))).toBe(false)
    const shim = shimOf(container)
    const before = descriptors(shim).size
    for (let n = 0; n < 20; ++n) {
      const job = await container.exec(`job-${n}`, shell('echo x'), { stdout: 'keep', stderr: 'keep' })
      if (n % 2) await text(job.stdout)
      await job.wait()
    }
    await eventually('the descriptors are given back', () => descriptors(shim).size <= before)
    expect(readdirSync(directory).filter((name) => name.includes('.tmp.'))).toEqual([])
    const kept = join(directory, 'job-1/stdout.kept')
    expect(statSync(kept).mode & 0o777).toBe(0o600)
  })

  test('of input is refused, and so are sizes that are none', async () => {
    const container = await ground.running()
    for (const options of [
      { stdin: 'keep' },
      { stdin: { keep: 1 } },
      { stdout: { keep: '1' } },
      { stdout: {} },
    ]) {
      const error = await failure(container.exec('job', shell('true'), options as never))
      expect(error).toBeInstanceOf(TypeError)
    }
    for (const keep of [0, -1, 1.5, 16 * 1024 * 1024 + 1]) {
      expect(await failure(container.exec('job', shell('true'), { stdout: { keep } }))).toBeInstanceOf(
        RangeError,
      )
    }
  })
})
