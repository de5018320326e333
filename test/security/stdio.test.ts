// Standard streams as a way out of a container, or into another's: files of the host, kept output, descriptors that
// somebody else shares, and whatever could hold up the shim.
import { execFileSync, spawnSync } from 'node:child_process'
import {
  closeSync,
  constants,
  lstatSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  readSync,
  rmSync,
  statSync,
  unlinkSync,
  writeFileSync,
  writeSync,
} from 'node:fs'
import { createHash } from 'node:crypto'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { Container, type Process } from '../../lib/index.js'
import { compileProgram } from '../support/compile.js'
import { shimOf, useContainers } from '../support/containers.js'
import { collect, failure, text } from '../support/expect.js'
import { cannotRunContainers, runtimes } from '../support/machine.js'
import { descriptors, isAlive, pids, read, shimsBelow, statusLine } from '../support/processes.mjs'
import { Program } from '../support/programs.js'
import { eventually } from '../support/wait.js'

const skip = cannotRunContainers()
const sh = (code: string): { args: string[] } => ({ args: ['/bin/sh', '-c', code] })
const numbers = (count: number): string => Array.from({ length: count }, (_, n) => `${n + 1}\n`).join('')

/** All that lies below a directory, itself included. */
function everythingBelow(path: string): string[] {
  const below = lstatSync(path).isDirectory()
    ? readdirSync(path).flatMap((name) => everythingBelow(join(path, name)))
    : []
  return [path, ...below]
}

/** Some process of this one's, or it itself, waits for room in a pipe. */
function waitsInWrite(pid: number): boolean {
  const children = read(`/proc/${pid}/task/${pid}/children`)?.trim().split(' ') ?? []
  return [pid, ...children].some((each) => read(`/proc/${each}/wchan`)?.endsWith('pipe_write'))
}

/** How many bytes a descriptor had; those are gone. */
function drain(fd: number): number {
  const chunk = Buffer.alloc(1 << 20)
  try {
    return readSync(fd, chunk)
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EAGAIN') return 0
    throw error
  }
}

/** Processes that feed a file of input to others. */
function relaysOf(path: string): number[] {
  return pids().filter(
    (pid) =>
      (read(`/proc/${pid}/comm`) ?? '').trim() === 'lc-relay' &&
      isAlive(pid) &&
      descriptors(pid).get(0) === path,
  )
}

/** Resolves as it does, or fails: no wait of a test is without an end. */
async function soon<T>(what: string, promise: Promise<T>): Promise<T> {
  let timer: NodeJS.Timeout | undefined
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error(`${what}: not within 30 s`)), 30_000)
  })
  return Promise.race([promise, late]).finally(() => clearTimeout(timer))
}

