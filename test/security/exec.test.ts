// Holes of the past in an exec itself: each is looked for, and each test is shown to notice it, by a shim that lacks the
// protection.
import { execFileSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import { chmodSync, readFileSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { beforeAll, describe, expect } from 'vitest'
import { load } from '../../lib/native/load.js'
import type { Container, ProcessSpec } from '../../lib/index.js'
import { capabilities, type Config } from '../support/bundle.js'
import { client, frame } from '../support/client.js'
import { compileProgram } from '../support/compile.js'
import { useContainers } from '../support/containers.js'
import { run } from '../support/expect.js'
import { cannotRunContainers, packageRoot, runtimes } from '../support/machine.js'
import { statusLine } from '../support/processes.mjs'
import { row } from '../support/weakened.js'

const skip = cannotRunContainers()
const sleeper = ['/bin/sleep', '1000']

describe.skipIf(skip).each(runtimes)('the past of exec, %s', (runtime) => {
  const ground = useContainers(runtime)
  const prove = runtime === 'runc'
  let serial = 0
  beforeAll(() => {
    compileProgram('peek', join(ground.rootfs, 'bin'))
    compileProgram('probe', join(ground.rootfs, 'bin'))
  })

  const withCapabilities = (...more: string[]): string =>
    ground.bundle((config: Config) => {
      const all = [...capabilities, ...more]
      config.process.capabilities = { bounding: all, effective: all, permitted: all }
    })
  const sleeping = async (container: Container, spec: Partial<ProcessSpec> = {}): Promise<number> =>
    (await container.exec(`sleeper-${++serial}`, { ...spec, args: sleeper })).pid

  /** Whether the exec came to run. */
  const runs = (container: Container, spec: ProcessSpec): Promise<boolean> =>
    container.exec(`try-${++serial}`, spec).then(
      () => true,
      () => false,
    )

  /** What a process in the container sees of the execs' helpers, while many run. */
  async function peeked(container: Container, execs: number): Promise<string[]> {
    const peek = await container.exec('peek', { args: ['/bin/peek', '60000'] }, { stdout: 'pipe' })
    let seen = ''
    peek.stdout?.on('data', (chunk: Buffer) => {
      seen += chunk.toString()
    })
    for (let n = 0; n < execs; n += 4) {
      await Promise.all(
        [0, 1, 2, 3].map(async () =>
          (await container.exec(`job-${++serial}`, { args: ['/bin/true'] })).wait(),
        ),
      )
    }
    await peek.kill('SIGKILL')
    await peek.wait()
    return [...new Set(seen.split('\n').filter((line) => line !== '' && line !== 'ready'))]
  }

  row(
    'CVE-2016-9962',
    "nothing of an exec's helper is open to the container's root",
    'dumpable',
    async () => {
      const container = await ground.running({ bundle: withCapabilities() })
      expect(await peeked(container, 1000)).toEqual([])
    },
    { prove },
  )

  row(
    'CVE-2019-5736, CVE-2020-14298',
    'the container gets no hold of a binary of the host',
    'sealed-copy',
    async () => {
      const shim = process.env['LIBCONTAINER_SHIM'] ?? load().shim
      const files = [shim, process.execPath, join(packageRoot, 'build/Release/libcontainer.node')]
      const hashes = (): string[] =>
        files.map((path) => createHash('sha256').update(readFileSync(path)).digest('hex'))
      const before = hashes()
      const container = await ground.running({ bundle: withCapabilities('CAP_SYS_PTRACE') })
      writeFileSync(join(ground.rootfs, 'bin/itself'), '#!/proc/self/exe\n', { mode: 0o755 })
      for (const args of [['/proc/self/exe'], ['/bin/itself'], ['/proc/self/exe', '/tmp']]) {
        await container.exec(`itself-${++serial}`, { args }).then(
          (job) => job.wait(),
          () => undefined,
        )
      }
      // With CAP_SYS_PTRACE the helper is visible; what it runs from must be a copy of its own.
      const seen = (await peeked(container, 200)).join('\n')
      const inodes = files.map((path) => statSync(path).ino)
      expect(inodes.filter((ino) => new RegExp(`^exe \\d+:\\d+:${ino} `, 'm').test(seen))).toEqual([])
      expect(hashes()).toEqual(before)
    },
    { prove },
  )

  row(
    'CVE-2024-21626',
    'no descriptor of the host becomes the working directory',
    'directory',
    async () => {
      const container = await ground.running()
      const ran: number[] = []
      for (let fd = 3; fd <= 1024; ++fd) {
        if (await runs(container, { args: ['/bin/true'], cwd: `/proc/self/fd/${fd}` })) ran.push(fd)
      }
      expect(ran).toEqual([])
    },
    { prove },
  )

  row(
    'CVE-2024-21626',
    'no descriptor of the host is open to a program, nor is the program found by one',
    'descriptors',
    async () => {
      const container = await ground.running()
      const { stdout } = await run(container, ['/bin/probe'])
      expect(stdout.match(/^fd \d+/gm)).toEqual(['fd 0', 'fd 1', 'fd 2'])
      const ran: number[] = []
      for (let fd = 3; fd <= 1024; ++fd) {
        if (await runs(container, { args: [`/proc/self/fd/${fd}/bin/busybox`, 'true'] })) ran.push(fd)
      }
      expect(ran).toEqual([])
    },
    { prove },
  )

  row(
    'CVE-2019-16884, CVE-2019-19921, CVE-2023-27561, CVE-2023-28642, CVE-2025-52881',
    'a label is never written to what the container put at /proc',
    'labels',
    async () => {
      const container = await ground.running({ bundle: withCapabilities('CAP_SYS_ADMIN') })
      const laid = await run(
        container,
        `mount -t tmpfs none /proc && mkdir -p /proc/self/attr/apparmor &&
         touch /proc/self/attr/exec /proc/self/attr/apparmor/exec && echo laid`,
      )
      expect(laid.stdout, laid.stderr).toBe('laid\n')
      expect(await runs(container, { args: ['/bin/true'], apparmorProfile: 'unconfined-by-trick' })).toBe(
        false,
      )
      expect((await run(container, 'cat /proc/self/attr/exec /proc/self/attr/apparmor/exec')).stdout).toBe('')
    },
    { prove },
  )

  row(
    'CVE-2025-52565',
    'hostile terminals in /dev/pts are not opened',
    'terminal-peer',
    async () => {
      const container = await ground.running({ bundle: withCapabilities('CAP_SYS_ADMIN') })
      const laid = await run(
        container,
        `mkdir /dev/old && mount --bind /dev/pts /dev/old && rm -f /dev/ptmx && ln -s old/ptmx /dev/ptmx &&
         mount -t tmpfs none /dev/pts && for i in 0 1 2 3; do echo trap > /dev/pts/$i; done && echo laid`,
      )
      expect(laid.stdout, laid.stderr).toBe('laid\n')
      const job = await container.exec(
        'job',
        { args: ['/bin/test', '-t', '0'], terminal: true },
        { stdout: 'pipe' },
      )
      job.stdout?.resume()
      expect((await job.wait()).exitCode).toBe(0)
      for (const trap of [
        'ln -s /etc/plain /dev/ptmx',
        'mknod /dev/ptmx c 1 3',
        'mkfifo /dev/ptmx',
        'ln -s null /dev/ptmx',
      ]) {
        await run(container, `rm -f /dev/ptmx; ${trap}`)
        const args = ['/bin/true']
        const opened = container.exec(
          `trap-${++serial}`,
          { args, terminal: true },
          { signal: AbortSignal.timeout(5000) },
        )
        expect(
          await opened.then(
            () => 'ran',
            (error: { code?: string }) => error.code,
          ),
          trap,
        ).toBe('ERR_SYSCALL')
      }
    },
    { prove },
  )

  row(
    'CVE-2025-31133',
    'stdio that is ignored is the real null device',
    'host-null',
    async () => {
      const container = await ground.running()
      await run(container, 'rm /dev/null; echo trap > /dev/null')
      const { stdout } = await run(container, ['/bin/stat', '-L', '-c', '%t:%T', '/proc/self/fd/0'])
      expect(stdout).toBe('1:3\n')
    },
    { prove },
  )

  row(
    'CVE-2022-24769, CVE-2022-29162, CVE-2022-27650',
    'capabilities that are added are not inheritable',
    'inheritable',
    async () => {
      const container = await ground.running({ bundle: withCapabilities('CAP_NET_RAW', 'CAP_SYS_ADMIN') })
      const names = ['CAP_NET_RAW', 'CAP_CHOWN']
      const pid = await sleeping(container, {
        capabilities: { bounding: names, effective: names, permitted: names },
      })
      expect(statusLine(pid, 'CapInh')).toBe('0000000000000000')
      expect(statusLine(await sleeping(container), 'CapInh')).toBe('0000000000000000')
    },
    { prove },
  )

  row(
    'CVE-2016-8867',
    'no capability leaks to another user',
    'inheritable',
    async () => {
      const container = await ground.running()
      const pid = await sleeping(container, { user: { uid: 1000, gid: 1000 } })
      for (const set of ['CapInh', 'CapPrm', 'CapEff', 'CapAmb']) {
        expect(statusLine(pid, set), set).toBe('0000000000000000')
      }
      expect(statusLine(pid, 'CapBnd')).toBe(
        statusLine(container.processes.get('init')?.pid as number, 'CapBnd'),
      )
    },
    { prove },
  )

  row(
    'CVE-2016-3697, CVE-2024-40635, CVE-2026-46680, CVE-2026-30892',
    'no odd user id ends as root',
    'strict-ids',
    async () => {
      const container = await ground.running()
      const { socket, hear } = await client(join(ground.root, container.id, 'shim.sock'))
      await hear()
      const odd = [
        '"1"',
        '"1:2"',
        '"root"',
        '4294967295',
        '4294967296',
        '18446744073709551616',
        '-1',
        '1.5',
        '1e3',
        'true',
        '[]',
      ]
      for (const uid of odd) {
        for (const field of ['uid', 'gid']) {
          const head = {
            op: 'exec',
            seq: ++serial,
            process: `id-${serial}`,
            timeoutMs: 5000,
            stdio: Array(3).fill({ kind: 'null' }),
          }
          socket.write(frame(`${JSON.stringify(head)}\0{"args":["/bin/true"],"user":{"${field}":${uid}}}`))
          for (;;) {
            const message = await hear()
            if ((message as { seq?: number }).seq !== serial) continue
            expect(message, `${field} ${uid}`).toMatchObject({ error: { code: 'ERR_INVALID_ARG_VALUE' } })
            break
          }
        }
      }
      socket.destroy()
      expect(
        statusLine(await sleeping(container, { user: { uid: 2 ** 31, gid: 2 ** 32 - 2 } }), 'Uid'),
      ).toMatch(/^2147483648\t/)
    },
    { prove },
  )

  row(
    'CVE-2022-36109, CVE-2023-25173, CVE-2022-2989',
    'no supplementary group of the host program is kept',
    'groups',
    async () => {
      const own = process.getgroups?.() ?? []
      process.setgroups?.([4, 20, 27, 4242])
      try {
        const container = await ground.running()
        expect(statusLine(await sleeping(container), 'Groups').trim()).toBe('')
        const user = { uid: 7, gid: 8, additionalGids: [9] }
        expect(statusLine(await sleeping(container, { user }), 'Groups').trim()).toBe('9')
      } finally {
        process.setgroups?.(own)
      }
    },
    { prove },
  )

  row(
    'CVE-2016-10124',
    'a program is in a session of its own and reaches no terminal of its caller',
    'session',
    async () => {
      const container = await ground.running()
      const { stdout } = await run(container, ['/bin/probe'])
      expect(stdout).toContain('session leader: 1, group leader: 1')
      expect(stdout).toContain('controlling terminal: No such device or address')
    },
    { prove },
  )

  row(
    'CVE-2018-15664, CVE-2019-14271, CVE-2026-41567, CVE-2026-41568, CVE-2026-42306',
    "nothing of the container's is loaded or looked up by the host's part",
    'no-lookups',
    async () => {
      const container = await ground.running()
      // Whoever opens a FIFO to read waits for ever.
      const libraries = [
        '/lib/libnss_files.so.2',
        '/lib/libnss_compat.so.2',
        '/lib/ld-linux-x86-64.so.2',
        '/lib/libc.so.6',
      ]
      const traps = [
        ...libraries,
        '/etc/nsswitch.conf',
        '/etc/ld.so.cache',
        '/etc/ld.so.preload',
        '/etc/group',
        '/etc/resolv.conf',
      ]
      await run(container, `mkdir -p /lib; rm -f ${traps.join(' ')}; mkfifo ${traps.join(' ')}`)
      try {
        const env = ['PATH=/bin']
        const spec = { args: ['/bin/true'], env, user: { uid: 1000, gid: 1000, additionalGids: [5] } }
        const started = container.exec('job', spec, { signal: AbortSignal.timeout(5000) })
        expect(
          await started.then(
            () => 'ran',
            (error: Error) => error.name,
          ),
        ).toBe('ran')
      } finally {
        execFileSync('rm', ['-f', ...traps.map((path) => join(ground.rootfs, path))])
      }
    },
    { prove },
  )

  row(
    'CVE-2026-47262',
    'a huge /etc/passwd or a FIFO in its place holds nobody up',
    'bounded-passwd',
    async () => {
      const passwd = join(ground.rootfs, 'etc/passwd')
      const before = readFileSync(passwd)
      const container = await ground.running()
      const home = async (): Promise<string> => {
        const job = await container.exec(
          `home-${++serial}`,
          { args: ['/bin/sh', '-c', 'echo $HOME'], env: ['PATH=/bin'], user: { uid: 1000, gid: 0 } },
          { stdout: 'pipe', signal: AbortSignal.timeout(5000) },
        )
        let out = ''
        job.stdout?.on('data', (chunk: Buffer) => {
          out += chunk.toString()
        })
        await job.wait()
        return out.trim()
      }
      try {
        expect(await home()).toBe('/home/user')
        execFileSync('sh', ['-c', 'rm "$1" && mkfifo "$1"', 'sh', passwd])
        expect(await home().catch((error: Error) => error.name)).toBe('/')
        for (const lay of ['rm "$1" && truncate -s 1G "$1"', 'rm "$1" && mkdir "$1"']) {
          execFileSync('sh', ['-c', lay, 'sh', passwd])
          const began = Date.now()
          expect(await home()).toBe('/')
          expect(Date.now() - began).toBeLessThan(2000)
        }
      } finally {
        execFileSync('rm', ['-rf', passwd])
        writeFileSync(passwd, before)
      }
    },
    { prove },
  )

  row(
    'CVE-2025-47291',
    "with a user namespace, too, the cgroups are init's",
    'cgroups',
    async () => {
      chmodSync(ground.directory, 0o711)
      const mapping = [{ containerID: 0, hostID: 100000, size: 65536 }]
      const container = await ground.running({
        bundle: ground.bundle((config: Config) => {
          config.linux.namespaces.push({ type: 'user' })
          Object.assign(config.linux, { uidMappings: mapping, gidMappings: mapping })
        }),
      })
      const init = container.processes.get('init')?.pid as number
      const pid = await sleeping(container)
      expect(readFileSync(`/proc/${pid}/cgroup`, 'utf8')).toBe(readFileSync(`/proc/${init}/cgroup`, 'utf8'))
    },
    { prove },
  )

  row(
    'CVE-2021-43784',
    'lengths past 16 bits arrive whole',
    'length',
    async () => {
      const container = await ground.running()
      for (const length of [65535, 65536, 65537, 131000]) {
        const word = 'x'.repeat(length)
        const spec = { env: ['PATH=/bin', `LONG=${word}`] }
        const job = await container
          .exec(
            `long-${++serial}`,
            { ...spec, args: ['/bin/sh', '-c', 'echo ${#LONG} ${#1}', 'sh', word] },
            { stdout: 'pipe', signal: AbortSignal.timeout(5000) },
          )
          .catch((error: Error) => error)
        expect(job instanceof Error ? job.name : 'ran').toBe('ran')
        if (job instanceof Error) continue
        let out = ''
        job.stdout?.on('data', (chunk: Buffer) => {
          out += chunk.toString()
        })
        await job.wait()
        expect(out).toBe(`${length} ${length}\n`)
      }
      const paths = [`/${'d/'.repeat(4000)}`, `/${'x'.repeat(70000)}`]
      for (const cwd of paths) expect(await runs(container, { args: ['/bin/true'], cwd })).toBe(false)
    },
    { prove },
  )
})
