// The program itself runs in a container whose cgroup mounts show a part of each hierarchy: what Docker gives on cgroup v1,
// and on v2 without a cgroup namespace.
import { existsSync, readdirSync, readFileSync, rmdirSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { Cgroup } from '../support/cgroups.js'
import { useContainers } from '../support/containers.js'
import { cannotRunContainers, runtimes } from '../support/machine.js'
import { hog, smallBundle } from '../support/memory.js'
import { Program } from '../support/programs.js'
import { eventually } from '../support/wait.js'
import { cgroupsNamed } from '../support/traces.mjs'

const skip = cannotRunContainers()

/** Every mount of cgroups, with what it shows. */
function mounts(text: string): { root: string; path: string; type: string }[] {
  return text
    .trim()
    .split('\n')
    .map((line) => {
      const [left, right] = line.split(' - ') as [string, string]
      const [, , , root, path] = left.split(' ') as [string, string, string, string, string]
      return { root, path, type: right.split(' ')[0] as string }
    })
    .filter(({ type }) => type === 'cgroup' || type === 'cgroup2')
}

/**
 * A command line to run a program under: in a cgroup of that name of each hierarchy, of which it sees nothing but what is
 * below. On v2 the program is in a leaf of its own, since a cgroup that gives controllers to others holds no process.
 */
function within(name: string, aside: string): string[] {
  const make = mounts(readFileSync('/proc/self/mountinfo', 'utf8')).map(({ path, type }, index) => {
    const outer = join(path, name)
    const fill =
      type === 'cgroup'
        ? `for file in cpuset.cpus cpuset.mems; do
            if [ -e ${outer}/$file ]; then cat ${path}/$file >${outer}/$file; fi
          done
          echo $$ >${outer}/cgroup.procs`
        : `mkdir -p ${outer}/self
          echo $$ >${outer}/self/cgroup.procs
          for each in $(cat ${outer}/cgroup.controllers); do echo +$each >${outer}/cgroup.subtree_control; done`
    // Again is no error: a hierarchy may be mounted twice.
    return `mkdir -p ${outer}
      ${fill}
      mkdir -p ${aside}/${index}
      mount --bind ${outer} ${aside}/${index}
      umount --lazy ${path}
      mount --move ${aside}/${index} ${path}`
  })
  return ['unshare', '--mount', 'sh', '-ec', `${make.join('\n')}\nexec "$@"`, 'sh']
}

/** Deepest first. */
function removeCgroups(name: string): void {
  for (const outer of cgroupsNamed(name)) {
    for (const entry of readdirSync(outer, { withFileTypes: true })) {
      if (entry.isDirectory()) rmdirSync(join(outer, entry.name))
    }
    rmdirSync(outer)
  }
}

describe.skipIf(skip).each(runtimes)('inside of a container, %s', (runtime) => {
  const ground = useContainers(runtime)

  test('a container is found by mounts that begin further down, in every way', async () => {
    const outer = `${ground.newId()}-outer`
    const options = ground.options({ bundle: smallBundle(ground) })
    const program = new Program(
      `const { statSync, readFileSync } = require('node:fs')
      say(readFileSync('/proc/self/mountinfo', 'utf8'))
      const container = await Container.create(args.options)
      const init = await container.start()
      const job = await container.exec('job', { args: ['/bin/sleep', '1000'] })
      const told = { pids: (await container.pids()).sort(), expected: [init.pid, job.pid].sort() }
      await container.updateResources({ pids: { limit: 77 } })
      const { pids, memory, cpu } = container.statsSync()
      Object.assign(told, { limit: pids.limit, memory: memory.usage.limit, used: cpu.usage.total > 0 })
      await container.pause()
      told.paused = await (await Container.load(args.options.root, args.options.id)).status()
      await container.resume()
      const watcher = await container.oom()
      const hog = await container.exec('hog', { args: args.hog })
      told.killed = (await hog.wait()).oomKilled
      told.ooms = watcher.flush()
      say(told)
      process.stdin.once('data', async () => {
        await container.delete({ force: true })
        for await (const event of watcher) void event
        say({ removed: watcher.removed })
        process.exit()
      })`,
      { options, hog },
      ['pipe', 'pipe', 'pipe'],
      within(outer, ground.newPath()),
    )
    try {
      for (const { root } of mounts(await program.next())) expect(root).toBe(`/${outer}`)
      const said = await program.next()
      expect(said).toEqual({
        pids: said.expected,
        expected: said.expected,
        limit: 77,
        memory: 32 * 1024 * 1024,
        used: true,
        paused: 'paused',
        killed: true,
        ooms: 1,
      })
      // It is where its host sees it, below the program's own.
      const cgroup = new Cgroup(options.id)
      expect(cgroup.path('pids.max')).toContain(`/${outer}/`)
      expect(cgroup.read('pids.max')?.trim()).toBe('77')
      program.child.stdin?.write('go\n')
      expect(await program.next()).toEqual({ removed: true })
      expect(await program.ended).toMatchObject({ code: 0 })
      await eventually('its cgroups are empty', () => {
        try {
          removeCgroups(outer)
          return true
        } catch {
          return false // of a process that is on its way out
        }
      })
    } finally {
      program.kill()
      await program.ended
    }
    expect(cgroupsNamed(outer)).toEqual([])
    expect(existsSync(join(ground.root, options.id))).toBe(false)
  })
})
