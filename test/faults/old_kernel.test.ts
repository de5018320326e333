// Kernels older than this one: each call that came late is answered as it would be there, to the program, its shim, the
// runtime and all that runs in the container, by a seccomp filter over them. The README's table says what is done then.
import { chmodSync, readdirSync, readFileSync, readlinkSync } from 'node:fs'
import { beforeAll, describe, expect, test } from 'vitest'
import { load } from '../../lib/native/load.js'
import { Container } from '../../lib/index.js'
import { compileProgram } from '../support/compile.js'
import { shimOf, useContainers } from '../support/containers.js'
import { cannotRunContainers, runtimes } from '../support/machine.js'
import { Program, runProgram } from '../support/programs.js'
import { shimsBelow, statusLine } from '../support/processes.mjs'
import { eventually } from '../support/wait.js'

const skip = cannotRunContainers()

/** What a kernel lacks, by the version that brought it. */
const lacks: [string, string[]][] = [
  ['clone3, Linux 5.3', ['clone3=ENOSYS']],
  ['pidfd_open, Linux 5.3', ['pidfd_open=ENOSYS']],
  ['pidfd_send_signal, Linux 5.1', ['pidfd_send_signal=ENOSYS']],
  ['setns with a pidfd, Linux 5.8', ['setns-pidfd=EINVAL']],
  ['close_range, Linux 5.9', ['close_range=ENOSYS']],
  ['PIDFD_GET_INFO, Linux 6.13', ['pidfd-info=EINVAL']],
  ['openat2, Linux 5.6', ['openat2=ENOSYS']],
  ['statx, Linux 4.11', ['statx=ENOSYS']],
  ['renameat2 on every file system', ['renameat2=EINVAL']],
  [
    'all that came after Linux 4.14',
    [
      ...[
        'clone3',
        'pidfd_open',
        'pidfd_send_signal',
        'close_range',
        'openat2',
        'faccessat2',
        'mount_setattr',
      ].map((name) => `${name}=ENOSYS`),
      ...['setns-pidfd', 'pidfd-info'].map((name) => `${name}=EINVAL`),
    ],
  ],
]

