// A program may open its standard streams again, by /dev/stdout and its like, whoever it is and whoever its container's
// users are on the host.
import { execFileSync } from 'node:child_process'
import { chmodSync, closeSync, constants, openSync, readFileSync, readSync, statSync } from 'node:fs'
import { beforeAll, describe, expect, test } from 'vitest'
import type { Container, Stdio } from '../../lib/index.js'
import type { Config } from '../support/bundle.js'
import { useContainers } from '../support/containers.js'
import { text } from '../support/expect.js'
import { cannotRunContainers, runtimes } from '../support/machine.js'

const skip = cannotRunContainers()

type Mapping = { containerID: number; hostID: number; size: number }[]

/** Maps of every shape that a runtime starts a container with, and whom they have. */
const maps: [string, Mapping | null, number[]][] = [
  ['no user namespace', null, [0, 1000]],
  ['one range', [{ containerID: 0, hostID: 100000, size: 65536 }], [0, 1000]],
  [
    'ranges with a hole between them',
    [
      { containerID: 0, hostID: 300000, size: 10 },
      { containerID: 1000, hostID: 200000, size: 10 },
    ],
    [0, 9, 1000, 1009],
  ],
  ['a single id', [{ containerID: 0, hostID: 123456, size: 1 }], [0]],
]

describe.skipIf(skip).each(runtimes)('the owner of standard streams, %s', (runtime) => {
  const ground = useContainers(runtime)
  let serial = 0
  beforeAll(() => chmodSync(ground.directory, 0o711))

  async function said(container: Container, uid: number, stdout: Stdio, terminal = false): Promise<string> {
    const job = await container.exec(
      `job-${++serial}`,
      { args: ['/bin/sh', '-c', 'echo again > /dev/stdout'], user: { uid, gid: 0 }, terminal },
      { stdout, stderr: terminal ? 'ignore' : 'pipe' },
    )
    const [out, err] = await Promise.all([
      job.stdout ? text(job.stdout) : '',
      job.stderr ? text(job.stderr) : '',
    ])
    expect(err).toBe('')
    expect(await job.wait()).toMatchObject({ exitCode: 0 })
    return out
  }

  test.each(maps)('%s: a pipe, kept output, a FIFO and a terminal', async (_, mapping, users) => {
    const container = await ground.running({
      bundle: ground.bundle((config: Config) => {
        if (mapping === null) return
        config.linux.namespaces.push({ type: 'user' })
        Object.assign(config.linux, { uidMappings: mapping, gidMappings: mapping })
        // Those that the runtime gives files to have to be mapped.
        for (const mount of config.mounts) {
          mount.options = mount.options?.filter((option: string) => !option.startsWith('gid='))
        }
      }),
    })
    for (const uid of users) {
      expect(await said(container, uid, 'pipe')).toBe('again\n')
      expect(await said(container, uid, 'keep' as Stdio)).toBe('again\n')
      expect(await said(container, uid, 'pipe', true)).toBe('again\r\n')
      const fifo = ground.newPath('fifo')
      execFileSync('mkfifo', ['-m', '600', fifo])
      const reader = openSync(fifo, constants.O_RDONLY | constants.O_NONBLOCK)
      const chunk = Buffer.alloc(100)
      await said(container, uid, fifo)
      expect(chunk.toString('utf8', 0, readSync(reader, chunk))).toBe('again\n')
      closeSync(reader)
    }
  })

  test('a file of the host keeps its owner', async () => {
    const container = await ground.running()
    const path = ground.newPath('log')
    await said(container, 0, path)
    const job = await container.exec(
      'job',
      { args: ['/bin/sh', '-c', 'echo as a user'], user: { uid: 1000, gid: 1000 } },
      { stdout: path },
    )
    await job.wait()
    expect(readFileSync(path, 'utf8')).toContain('as a user\n')
    expect(statSync(path)).toMatchObject({ uid: 0, gid: 0 })
  })
})
