// The ground under a file of tests of real containers: a root of its own, bundles, and a cleaning that runs whatever
// happens and then looks whether anything was left.
import { execFileSync } from 'node:child_process'
import { existsSync, mkdirSync, readdirSync, readFileSync, rmdirSync, rmSync, writeFileSync } from 'node:fs'
import { constants, tmpdir } from 'node:os'
import { join } from 'node:path'
import { isDeepStrictEqual } from 'node:util'
import { afterAll, afterEach, beforeAll } from 'vitest'
import { Container, type ContainerOptions, type ProcessSpec } from '../../lib/index.js'
import { type Config, defaultConfig, idler, makeRootfs, writeBundle } from './bundle.js'
import type { RuntimeName } from './machine.js'
import { isAlive, procStat, read, shimsBelow, statusLine } from './processes.mjs'
import { cgroupsNamed } from './traces.mjs'
import { eventually } from './wait.js'

/** Its bit in a mask of /proc/<pid>/status. */
const sigterm = 1n << BigInt(constants.signals.SIGTERM - 1)

export interface Ground {
  readonly runtime: RuntimeName
  /** The runtime binary's own record directory of the container: `/run/runc/<id>`. */
  record(id: string): string
  /** Holds all that this file of tests makes. */
  readonly directory: string
  readonly root: string
  readonly rootfs: string
  /** A container id that nobody else has. */
  newId(): string
  /** A path that nothing is at yet. */
  newPath(name?: string): string
  /** The path of a FIFO that nobody has opened. */
  newFifo(): string
  /** A bundle whose config `edit` may bend. */
  bundle(edit?: (config: Config) => void): string
  /** A bundle whose init is `args`. */
  bundleOf(args: string[], process?: Partial<ProcessSpec>): string
  options(options?: Partial<ContainerOptions>): ContainerOptions
  create(options?: Partial<ContainerOptions>): Promise<Container>
  /** Created and started. */
  running(options?: Partial<ContainerOptions>): Promise<Container>
  /** The runtime's own command line. */
  runtimeCommand(...args: string[]): string
  /** Nothing of this container is anywhere. */
  expectNothingLeft(id: string): Promise<void>
}

function mountsBelow(prefix: string): string[] {
  return readFileSync('/proc/self/mounts', 'utf8')
    .split('\n')
    .map((line) => line.split(' ')[1] ?? '')
    .filter((path) => path === prefix || path.startsWith(`${prefix}/`))
}

function thaw(id: string): void {
  for (const directory of cgroupsNamed(id)) {
    for (const [file, value] of [
      ['freezer.state', 'THAWED'],
      ['cgroup.freeze', '0'],
    ] as const) {
      if (existsSync(join(directory, file))) writeFileSync(join(directory, file), value)
    }
  }
}

function leftovers(ground: { directory: string; root: string }, ids: string[], shims: string): string[] {
  const out: string[] = []
  for (const pid of shimsBelow(shims)) out.push(`shim ${pid}: ${read(`/proc/${pid}/cmdline`)}`)
  for (const id of ids) {
    for (const path of [`/run/runc/${id}`, `/run/crun/${id}`, join(ground.root, id)]) {
      if (existsSync(path)) out.push(path)
    }
    out.push(...cgroupsNamed(id))
  }
  out.push(...mountsBelow(ground.directory).map((path) => `mount ${path}`))
  if (existsSync(ground.root)) {
    for (const name of readdirSync(ground.root)) {
      if (name.startsWith(':')) out.push(join(ground.root, name))
    }
  }
  return out
}

/** By force and by other means than the library's: for what it failed to clean up. */
function scrape(ground: { root: string; directory: string }, ids: string[]): void {
  for (const id of ids) {
    thaw(id)
    for (const directory of cgroupsNamed(id)) {
      for (const pid of (read(join(directory, 'cgroup.procs')) ?? '').trim().split('\n').map(Number)) {
        if (pid > 1 && isAlive(pid)) process.kill(pid, 'SIGKILL')
      }
    }
    for (const runtime of ['runc', 'crun']) {
      if (!existsSync(`/run/${runtime}/${id}`)) continue
      try {
        execFileSync(runtime, ['delete', '--force', id], { stdio: 'pipe' })
      } catch {
        // said below, when something is left
      }
    }
  }
  for (const id of ids) {
    for (const directory of cgroupsNamed(id).reverse()) {
      try {
        rmdirSync(directory)
      } catch {
        // said below
      }
    }
  }
  for (const pid of shimsBelow(ground.root)) process.kill(pid, 'SIGKILL')
  for (const path of mountsBelow(ground.directory).reverse()) {
    try {
      execFileSync('umount', [path], { stdio: 'pipe' })
    } catch {
      // said below
    }
  }
}

let serial = 0

