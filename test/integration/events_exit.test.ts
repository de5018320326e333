// How a process ended: `oomKilled` is its own, and nobody else's in the container.
import { writeFileSync } from 'node:fs'
import { describe, expect, test } from 'vitest'
import { shimOf, useContainers } from '../support/containers.js'
import { run } from '../support/expect.js'
import { cannotRunContainers, kernelAtLeast, runtimes } from '../support/machine.js'
import { hog, runOut, smallBundle } from '../support/memory.js'
import { eventually } from '../support/wait.js'

const skip = cannotRunContainers()

const byHand = { exitCode: 137, signal: 'SIGKILL', oomKilled: false, known: true }
const byOom = { exitCode: 137, signal: 'SIGKILL', oomKilled: true, known: true }

describe.skipIf(skip).each(runtimes)('oomKilled, %s', (runtime) => {
  const ground = useContainers(runtime)

  test('one that is killed by hand is none, though a child of another was one', async () => {
    const container = await ground.running({ bundle: smallBundle(ground) })
    const other = await container.exec('other', { args: ['/bin/sleep', '1000'] })
    // The shell sees its child killed and ends by itself.
    expect((await run(container, 'tail /dev/zero; exit 3')).status).toMatchObject({
      exitCode: 3,
      oomKilled: false,
    })
    await other.kill('SIGKILL')
    expect(await other.wait()).toMatchObject(byHand)
  })

  test('one by hand beside one by the OOM killer, again and again', async () => {
    const container = await ground.running({ bundle: smallBundle(ground) })
    for (let i = 0; i < 10; ++i) {
      const [idle, greedy] = await Promise.all([
        container.exec(`idle-${i}`, { args: ['/bin/sleep', '1000'] }),
        container.exec(`greedy-${i}`, { args: hog }),
      ])
      const ended = greedy.wait()
      if (i % 2 === 0) await ended
      await idle.kill('SIGKILL')
      expect(await idle.wait()).toMatchObject(byHand)
      expect(await ended).toMatchObject(byOom)
    }
  })

  test('init, and those who end with its pid namespace', async () => {
    const container = await ground.running({
      bundle: smallBundle(ground, [
        '/bin/sh',
        '-c',
        'while ! [ -e /tmp/go ]; do sleep 0.01; done; exec tail /dev/zero',
      ]),
    })
    const others = await Promise.all(
      [1, 2, 3].map((i) => container.exec(`other-${i}`, { args: ['/bin/sleep', '1000'] })),
    )
    await run(container, 'touch /tmp/go')
    expect(await container.processes.get('init')?.wait()).toMatchObject(byOom)
    for (const other of others) expect(await other.wait()).toMatchObject(byHand)
  })

  test.runIf(kernelAtLeast(6, 15))('of a process that a second shim took over', async () => {
    const container = await ground.running({ bundle: smallBundle(ground) })
    const job = await container.exec('job', {
      args: ['/bin/sh', '-c', 'while ! [ -e /tmp/go ]; do sleep 0.01; done; exec tail /dev/zero'],
    })
    const first = shimOf(container)
    process.kill(first, 'SIGKILL')
    // Until the connection is seen to be gone, an exec may still be sent to the first one.
    await eventually('another shim', () =>
      run(container, 'true').then(
        () => true,
        () => false,
      ),
    )
    await runOut(container)
    await run(container, 'touch /tmp/go')
    expect(await job.wait()).toMatchObject(byOom)
  })

  test('what a program writes to the log is no evidence', async () => {
    const container = await ground.running({ bundle: smallBundle(ground) })
    const job = await container.exec('job', { args: ['/bin/sleep', '1000'] })
    writeFileSync(
      '/dev/kmsg',
      `<3>Memory cgroup out of memory: Killed process ${job.pid} (sleep) total-vm:1kB\n`,
    )
    await job.kill('SIGKILL')
    expect(await job.wait()).toMatchObject(byHand)
  })
})
