// Standard streams of every kind, of init and of exec: none is lost, none is late, none holds anything up.
import { createHash } from 'node:crypto'
import {
  closeSync,
  constants,
  createReadStream,
  openSync,
  readFileSync,
  readSync,
  statSync,
  writeFileSync,
  writeSync,
} from 'node:fs'
import { open } from 'node:fs/promises'
import { describe, expect, test } from 'vitest'
import { Container } from '../../lib/index.js'
import { shimOf, useContainers } from '../support/containers.js'
import { collect, expectCode, failure, text } from '../support/expect.js'
import { cannotRunContainers, runtimes } from '../support/machine.js'
import { descriptors, isAlive, procStat } from '../support/processes.mjs'
import { Program } from '../support/programs.js'
import { eventually } from '../support/wait.js'

const skip = cannotRunContainers()
const sh = (code: string): { args: string[] } => ({ args: ['/bin/sh', '-c', code] })

describe.skipIf(skip).each(runtimes)('stdio, %s', (runtime) => {
  const ground = useContainers(runtime)

  /** A reader that never blocks this thread. */
  function reader(path: string): { fd: number; read(): string } {
    const fd = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK)
    let all = ''
    return {
      fd,
      read() {
        const chunk = Buffer.alloc(65536)
        for (;;) {
          try {
            const n = readSync(fd, chunk)
            if (n === 0) return all
            all += chunk.subarray(0, n).toString()
          } catch (error) {
            if ((error as NodeJS.ErrnoException).code === 'EAGAIN') return all
            throw error
          }
        }
      },
    }
  }

  test('ignore is /dev/null by its device number, for all three', async () => {
    const container = await ground.running()
    const job = await container.exec('job', sh('test -c /dev/stdin; sleep 1000'))
    for (const fd of [0, 1, 2]) {
      expect(statSync(`/proc/${job.pid}/fd/${fd}`).rdev).toBe((1 << 8) | 3)
    }
    expect([job.stdin, job.stdout, job.stderr]).toEqual([null, null, null])
    expect(statSync(`/proc/${container.processes.get('init')?.pid}/fd/0`).rdev).toBe((1 << 8) | 3)
  })

  test('pipe both ways, the streams apart', async () => {
    const container = await ground.running()
    const job = await container.exec(
      'job',
      sh('while read line; do echo "out $line"; echo "err $line" >&2; done'),
      {
        stdin: 'pipe',
        stdout: 'pipe',
        stderr: 'pipe',
      },
    )
    const [out, err] = [collect(job.stdout), collect(job.stderr)]
    job.stdin?.write('one\n')
    await eventually('the answer', () => out() === 'out one\n' && err() === 'err one\n')
    job.stdin?.end('two\n')
    expect(await job.wait()).toMatchObject({ exitCode: 0 })
    expect([out(), err()]).toEqual(['out one\nout two\n', 'err one\nerr two\n'])
  })

  test('init has pipes too', async () => {
    const container = await ground.create({ bundle: ground.bundleOf(['/bin/cat']) })
    const init = await container.start({ stdin: 'pipe', stdout: 'pipe', stderr: 'ignore' })
    expect(init.stdio).toEqual({ stdin: 'pipe', stdout: 'pipe', stderr: '/dev/null' })
    const out = collect(init.stdout)
    init.stdin?.write('hello')
    await eventually('the echo', () => out() === 'hello')
    await init.closeStdin()
    expect(await init.wait()).toMatchObject({ exitCode: 0 })
  })

  test('ten megabytes arrive whole, and in order', async () => {
    const container = await ground.running()
    const job = await container.exec('job', { args: ['/bin/seq', '1', '1400000'] }, { stdout: 'pipe' })
    const hash = createHash('sha256')
    let bytes = 0
    job.stdout?.on('data', (chunk: Buffer) => {
      bytes += chunk.length
      hash.update(chunk)
    })
    expect((await job.wait()).exitCode).toBe(0)
    const whole = Buffer.from(`${Array.from({ length: 1_400_000 }, (_, n) => n + 1).join('\n')}\n`)
    expect(bytes).toBe(whole.length)
    expect(hash.digest('hex')).toBe(createHash('sha256').update(whole).digest('hex'))
  })

  test('backpressure: a program whose reader stands still stands still too', async () => {
    const container = await ground.running()
    const progress = '/tmp/progress'
    const job = await container.exec(
      'job',
      sh(`for i in $(seq 1 100); do head -c 65536 /dev/zero; echo $i > ${progress}; done`),
      { stdout: 'pipe' },
    )
    const at = async (): Promise<string> => {
      try {
        return readFileSync(`/proc/${container.processes.get('init')?.pid}/root${progress}`, 'utf8').trim()
      } catch {
        return ''
      }
    }
    let last = ''
    await eventually('it stands still', async () => {
      const now = await at()
      const still = now !== '' && now === last && procStat(job.pid)?.state === 'S'
      last = now
      await new Promise((resolve) => setTimeout(resolve, 100))
      return still
    })
    expect(Number(last)).toBeLessThan(20)
    let bytes = 0
    job.stdout?.on('data', (chunk: Buffer) => {
      bytes += chunk.length
    })
    expect((await job.wait()).exitCode).toBe(0)
    expect(bytes).toBe(100 * 65536)
  })

  test('the last byte is there before wait() resolves, three hundred times', async () => {
    const container = await ground.running()
    for (let n = 0; n < 300; ++n) {
      const job = await container.exec(
        `job-${n}`,
        { args: ['/bin/echo', `last words ${n}`] },
        { stdout: 'pipe' },
      )
      const out = collect(job.stdout)
      await job.wait()
      expect(out()).toBe(`last words ${n}\n`)
    }
  })

  test('a reader that comes after the exit gets it all', async () => {
    const container = await ground.running()
    const job = await container.exec('job', sh('echo early; exit 3'), { stdout: 'pipe' })
    expect((await job.wait()).exitCode).toBe(3)
    expect(await text(job.stdout)).toBe('early\n')
    const silent = await container.exec('silent', sh('head -c 60000 /dev/zero'), { stdout: 'pipe' })
    await silent.wait()
    expect((await text(silent.stdout)).length).toBe(60000)
  })

  test('a background child that holds the pipe delays nothing, and its later output arrives', async () => {
    const container = await ground.running()
    const job = await container.exec(
      'job',
      sh('(read wait < /tmp/go; echo later) & echo now; exit 4'.replace('(', 'mkfifo /tmp/go; (')),
      { stdout: 'pipe' },
    )
    const out = collect(job.stdout)
    expect((await job.wait()).exitCode).toBe(4)
    expect(out()).toBe('now\n')
    const go = await container.exec('go', sh('echo go > /tmp/go'))
    await go.wait()
    await eventually('the later output', () => out() === 'now\nlater\n')
    await eventually('the end of the stream', () => job.stdout?.readableEnded)
  })

  test('a file is appended to, made with 0600, and may be both outputs', async () => {
    const container = await ground.running()
    const file = ground.newPath('log')
    for (const word of ['one', 'two']) {
      const job = await container.exec(word, sh(`echo ${word}; echo ${word} >&2`), {
        stdout: file,
        stderr: file,
      })
      expect(job.stdio).toEqual({ stdin: '/dev/null', stdout: file, stderr: file })
      await job.wait()
    }
    expect(readFileSync(file, 'utf8')).toBe('one\none\ntwo\ntwo\n')
    expect(statSync(file).mode & 0o777).toBe(0o600)
    const input = ground.newPath('input')
    writeFileSync(input, 'from a file\n')
    const cat = await container.exec('cat', { args: ['/bin/cat'] }, { stdin: input, stdout: 'pipe' })
    expect(await text(cat.stdout)).toBe('from a file\n')
  })

  test('a path that cannot be opened: the error names it, and nothing is left', async () => {
    const container = await ground.running()
    const path = ground.newPath('none')
    const input = await expectCode(container.exec('job', sh('true'), { stdin: path }), 'ERR_SYSCALL')
    expect(input).toMatchObject({ errno: 2, syscall: 'open', path })
    const output = await expectCode(container.exec('job', sh('true'), { stdout: `${path}/x` }), 'ERR_SYSCALL')
    expect(output).toMatchObject({ errno: 2, syscall: 'open', path: `${path}/x` })
    expect(
      await expectCode(container.exec('job', sh('true'), { stdout: ground.directory }), 'ERR_SYSCALL'),
    ).toMatchObject({ errno: 21, path: ground.directory })
    const other = await ground.create()
    expect(await expectCode(other.start({ stdout: `${path}/x` }), 'ERR_SYSCALL')).toMatchObject({ errno: 2 })
    expect(await other.status()).toBe('created')
    expect((await other.start()).id).toBe('init')
    expect(await failure(container.exec('job', sh('true'), { stdout: 9999 }))).toMatchObject({
      code: 'ERR_INVALID_ARG_VALUE',
    })
  })

  test('descriptors: the number is the caller’s, and stays open', async () => {
    const container = await ground.running()
    const file = ground.newPath('fd')
    const out = await open(file, 'w')
    const input = ground.newPath('fd-in')
    writeFileSync(input, 'by number\n')
    const from = openSync(input, 'r')
    const job = await container.exec(
      'job',
      { args: ['/bin/cat'] },
      { stdin: from, stdout: out.fd, stderr: out.fd },
    )
    expect(job.stdio).toEqual({ stdin: `fd:${from}`, stdout: `fd:${out.fd}`, stderr: `fd:${out.fd}` })
    await job.wait()
    await out.write('still open\n')
    await out.close()
    closeSync(from)
    expect(readFileSync(file, 'utf8')).toBe('by number\nstill open\n')
  })

  test('inherit is this program’s own', async () => {
    const container = await ground.running()
    const program = new Program(
      `const c = await Container.load(args.root, args.id)
       const job = await c.exec('job', { args: ['/bin/sh', '-c', 'read x; echo "\\\\"got $x\\\\""; echo oops >&2'] },
         { stdin: 'inherit', stdout: 'inherit', stderr: 'inherit' })
       say(job.stdio)
       say((await job.wait()).exitCode)
       await c.close()`,
      { root: ground.root, id: container.id },
      ['pipe', 'pipe', 'pipe'],
    )
    expect(await program.next()).toEqual({ stdin: 'inherit', stdout: 'inherit', stderr: 'inherit' })
    program.child.stdin?.end('a line\n')
    expect(await program.next()).toBe('got a line')
    expect(await program.next()).toBe(0)
    expect(await program.ended).toEqual({ code: 0, signal: null })
    expect(program.stderr).toBe('oops\n')
  })

  test('closeStdin is an end of file: pipe, FIFO, and again', async () => {
    const container = await ground.running()
    const job = await container.exec('pipe', { args: ['/bin/cat'] }, { stdin: 'pipe', stdout: 'pipe' })
    job.stdin?.write('x')
    await job.closeStdin()
    await job.closeStdin()
    expect(await text(job.stdout)).toBe('x')
    expect((await job.wait()).exitCode).toBe(0)

    const path = ground.newFifo()
    const other = await container.exec('fifo', { args: ['/bin/cat'] }, { stdin: path, stdout: 'pipe' })
    const out = collect(other.stdout)
    // Writers come and go without ending it.
    for (const word of ['one ', 'two ', 'three']) {
      const fd = openSync(path, 'w')
      writeSync(fd, word)
      closeSync(fd)
    }
    await eventually('all three', () => out() === 'one two three')
    expect(other.state).toBe('running')
    const fd = openSync(path, 'w')
    writeSync(fd, ', last')
    closeSync(fd)
    await other.closeStdin()
    await other.closeStdin()
    expect((await other.wait()).exitCode).toBe(0)
    expect(out()).toBe('one two three, last')
    const none = await container.exec('none', { args: ['/bin/cat'] })
    expect((await none.wait()).exitCode).toBe(0)
  })

  test('closeStdin of init by FIFO, from another handle', async () => {
    const path = ground.newFifo()
    const container = await ground.create({ bundle: ground.bundleOf(['/bin/cat']) })
    const init = await container.start({ stdin: path })
    const other = await Container.load(ground.root, container.id)
    await other.processes.get('init')?.closeStdin()
    expect((await init.wait()).exitCode).toBe(0)
  })

  test('FIFO of output: a reader that goes away is no harm, the next goes on', async () => {
    const container = await ground.running()
    const path = ground.newFifo()
    const first = reader(path)
    const job = await container.exec(
      'job',
      { args: ['/bin/sh', '-c', 'while read line; do echo "$line"; done; exit 9'] },
      { stdin: 'pipe', stdout: path },
    )
    job.stdin?.write('one\n')
    await eventually('one', () => first.read() === 'one\n')
    closeSync(first.fd)
    job.stdin?.write('two\n')
    await new Promise((resolve) => setTimeout(resolve, 50))
    expect(isAlive(job.pid)).toBe(true)
    const second = reader(path)
    job.stdin?.write('three\n')
    await eventually('two and three', () => second.read() === 'two\nthree\n')
    await job.closeStdin()
    // Still its own code, not SIGPIPE's.
    expect(await job.wait()).toMatchObject({ exitCode: 9, signal: null })
    closeSync(second.fd)
  })

  test('FIFO of output: the end of file comes with the exit', async () => {
    const container = await ground.running()
    const path = ground.newFifo()
    const stream = createReadStream(path)
    const job = await container.exec('job', sh('echo whole'), { stdout: path })
    expect(await text(stream)).toBe('whole\n')
    await job.wait()
  })

  test('FIFO without a reader: ERR_START_TIMEOUT with its path, nothing started', async () => {
    const path = ground.newFifo()
    // The short time-out is for what has to fail alone; the rest may take longer on a busy machine.
    const idle = await ground.running()
    const impatient = await Container.load(ground.root, idle.id, { timeout: 1500 })
    const shim = shimOf(idle)
    const before = descriptors(shim).size
    const error = await expectCode(impatient.exec('job', sh('echo x'), { stdout: path }), 'ERR_START_TIMEOUT')
    expect(error).toMatchObject({ path, syscall: 'open', containerId: idle.id, processId: 'job' })
    expect([...impatient.processes.keys()]).toEqual(['init'])
    await eventually('the descriptors are given back', () => descriptors(shim).size <= before)
    expect((await (await idle.exec('job', sh('true'))).wait()).exitCode).toBe(0)

    const container = await ground.create({ timeout: 1500 })
    const failed = await expectCode(container.start({ stdout: path }), 'ERR_START_TIMEOUT')
    expect(failed).toMatchObject({ path, processId: 'init' })
    expect(await container.status()).toBe('created')
    const fd = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK)
    await (await Container.load(ground.root, container.id, { timeout: 60_000 })).start({ stdout: path })
    closeSync(fd)
  })

  test('FIFO whose reader comes a little later', async () => {
    const path = ground.newFifo()
    const container = await ground.running()
    const starting = container.exec('job', sh('echo patient'), { stdout: path })
    await new Promise((resolve) => setTimeout(resolve, 100))
    const stream = createReadStream(path)
    const job = await starting
    expect(await text(stream)).toBe('patient\n')
    await job.wait()
  })

  test('FIFOs and files outlive the program; pipes end with it', async () => {
    const path = ground.newFifo()
    const out = reader(path)
    const file = ground.newPath('log')
    const id = ground.newId()
    const program = new Program(
      `const c = await Container.create(args.options)
       await c.start()
       const lines = 'i=0; while true; do echo line; sleep 0.05; done'
       const fifo = await c.exec('fifo', { args: ['/bin/sh', '-c', lines] }, { stdout: args.path })
       const file = await c.exec('file', { args: ['/bin/sh', '-c', lines] }, { stdout: args.file })
       const pipe = await c.exec('pipe', { args: ['/bin/sh', '-c', lines] }, { stdout: 'pipe' })
       say([fifo.pid, file.pid, pipe.pid])
       await sleep(1e6)`,
      { options: ground.options({ id }), path, file },
    )
    const [fifoPid, filePid] = await program.next()
    program.kill()
    await program.ended
    const container = await Container.load(ground.root, id)
    expect(await container.processes.get('pipe')?.wait()).toMatchObject({ signal: 'SIGPIPE', known: true })
    const seen = [out.read().length, statSync(file).size]
    await eventually(
      'more of both',
      () => out.read().length > (seen[0] as number) && statSync(file).size > (seen[1] as number),
    )
    expect([isAlive(fifoPid), isAlive(filePid)]).toEqual([true, true])
    closeSync(out.fd)
  })

  test('Process.close() lets go of the streams, and the process runs on', async () => {
    const container = await ground.running()
    const job = await container.exec(
      'job',
      sh('trap "" PIPE; while true; do echo x; sleep 0.05; done 2>/dev/null'),
      {
        stdin: 'pipe',
        stdout: 'pipe',
      },
    )
    await job.close()
    await eventually('the streams are closed', () => job.stdout?.destroyed && job.stdin?.destroyed)
    expect(isAlive(job.pid)).toBe(true)
    await job.kill('SIGKILL')
    expect((await job.wait()).signal).toBe('SIGKILL')
  })
})
