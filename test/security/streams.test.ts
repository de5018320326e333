// What a container does to the pipes that it writes to: it costs a program no memory.
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { compileProgram } from '../support/compile.js'
import { useContainers } from '../support/containers.js'
import { text } from '../support/expect.js'
import { cannotRunContainers, runtimes } from '../support/machine.js'

describe.skipIf(cannotRunContainers()).each(runtimes)('hostile writers, %s', (runtime) => {
  const ground = useContainers(runtime)

  test('pipes that the container has made larger fill no memory of a program that does not read', async () => {
    compileProgram('large_pipe', join(ground.rootfs, 'bin'))
    const container = await ground.running()
    const jobs = await Promise.all(
      Array.from({ length: 20 }, (_, n) =>
        container.exec(`job-${n}`, { args: ['/bin/large_pipe'] }, { stdout: 'pipe', stderr: 'pipe' }),
      ),
    )
    const said = jobs.map((job) => text(job.stderr))
    await Promise.all(jobs.map((job) => job.wait()))
    // Node reads ahead up to the stream's high-water mark, by chunks of at most 64 KiB.
    for (const { stdout } of jobs)
      expect(stdout.readableLength).toBeLessThan(stdout.readableHighWaterMark + 65_536)
    for (const [n, { stdout }] of jobs.entries()) {
      const written = Number(await said[n])
      expect(written).toBeGreaterThan(200_000)
      expect((await text(stdout)).length).toBe(written)
    }
  })
})