/** Call at the top of a describe(); the hooks clean up after every test in it. */
export function useContainers(runtime: RuntimeName, rootName = 'root'): Ground {
  const unique = `t${process.pid}-${Math.random().toString(36).slice(2, 8)}`
  const directory = join(tmpdir(), `libcontainer-test-${unique}`)
  const root = join(directory, rootName)
  let ids: string[] = []
  let count = 0
  let rootfs = ''

  const ground: Ground = {
    runtime,
    directory,
    root,
    get rootfs() {
      return rootfs
    },
    record: (id) => `/run/${runtime}/${id}`,
    newId() {
      const id = `${unique}-${++serial}`
      ids.push(id)
      return id
    },
    newPath: (name = 'file') => join(directory, `${name}-${++count}`),
    newFifo() {
      const path = ground.newPath('fifo')
      execFileSync('mkfifo', ['-m', '600', path])
      return path
    },
    bundle(edit) {
      const config = defaultConfig(rootfs, null)
      edit?.(config)
      return writeBundle(ground.newPath('bundle'), config)
    },
    bundleOf(args, spec = {}) {
      return ground.bundle((config) => {
        Object.assign(config.process, { args, ...spec })
      })
    },
    options(options = {}) {
      const id = options.id ?? ground.newId()
      const bundle = options.bundle ?? ground.bundle()
      return { root, runtime, ...options, id, bundle }
    },
    create: (options) => Container.create(ground.options(options)),
    async running(options) {
      const container = await ground.create(options)
      await container.start()
      // A signal to an init that has set no trap yet would be lost: pid_namespaces(7).
      const init = container.processes.get('init')
      if (init?.spec.args === undefined || !isDeepStrictEqual(init.spec.args, idler)) return container
      const catches = (): boolean =>
        statusLine(init.pid, 'Name') === 'sh' &&
        (BigInt(`0x${statusLine(init.pid, 'SigCgt')}`) & sigterm) !== 0n
      await eventually('its trap is set', () => init.state === 'stopped' || catches())
      return container
    },
    runtimeCommand: (...args) =>
      execFileSync(runtime, args, { stdio: ['ignore', 'pipe', 'pipe'] }).toString(),
    async expectNothingLeft(id) {
      const look = (): string[] => leftovers({ directory, root }, [id], join(root, id))
      await eventually(`nothing left of ${id}`, () => look().length === 0).catch(() => {
        throw new Error(`left behind: ${look().join(', ')}`)
      })
    },
  }

  async function clean(): Promise<void> {
    const mine = ids
    ids = []
    const problems: string[] = []
    let present: string[] = []
    try {
      present = readdirSync(root).filter((name) => !name.startsWith(':'))
    } catch {
      // no root was made
    }
    for (const id of present) {
      try {
        const container = await Container.load(root, id)
        await container.delete({ force: true })
      } catch (error) {
        // A test that made garbage on purpose removes it here; a container that cannot be deleted is a failure.
        const { code } = error as { code?: string }
        if (
          code !== 'ERR_STATE_CORRUPT' &&
          code !== 'ERR_CONTAINER_NOT_FOUND' &&
          code !== 'ERR_INVALID_ARG_VALUE'
        ) {
          problems.push(`delete of ${id}: ${String(error)}`)
        }
      }
      rmSync(join(root, id), { recursive: true, force: true })
    }
    const all = [...new Set([...mine, ...present])]
    try {
      await eventually('a clean machine', () => leftovers({ directory, root }, all, root).length === 0)
    } catch {
      problems.push(...leftovers({ directory, root }, all, root))
      scrape({ root, directory }, all)
      try {
        await eventually('a clean machine', () => shimsBelow(root).length === 0)
      } catch {
        problems.push('and could not be removed')
      }
    }
    if (problems.length > 0) throw new Error(`LEFT BEHIND: ${problems.join('; ')}`)
  }

  beforeAll(() => {
    mkdirSync(directory, { mode: 0o700 })
    rootfs = makeRootfs(directory)
  })
  afterEach(clean)
  afterAll(async () => {
    await clean()
    if (mountsBelow(directory).length > 0) {
      throw new Error(`LEFT BEHIND: mounts in ${directory}: ${mountsBelow(directory).join(', ')}`)
    }
    rmSync(directory, { recursive: true, force: true })
  })
  return ground
}

/** The shim that serves the container now. */
export function shimOf(container: Container): number {
  const candidates = shimsBelow(join(container.root, container.id))
  // Not what it has forked and what is yet to execute the runtime.
  const [pid, ...more] = candidates.filter((candidate) => {
    const parent = procStat(candidate)?.parent
    return parent !== undefined && parent !== process.pid && !candidates.includes(parent)
  })
  if (pid === undefined || more.length > 0) {
    throw new Error(`container ${container.id} has ${more.length + (pid === undefined ? 0 : 1)} shims`)
  }
  return pid
}

/** Freezes the container by hand, as anyone may. */
export async function freeze(id: string): Promise<void> {
  const directories = cgroupsNamed(id)
  const v1 = directories.find((path) => existsSync(join(path, 'freezer.state')))
  if (v1 !== undefined) {
    let attempt = 0
    await eventually('FROZEN', () => {
      // The v1 freezer may stay at FREEZING for good: thawed and frozen again, as runc does it.
      if (++attempt % 10 === 0) writeFileSync(join(v1, 'freezer.state'), 'THAWED')
      writeFileSync(join(v1, 'freezer.state'), 'FROZEN')
      return readFileSync(join(v1, 'freezer.state'), 'utf8').trim() === 'FROZEN'
    })
    return
  }
  const v2 = directories.find((path) => existsSync(join(path, 'cgroup.freeze'))) as string
  writeFileSync(join(v2, 'cgroup.freeze'), '1')
  await eventually('frozen 1', () => readFileSync(join(v2, 'cgroup.events'), 'utf8').includes('frozen 1'))
}

export function unfreeze(id: string): void {
  thaw(id)
}
