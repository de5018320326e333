// Holes of the past around an exec: state, socket, stdio, cgroups, leaks. As in exec.test.ts each test is shown to
// notice a shim that lacks the protection.
import { existsSync, readdirSync, readFileSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import type { Container } from '../../lib/index.js'
import { shimOf, useContainers } from '../support/containers.js'
import { failure, run } from '../support/expect.js'
import { cannotRunContainers, packageRoot, runtimes } from '../support/machine.js'
import { descriptors, memoryOf, procStat, threadCount } from '../support/processes.mjs'
import { eventually } from '../support/wait.js'
import { row } from '../support/weakened.js'
import { cgroupsNamed } from '../support/traces.mjs'

const skip = cannotRunContainers()

/** Processes that nobody reaped, of this parent. */
function zombiesOf(parent: number): number[] {
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .map(Number)
    .filter((pid) => {
      const stat = procStat(pid)
      return stat?.parent === parent && stat.state === 'Z'
    })
}

function abstractSockets(): string[] {
  return readFileSync('/proc/net/unix', 'utf8')
    .split('\n')
    .map((line) => line.trim().split(/\s+/)[7] ?? '')
    .filter((path) => path.startsWith('@'))
}

describe('the shipped shim', () => {
  test('has nothing in it of the switches of the tested one', () => {
    const shim = readFileSync(join(packageRoot, 'build/Release/libcontainer-shim'))
    expect(shim.includes('LIBCONTAINER_WITHOUT')).toBe(false)
  })
})

describe.skipIf(skip).each(runtimes)('the past of state and stdio, %s', (runtime) => {
  const ground = useContainers(runtime)
  const prove = runtime === 'runc'
  let serial = 0

  row(
    'CVE-2020-15257',
    'no socket of ours has an abstract name',
    'socket-path',
    async () => {
      const before = new Set(abstractSockets())
      const container = await ground.running()
      await run(container, 'true')
      expect(abstractSockets().filter((name) => !before.has(name) && name.includes('libcontainer'))).toEqual(
        [],
      )
      expect(existsSync(join(ground.root, container.id, 'shim.sock'))).toBe(true)
    },
    { prove },
  )

  row(
    'CVE-2021-41103, CVE-2024-25621',
    'nobody else reads or enters the state, whatever the umask',
    'modes',
    async () => {
      const umask = process.umask(0)
      try {
        const container = await ground.running()
        await (
          await container.exec('job', { args: ['/bin/sh', '-c', 'kill -9 $$'] }, { stdout: 'pipe' })
        ).wait()
        const directory = join(ground.root, container.id)
        const loose: string[] = []
        const look = (path: string): void => {
          const { mode } = statSync(path)
          // Directories may be passed through, to reach a FIFO that the caller put there; not listed or written.
          if ((mode & (statSync(path).isDirectory() ? 0o066 : 0o077)) !== 0)
            loose.push(`${path} ${mode.toString(8)}`)
          if (statSync(path).isDirectory()) for (const name of readdirSync(path)) look(join(path, name))
        }
        look(directory)
        look(ground.root)
        expect(loose).toEqual([])
      } finally {
        process.umask(umask)
      }
    },
    { prove },
  )

  row(
    'CVE-2022-31030, CVE-2026-53495',
    'output that nobody reads stays in no memory of ours',
    'bounded-output',
    async () => {
      const container = await ground.running()
      const shim = shimOf(container)
      const floods = await Promise.all(
        [true, false].map((terminal) =>
          container.exec(
            `flood-${++serial}`,
            { args: ['/bin/yes', 'x'.repeat(1000)], terminal },
            { stdout: 'pipe' },
          ),
        ),
      )
      const before = memoryOf(shim).pssKib
      await new Promise((resolve) => setTimeout(resolve, 1000))
      expect(memoryOf(shim).pssKib - before).toBeLessThan(512)
      for (const flood of floods) {
        await flood.kill('SIGKILL')
        flood.stdout?.resume()
        await flood.wait()
      }
    },
    { prove },
  )

  test('CVE-2026-53495: wait() does not wait for what a background child holds open', async () => {
    const container = await ground.running()
    for (const terminal of [false, true]) {
      const job = await container.exec(
        `job-${++serial}`,
        { args: ['/bin/sh', '-c', 'trap "" HUP; sleep 1000 & echo started; exit 3'], terminal },
        { stdout: 'pipe' },
      )
      let out = ''
      job.stdout?.on('data', (chunk: Buffer) => {
        out += chunk.toString()
      })
      const began = Date.now()
      expect((await job.wait()).exitCode).toBe(3)
      expect(Date.now() - began).toBeLessThan(5000)
      expect(out).toContain('started')
    }
  })

  const execs = async (container: Container, count: number): Promise<void> => {
    for (let n = 0; n < count; n += 8) {
      await Promise.all(
        Array.from({ length: 8 }, async () => {
          const id = `leak-${++serial}`
          const job = await container.exec(id, { args: ['/bin/true'] }, { stdout: 'pipe' })
          job.stdout?.resume()
          await job.wait()
          await container.removeProcess(id)
        }),
      )
    }
  }
  row(
    'CVE-2025-64329',
    'ten thousand execs leave no descriptor, thread or zombie',
    'flat-resources',
    async () => {
      const container = await ground.running()
      const shim = shimOf(container)
      await execs(container, 80)
      const counts = (): number[] => [
        descriptors(shim).size,
        threadCount(shim),
        zombiesOf(shim).length,
        descriptors(process.pid).size,
        threadCount(process.pid),
      ]
      const before = counts()
      const memory = memoryOf(shim).pssKib
      await execs(container, process.env['LIBCONTAINER_WITHOUT'] || runtime === 'crun' ? 400 : 10_000)
      // What is on its way to be closed is no leak.
      const most = (): boolean => counts().every((count, i) => count <= (before[i] as number))
      const flat = await eventually('what is under way to end', most).catch(() => false)
      expect(flat, `${String(before)}, then ${String(counts())}`).toBe(true)
      expect(memoryOf(shim).pssKib - memory).toBeLessThan(128)
    },
    { prove, timeout: 300_000 },
  )

  test('CVE-2022-0811, runc issue 4103: no resource reaches a file outside of the cgroup', async () => {
    const container = await ground.running()
    const directories = cgroupsNamed(container.id)
    for (const key of [
      '../x',
      '..',
      '/etc/passwd',
      'memory.high/../../x',
      'cgroup.procs',
      '',
      'a\0b',
      'memory.high\n',
    ]) {
      const error = await failure(container.updateResources({ unified: { [key]: '1' } }))
      expect(error.code, key).toMatch(/^ERR_(INVALID_ARG_VALUE|UNSUPPORTED)$/)
    }
    for (const path of directories) expect(existsSync(join(path, '../x')), path).toBe(false)
    expect(await container.pids()).toEqual([container.processes.get('init')?.pid])
  })
})
