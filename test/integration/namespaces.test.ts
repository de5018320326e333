// Containers that share a namespace with the host, or have a user namespace; and what the OOM killer ends.
import { execFileSync } from 'node:child_process'
import { chmodSync, mkdirSync, readdirSync, readFileSync, readlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { useContainers } from '../support/containers.js'
import { makeRootfs } from '../support/bundle.js'
import { run } from '../support/expect.js'
import { cannotRunContainers, isCgroupV2, runtimes } from '../support/machine.js'
import { isAlive, statusLine } from '../support/processes.mjs'
import { eventually } from '../support/wait.js'
import { cgroupsNamed } from '../support/traces.mjs'

const skip = cannotRunContainers()

function mountsOf(prefix: string): string {
  return readFileSync('/proc/self/mounts', 'utf8')
    .split('\n')
    .filter((line) => line.split(' ')[1]?.startsWith(prefix))
    .join('\n')
}

describe.skipIf(skip).each(runtimes)('namespaces, %s', (runtime) => {
  const ground = useContainers(runtime)

  test.each(['network', 'ipc', 'uts', 'cgroup', 'pid'])('without a %s namespace of its own', async (type) => {
    const container = await ground.running({
      bundle: ground.bundle((config) => {
        config.linux.namespaces = config.linux.namespaces.filter((one: { type: string }) => one.type !== type)
        if (type === 'uts') delete config.hostname
      }),
    })
    const init = container.processes.get('init')?.pid as number
    const job = await container.exec('job', { args: ['/bin/sleep', '1000'] })
    for (const name of readdirSync(`/proc/${init}/ns`)) {
      expect(readlinkSync(`/proc/${job.pid}/ns/${name}`), name).toBe(readlinkSync(`/proc/${init}/ns/${name}`))
    }
    const own = { network: 'net' }[type] ?? type
    expect(readlinkSync(`/proc/${job.pid}/ns/${own}`)).toBe(readlinkSync(`/proc/self/ns/${own}`))
    expect((await run(container, 'exit 4')).status.exitCode).toBe(4)
    // Without a pid namespace init's end is not everybody's: delete ends them.
    const orphan = await run(container, 'sleep 1000 >/dev/null 2>&1 & echo $!')
    expect(orphan.stdout).toMatch(/^\d+\n$/)
    await container.kill('SIGKILL')
    await container.processes.get('init')?.wait()
    await container.delete({ force: true })
    expect(isAlive(job.pid)).toBe(false)
    await ground.expectNothingLeft(container.id)
  })

  test('a user namespace: root inside is nobody outside', async () => {
    chmodSync(ground.directory, 0o711)
    const mapping = [{ containerID: 0, hostID: 100000, size: 65536 }]
    const container = await ground.running({
      bundle: ground.bundle((config) => {
        config.linux.namespaces.push({ type: 'user' })
        config.linux.uidMappings = mapping
        config.linux.gidMappings = mapping
      }),
    })
    const init = container.processes.get('init')?.pid as number
    const job = await container.exec('job', { args: ['/bin/sleep', '1000'] })
    expect(statusLine(job.pid, 'Uid').split('\t')[0]).toBe('100000')
    expect(statusLine(job.pid, 'Gid').split('\t')[0]).toBe('100000')
    for (const name of readdirSync(`/proc/${init}/ns`)) {
      expect(readlinkSync(`/proc/${job.pid}/ns/${name}`), name).toBe(readlinkSync(`/proc/${init}/ns/${name}`))
    }
    expect(readFileSync(`/proc/${job.pid}/cgroup`, 'utf8')).toBe(readFileSync(`/proc/${init}/cgroup`, 'utf8'))
    expect(statusLine(job.pid, 'CapBnd')).toBe(statusLine(init, 'CapBnd'))
    expect(statusLine(job.pid, 'CapEff')).toBe(statusLine(init, 'CapEff'))
    expect((await run(container, 'id -u; id -g')).stdout).toBe('0\n0\n')
    const user = await container.exec('user', {
      args: ['/bin/sleep', '1000'],
      user: { uid: 5, gid: 6, additionalGids: [7] },
    })
    expect(statusLine(user.pid, 'Uid').split('\t')[0]).toBe('100005')
    expect(statusLine(user.pid, 'Gid').split('\t')[0]).toBe('100006')
    expect(statusLine(user.pid, 'Groups').trim()).toBe('100007')
    const terminal = await container.exec(
      'terminal',
      { args: ['/bin/stty', 'size'], terminal: true, consoleSize: { height: 9, width: 8 } },
      { stdout: 'pipe' },
    )
    let out = ''
    terminal.stdout?.on('data', (chunk: Buffer) => {
      out += chunk.toString()
    })
    expect((await terminal.wait()).exitCode).toBe(0)
    expect(out).toBe('9 8\r\n')
    expect(
      (await run(container, ['/bin/true'], { rlimits: [{ type: 'RLIMIT_NOFILE', soft: 1024, hard: 1024 }] }))
        .status.exitCode,
    ).toBe(0)
    // The shim has more descriptors open than that.
    const many = await Promise.all(
      Array.from({ length: 10 }, (_, n) =>
        container.exec(`many-${n}`, { args: ['/bin/sleep', '1000'], terminal: true }, { stdout: 'pipe' }),
      ),
    )
    expect(many).toHaveLength(10)
    expect(
      (await run(container, 'ulimit -n', { rlimits: [{ type: 'RLIMIT_NOFILE', soft: 9, hard: 11 }] })).stdout,
    ).toBe('9\n')
    await container.delete({ force: true })
    await ground.expectNothingLeft(container.id)
  })

  // runc refuses to make one.
  if (runtime === 'crun') {
    test('without a mount namespace: the root of the container, never that of the host', async () => {
      // crun makes its devices in it: not on a file system that is mounted nodev, as /tmp may be.
      const disk = ground.newPath('disk')
      mkdirSync(disk)
      execFileSync('mount', ['-t', 'tmpfs', 'none', disk])
      const rootfs = makeRootfs(disk)
      const bundle = ground.bundle((config) => {
        config.root.path = rootfs
        config.linux.namespaces = [{ type: 'pid' }, { type: 'network' }]
        config.mounts = []
        delete config.hostname
        config.process.capabilities.bounding.push('CAP_SYS_CHROOT')
      })
      try {
        const container = await ground.running({ bundle })
        const init = container.processes.get('init')?.pid as number
        const { stdout } = await run(container, 'ls /; ls ..; pwd')
        expect(stdout).toBe(`${readdirSync(rootfs).sort().join('\n')}\n`.repeat(2) + '/\n')
        const job = await container.exec('job', { args: ['/bin/sleep', '1000'] })
        for (const [what, name] of [
          ['root', 'root'],
          ['namespace', 'ns/mnt'],
        ] as const)
          expect(readlinkSync(`/proc/${job.pid}/${name}`), what).toBe(readlinkSync(`/proc/${init}/${name}`))
        await container.delete({ force: true })
      } finally {
        // crun leaves the root filesystem mounted where the host sees it.
        while (mountsOf(disk).includes(` ${rootfs} `)) execFileSync('umount', [rootfs])
        // What has ended a moment ago may still hold it, and no file tells of that but this call's answer.
        await eventually('the disk is let go of', () => {
          try {
            execFileSync('umount', [disk], { stdio: 'pipe' })
            return true
          } catch (error) {
            expect(String(error)).toContain('busy')
            return false
          }
        })
      }
    })
  }

  // As systemd does in a container: init in a leaf, controllers for its siblings, and no process beside them.
  if (isCgroupV2()) {
    test('a container that has made cgroups of its own: an exec is where init is', async () => {
      const container = await ground.running()
      const init = container.processes.get('init')?.pid as number
      const [directory] = cgroupsNamed(container.id) as [string]
      mkdirSync(join(directory, 'leaf'))
      writeFileSync(join(directory, 'leaf/cgroup.procs'), String(init))
      writeFileSync(join(directory, 'cgroup.subtree_control'), '+pids')
      const job = await container.exec('job', { args: ['/bin/sleep', '1000'] })
      expect(readFileSync(`/proc/${job.pid}/cgroup`, 'utf8')).toMatch(/\/leaf\n$/)
      expect(readFileSync(`/proc/${job.pid}/cgroup`, 'utf8')).toBe(
        readFileSync(`/proc/${init}/cgroup`, 'utf8'),
      )
    })
  }

  test('an end by the OOM killer is told from any other SIGKILL', async () => {
    const container = await ground.running({
      bundle: ground.bundle((config) => {
        config.linux.resources.memory = { limit: 33554432, swap: 33554432 }
      }),
    })
    const hog = await container.exec('hog', { args: ['/bin/tail', '/dev/zero'] })
    expect(await hog.wait()).toMatchObject({ exitCode: 137, signal: 'SIGKILL', oomKilled: true, known: true })
    const other = await container.exec('other', { args: ['/bin/sleep', '1000'] })
    await other.kill('SIGKILL')
    expect(await other.wait()).toMatchObject({ exitCode: 137, signal: 'SIGKILL', oomKilled: false })
    expect((await run(container, 'tail /dev/zero; exit 3')).status).toMatchObject({
      exitCode: 3,
      oomKilled: false,
    })
    await eventually('it runs on', async () => (await container.status()) === 'running')
  })
})
