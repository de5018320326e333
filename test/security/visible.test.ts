// What a hostile container sees of an exec from its first moment on: nothing that is not the container's own.
import { spawn } from 'node:child_process'
import { chmodSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { beforeAll, describe, expect, test } from 'vitest'
import { Container, type Process } from '../../lib/index.js'
import { capabilities, type Config } from '../support/bundle.js'
import { compileProgram } from '../support/compile.js'
import { shimOf, useContainers } from '../support/containers.js'
import { run } from '../support/expect.js'
import { cannotRunContainers, runtimes } from '../support/machine.js'
import { descriptors, isAlive, statusLine } from '../support/processes.mjs'
import { eventually } from '../support/wait.js'

const skip = cannotRunContainers()
// An emulated machine takes 15 to 40 times as long for each.
const execs = process.env['VM_LAYOUT'] === undefined ? 2000 : 80
const inFlight = 4
const enough = execs / 100 // seen before they ran their program

/** Every capability that this program has; a container gets no others. */
function allCapabilities(): string[] {
  const names =
    'chown dac_override dac_read_search fowner fsetid kill setgid setuid setpcap linux_immutable net_bind_service ' +
    'net_broadcast net_admin net_raw ipc_lock ipc_owner sys_module sys_rawio sys_chroot sys_ptrace sys_pacct sys_admin ' +
    'sys_boot sys_nice sys_resource sys_time sys_tty_config mknod lease audit_write audit_control setfcap mac_override ' +
    'mac_admin syslog wake_alarm block_suspend audit_read perfmon bpf checkpoint_restore'
  const held = BigInt(`0x${statusLine(process.pid, 'CapEff')}`)
  return names
    .split(' ')
    .filter((_, bit) => (held >> BigInt(bit)) & 1n)
    .map((name) => `CAP_${name.toUpperCase()}`)
}

function childrenOf(pid: number): string[] {
  return readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8').trim().split(' ')
}

function inUserNamespace(config: Config): void {
  const mapping = [{ containerID: 0, hostID: 100000, size: 65536 }]
  config.linux.namespaces.push({ type: 'user' })
  Object.assign(config.linux, { uidMappings: mapping, gidMappings: mapping })
}

describe.skipIf(skip).each(runtimes)('what an exec shows, %s', (runtime) => {
  const ground = useContainers(runtime)
  let marker: string
  let serial = 0
  beforeAll(() => {
    compileProgram('watch', join(ground.rootfs, 'bin'))
    marker = join(ground.directory, 'only-the-host-has-this')
    writeFileSync(marker, '')
    chmodSync(ground.directory, 0o711) // for the root of a user namespace
  })

  const make = (userNamespace: boolean, held: string[]): Promise<Container> =>
    ground.running({
      bundle: ground.bundle((config: Config) => {
        config.process.capabilities = { bounding: held, effective: held, permitted: held }
        if (userNamespace) inUserNamespace(config)
      }),
    })

  /** Runs the execs beside the watcher; what that found, and how many it saw early. */
  async function watched(container: Container, way: string, count: number): Promise<[string[], number]> {
    const watcher: Process = await container.exec(
      `watcher-${++serial}`,
      { args: ['/bin/watch', way, marker, ground.root] },
      { stdin: 'pipe', stdout: 'pipe', stderr: 'pipe' },
    )
    let output = ''
    const answered = (pattern: RegExp): Promise<RegExpExecArray> =>
      new Promise((resolve, reject) => {
        const look = (): void => {
          const match = pattern.exec(output)
          if (match) resolve(match)
        }
        watcher.stdout?.on('data', look)
        watcher.stdout?.once('end', () => reject(new Error(`the watcher ended: ${output}`)))
        look()
      })
    for (const stream of [watcher.stdout, watcher.stderr]) {
      stream?.on('data', (chunk: Buffer) => (output += chunk.toString()))
    }
    await answered(/^ready$/m)
    const worker = async (share: number): Promise<void> => {
      for (let n = 0; n < share; ++n) {
        const terminal = n % 4 === 3
        const job = await container.exec(
          `job-${++serial}`,
          { args: ['/bin/true'], terminal },
          { stdout: 'pipe' },
        )
        job.stdout?.resume()
        await job.wait()
        await container.removeProcess(job.id)
      }
    }
    // On a busy machine the watcher comes too late for many of them.
    let early = 0
    for (let round = 0; round < 20 && early < enough; ++round) {
      await Promise.all(Array.from({ length: inFlight }, () => worker(count / inFlight)))
      output = output.replace(/^early.*$/m, '')
      watcher.stdin?.write('\n')
      early = Number((await answered(/^early (\d+)$/m))[1])
    }
    watcher.stdin?.end()
    await watcher.wait()
    return [output.split('\n').filter((line) => !/^(ready|early \d+|)$/.test(line)), early]
  }

  for (const userNamespace of [false, true]) {
    const where = userNamespace ? 'in a user namespace' : 'without a user namespace'
    test(`every capability, ${where}: nothing of the host, at whichever system call it is stopped`, async () => {
      const container = await make(userNamespace, allCapabilities())
      for (const [way, share] of [
        ['look', 0.5],
        ['stop', 0.25],
        ['trace', 0.25],
      ] as const) {
        const [found, early] = await watched(container, way, execs * share)
        expect(found, way).toEqual([])
        expect(early, way).toBeGreaterThanOrEqual(enough)
      }
    })

    test(`the usual capabilities, ${where}: nothing of the host`, async () => {
      const container = await make(userNamespace, capabilities)
      for (const way of ['look', 'stop']) {
        const [found, early] = await watched(container, way, execs / 2)
        expect(found, way).toEqual([])
        expect(early, way).toBeGreaterThanOrEqual(enough)
      }
    })
  }

  test('a container that takes the pipes of an exec ends that exec at the most', async () => {
    const victim = spawn('sleep', ['1000'], { stdio: 'ignore' })
    const { root, id: containerId } = await ground.running({
      bundle: ground.bundle((config: Config) => {
        const held = allCapabilities()
        config.process.capabilities = { bounding: held, effective: held, permitted: held }
      }),
    })
    const container = await Container.load(root, containerId, { timeout: 1000 })
    try {
      const watcher = await container.exec(
        'watcher',
        { args: ['/bin/watch', 'rob', marker, String(victim.pid)] },
        { stdin: 'pipe', stdout: 'pipe' },
      )
      let output = ''
      watcher.stdout?.on('data', (chunk: Buffer) => (output += chunk.toString()))
      await eventually('the watcher is ready', () => output.includes('ready'))
      const shim = shimOf(container)
      const before = descriptors(shim).size
      let robbed = 0
      for (let round = 0; round < 400 && robbed < 12; ++round) {
        const id = `robbed-${round}`
        await container.exec(id, { args: ['/bin/true'] }, { stdout: 'pipe' }).then(
          async (job) => {
            job.stdout?.resume()
            await job.wait()
            await container.removeProcess(id)
          },
          (error: unknown) => expect(error).toMatchObject({ name: 'ContainerError' }),
        )
        output = output.replace(/^early.*$/m, '')
        watcher.stdin?.write('\n')
        await eventually('the watcher answers', () => /^early \d+$/m.test(output))
        robbed = Number(/^early (\d+)$/m.exec(output)?.[1])
      }
      expect(robbed).toBeGreaterThanOrEqual(12)
      expect(isAlive(victim.pid ?? 0)).toBe(true)
      await watcher.kill('SIGKILL')
      await watcher.wait()
      expect((await run(container, 'echo well')).stdout).toBe('well\n')
      expect(shimOf(container)).toBe(shim)
      await eventually('the shim holds no more than before', () => descriptors(shim).size <= before)
      await eventually('it has no child left', () => childrenOf(shim).length === 1)
    } finally {
      victim.kill('SIGKILL')
      await container.close()
    }
  })

  test('execs that the container kills before they run leave nothing in the shim', async () => {
    // The timeout is what must not be waited for.
    const container = await ground.running({ timeout: 600_000 })
    const killer = await container.exec('killer', {
      args: [
        '/bin/sh',
        '-c',
        'while :; do for p in /proc/[0-9]*; do p=${p#/proc/}; ' +
          '[ $p -gt 1 ] && [ $p != $$ ] && kill -KILL $p; done 2>/dev/null; done',
      ],
    })
    const shim = shimOf(container)
    const before = descriptors(shim).size
    let killed = 0
    const worker = async (share: number): Promise<void> => {
      for (let n = 0; n < 500 && killed < 20; ++n) {
        const id = `job-${share}-${n}`
        try {
          const job = await container.exec(id, { args: ['/bin/true'] }, { stdout: 'pipe' })
          job.stdout?.resume()
          await job.wait()
          await container.removeProcess(id)
        } catch (error) {
          expect(error).toMatchObject({ code: 'ERR_PROCESS_EXITED' })
          ++killed
        }
      }
    }
    await Promise.all(Array.from({ length: inFlight }, (_, share) => worker(share)))
    expect(killed).toBeGreaterThanOrEqual(20)
    await killer.kill('SIGKILL')
    await killer.wait()
    await eventually('the shim holds no more than before', () => descriptors(shim).size <= before)
    await eventually('it has no child but init', () => childrenOf(shim).length === 1)
  })
})
