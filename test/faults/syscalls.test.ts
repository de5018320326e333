// System calls that fail, one after the other, and resources that run out: a clear error or success, nothing left over,
// and afterwards everything works.
import { execFileSync } from 'node:child_process'
import { mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { Container, type ExitStatus } from '../../lib/index.js'
import { shimOf, useContainers } from '../support/containers.js'
import { callsOf, faultsIn, tryFault } from '../support/faults.js'
import { expectCode, run, text } from '../support/expect.js'
import { cannotRunContainers } from '../support/machine.js'
import { descriptors, isAlive, shimsBelow } from '../support/processes.mjs'
import { Program } from '../support/programs.js'
import { eventually } from '../support/wait.js'

const skip = cannotRunContainers()

describe.skipIf(skip)('faults', () => {
  const ground = useContainers('runc')

  // What an exec opens, keeps and copies is another thing in each.
  test.each(['ignore', 'keep', 'terminal'] as const)(
    'each system call of an exec in turn, %s',
    async (kind) => {
      const container = await ground.running()
      const directory = join(ground.root, container.id)
      const script = kind === 'terminal' ? 'read line; stty size; exit 7' : 'echo x; echo x >&2; exit 7'
      const terminal = { terminal: true, consoleSize: { height: 24, width: 80 } }
      let serial = 0
      const exec = async (): Promise<ExitStatus> => {
        const job = await container.exec(
          `job-${++serial}`,
          { args: ['/bin/sh', '-c', script], ...(kind === 'terminal' && terminal) },
          kind === 'terminal' ? { stdin: 'pipe', stdout: 'pipe' } : { stdout: kind, stderr: 'pipe' },
        )
        // What is kept is asked for by a call of its own, which may be the one that fails.
        const said = text(kind === 'ignore' ? job.stderr : job.stdout).catch(
          ({ code }: { code: string }) => code,
        )
        if (kind !== 'terminal') {
          const status = await job.wait()
          if (status.known) expect(['x\n', 'ERR_SYSCALL']).toContain(await said)
          return status
        }
        const size = await job.resize({ columns: 90, rows: 30 }).then(
          () => '30 90',
          ({ code }: { code: string }) => {
            expect(['ERR_SYSCALL', 'ERR_SHIM_EXITED', 'ERR_NOT_A_TERMINAL', 'ERR_PROCESS_EXITED']).toContain(
              code,
            )
            return code === 'ERR_SYSCALL' ? '24 80' : ''
          },
        )
        job.stdin?.write('go\n')
        const status = await job.wait()
        // A terminal whose output has nowhere to go, or whose shim is gone, is hung up.
        if (status.exitCode === 7 && status.known) expect(await said).toMatch(size)
        return status
      }
      await exec()
      const counts = await callsOf(shimOf(container), ground.newPath('trace'), exec)
      expect(counts.get('clone') ?? counts.get('clone3')).toBeGreaterThan(0)
      const outcomes = new Map<string, number>()
      let tried = 0
      let hits = 0
      for (const { call, n, error, what } of faultsIn(counts)) {
        // Its records are written as the others'. What goes to terminals and pipes needs no room on a disk.
        if (kind === 'terminal' && call === 'write') continue
        const shim = await eventually('a shim', () => shimsBelow(directory)[0])
        const before = descriptors(shim)
        const { value: outcome, injected } = await tryFault(shim, call, n, error, () =>
          exec().catch((cause: Error & { code?: string }) => {
            const { code } = cause
            if (code === undefined) throw new Error(`${what}: ${cause.message}`, { cause })
            return { ...cause, code }
          }),
        )
        ++tried
        hits += injected
        const id = `job-${serial}`
        if ('code' in outcome) {
          outcomes.set(outcome.code, (outcomes.get(outcome.code) ?? 0) + 1)
          expect(['ERR_SYSCALL', 'ERR_SHIM_EXITED'], what).toContain(outcome.code)
          if (outcome.code === 'ERR_SYSCALL') {
            expect(outcome, what).toMatchObject({ errno: expect.any(Number), syscall: expect.any(String) })
            expect(readdirSync(directory), what).not.toContain(id)
          }
        } else {
          outcomes.set('success', (outcomes.get('success') ?? 0) + 1)
          // A shim that ended by it took the status of what was not its successor's child along.
          if (!outcome.known) expect(isAlive(shim), what).toBe(false)
          else expect(outcome, what).toMatchObject({ exitCode: 7, signal: null })
        }
        expect(await exec(), `after ${what}`).toMatchObject({ exitCode: 7, known: true })
        expect(
          readdirSync(directory).filter((name) => name.includes('.tmp.')),
          what,
        ).toEqual([])
        if (isAlive(shim)) {
          await eventually('as few descriptors', () => descriptors(shim).size <= before.size).catch(() => {
            const more = [...descriptors(shim)].filter(([fd]) => !before.has(fd))
            throw new Error(`descriptors after ${what}: ${JSON.stringify(more)}`)
          })
        }
      }
      // Which calls an exec makes depends a little on the moment: not each of those counted comes again.
      expect(hits).toBeGreaterThan(tried / 2)
      expect(outcomes.get('success')).toBeGreaterThan(0)
      expect(outcomes.get('ERR_SYSCALL')).toBeGreaterThan(0)
      const init = container.processes.get('init')?.pid
      await eventually('no process more', async () => (await container.pids()).length === 1)
      expect(await container.pids()).toEqual([init])
    },
  )

  test('a full disk', async () => {
    const disk = ground.newPath('disk')
    mkdirSync(disk)
    execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=1m', 'none', disk])
    try {
      const root = join(disk, 'root')
      const ids = [ground.newId(), ground.newId()] as const
      const container = await Container.create(ground.options({ root, id: ids[0] }))
      const filler = join(disk, 'filler')
      const fill = (): void => {
        try {
          for (;;) writeFileSync(filler, Buffer.alloc(4096), { flag: 'a' })
        } catch {
          // full
        }
      }
      const ENOSPC = 28
      fill()
      expect(
        await expectCode(Container.create(ground.options({ root, id: ids[1] })), 'ERR_SYSCALL'),
      ).toMatchObject({
        errno: ENOSPC,
      })
      expect(await Container.list(root)).toEqual([ids[0]])
      expect(readdirSync(root)).toEqual([ids[0]])
      const failed = await container.start().then(
        () => null,
        (error: { code: string }) => error,
      )
      expect(failed).toMatchObject({ code: expect.stringMatching(/^ERR_(SYSCALL|RUNTIME)$/) })
      expect(await container.status()).toBe('created')
      rmSync(filler)
      await container.start()
      const job = await container.exec(
        'job',
        { args: ['/bin/sh', '-c', 'read x; exit 9'] },
        { stdin: 'pipe' },
      )
      fill()
      for (const stdout of ['ignore', 'keep'] as const) {
        expect(
          await expectCode(container.exec('more', { args: ['/bin/true'] }, { stdout }), 'ERR_SYSCALL'),
        ).toMatchObject({ errno: ENOSPC })
      }
      // Its status cannot be written now, and is not lost.
      job.stdin?.end()
      expect(await job.wait()).toMatchObject({ exitCode: 9, known: true })
      rmSync(filler)
      await eventually('it is written', () => readdirSync(join(root, ids[0], 'job')).includes('exitStatus'))
      expect((await run(container, 'echo alive')).stdout).toBe('alive\n')
      fill()
      await container.delete({ force: true })
      expect(readdirSync(root)).toEqual([])
      await eventually('no shim', () => shimsBelow(root).length === 0)
    } finally {
      execFileSync('umount', ['-l', disk])
    }
  })

  test('a disk that became read-only', async () => {
    const disk = ground.newPath('disk')
    mkdirSync(disk)
    execFileSync('mount', ['-t', 'tmpfs', 'none', disk])
    const remount = (how: string): void => void execFileSync('mount', ['-o', `remount,${how}`, disk])
    try {
      const root = join(disk, 'root')
      const ids = [ground.newId(), ground.newId(), ground.newId()] as const
      const refused = {
        code: 'ERR_SYSCALL',
        errno: 30,
        syscall: expect.any(String),
        path: expect.any(String),
      }
      const created = await Container.create(ground.options({ root, id: ids[0] }))
      const container = await Container.create(ground.options({ root, id: ids[1] }))
      await container.start()
      const job = await container.exec(
        'job',
        { args: ['/bin/sh', '-c', 'read x; exit 9'] },
        { stdin: 'pipe', stdout: 'pipe' },
      )
      remount('ro')
      await expect(Container.create(ground.options({ root, id: ids[2] }))).rejects.toMatchObject(refused)
      await expect(created.start()).rejects.toMatchObject({ code: 'ERR_SYSCALL', errno: 30 })
      await expect(created.delete()).rejects.toMatchObject({ code: 'ERR_SYSCALL', errno: 30 })
      await expect(container.exec('more', { args: ['/bin/true'] })).rejects.toMatchObject(refused)
      await expect(container.removeProcess('job')).rejects.toMatchObject({
        code: 'ERR_CONTAINER_NOT_STOPPED',
      })
      // What needs no disk goes on.
      await container.pause()
      await container.resume()
      expect((await container.pids()).length).toBe(2)
      job.stdin?.end()
      expect(await job.wait()).toMatchObject({ exitCode: 9, known: true })
      await expect(container.removeProcess('job')).rejects.toMatchObject(refused)
      expect((await Container.load(root, ids[1])).processes.get('job')?.exitStatus).toMatchObject({
        exitCode: 9,
      })
      remount('rw')
      await eventually('it is written', () => readdirSync(join(root, ids[1], 'job')).includes('exitStatus'))
      await container.removeProcess('job')
      expect((await run(container, 'echo alive')).stdout).toBe('alive\n')
      await created.start()
      for (const each of [created, container]) await each.delete({ force: true })
      expect(readdirSync(root)).toEqual([])
      await eventually('no shim', () => shimsBelow(root).length === 0)
    } finally {
      remount('rw')
      execFileSync('umount', ['-l', disk])
    }
  })

  test('no descriptors in the program', async () => {
    const options = ground.options()
    const program = new Program(
      `const c = await Container.create(args)
       await c.start()
       const fs = require('node:fs')
       const before = fs.readdirSync('/proc/self/fd').length
       const held = []
       try { for (;;) held.push(fs.openSync('/dev/null')) } catch {}
       const errors = []
       for (const work of [
         () => c.exec('job', { args: ['/bin/true'] }, { stdout: 'pipe' }),
         () => Container.load(args.root, args.id),
         () => c.stats(),
       ]) await work().then(() => errors.push('ok'), (error) => errors.push([error.code, error.errno]))
       for (const fd of held) fs.closeSync(fd)
       const job = await c.exec('after', { args: ['/bin/sh', '-c', 'exit 3'] }, { stdout: 'pipe' })
       job.stdout.resume()
       const { exitCode } = await job.wait()
       await new Promise((resolve) => setTimeout(resolve, 50))
       say({ errors, exitCode, more: (await Container.load(args.root, args.id)).processes.has('job') })
       await c.delete({ force: true })
       process.exit(0)`,
      options,
    )
    execFileSync('prlimit', ['--pid', String(program.child.pid), '--nofile=200:'])
    const { errors, exitCode, more } = await program.next()
    expect(exitCode).toBe(3)
    expect(more).toBe(false)
    expect(errors[0]).toEqual(['ERR_SYSCALL', 24])
    expect(errors[1]).toEqual(['ERR_SYSCALL', 24])
    expect(await program.ended).toMatchObject({ code: 0 })
    await ground.expectNothingLeft(options.id)
  })

  test('few descriptors in a program that loads: all that there is, or an error', async () => {
    const container = await ground.running()
    for (const [id, script] of [
      ['code', 'exit 5'],
      ['shot', 'kill -9 $$'],
    ] as const) {
      await (await container.exec(id, { args: ['/bin/sh', '-c', script] })).wait()
    }
    await container.kill('SIGKILL')
    await container.processes.get('init')?.wait()
    await container.close()
    // What is told comes from disk alone.
    await eventually('no shim', () => shimsBelow(join(ground.root, container.id)).length === 0)
    const program = new Program(
      `const fs = require('node:fs')
       const tell = async () => {
         const c = await Container.load(args.root, args.id)
         const said = [...c.processes].map(([id, { exitStatus }]) => [id, exitStatus])
         await c.close()
         return [(await Container.list(args.root)).length, ...said]
       }
       const right = await tell()
       const held = []
       try { for (;;) held.push(fs.openSync('/dev/null')) } catch {}
       const said = []
       for (let free = 0; free < 12; ++free) {
         said.push(await tell().catch((error) => [error.code, error.errno]))
         fs.closeSync(held.pop())
       }
       say({ right, said })
       process.exit(0)`,
      { root: ground.root, id: container.id },
    )
    execFileSync('prlimit', ['--pid', String(program.child.pid), '--nofile=200:'])
    const { right, said } = (await program.next()) as { right: unknown[]; said: unknown[] }
    expect(right).toEqual([
      1,
      ['init', expect.objectContaining({ signal: 'SIGKILL', known: true })],
      ['code', expect.objectContaining({ exitCode: 5, signal: null, known: true })],
      ['shot', expect.objectContaining({ exitCode: 137, signal: 'SIGKILL', known: true })],
    ])
    for (const answer of said) expect([['ERR_SYSCALL', 24], right]).toContainEqual(answer)
    expect(said.at(0)).toEqual(['ERR_SYSCALL', 24])
    expect(said.at(-1)).toEqual(right)
  })

  test('no descriptors, no memory and no pids in the shim', async () => {
    const container = await ground.running()
    const shim = shimOf(container)
    const before = descriptors(shim).size
    for (const limit of ['--nofile', '--as']) {
      const size =
        limit === '--as'
          ? Number(/^VmSize:\s+(\d+)/m.exec(readFileSync(`/proc/${shim}/status`, 'utf8'))?.[1]) * 1024
          : before + 1
      execFileSync('prlimit', ['--pid', String(shim), `${limit}=${size}:`])
      for (let n = 0; n < 5; ++n) {
        const outcome = await container
          .exec(`job-${limit}-${n}`, { args: ['/bin/sh', '-c', 'exit 7'] }, { stdout: 'keep' })
          .then(
            (job) => job.wait(),
            (error: { code: string }) => error,
          )
        if ('code' in outcome) expect(['ERR_SYSCALL', 'ERR_SHIM_EXITED']).toContain(outcome.code)
        else expect(outcome).toMatchObject({ exitCode: 7, known: true })
      }
      for (const pid of shimsBelow(join(ground.root, container.id)))
        execFileSync('prlimit', ['--pid', String(pid), `${limit}=${limit === '--as' ? 'unlimited' : 1024}:`])
      expect((await run(container, 'echo alive')).stdout).toBe('alive\n')
    }
    await container.updateResources({ pids: { limit: 1 } })
    // A process that was made elsewhere may still move in.
    const job = await container.exec('job', { args: ['/bin/true'] })
    expect(await job.wait()).toMatchObject({ exitCode: 0, known: true })
    await container.updateResources({ pids: { limit: 100 } })
    expect((await run(container, 'echo alive')).stdout).toBe('alive\n')
  })
})
