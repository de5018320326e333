// The kernel's own word on a container: its control files, read without the library's help.
import { existsSync, mkdirSync, readdirSync, readFileSync, rmdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { cgroupRoot, isCgroupV2 } from './machine.js'
import { cgroupsNamed } from './traces.mjs'

/** A container's cgroups as the kernel names them; made once, since the walk that finds them takes its time. */
export class Cgroup {
  readonly directories: readonly string[]

  /** The cgroups whose name holds `id`. */
  constructor(id: string) {
    this.directories = cgroupsNamed(id)
    if (this.directories.length === 0) throw new Error(`there is no cgroup named ${id}`)
  }

  /** Where a control file is; null when no cgroup of the container has one. */
  path(file: string): string | null {
    for (const directory of this.directories) {
      const path = join(directory, file)
      if (existsSync(path)) return path
    }
    return null
  }

  /** The text of a control file without its last newline; null where there is none, or it cannot be read. */
  read(file: string): string | null {
    const path = this.path(file)
    if (path === null) return null
    try {
      return readFileSync(path, 'utf8').trimEnd()
    } catch {
      return null
    }
  }

  write(file: string, value: string): void {
    writeFileSync(this.path(file) as string, value)
  }

  /** A cgroup below the container's, in each of its hierarchies. */
  makeChild(name: string): void {
    for (const directory of this.directories) {
      const child = join(directory, name)
      mkdirSync(child, { recursive: true })
      // A v1 cpuset takes no process before it has both.
      for (const file of ['cpuset.cpus', 'cpuset.mems']) {
        if (existsSync(join(child, 'cpuset.memory_migrate'))) {
          writeFileSync(join(child, file), readFileSync(join(directory, file)))
        }
      }
    }
  }

  removeChild(name: string): void {
    for (const directory of this.directories) {
      if (existsSync(join(directory, name))) rmdirSync(join(directory, name))
    }
  }

  /** Moves a process into a cgroup below the container's, or into the container's own. */
  join(pid: number, child = ''): void {
    for (const directory of this.directories) {
      writeFileSync(join(directory, child, 'cgroup.procs'), String(pid))
    }
  }

  /** What the freezer says: v1's freezer.state, or v2's `frozen` in the same words. */
  freezer(): string | null {
    const v1 = this.read('freezer.state')
    if (v1 !== null) return v1
    return /^frozen 1$/m.test(this.read('cgroup.events') ?? '') ? 'FROZEN' : 'THAWED'
  }
}

/** Whether the kernel has this controller at all, on whichever hierarchy. */
export function hasController(name: string): boolean {
  if (isCgroupV2()) {
    return readFileSync(join(cgroupRoot, 'cgroup.controllers'), 'utf8').trim().split(' ').includes(name)
  }
  return readdirSync(cgroupRoot).includes(name)
}

/** `key value` lines as an object. */
export function keyed(text: string): Record<string, number> {
  return Object.fromEntries(
    text
      .split('\n')
      .filter(Boolean)
      .map((line) => line.split(' '))
      .map(([key, value]) => [key as string, Number(value)]),
  )
}
