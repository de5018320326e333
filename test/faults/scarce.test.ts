// Programs that are short of processes, memory or descriptors, from none to some: each call succeeds or fails cleanly, no
// program ends by it, nothing is left over, and once there is enough everything works.
import { execFileSync } from 'node:child_process'
import { existsSync, mkdirSync, readFileSync, rmdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import type { ContainerOptions } from '../../lib/index.js'
import { useContainers } from '../support/containers.js'
import { withInjection } from '../support/faults.js'
import { cannotRunContainers, cgroupRoot, isSanitized } from '../support/machine.js'
import { descriptors, shimsBelow } from '../support/processes.mjs'
import { Program } from '../support/programs.js'
import { eventually } from '../support/wait.js'

const skip = cannotRunContainers()

/** A program that is starved, and the threads in it that are the addon's alone. */
interface Starved {
  pid: number
  threads: number[]
}

/** What a program is given of something; `null`: as much as it likes. */
type Give = (program: Starved, shims: number[], more: number | null) => void | Promise<void>

const prelimit =
  (option: string, limit: (pid: number, more: number) => number, unlimited: string): Give =>
  ({ pid: program }, shims, more) => {
    const soft = more === null ? unlimited : String(limit(program, more))
    execFileSync('prlimit', ['--pid', String(program), `--${option}=${soft}:`])
    // They have it from the program, and keep it.
    if (more !== null) return
    for (const pid of shims) execFileSync('prlimit', ['--pid', String(pid), `--${option}=${soft}:`])
  }

describe.skipIf(skip)('a program that is short', () => {
  const ground = useContainers('runc')

  /** Its cgroup is not below the program's, whose limit then is not the container's. */
  const apart = (): ContainerOptions => {
    const id = ground.newId()
    return ground.options({
      id,
      bundle: ground.bundle((config) => {
        config.linux.cgroupsPath = `/${id}`
      }),
    })
  }

  /** Runs with the program's processes, and those that it starts, in a pids cgroup of their own. */
  async function inCgroup<T>(work: (directory: string) => Promise<T>): Promise<T> {
    const v1 = join(cgroupRoot, 'pids')
    const above = existsSync(v1) ? v1 : cgroupRoot
    const directory = join(above, `${ground.newId()}-program`)
    if (above === cgroupRoot) writeFileSync(join(above, 'cgroup.subtree_control'), '+pids')
    mkdirSync(directory)
    try {
      return await work(directory)
    } finally {
      writeFileSync(join(directory, 'pids.max'), 'max')
      await eventually('its cgroup is empty', () => {
        for (const pid of readFileSync(join(directory, 'cgroup.procs'), 'utf8').split('\n').filter(Boolean)) {
          try {
            writeFileSync(join(above, 'cgroup.procs'), pid)
          } catch {
            // gone meanwhile
          }
        }
        return !/\d/.test(readFileSync(join(directory, 'cgroup.procs'), 'utf8'))
      })
      rmdirSync(directory)
    }
  }

  /** For each number of `steps` all calls of a program that has so much, then all again with enough. */
  async function starve(steps: number[], give: Give, within?: string): Promise<unknown[]> {
    const containers = [apart(), ...steps.map(apart)]
    const program = new Program(
      `const lines = require('node:readline').createInterface({ input: process.stdin })[Symbol.asyncIterator]()
       // Node's own threads are there before: those that come later are the addon's.
       const tasks = () => require('node:fs').readdirSync('/proc/self/task')
       await Promise.all(Array.from({ length: 4 }, () => require('node:fs/promises').readFile('/dev/null')))
       const before = tasks()
       let threads = []
       const ask = async (more) => { say({ more, threads }); await lines.next() }
       const outcomes = []
       const tried = async (what, work) => {
         try { return (await work()) ?? 'ok' } catch (error) {
           outcomes.push({ what, name: error.name, code: error.code, errno: error.errno, syscall: error.syscall, id: error.containerId, path: error.path })
         }
       }
       const exec = async (container, id, code) => {
         const job = await container.exec(id, { args: ['/bin/sh', '-c', 'echo x; exit ' + code] }, { stdout: 'pipe' })
         let said = ''
         for await (const chunk of job.stdout) said += chunk
         const { exitCode } = await job.wait()
         if (said !== 'x\\n' || exitCode !== code) throw new Error(said + exitCode)
         await container.removeProcess(id)
       }
       await ask(null)
       const [first, ...others] = args.containers
       const { root, id } = first
       const held = await Container.create(first)
       await held.start()
       await exec(held, 'warm', 3)
       const load = async () => {
         const loaded = await Container.load(root, id)
         const said = [...loaded.processes.keys()].join()
         await loaded.close()
         // An exec that could not be removed is there still.
         if (!said.startsWith('init')) throw new Error(said)
       }
       await Promise.all(Array.from({ length: 3 }, load))
       const made = []
       for (const options of others) made.push(await Container.create(options))
       threads = tasks().filter((id) => !before.includes(id)).map(Number)
       for (const more of args.steps) {
         const fresh = made.shift()
         await ask(more)
         await tried('start', () => fresh.start())
         await tried('exec', () => exec(held, 'job', 4))
         await tried('load', () => Promise.all(Array.from({ length: 3 }, load)))
         await tried('stats', () => held.stats())
         await tried('list', () => Container.list(root))
         await tried('delete', () => fresh.delete({ force: true }))
         await ask(null)
         if (held.processes.has('job')) { await held.processes.get('job').wait(); await held.removeProcess('job') }
         const again = await Container.load(root, fresh.id).catch((error) => {
           if (error.code !== 'ERR_CONTAINER_NOT_FOUND') throw error
         })
         if (again) {
           if (again.state === 'created') await again.start()
           if (again.state === 'running') await exec(again, 'after', 5)
           await again.delete({ force: true })
         }
         await exec(held, 'after', 6)
         await load()
         if ((await held.stats()).pids.current < 1) throw new Error('pids')
         if ((await held.pids()).length !== 1) throw new Error('processes left')
       }
       await held.delete({ force: true })
       say({ outcomes })
       process.exit(0)`,
      { containers, steps },
      ['pipe', 'pipe', 'pipe'],
    )
    try {
      const pid = program.child.pid as number
      if (within !== undefined) writeFileSync(join(within, 'cgroup.procs'), String(pid))
      for (;;) {
        const said = await program.next().catch(async (cause: Error) => {
          throw new Error(`${cause.message}: ${JSON.stringify(await program.ended)}`, { cause })
        })
        if (said.outcomes) {
          expect(await program.ended).toMatchObject({ code: 0 })
          for (const { id } of containers) await ground.expectNothingLeft(id as string)
          return said.outcomes as unknown[]
        }
        await give({ pid, threads: said.threads }, shimsBelow(ground.root), said.more)
        program.child.stdin?.write('\n')
      }
    } finally {
      program.kill()
    }
  }

  /** Each names its container and, where the kernel refused, the call; a path is one that anybody can follow. */
  function expectClean(outcomes: unknown[]): void {
    for (const outcome of outcomes as Record<string, unknown>[]) {
      expect(outcome).toMatchObject({
        name: 'ContainerError',
        code: expect.stringMatching(/^ERR_(SYSCALL|RUNTIME)$/),
        ...(outcome['code'] === 'ERR_SYSCALL' && { errno: expect.any(Number), syscall: expect.any(String) }),
        ...(outcome['what'] !== 'list' && { id: expect.any(String) }),
        ...(outcome['path'] !== undefined && { path: expect.stringMatching(/^\/|^runc$/) }),
      })
    }
  }

  test('of processes', async () => {
    const outcomes = await inCgroup((directory) =>
      starve(
        [0, 1, 2, 3, 4, 6, 8, 12],
        (_, __, more) => {
          const used = Number(readFileSync(join(directory, 'pids.current'), 'utf8'))
          writeFileSync(join(directory, 'pids.max'), more === null ? 'max' : String(used + more))
        },
        directory,
      ),
    )
    expectClean(outcomes)
    const EAGAIN = 11
    for (const what of ['start', 'exec']) {
      expect(outcomes).toContainEqual(expect.objectContaining({ what, code: 'ERR_SYSCALL', errno: EAGAIN }))
    }
  })

  // RLIMIT_NPROC, which counts the same for a user, is none for root.
  test('of processes, before it has a thread for its connections', async () => {
    const container = await ground.running()
    await inCgroup(async (directory) => {
      const program = new Program(
        `const lines = require('node:readline').createInterface({ input: process.stdin })[Symbol.asyncIterator]()
         // Node's own threads.
         await Promise.all(Array.from({ length: 4 }, () => require('node:fs/promises').readFile('/dev/null')))
         say('ready')
         await lines.next()
         say(await Container.load(args.root, args.id).then(() => 'ok', ({ name, code, errno, syscall }) => ({ name, code, errno, syscall })))
         await lines.next()
         const c = await Container.load(args.root, args.id)
         const job = await c.exec('job', { args: ['/bin/sh', '-c', 'exit 3'] })
         say((await job.wait()).exitCode)
         process.exit(0)`,
        { root: ground.root, id: container.id },
        ['pipe', 'pipe', 'pipe'],
      )
      const go = (limit: string): void => {
        writeFileSync(join(directory, 'pids.max'), limit)
        program.child.stdin?.write('\n')
      }
      try {
        expect(await program.next()).toBe('ready')
        writeFileSync(join(directory, 'cgroup.procs'), String(program.child.pid))
        go(readFileSync(join(directory, 'pids.current'), 'utf8').trim())
        expect(await program.next()).toEqual({
          name: 'ContainerError',
          code: 'ERR_SYSCALL',
          errno: 11,
          syscall: 'pthread_create',
        })
        go('max')
        expect(await program.next()).toBe(3)
        expect(await program.ended).toMatchObject({ code: 0 })
      } finally {
        program.kill()
      }
    })
  })

  // RLIMIT_AS would starve Node first: V8 ends a program that has no memory for V8's own part. Here the kernel maps nothing
  // more in the addon's own threads, where nothing of Node's runs.
  test.skipIf(isSanitized)('of memory', async () => {
    let release = (): void => undefined
    let strace = Promise.resolve<unknown>(undefined)
    const give: Give = async ({ threads }, _, more) => {
      release()
      await strace
      if (more === null) return
      expect(threads).not.toEqual([])
      const [first, ...others] = threads as [number, ...number[]]
      await new Promise<void>((begun, failed) => {
        const work = (): Promise<void> =>
          new Promise((resolve) => {
            release = resolve
            begun()
          })
        const how = `error=ENOMEM:when=${more + 1}+`
        const also = others.flatMap((thread) => ['-p', String(thread)])
        strace = withInjection(first, 'mmap,mremap,brk', how, work, also).catch(failed)
      })
    }
    try {
      const outcomes = await starve([0, 1, 2, 4], give)
      expectClean(outcomes)
      const ENOMEM = 12
      expect(outcomes).toContainEqual(
        expect.objectContaining({ what: 'start', code: 'ERR_SYSCALL', errno: ENOMEM }),
      )
    } finally {
      release()
      await strace
    }
  })

  test('of descriptors', async () => {
    // Numbers below the limit that are free, wherever they are.
    const limit = (pid: number, more: number): number => {
      const used = descriptors(pid)
      let number = 0
      for (let free = 0; free < more || used.has(number); ++number) if (!used.has(number)) ++free
      return number
    }
    const outcomes = await starve([0, 1, 2, 3, 4, 5, 6, 8, 10, 14], prelimit('nofile', limit, '1024'))
    expectClean(outcomes)
    const EMFILE = 24
    for (const what of ['start', 'exec', 'load']) {
      expect(outcomes).toContainEqual(expect.objectContaining({ what, code: 'ERR_SYSCALL', errno: EMFILE }))
    }
  })
})