describe.skipIf(skip).each(runtimes)('an older kernel, %s', (runtime) => {
  const ground = useContainers(runtime)
  let without = ''
  beforeAll(() => {
    without = compileProgram('without', ground.directory)
    chmodSync(ground.directory, 0o711)
  })

  const userNamespace = (): string =>
    ground.bundle((config) => {
      const mapping = [{ containerID: 0, hostID: 100000, size: 65536 }]
      config.linux.namespaces.push({ type: 'user' })
      Object.assign(config.linux, { uidMappings: mapping, gidMappings: mapping })
    })

  describe.each(lacks)('without %s', (_, calls) => {
    test.each([false, true])('a life, user namespace %j', async (user) => {
      const options = ground.options({ ...(user ? { bundle: userNamespace() } : {}) })
      const said = await runProgram(
        `const text = async (stream) => { let out = ''; for await (const chunk of stream) out += chunk; return out }
         const c = await Container.create(args)
         await c.start()
         const run = async (id, spec) => {
           const job = await c.exec(id, spec, { stdout: 'pipe', stderr: 'pipe' })
           const [out, err, { exitCode, known }] = await Promise.all([text(job.stdout), text(job.stderr), job.wait()])
           return [out, err, exitCode, known]
         }
         say(await run('words', { args: ['/bin/sh', '-c', 'echo out; echo err >&2; exit 3'] }))
         say(await run('descriptors', {
           args: ['/bin/sh', '-c', 'ls /proc/$$/fd; true'],
           rlimits: [{ type: 'RLIMIT_NOFILE', soft: 16, hard: 16 }],
         }))
         const terminal = await c.exec('terminal', {
           args: ['/bin/stty', 'size'], terminal: true, consoleSize: { height: 9, width: 8 },
         }, { stdout: 'pipe' })
         say([await text(terminal.stdout), (await terminal.wait()).exitCode])
         const user = await run('user', { args: ['/bin/id', '-u'], user: { uid: 1000, gid: 1000, additionalGids: [5] } })
         say(user)
         const job = await c.exec('job', { args: ['/bin/sleep', '1000'] })
         say((await c.pids()).includes(job.pid))
         await c.pause()
         say(await c.status())
         await c.resume()
         await c.updateResources({ pids: { limit: 300 } })
         say((await c.stats()).pids.limit)
         await job.kill('SIGTERM')
         const end = await job.wait()
         say([end.signal, end.known])
         await c.delete({ force: true })
         say('deleted')`,
        options,
        [without, ...calls, '--'],
      )
      expect(said).toEqual([
        ['out\n', 'err\n', 3, true],
        ['0\n1\n2\n', '', 0, true],
        ['9 8\r\n', 0],
        ['1000\n', '', 0, true],
        true,
        'paused',
        300,
        ['SIGTERM', true],
        'deleted',
      ])
      await ground.expectNothingLeft(options.id)
    })
  })

  // What is done instead matters for what a shim finds that it has not started.
  const adopting = lacks.filter(([, calls]) => calls.some((call) => call.includes('pidfd')))
  test.each(adopting)(
    'without %s: confined and placed as init, and found by the next shim',
    async (_, calls) => {
      const options = ground.options()
      const program = new Program(
        `const c = await Container.create(args)
       const init = await c.start()
       const job = await c.exec('job', { args: ['/bin/sleep', '1000'] })
       say([init.pid, job.pid])
       await sleep(1e6)`,
        options,
        undefined,
        [without, ...calls, '--'],
      )
      const [init, job] = (await program.next()) as [number, number]
      for (const name of readdirSync(`/proc/${init}/ns`)) {
        expect(readlinkSync(`/proc/${job}/ns/${name}`), name).toBe(readlinkSync(`/proc/${init}/ns/${name}`))
      }
      expect(readFileSync(`/proc/${job}/cgroup`, 'utf8')).toBe(readFileSync(`/proc/${init}/cgroup`, 'utf8'))
      for (const key of ['CapEff', 'CapBnd', 'NoNewPrivs', 'Groups', 'Seccomp', 'SigBlk']) {
        expect(statusLine(job, key), key).toBe(statusLine(init, key))
      }
      expect(statusLine(job, 'Seccomp'), 'the filter is over it').toBe('2')
      program.kill()
      await program.ended
      const [shim] = shimsBelow(ground.root)
      process.kill(shim as number, 'SIGKILL')
      const said = await runProgram(
        `const c = await Container.load(args.root, args.id)
       const job = c.processes.get('job')
       say([c.state, job.state])
       let known = null
       const waiting = job.wait().then((status) => { known = status.known })
       await sleep(300)
       say([known, (await (await c.exec('other', { args: ['/bin/true'] })).wait()).exitCode])
       await job.kill('SIGKILL')
       await waiting
       say(typeof known)
       await c.delete({ force: true })`,
        options,
        [without, ...calls, '--'],
      )
      expect(said).toEqual([['running', 'running'], [null, 0], 'boolean'])
      await ground.expectNothingLeft(options.id)
    },
  )

  test('without TIOCGPTPEER, Linux 4.13: no terminal, and an error that says so', async () => {
    const said = await runProgram(
      `const c = await Container.create(args)
       await c.start()
       const error = await c.exec('job', { args: ['/bin/true'], terminal: true }).catch((error) => error)
       say([error.code, error.errno, error.syscall, error.message])
       say((await (await c.exec('other', { args: ['/bin/true'] })).wait()).exitCode)
       await c.delete({ force: true })`,
      ground.options(),
      [without, 'pt-peer=ENOTTY', '--'],
    )
    expect(said).toEqual([['ERR_UNSUPPORTED', 25, 'TIOCGPTPEER', expect.stringContaining('Linux 4.13')], 0])
  })

  // The C library of program and runtime takes no clone3(2) that knows but old flags: this one for the shim alone.
  test('without CLONE_INTO_CGROUP, Linux 5.7', async () => {
    const container = await ground.running()
    const init = container.processes.get('init')?.pid as number
    await container.close()
    process.kill(shimOf(container), 'SIGKILL')
    await eventually('the shim is gone', () => shimsBelow(ground.root).length === 0)
    Object.assign(process.env, { WITHOUT: 'clone3=EINVAL', WITHOUT_SHIM: load().shim })
    try {
      const loaded = await Container.load(ground.root, container.id, { shim: without })
      const job = await loaded.exec('job', { args: ['/bin/sleep', '1000'] })
      expect(statusLine(shimOf(loaded), 'Seccomp'), 'the filter is over the shim').toBe('2')
      expect(readFileSync(`/proc/${job.pid}/cgroup`, 'utf8')).toBe(
        readFileSync(`/proc/${init}/cgroup`, 'utf8'),
      )
      await job.kill('SIGKILL')
      expect(await job.wait()).toMatchObject({ signal: 'SIGKILL', known: true })
      process.kill(shimOf(loaded), 'SIGKILL')
      await loaded.close()
    } finally {
      delete process.env['WITHOUT']
      delete process.env['WITHOUT_SHIM']
    }
  })
})