describe.skipIf(skip).each(runtimes)('stdio and the host, %s', (runtime) => {
  const ground = useContainers(runtime)

  /** Kills the container's shim, and has the next one start. */
  async function nextShim(container: Container): Promise<Container> {
    const shims = shimsBelow(join(ground.root, container.id))
    for (const shim of shims) process.kill(shim, 'SIGKILL')
    await eventually('it is gone', () => shims.every((shim) => !isAlive(shim)))
    return Container.load(ground.root, container.id)
  }

  /** Nothing that a process holds leads to this file. */
  function expectNotHeld(pid: number, path: string): void {
    expect([...descriptors(pid).values()].filter((name) => name.startsWith(path))).toEqual([])
  }

  test('a log is no program of the host: mode, owner and place of a file of output', async () => {
    const container = await ground.running()
    const attack =
      'for n in 1 2; do chmod 4755 /proc/self/fd/$n; chown 1000 /proc/self/fd/$n; : > /proc/self/fd/$n; done 2> /dev/null; echo more; sleep 1000'
    for (const kind of ['path', 'number'] as const) {
      const path = ground.newPath(`log-${kind}`)
      writeFileSync(path, 'before\n', { mode: 0o600 })
      const fd = openSync(path, 'a')
      const to = kind === 'path' ? path : fd
      const job = await container.exec(kind, sh(attack), { stdout: to, stderr: to })
      closeSync(fd)
      await eventually('it tried', () => readFileSync(path, 'utf8') === 'before\nmore\n')
      expect(statSync(path).mode & 0o7777).toBe(0o600)
      expect(statSync(path).uid).toBe(0)
      expectNotHeld(job.pid, path)
      await job.kill('SIGKILL')
      await job.wait()
    }
    const path = ground.newPath('init-log')
    const other = await ground.create({ bundle: ground.bundleOf(sh(attack).args) })
    const init = await other.start({ stdout: path, stderr: path })
    await eventually('it tried', () => readFileSync(path, 'utf8') === 'more\n')
    expect(statSync(path).mode & 0o7777).toBe(0o600)
    expectNotHeld(init.pid, path)
  })

  test('inherited files are not held either', async () => {
    const container = await ground.running()
    const [input, output] = [ground.newPath('input'), ground.newPath('output')]
    writeFileSync(input, 'from the file\n', { mode: 0o600 })
    const [from, to] = [openSync(input, 'r'), openSync(output, 'w', 0o600)]
    const program = new Program(
      `const c = await Container.load(args.root, args.id)
       await c.exec('job', { args: ['/bin/sh', '-c', 'read x; echo "got $x"; chmod 4777 /proc/self/fd/0 /proc/self/fd/1; sleep 1000'] },
         { stdin: 'inherit', stdout: 'inherit' })
       await c.close()`,
      { root: ground.root, id: container.id },
      [from, to, 'pipe'],
    )
    closeSync(from)
    closeSync(to)
    expect((await program.ended).code, program.stderr).toBe(0)
    await eventually('the answer', () => readFileSync(output, 'utf8') === 'got from the file\n')
    const job = (await Container.load(ground.root, container.id)).processes.get('job') as Process
    for (const path of [input, output]) {
      expectNotHeld(job.pid, path)
      expect(statSync(path).mode & 0o7777).toBe(0o600)
    }
  })

  test('a file of input keeps its owner, mode and content', async () => {
    const container = await ground.running()
    const path = ground.newPath('input')
    writeFileSync(path, 'secret\n', { mode: 0o600 })
    for (const direct of [false, true]) {
      const job = await container.exec(
        `job-${String(direct)}`,
        {
          ...sh('cat; echo x > /proc/self/fd/0; chmod 4777 /proc/self/fd/0; sleep 1000'),
          user: { uid: 1000, gid: 1000 },
        },
        { stdin: path, stdout: 'pipe', direct },
      )
      const out = collect(job.stdout)
      await eventually('it has read', () => out() === 'secret\n')
      expect(statSync(path)).toMatchObject({ uid: 0, gid: 0 })
      expect(statSync(path).mode & 0o7777).toBe(0o600)
      expect(readFileSync(path, 'utf8')).toBe('secret\n')
      const held = [...descriptors(job.pid).values()].includes(path)
      expect(held, 'direct hands it over, nothing else does').toBe(direct)
      await job.kill('SIGKILL')
      await job.wait()
    }
  })

  test('direct hands a file over as it is, to init too', async () => {
    const path = ground.newPath('log')
    const container = await ground.create({ bundle: ground.bundleOf(sh('echo init; sleep 1000').args) })
    const init = await container.start({ stdout: path, direct: true })
    await eventually('it is there', () => readFileSync(path, 'utf8') === 'init\n')
    expect([...descriptors(init.pid).values()]).toContain(path)
    const job = await container.exec('job', sh('echo job; sleep 1000'), { stdout: path, direct: true })
    await eventually('that too', () => readFileSync(path, 'utf8') === 'init\njob\n')
    expect([...descriptors(job.pid).values()]).toContain(path)
    const error = await failure(container.exec('none', sh('true'), { direct: 'yes' as never }))
    expect(error).toBeInstanceOf(TypeError)
    expect(error.message).toContain('direct')
  })

  test('a directory is no stdio, nor is what can be neither read nor written', async () => {
    const container = await ground.running()
    const file = ground.newPath('file')
    writeFileSync(file, 'of the host\n')
    const oPath = 0o10000000
    const opened = [
      openSync(ground.directory, 'r'),
      openSync(ground.directory, oPath | constants.O_DIRECTORY),
      openSync(file, oPath),
    ]
    try {
      for (const stdin of [ground.directory, ...opened]) {
        for (const direct of [false, true]) {
          const job = container.exec('job', sh('chmod 4777 /proc/self/fd/0'), { stdin, direct })
          expect(await failure(job)).toMatchObject({
            code: 'ERR_INVALID_ARG_VALUE',
            message: expect.stringMatching(/stdin is (a directory|open with O_PATH)/) as string,
          })
        }
      }
      for (const number of opened) {
        const job = container.exec('job', sh('chmod 4777 /proc/self/fd/1'), { stdout: number })
        expect(await failure(job)).toMatchObject({ code: 'ERR_INVALID_ARG_VALUE' })
      }
      const other = await ground.create()
      expect(await failure(other.start({ stdin: ground.directory }))).toMatchObject({
        code: 'ERR_INVALID_ARG_VALUE',
      })
      expect(statSync(file).mode & 0o7777).toBe(0o644)
      expect([...container.processes.keys()]).toEqual(['init'])
    } finally {
      opened.forEach((fd) => closeSync(fd))
    }
  })

  test('a device of the host keeps its mode and owner, and works', async () => {
    const container = await ground.running()
    const zero = ground.newPath('zero')
    execFileSync('mknod', ['-m', '600', zero, 'c', '1', '5'])
    const full = ground.newPath('full')
    execFileSync('mknod', ['-m', '600', full, 'c', '1', '7'])
    const numbers = [openSync(zero, 'r'), openSync(full, 'w')]
    const change =
      'for n in 0 1; do chmod 4777 /proc/self/fd/$n; chown 5:5 /proc/self/fd/$n; done 2>/dev/null; ' +
      'echo x && echo "written" >&2; head -c 3 | od -An -tx1 >&2'
    try {
      for (const [stdin, stdout] of [[zero, full], numbers]) {
        const job = await container.exec('job', sh(change), { stdin, stdout, stderr: 'pipe' })
        const said = collect(job.stderr)
        await job.wait()
        await eventually('what it read', () => said().includes('00 00 00'))
        expect(said()).not.toContain('written')
        for (const node of [zero, full]) {
          const { mode, uid } = statSync(node)
          expect([node, (mode & 0o7777).toString(8), uid]).toEqual([node, '600', 0])
        }
        await container.removeProcess('job')
      }
    } finally {
      numbers.forEach((fd) => closeSync(fd))
    }
  })

  test('stdout and stderr in one file keep their order, and all is there when wait() resolves', async () => {
    const container = await ground.running()
    const lines = Array.from({ length: 500 }, (_, n) => `out ${n}\nerr ${n}\n`).join('')
    const script = sh('n=0; while [ $n -lt 500 ]; do echo out $n; echo err $n >&2; n=$((n+1)); done')
    for (let n = 0; n < 10; ++n) {
      const path = ground.newPath('log')
      const fd = openSync(path, 'w')
      const to = n % 2 === 0 ? path : fd
      const job = await container.exec(`job-${n}`, script, { stdout: to, stderr: to })
      expect((await job.wait()).exitCode).toBe(0)
      expect(readFileSync(path, 'utf8')).toBe(lines)
      closeSync(fd)
    }
    expect(readdirSync(join(ground.root, container.id, 'job-0')).filter((name) => /^std/.test(name))).toEqual(
      [],
    )
  })

  test('the offset of a number is shared with the program', async () => {
    const container = await ground.running()
    const path = ground.newPath('shared')
    const fd = openSync(path, 'w+')
    writeSync(fd, 'mine\n')
    await (await container.exec('one', sh('echo theirs'), { stdout: fd })).wait()
    writeSync(fd, 'mine again\n')
    expect(readFileSync(path, 'utf8')).toBe('mine\ntheirs\nmine again\n')
    const input = openSync(path, 'r')
    await failure(container.exec('none', { args: ['/none'] }, { stdin: input }))
    // An exec that fails has read nothing.
    const job = await container.exec('two', { args: ['/bin/cat'] }, { stdin: input, stdout: 'pipe' })
    expect(await text(job.stdout)).toBe('mine\ntheirs\nmine again\n')
    closeSync(fd)
    closeSync(input)
  })

  test('without a shim whoever writes to a file waits, and the next shim goes on without loss', async () => {
    const container = await ground.running()
    const [path, other, gone] = [ground.newPath('log'), ground.newPath('fd-log'), ground.newPath('gone')]
    const script = sh('while [ ! -e /tmp/go ]; do sleep 0.02; done; seq 1 60000; echo "code $?"')
    const fds = [openSync(other, 'w'), openSync(gone, 'w+')]
    unlinkSync(gone)
    const jobs: Process[] = []
    for (const [n, stdout] of [path, fds[0] as number, fds[1] as number].entries()) {
      jobs.push(await container.exec(`job-${n}`, script, { stdout }))
    }
    await container.close()
    const shim = shimOf(container)
    process.kill(shim, 'SIGKILL')
    await eventually('it is gone', () => !isAlive(shim))
    writeFileSync(`/proc/${container.processes.get('init')?.pid}/root/tmp/go`, '')
    // 350 KB are more than a pipe holds.
    await eventually('they stand still', () => jobs.every((job) => waitsInWrite(job.pid)))
    expect([statSync(path).size, statSync(other).size]).toEqual([0, 0])
    expect(jobs.every((job) => isAlive(job.pid))).toBe(true)
    const loaded = await Container.load(ground.root, container.id)
    for (const job of jobs) await soon('its end', loaded.processes.get(job.id)?.wait() as Promise<unknown>)
    const all = `${numbers(60000)}code 0\n`
    await eventually(
      'all of it',
      () => statSync(path).size >= all.length && statSync(other).size >= all.length,
    )
    expect(readFileSync(path, 'utf8') === all).toBe(true)
    expect(readFileSync(other, 'utf8') === all).toBe(true)
    expect(readFileSync(`/proc/self/fd/${fds[1] as number}`, 'utf8') === all).toBe(true)
    for (const fd of fds) closeSync(fd)
  })

  test('shims that are killed while they copy to a file: each byte is there once', async () => {
    let container = await ground.running()
    const path = ground.newPath('log')
    const init = container.processes.get('init')?.pid as number
    const job = await container.exec(
      'job',
      sh('n=0; while [ ! -e /tmp/stop ]; do n=$((n+1)); echo "line $n"; done; echo "end $n"'),
      { stdout: path },
    )
    for (let n = 0; n < 12; ++n) {
      const size = statSync(path).size
      await eventually('it goes on', () => statSync(path).size > size)
      container = await nextShim(container)
    }
    writeFileSync(`/proc/${init}/root/tmp/stop`, '')
    await eventually('the end', () => /end \d+\n$/.test(readFileSync(path, 'utf8').slice(-100)))
    await eventually('it ended', () => !isAlive(job.pid))
    const lines = readFileSync(path, 'utf8').split('\n')
    const count = Number(/end (\d+)/.exec(lines.at(-2) as string)?.[1])
    expect(lines.length).toBe(count + 2)
    expect(lines.slice(0, count).findIndex((line, n) => line !== `line ${n + 1}`)).toBe(-1)
  })

  test('a large file of input is whole, also when the shim is killed', async () => {
    const container = await ground.running()
    const path = ground.newPath('input')
    const content = Buffer.from(numbers(700_000))
    writeFileSync(path, content)
    const sum = createHash('sha1').update(content).digest('hex')
    const script = sh('while [ ! -e /tmp/go ]; do sleep 0.02; done; sha1sum')
    const jobs: Process[] = []
    for (const [n, stdin] of [path, openSync(path, 'r')].entries()) {
      jobs.push(await container.exec(`job-${n}`, script, { stdin, stdout: 'keep' }))
      if (typeof stdin === 'number') closeSync(stdin)
    }
    const loaded = await nextShim(container)
    writeFileSync(`/proc/${loaded.processes.get('init')?.pid}/root/tmp/go`, '')
    for (const job of jobs) {
      expect(await soon('the sum', text(loaded.processes.get(job.id)?.stdout ?? null))).toContain(sum)
    }
    // Who leaves before the end of the file leaves nobody behind who feeds it.
    const early = await loaded.exec('early', sh('read x; echo $x'), { stdin: path, stdout: 'pipe' })
    expect(await text(early.stdout)).toBe('1\n')
    await early.wait()
    await eventually('nobody feeds it', () => relaysOf(path).length === 0)
  })

  test('a full disk holds up whoever writes to it, and nobody else', async () => {
    const container = await ground.running()
    const directory = ground.newPath('small')
    mkdirSync(directory)
    execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=256k', 'none', directory])
    try {
      writeFileSync(join(directory, 'filler'), Buffer.alloc(200 << 10))
      const path = join(directory, 'log')
      const job = await container.exec('job', sh('seq 1 20000'), { stdout: path })
      await eventually('it is full', () => statSync(path).size > 10_000)
      expect((await soon('another', (await container.exec('other', sh('exit 3'))).wait())).exitCode).toBe(3)
      rmSync(join(directory, 'filler'))
      expect((await soon('its end', job.wait())).exitCode).toBe(0)
      await eventually('all of it', () => readFileSync(path, 'utf8') === numbers(20000))
    } finally {
      await container.delete({ force: true })
      execFileSync('umount', ['-l', directory])
    }
  })

  test('nothing below the root is any but root’s, whoever a process is', async () => {
    const container = await ground.create({
      bundle: ground.bundleOf(sh('echo init; sleep 1000').args, { user: { uid: 1000, gid: 1000 } }),
    })
    await container.start({ stdout: 'keep', stderr: 'keep' })
    const [path, input] = [ground.newPath('log'), ground.newPath('input')]
    writeFileSync(input, 'x\n')
    const user = { uid: 1000, gid: 1000 }
    const job = await container.exec(
      'job',
      { ...sh('echo one > /dev/stdout; echo two > /dev/stderr; exec sleep 1000'), user },
      { stdin: input, stdout: 'keep', stderr: 'keep' },
    )
    await container.exec(
      'file',
      { ...sh('echo three > /dev/stdout; exec sleep 1000'), user },
      { stdout: path },
    )
    const [out, err] = [collect(job.stdout), collect(job.stderr)]
    await eventually('opened again, both are written', () => out() === 'one\n' && err() === 'two\n')
    await eventually('and the file', () => readFileSync(path, 'utf8') === 'three\n')
    const loose = everythingBelow(ground.root).filter((name) => {
      const { uid, gid, mode } = lstatSync(name)
      return uid !== 0 || gid !== 0 || (mode & 0o022) !== 0
    })
    expect(loose).toEqual([])
    // As that user of the host: nothing can be opened, wherever it is.
    const opened = everythingBelow(ground.root).filter((name) => {
      if (lstatSync(name).isDirectory()) return false
      const open = `const fs = require('fs'); try { fs.openSync(process.argv[1], fs.constants.O_RDWR | fs.constants.O_NONBLOCK) } catch { process.exit(1) }`
      return spawnSync(process.execPath, ['-e', open, name], { uid: 1000, gid: 1000, cwd: '/' }).status === 0
    })
    expect(opened).toEqual([])
  })

  test('a terminal whose children go on writing costs no memory when its leader exits', async () => {
    const container = await ground.running()
    const shim = shimOf(container)
    const job = await container.exec('warm', { ...sh('seq 1 3000'), terminal: true }, { stdout: 'pipe' })
    job.stdout.resume()
    await job.wait()
    const before = Number.parseInt(statusLine(shim, 'VmHWM'))
    compileProgram('detached_writers', join(ground.rootfs, 'bin'))
    for (let n = 0; n < 4; ++n) {
      const flood = await container.exec(
        `flood-${n}`,
        { args: ['/bin/detached_writers'], terminal: true },
        { stdout: 'pipe' },
      )
      await soon('the exit', flood.wait())
      await flood.close()
    }
    expect(Number.parseInt(statusLine(shim, 'VmHWM')) - before).toBeLessThan(1024)
  })

  test('wait() for kept output of which another process reads a part', async () => {
    const container = await ground.running()
    for (let n = 0; n < 40; ++n) {
      // Slower than what is kept: so that some of it lies in the pipe at the exit, for the thief to take.
      const job = await container.exec(
        `job-${n}`,
        sh('(exec cat <&1 > /dev/null) & (exec cat <&1 > /dev/null) & seq 1 4000'),
        { stdout: { keep: 64 } },
      )
      job.stdout.resume()
      await soon(`wait ${n}`, job.wait())
      job.stdout.destroy()
      await container.exec(`kill-${n}`, sh('killall cat'))
    }
  })

  test('a terminal’s output into a socket that nobody reads holds nobody up', async () => {
    const container = await ground.running()
    const program = new Program(
      `const c = await Container.load(args.root, args.id)
       await c.exec('flood', { args: ['/bin/yes', '0123456789'], terminal: true }, { stdout: 2 })
       say('runs')
       await sleep(1e6)`,
      { root: ground.root, id: container.id },
    )
    program.child.stderr?.pause()
    try {
      expect(await program.next()).toBe('runs')
      await new Promise((resolve) => setTimeout(resolve, 300))
      for (let n = 0; n < 5; ++n) {
        expect((await soon('an exec', (await container.exec(`n-${n}`, sh('exit 4'))).wait())).exitCode).toBe(
          4,
        )
      }
    } finally {
      program.kill()
      program.child.stderr?.destroy()
    }
  })

  test('a terminal whose input is a FIFO ends when it is told to, not before', async () => {
    const container = await ground.running()
    const path = ground.newFifo()
    const job = await container.exec(
      'job',
      { args: ['/bin/cat'], terminal: true },
      { stdin: path, stdout: 'pipe' },
    )
    const out = collect(job.stdout)
    for (const word of ['one', 'two']) {
      const fd = openSync(path, constants.O_WRONLY | constants.O_NONBLOCK)
      writeSync(fd, `${word}\n`)
      closeSync(fd)
      await eventually(word, () => out().endsWith(`${word}\r\n${word}\r\n`))
    }
    expect(isAlive(job.pid)).toBe(true)
    await job.closeStdin()
    expect((await soon('the end', job.wait())).exitCode).toBe(0)
  })

  test('inherited pipes and sockets: blocking for the child, ours as it was', async () => {
    const container = await ground.running()
    const path = ground.newFifo()
    const ends = [
      openSync(path, constants.O_RDONLY | constants.O_NONBLOCK),
      openSync(path, constants.O_WRONLY),
    ]
    for (const kind of ['socket', 'pipe'] as const) {
      // What the program has said before makes its end non-blocking.
      const program = new Program(
        `const c = await Container.load(args.root, args.id)
         const { Socket } = require('node:net')
         const flags = () => parseInt(/flags:\\s*(\\d+)/.exec(require('node:fs').readFileSync('/proc/self/fdinfo/2', 'utf8'))[1], 8) & 0o4000
         process.stderr.write('first\\n')
         new Socket({ fd: 2, readable: false, writable: true })
         process.stdin.pause()
         say(flags())
         const job = await c.exec(args.kind, { args: ['/bin/dd', 'if=/dev/zero', 'bs=1M', 'count=6'] }, { stdout: 2 })
         say((await job.wait()).exitCode)
         const cat = await c.exec(args.kind + '-cat', { args: ['/bin/cat'] }, { stdin: 'inherit', stdout: 'pipe' })
         let all = ''
         cat.stdout.on('data', (chunk) => { all += chunk })
         say('reads')
         say([(await cat.wait()).exitCode, all])
         say(flags())
         process.exit(0)`,
        { root: ground.root, id: container.id, kind },
        ['pipe', 'pipe', kind === 'socket' ? 'pipe' : (ends[1] as number)],
      )
      let bytes = 0
      const reading =
        kind === 'pipe'
          ? setInterval(() => {
              bytes += drain(ends[0] as number)
            }, 2)
          : undefined
      try {
        expect(await program.next(), 'it was non-blocking').toBe(0o4000)
        expect(await soon('dd', program.next()), kind).toBe(0)
        expect(await program.next()).toBe('reads')
        await new Promise((resolve) => setTimeout(resolve, 100))
        program.child.stdin?.end('a line\n')
        expect(await soon('cat', program.next()), kind).toEqual([0, 'a line\n'])
        expect(await program.next(), 'and is so still').toBe(0o4000)
        await program.ended
        await eventually('all of it', () => (kind === 'pipe' ? bytes : program.stderr.length) >= 6 << 20)
      } finally {
        clearInterval(reading)
        program.kill()
      }
    }
    for (const fd of ends) closeSync(fd)
  }, 120_000)

  test('closeStdin() of a terminal ends the input after part of a line, and once at the start of one', async () => {
    const container = await ground.running()
    for (const [n, [typed, end]] of (
      [
        ['part', (job: Process) => job.closeStdin()],
        ['line\n', (job: Process) => job.closeStdin()],
        ['', (job: Process) => job.closeStdin()],
        ['part', (job: Process) => Promise.resolve(job.stdin?.end())],
      ] as [string, (job: Process) => Promise<unknown>][]
    ).entries()) {
      // The second cat must not see an end of file that was meant for the first.
      const job = await container.exec(
        `job-${n}`,
        { ...sh('cat; echo over; if read -t 1 x; then :; else echo "code $?"; fi'), terminal: true },
        { stdin: 'pipe', stdout: 'pipe' },
      )
      const out = collect(job.stdout)
      if (typed !== '') job.stdin.write(typed)
      await eventually('the echo', () => out().startsWith(typed.trim()))
      await end(job)
      await soon('the end', job.wait())
      expect(out()).toContain('over')
    }
    // From another handle, while a FIFO is its input.
    const path = ground.newFifo()
    const job = await container.exec(
      'fifo',
      { args: ['/bin/cat'], terminal: true },
      { stdin: path, stdout: 'pipe' },
    )
    const out = collect(job.stdout)
    const fd = openSync(path, 'w')
    writeSync(fd, 'part')
    await eventually('the echo', () => out() === 'part')
    await (await Container.load(ground.root, container.id)).processes.get('fifo')?.closeStdin()
    expect((await soon('the end', job.wait())).exitCode).toBe(0)
    closeSync(fd)
  })

  test('the end-of-file character waits until a terminal takes it', async () => {
    const container = await ground.running()
    const path = ground.newFifo()
    const job = await container.exec(
      'job',
      {
        ...sh('stty -echo; echo ready; while [ ! -e /tmp/go ]; do sleep 0.02; done; wc -c'),
        terminal: true,
      },
      { stdin: path, stdout: 'pipe' },
    )
    const out = collect(job.stdout)
    await eventually('ready', () => out() === 'ready\r\n')
    const fd = openSync(path, 'w')
    // More than a terminal holds.
    const bytes = Buffer.from('0123456789\n'.repeat(4000))
    writeSync(fd, bytes)
    await job.closeStdin()
    await (await container.exec('go', sh('touch /tmp/go'))).wait()
    expect((await soon('the end', job.wait())).exitCode).toBe(0)
    expect(out()).toBe(`ready\r\n${bytes.length}\r\n`)
    closeSync(fd)
  })
})
