// What an exec'd process is: user, groups, capabilities, limits, environment, directory, cgroups, namespaces, descriptors.
import {
  chmodSync,
  closeSync,
  existsSync,
  mkdirSync,
  openSync,
  readFileSync,
  readdirSync,
  readlinkSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import type { Container, ProcessSpec } from '../../lib/index.js'
import { capabilities, environment } from '../support/bundle.js'
import { shimOf, useContainers } from '../support/containers.js'
import { expectCode, failure, run } from '../support/expect.js'
import { cannotRunContainers, runtimes } from '../support/machine.js'
import { descriptors, isAlive, read, statusLine, threadCount } from '../support/processes.mjs'
import { Program } from '../support/programs.js'
import { eventually } from '../support/wait.js'

const skip = cannotRunContainers()
const sleeper = ['/bin/sleep', '1000']

/** CAP_KILL is 5 everywhere: capability.h. */
const capabilityNumbers: Record<string, bigint> = {
  CAP_CHOWN: 0n,
  CAP_DAC_OVERRIDE: 1n,
  CAP_KILL: 5n,
  CAP_SETGID: 6n,
  CAP_SETUID: 7n,
  CAP_NET_BIND_SERVICE: 10n,
  CAP_AUDIT_WRITE: 29n,
}

function mask(names: string[]): string {
  const bits = names.reduce((sum, name) => sum | (1n << (capabilityNumbers[name] as bigint)), 0n)
  return bits.toString(16).padStart(16, '0')
}

function capabilitySets(pid: number): Record<string, string> {
  return Object.fromEntries(
    ['CapInh', 'CapPrm', 'CapEff', 'CapBnd', 'CapAmb'].map((key) => [key, statusLine(pid, key)]),
  )
}

describe.skipIf(skip).each(runtimes)('exec in a container of %s', (runtime) => {
  const ground = useContainers(runtime)
  let serial = 0

  async function sleeping(container: Container, spec: Partial<ProcessSpec> = {}): Promise<number> {
    return (await container.exec(`sleeper-${++serial}`, { ...spec, args: sleeper })).pid
  }

  test('environment: inherited whole when left out, replaced whole when given, the last of two counts', async () => {
    const container = await ground.running()
    const lines = (text: string): string[] => text.trim().split('\n').sort()
    expect(lines((await run(container, ['/bin/env'])).stdout)).toEqual([...environment].sort())
    expect(
      lines((await run(container, ['/bin/env'], { env: ['A=1', 'HOME=/x', 'A=2', 'E='] })).stdout),
    ).toEqual(['A=2', 'E=', 'HOME=/x'])
    expect(lines((await run(container, ['/bin/env'], { env: ['HOME='] })).stdout)).toEqual(['HOME=/root'])
    expect(
      lines((await run(container, ['/bin/env'], { env: ['A=1'], user: { uid: 1000, gid: 1000 } })).stdout),
    ).toEqual(['A=1', 'HOME=/home/user'])
    expect(
      lines((await run(container, ['/bin/env'], { env: [], user: { uid: 4242, gid: 0 } })).stdout),
    ).toEqual(['HOME=/'])
    expect((await failure(container.exec('job', { args: ['/bin/env'], env: ['=1'] }))).code).toBe(
      'ERR_INVALID_ARG_VALUE',
    )
    // The last line needs no end.
    const last = 'root:x:0:0:root:/root:/bin/sh\nlast:x:77:77::/home/last:/bin/sh'
    await run(container, `cp /etc/passwd /tmp/passwd; printf '${last.replaceAll('\n', '\\n')}' > /etc/passwd`)
    expect(
      lines((await run(container, ['/bin/env'], { env: [], user: { uid: 77, gid: 77 } })).stdout),
    ).toEqual(['HOME=/home/last'])
    await run(container, 'cat /tmp/passwd > /etc/passwd')
    const long = 'x'.repeat(100_000)
    expect((await run(container, 'echo ${#LONG}', { env: [`LONG=${long}`] })).stdout).toBe('100000\n')
  })

  test('working directory: inherited, given, relative to nothing on the host', async () => {
    const container = await ground.running({ bundle: ground.bundleOf(sleeper, { cwd: '/home' }) })
    expect((await run(container, ['/bin/pwd'])).stdout).toBe('/home\n')
    expect((await run(container, ['/bin/pwd'], { cwd: '/usr/bin' })).stdout).toBe('/usr/bin\n')
    const missing = await expectCode(
      container.exec('missing', { args: ['/bin/pwd'], cwd: '/not/here' }),
      'ERR_SYSCALL',
    )
    expect(missing).toMatchObject({
      errno: 2,
      syscall: 'chdir',
      path: '/not/here',
      containerId: container.id,
      processId: 'missing',
    })
    const file = await expectCode(
      container.exec('file', { args: ['/bin/pwd'], cwd: '/etc/plain' }),
      'ERR_SYSCALL',
    )
    expect(file).toMatchObject({ errno: 20, syscall: 'chdir', path: '/etc/plain' })
    expect([...container.processes.keys()].filter((id) => !id.startsWith('run-'))).toEqual(['init'])
    expect(readdirSync(join(ground.root, container.id))).not.toContain('missing')
  })

  test('a directory that only its user may enter', async () => {
    const directory = join(ground.rootfs, 'home/private')
    mkdirSync(directory, { recursive: true, mode: 0o700 })
    const container = await ground.running()
    await run(container, 'chown 1000:1000 /home/private && chmod 700 /home/private')
    const user = { uid: 1000, gid: 1000 }
    const none = { bounding: [], effective: [], permitted: [] }
    expect(
      (await run(container, ['/bin/pwd'], { cwd: '/home/private', user, capabilities: none })).stdout,
    ).toBe('/home/private\n')
  })

  test('user, group and supplementary groups, exactly as given', async () => {
    const container = await ground.running()
    const ids = (pid: number): string[] => [
      statusLine(pid, 'Uid'),
      statusLine(pid, 'Gid'),
      statusLine(pid, 'Groups').trim(),
    ]
    expect(ids(await sleeping(container))).toEqual(['0\t0\t0\t0', '0\t0\t0\t0', ''])
    const pid = await sleeping(container, { user: { uid: 1234, gid: 2345, additionalGids: [7, 3000000000] } })
    expect(ids(pid)).toEqual(['1234\t1234\t1234\t1234', '2345\t2345\t2345\t2345', '7 3000000000'])
    // The user of the container's own process is taken whole, or not at all.
    const other = await ground.running({
      bundle: ground.bundleOf(sleeper, { user: { uid: 11, gid: 12, additionalGids: [13] } }),
    })
    expect(ids(await sleeping(other))).toEqual(['11\t11\t11\t11', '12\t12\t12\t12', '13'])
    expect(ids(await sleeping(other, { user: { uid: 21 } }))).toEqual(['21\t21\t21\t21', '0\t0\t0\t0', ''])
  })

  test.each([-1, 2 ** 32 - 1, 2 ** 32, 1.5, '0', null, 'root'])('uid %j never ends as root', async (uid) => {
    const container = await ground.running()
    const error = await failure(container.exec('job', { args: ['/bin/id'], user: { uid: uid as number } }))
    expect(error).toMatchObject({ code: 'ERR_INVALID_ARG_VALUE' })
    expect([...container.processes.keys()]).toEqual(['init'])
  })

  test('null is as good as left out, and never less confined', async () => {
    const container = await ground.running({ bundle: ground.bundleOf(sleeper, { user: { uid: 5, gid: 6 } }) })
    const nothing = { user: null, capabilities: null, noNewPrivileges: null, cwd: null, rlimits: null }
    const pid = await sleeping(container, nothing as unknown as ProcessSpec)
    expect(statusLine(pid, 'Uid')).toBe('5\t5\t5\t5')
    expect(statusLine(pid, 'NoNewPrivs')).toBe('1')
    expect(statusLine(pid, 'CapBnd')).toBe(mask(capabilities))
  })

  test('capabilities: the five sets exactly, for root and for a user', async () => {
    const container = await ground.running()
    const all = mask(capabilities)
    const none = mask([])
    expect(capabilitySets(await sleeping(container))).toEqual({
      CapInh: none,
      CapPrm: all,
      CapEff: all,
      CapBnd: all,
      CapAmb: none,
    })
    const given = {
      bounding: ['CAP_KILL', 'CAP_CHOWN', 'CAP_SETUID'],
      permitted: ['CAP_KILL', 'CAP_CHOWN'],
      effective: ['CAP_KILL'],
      inheritable: ['CAP_KILL'],
      ambient: ['CAP_KILL'],
    }
    expect(
      capabilitySets(await sleeping(container, { capabilities: given, user: { uid: 1000, gid: 1000 } })),
    ).toEqual({
      CapInh: mask(['CAP_KILL']),
      CapPrm: mask(['CAP_KILL']), // at execve(2) a user keeps what is ambient
      CapEff: mask(['CAP_KILL']),
      CapBnd: mask(given.bounding),
      CapAmb: mask(['CAP_KILL']),
    })
    // Root's permitted set after execve(2) is the bounding set (capabilities(7)), but for no_new_privs.
    for (const noNewPrivileges of [false, true]) {
      const spec = { noNewPrivileges, capabilities: { bounding: ['CAP_KILL'], permitted: [], effective: [] } }
      expect(capabilitySets(await sleeping(container, spec))).toEqual({
        CapInh: none,
        CapPrm: noNewPrivileges ? none : mask(['CAP_KILL']),
        CapEff: noNewPrivileges ? none : mask(['CAP_KILL']),
        CapBnd: mask(['CAP_KILL']),
        CapAmb: none,
      })
    }
    expect(capabilitySets(await sleeping(container, { capabilities: {} }))).toEqual({
      CapInh: none,
      CapPrm: none,
      CapEff: none,
      CapBnd: none,
      CapAmb: none,
    })
    expect(
      await failure(container.exec('job', { args: sleeper, capabilities: { bounding: ['CAP_NONE'] } })),
    ).toMatchObject({ code: 'ERR_INVALID_ARG_VALUE' })
  })

  test('no_new_privs, oom_score_adj, umask, scheduling', async () => {
    const container = await ground.running()
    expect(statusLine(await sleeping(container), 'NoNewPrivs')).toBe('1')
    expect(statusLine(await sleeping(container, { noNewPrivileges: false }), 'NoNewPrivs')).toBe('0')
    const pid = await sleeping(container, { oomScoreAdj: 321 })
    expect(read(`/proc/${pid}/oom_score_adj`)?.trim()).toBe('321')
    expect(statusLine(await sleeping(container), 'Umask')).toBe('0022')
    expect(statusLine(await sleeping(container, { user: { uid: 0, gid: 0, umask: 0o77 } }), 'Umask')).toBe(
      '0077',
    )
    const nice = await sleeping(container, { scheduler: { policy: 'SCHED_BATCH', nice: 5 } })
    // Fields 19 (nice) and 41 (policy) of proc_pid_stat(5); SCHED_BATCH is 3.
    const fields = (read(`/proc/${nice}/stat`) ?? '').replace(/^.*\) /, '').split(' ')
    expect([fields[16], fields[38]]).toEqual(['5', '3'])
    const pinned = await sleeping(container, { execCPUAffinity: { initial: '0', final: '0' } })
    expect(statusLine(pinned, 'Cpus_allowed_list')).toBe('0')
  })

  test('oom_score_adj and no_new_privs of the container are inherited', async () => {
    const container = await ground.running({
      bundle: ground.bundleOf(sleeper, { oomScoreAdj: 500, noNewPrivileges: false }),
    })
    const pid = await sleeping(container)
    expect(read(`/proc/${pid}/oom_score_adj`)?.trim()).toBe('500')
    expect(statusLine(pid, 'NoNewPrivs')).toBe('0')
  })

  test('the CPUs that its program is bound to are not those of an exec', async () => {
    const options = ground.options()
    const program = new Program(
      `const c = await Container.create(args)
       await c.start()
       const job = await c.exec('job', { args: ['/bin/sleep', '1000'] })
       const bound = await c.exec('bound', { args: ['/bin/sleep', '1000'], execCPUAffinity: { final: '0' } })
       say([job.pid, bound.pid])
       await sleep(1e6)`,
      options,
      undefined,
      ['taskset', '-c', '0'],
    )
    const [job, bound] = (await program.next()) as [number, number]
    expect(statusLine(job, 'Cpus_allowed_list')).toBe(statusLine(process.pid, 'Cpus_allowed_list'))
    expect(statusLine(bound, 'Cpus_allowed_list')).toBe('0')
    program.kill()
    await program.ended
  })

  test('rlimits: inherited and given', async () => {
    const container = await ground.running()
    // As both runtimes have it, none at all is none of its own.
    expect((await run(container, 'ulimit -n -H', { rlimits: [] })).stdout).toBe('1024\n')
    const limits = (pid: number, name: string): string[] =>
      new RegExp(`^${name}\\s+(\\S+)\\s+(\\S+)`, 'm').exec(read(`/proc/${pid}/limits`) ?? '')?.slice(1) ?? []
    expect(limits(await sleeping(container), 'Max open files')).toEqual(['512', '1024'])
    const pid = await sleeping(container, {
      rlimits: [
        { type: 'RLIMIT_NOFILE', soft: 100, hard: 200 },
        { type: 'RLIMIT_CORE', soft: 0, hard: 0 },
        { type: 'RLIMIT_CPU', soft: 1000, hard: 2000 },
      ],
    })
    expect(limits(pid, 'Max open files')).toEqual(['100', '200'])
    expect(limits(pid, 'Max core file size')).toEqual(['0', '0'])
    expect(limits(pid, 'Max cpu time')).toEqual(['1000', '2000'])
    for (const rlimits of [
      [{ type: 'RLIMIT_NONE', soft: 1, hard: 1 }],
      [{ type: 'RLIMIT_NOFILE', soft: 2, hard: 1 }],
      [{ type: 'RLIMIT_NOFILE', soft: -1, hard: 1 }],
      [
        { type: 'RLIMIT_CORE', soft: 0, hard: 0 },
        { type: 'RLIMIT_CORE', soft: 0, hard: 0 },
      ],
    ]) {
      expect(await failure(container.exec('job', { args: sleeper, rlimits }))).toMatchObject({
        code: 'ERR_INVALID_ARG_VALUE',
      })
    }
  })

  test('exit codes and signals', async () => {
    const container = await ground.running()
    for (const code of [0, 1, 127, 128, 137, 255]) {
      expect((await run(container, `exit ${code}`)).status).toMatchObject({
        exitCode: code,
        signal: null,
        known: true,
      })
    }
    for (const [name, number] of [
      ['SIGHUP', 1],
      ['SIGKILL', 9],
      ['SIGSEGV', 11],
      ['SIGTERM', 15],
    ] as const) {
      expect((await run(container, `kill -${number} $$`)).status).toMatchObject({
        exitCode: 128 + number,
        signal: name,
        known: true,
        oomKilled: false,
      })
    }
  })

  test('PATH is looked up in the container, by the environment of the exec', async () => {
    const container = await ground.running()
    expect((await run(container, ['only-in-usr-bin'])).stdout).toBe('found in /usr/bin\n')
    expect((await run(container, ['sh', '-c', 'echo $0'])).stdout).toBe('sh\n')
    const error = await expectCode(
      container.exec('job', { args: ['only-in-usr-bin'], env: ['PATH=/bin'] }),
      'ERR_SYSCALL',
    )
    expect(error).toMatchObject({ errno: 2, syscall: 'execve', path: 'only-in-usr-bin' })
    await expectCode(container.exec('job', { args: ['sh'], env: ['A=1'] }), 'ERR_SYSCALL')
    // A relative entry would run what lies in the working directory.
    const relative = await expectCode(
      container.exec('job', { args: ['only-in-usr-bin'], cwd: '/usr/bin', env: ['PATH=.:'] }),
      'ERR_SYSCALL',
    )
    expect(relative).toMatchObject({ errno: 2 })
    expect((await run(container, ['./only-in-usr-bin'], { cwd: '/usr/bin' })).stdout).toBe(
      'found in /usr/bin\n',
    )
  })

  test('PATH: an entry that leads nowhere is passed over, a file that cannot run is not', async () => {
    const container = await ground.running()
    const script = join(ground.rootfs, 'home/user/only-in-usr-bin')
    writeFileSync(script, '#!/no/interpreter\n', { mode: 0o755 })
    rmSync(join(ground.rootfs, 'tangle'), { force: true })
    symlinkSync('tangle', join(ground.rootfs, 'tangle'))
    const look = (path: string): ProcessSpec => ({ args: ['only-in-usr-bin'], env: [`PATH=${path}`] })
    for (const nowhere of ['/tangle', `/${'long'.repeat(64)}`, '/etc/passwd', '/none']) {
      const { stdout } = await run(container, ['only-in-usr-bin'], { env: [`PATH=${nowhere}:/usr/bin:/bin`] })
      expect(stdout, nowhere).toBe('found in /usr/bin\n')
      const error = await expectCode(container.exec('job', look(nowhere)), 'ERR_SYSCALL')
      expect(error, nowhere).toMatchObject({ errno: 2, syscall: 'execve' })
    }
    const error = await expectCode(container.exec('job', look('/home/user:/usr/bin:/bin')), 'ERR_SYSCALL')
    expect(error).toMatchObject({ errno: 2, syscall: 'execve', path: 'only-in-usr-bin' })
    chmodSync(script, 0o644)
    expect(
      (await run(container, ['only-in-usr-bin'], { env: ['PATH=/home/user:/usr/bin:/bin'] })).stdout,
    ).toBe('found in /usr/bin\n')
    rmSync(script)
  })

  test.each([
    ['missing', '/bin/none', 2],
    ['not executable', '/etc/plain', 13],
    ['a directory', '/etc', 13],
    ['below a file', '/etc/plain/x', 20],
    ['no program', '/etc/garbage', 8],
    ['a loop of links', '/etc/loop', 40],
  ])('args[0] %s: an error with the path, and no process', async (_, path, errno) => {
    writeFileSync(join(ground.rootfs, 'etc/garbage'), '\x7fnot an ELF file', { mode: 0o755 })
    try {
      symlinkSync('loop', join(ground.rootfs, 'etc/loop'))
    } catch {
      // made by an earlier test
    }
    const container = await ground.running()
    const shim = shimOf(container)
    const before = descriptors(shim).size
    const error = await expectCode(container.exec('job', { args: [path] }, { stdout: 'pipe' }), 'ERR_SYSCALL')
    expect(error).toMatchObject({ syscall: 'execve', path, processId: 'job', containerId: container.id })
    expect([errno, 2]).toContain(error.errno)
    expect(error.message).toContain(path)
    expect([...container.processes.keys()]).toEqual(['init'])
    expect(readdirSync(join(ground.root, container.id))).not.toContain('job')
    await eventually('the descriptors are given back', () => descriptors(shim).size <= before)
    // The id is free.
    expect(await (await container.exec('job', { args: ['/bin/true'] })).wait()).toMatchObject({ exitCode: 0 })
  })

  test('no descriptor of the host comes along', async () => {
    const container = await ground.running()
    const leaks = Array.from({ length: 20 }, () => openSync('/proc/version', 'r'))
    try {
      for (const stdio of ['ignore', 'pipe'] as const) {
        const job = await container.exec(
          `job-${stdio}`,
          { args: sleeper },
          { stdin: stdio, stdout: stdio, stderr: stdio },
        )
        expect([...descriptors(job.pid).keys()].sort()).toEqual([0, 1, 2])
      }
      const { stdout } = await run(container, ['/bin/ls', '/proc/self/fd'])
      expect(stdout.trim().split('\n')).toEqual(['0', '1', '2', '3']) // 3 is the directory that ls reads
    } finally {
      leaks.forEach((fd) => closeSync(fd))
    }
  })

  test('cgroups and namespaces are those of init', async () => {
    const container = await ground.running()
    const init = container.processes.get('init')?.pid as number
    const pid = await sleeping(container)
    expect(readFileSync(`/proc/${pid}/cgroup`, 'utf8')).toBe(readFileSync(`/proc/${init}/cgroup`, 'utf8'))
    expect(readFileSync(`/proc/${pid}/cgroup`, 'utf8')).toContain(container.id)
    for (const name of readdirSync(`/proc/${init}/ns`)) {
      expect(readlinkSync(`/proc/${pid}/ns/${name}`), name).toBe(readlinkSync(`/proc/${init}/ns/${name}`))
    }
    expect(readlinkSync(`/proc/${pid}/root`)).toBe('/')
    expect((await container.pids()).sort()).toEqual([init, pid].sort())
    expect((await run(container, ['/bin/ls', '/'])).stdout).toContain('closed')
    expect(statusLine(pid, 'NSpid').split('\t')).toHaveLength(2)
    expect((await run(container, 'echo $$')).stdout.trim()).not.toBe('1')
  })

  test('when an exec is told of, no task that set it up is left', async () => {
    const container = await ground.running()
    const init = container.processes.get('init')?.pid as number
    for (let n = 0; n < 200; ++n) {
      const job = await container.exec(`job-${n}`, { args: sleeper })
      expect(container.pidsSync().sort(), `exec ${n}`).toEqual([init, job.pid].sort())
      expect(container.statsSync().pids.current, `exec ${n}`).toBe(2)
      await job.kill('SIGKILL')
      await job.wait()
    }
  })

  test('a process group and session of its own, no signal blocked or ignored', async () => {
    const container = await ground.running()
    const pid = await sleeping(container)
    const stat = (read(`/proc/${pid}/stat`) ?? '').replace(/^.*\) /, '').split(' ')
    expect(stat.slice(2, 4)).toEqual([String(pid), String(pid)])
    expect(statusLine(pid, 'SigBlk')).toBe('0000000000000000')
    expect(statusLine(pid, 'SigIgn')).toBe('0000000000000000')
    expect(threadCount(pid)).toBe(1)
  })

  test('fifty at once', async () => {
    const container = await ground.running()
    const results = await Promise.all(
      Array.from({ length: 50 }, async (_, n) => {
        const job = await container.exec(
          `job-${n}`,
          { args: ['/bin/sh', '-c', `echo ${n}; exit ${n}`] },
          { stdout: 'pipe' },
        )
        const chunks: Buffer[] = []
        job.stdout?.on('data', (chunk: Buffer) => chunks.push(chunk))
        const { exitCode } = await job.wait()
        return [exitCode, Buffer.concat(chunks).toString()]
      }),
    )
    expect(results).toEqual(Array.from({ length: 50 }, (_, n) => [n, `${n}\n`]))
  })

  test('of two with one id at once one runs', async () => {
    const container = await ground.running()
    const other = await (await import('../../lib/index.js')).Container.load(ground.root, container.id)
    const both = await Promise.allSettled([
      container.exec('job', { args: sleeper }),
      other.exec('job', { args: sleeper }),
      container.exec('job', { args: sleeper }),
    ])
    expect(both.map(({ status }) => status).sort()).toEqual(['fulfilled', 'rejected', 'rejected'])
    for (const result of both) {
      if (result.status === 'rejected') expect(result.reason).toMatchObject({ code: 'ERR_PROCESS_EXISTS' })
      else expect(isAlive(result.value.pid)).toBe(true)
    }
    await other.close()
  })

  test('an id that the state directory uses itself', async () => {
    const container = await ground.running()
    for (const id of [
      'init',
      'state.json',
      'shim.sock',
      'shim.lock',
      'log.json',
      'console.sock',
      '..',
      'a/b',
      '',
    ]) {
      const error = await failure(container.exec(id, { args: ['/bin/true'] }))
      expect(error.code, id).toBe(id === 'init' ? 'ERR_PROCESS_EXISTS' : 'ERR_INVALID_ARG_VALUE')
    }
    expect((await run(container, 'echo still here')).stdout).toBe('still here\n')
  })

  test('confinement that cannot be applied is refused', async () => {
    const container = await ground.running()
    const apparmor = (read('/sys/module/apparmor/parameters/enabled') ?? '').startsWith('Y')
    await expectCode(
      container.exec('job', { apparmorProfile: 'no-such-profile', args: ['/bin/true'] }),
      apparmor ? 'ERR_SYSCALL' : 'ERR_UNSUPPORTED',
    )
    const selinux = existsSync('/sys/fs/selinux/enforce')
    await expectCode(
      container.exec('job', { selinuxLabel: 'no-such-label', args: ['/bin/true'] }),
      selinux ? 'ERR_SYSCALL' : 'ERR_UNSUPPORTED',
    )
    expect([...container.processes.keys()]).toEqual(['init'])
  })

  test('a thousand in turn leave descriptors and threads of program and shim where they were', async () => {
    const container = await ground.running()
    const shim = shimOf(container)
    const one = async (n: number): Promise<void> => {
      const job = await container.exec(
        `job-${n}`,
        { args: ['/bin/busybox', 'true'] },
        { stdout: 'pipe', stderr: 'pipe' },
      )
      job.stdout?.resume()
      job.stderr?.resume()
      expect((await job.wait()).exitCode).toBe(0)
      await container.removeProcess(`job-${n}`)
    }
    for (let n = 0; n < 20; ++n) await one(n)
    const count = (): number[] =>
      [process.pid, shim].flatMap((pid) => [descriptors(pid).size, threadCount(pid)])
    let before: number[] = []
    await eventually('a quiet moment', async () => {
      before = count()
      await new Promise((resolve) => setTimeout(resolve, 50))
      return String(before) === String(count())
    })
    for (let n = 0; n < 1000; ++n) await one(n)
    await eventually(`descriptors and threads as before: ${before.join()}, now ${count().join()}`, () =>
      count().every((value, index) => value <= (before[index] as number)),
    )
  })
})
