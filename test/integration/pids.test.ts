// pids() and pidsSync(): every process of the container's cgroups, and no thread and no stranger.
import { readdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { setImmediate as turn } from 'node:timers/promises'
import { describe, expect, test } from 'vitest'
import type { Container } from '../../lib/index.js'
import { Cgroup } from '../support/cgroups.js'
import { useContainers } from '../support/containers.js'
import { expectCode, run } from '../support/expect.js'
import { cannotRunContainers, isCgroupV2, runtimes } from '../support/machine.js'
import { isAlive, threadCount } from '../support/processes.mjs'
import { eventually } from '../support/wait.js'

const skip = cannotRunContainers()

const numerically = (a: number, b: number): number => a - b

/** Both answers, which must agree, sorted. */
async function pidsOf(container: Container): Promise<number[]> {
  const pids = (await container.pids()).sort(numerically)
  expect(container.pidsSync().sort(numerically)).toEqual(pids)
  return pids
}

/** Those of one cgroup alone, as the kernel lists them. */
function listed(cgroup: Cgroup): number[] {
  return (cgroup.read('cgroup.procs') as string).split('\n').filter(Boolean).map(Number).sort(numerically)
}

describe.skipIf(skip).each(runtimes)('pids, %s', (runtime) => {
  const ground = useContainers(runtime)

  test('init, what it forks, and what exec adds', async () => {
    const container = await ground.running({
      bundle: ground.bundleOf(['/bin/sh', '-c', 'sleep 1000 & sleep 1001 & sleep 1002 & wait']),
    })
    await eventually('three children', async () => (await container.pids()).length === 4)
    const job = await container.exec('job', { args: ['/bin/sleep', '1000'] })
    const pids = await pidsOf(container)
    expect(pids).toHaveLength(5)
    expect(pids).toContain(container.processes.get('init')?.pid)
    expect(pids).toContain(job.pid)
    expect(pids).toEqual(listed(new Cgroup(container.id)))
    await job.kill('SIGKILL')
    await job.wait()
    await eventually('one less', async () => (await pidsOf(container)).length === 4)
    expect(container.pidsSync()).not.toContain(job.pid)
  })

  test('nested cgroups, at whatever depth', async () => {
    const container = await ground.running()
    const cgroup = new Cgroup(container.id)
    const jobs = await Promise.all(
      ['a', 'b', 'c'].map((id) => container.exec(id, { args: ['/bin/sleep', '1000'] })),
    )
    const children = ['one', 'one/two', 'one/two/three', 'empty']
    for (const child of children) cgroup.makeChild(child)
    // v2: processes live in the leaves or where no controller is given on; here none is.
    cgroup.join(jobs[0]?.pid as number, 'one')
    cgroup.join(jobs[1]?.pid as number, 'one/two/three')
    const all = [container.processes.get('init')?.pid, ...jobs.map(({ pid }) => pid)] as number[]
    expect(await pidsOf(container)).toEqual(all.sort(numerically))
    expect(listed(cgroup)).toHaveLength(2)
    for (const job of jobs) {
      await job.kill('SIGKILL')
      await job.wait()
    }
    for (const child of children.reverse()) {
      await eventually(`${child} can go`, () => {
        try {
          cgroup.removeChild(child)
          return true
        } catch {
          return false
        }
      })
    }
    expect(await pidsOf(container)).toEqual([container.processes.get('init')?.pid])
  })

  test('threads are no processes', async () => {
    const container = await ground.running()
    const cgroup = new Cgroup(container.id)
    // The container has no program with threads; a Node of the host with its pool of them is moved in.
    const program = `process.stdout.write('up'); setInterval(() => {}, 1000)`
    const { spawn } = await import('node:child_process')
    const child = spawn(process.execPath, ['-e', program], { stdio: ['ignore', 'pipe', 'inherit'] })
    try {
      await new Promise((up) => child.stdout.once('data', up))
      const pid = child.pid as number
      expect(threadCount(pid)).toBeGreaterThan(3)
      cgroup.join(pid)
      const expected = [container.processes.get('init')?.pid as number, pid].sort(numerically)
      expect(await pidsOf(container)).toEqual(expected)
      if (isCgroupV2()) {
        // Its threads spread over a threaded subtree: cgroup.procs of such a cgroup cannot be read.
        cgroup.makeChild('threaded')
        const directory = join(cgroup.directories[0] as string, 'threaded')
        writeFileSync(join(directory, 'cgroup.type'), 'threaded')
        const [, thread] = readdirSync(`/proc/${pid}/task`)
        writeFileSync(join(directory, 'cgroup.threads'), thread as string)
        expect(await pidsOf(container)).toEqual(expected)
      }
    } finally {
      child.kill('SIGKILL')
      await new Promise((done) => child.once('close', done))
    }
    if (isCgroupV2()) {
      await eventually('the threaded cgroup can go', () => {
        try {
          cgroup.removeChild('threaded')
          return true
        } catch {
          return false
        }
      })
    }
  })

  test('more than the kernel hands out in one read', async () => {
    const container = await ground.running({
      // `exec`, so that each is one process; a page of cgroup.procs holds about 700 pids.
      bundle: ground.bundleOf([
        '/bin/sh',
        '-c',
        'i=0; while [ $i -lt 1200 ]; do sleep 100000 & i=$((i+1)); done; wait',
      ]),
    })
    await eventually('1201 processes', async () => (await container.pids()).length === 1201)
    const pids = await pidsOf(container)
    expect(new Set(pids).size).toBe(1201)
    expect(pids).toEqual(listed(new Cgroup(container.id)))
    expect(pids.every(isAlive)).toBe(true)
  })

  test('a paused container still lists them; one that exits in the middle says so', async () => {
    const container = await ground.running()
    await container.pause()
    expect(await pidsOf(container)).toEqual([container.processes.get('init')?.pid])
    await container.resume()
    const init = container.processes.get('init')
    let ended = false
    const asking = (async () => {
      while (!ended) {
        const answer = await container.pids().catch((error: unknown) => error)
        await turn() // an answer that needs no kernel would else leave no turn to anything else
        // Never a stranger, and no list that pretends to be one: empty only between init's end and the cgroup's.
        if (Array.isArray(answer)) expect([[], [init?.pid]]).toContainEqual(answer)
        else expect(answer).toMatchObject({ code: 'ERR_CONTAINER_EXITED', containerId: container.id })
      }
    })()
    await container.kill('SIGKILL')
    await init?.wait()
    await expectCode(container.pids(), 'ERR_CONTAINER_EXITED')
    expect(() => container.pidsSync()).toThrow(expect.objectContaining({ code: 'ERR_CONTAINER_EXITED' }))
    ended = true
    await asking
  })

  test('a second handle, in another state of knowledge, says the same', async () => {
    const { Container } = await import('../../lib/index.js')
    const container = await ground.running()
    const other = await Container.load(container.root, container.id)
    expect((await run(container, 'true')).status.exitCode).toBe(0)
    expect(await pidsOf(other)).toEqual(await pidsOf(container))
    await other.close()
  })
})
