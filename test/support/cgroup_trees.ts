// Trees of plain files that pass for the cgroups of a container, and a runtime's record that names them: for faults that
// no kernel produces when asked.
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { load } from '../../lib/native/load.js'
import type { LiveContainer } from '../../lib/native/binding.js'

const { native } = load()

export const v1Controllers = [
  'cpu',
  'cpuacct',
  'cpuset',
  'memory',
  'pids',
  'blkio',
  'devices',
  'freezer',
  'hugetlb',
  'rdma',
]

export class CgroupTree {
  readonly directory = mkdtempSync(join(tmpdir(), 'lc-tree-'))
  readonly id = 'web'
  readonly v2: boolean

  constructor(version: 1 | 2) {
    this.v2 = version === 2
    const paths: Record<string, string> = {}
    for (const name of this.v2 ? [''] : v1Controllers) {
      paths[name] = join(this.directory, 'cgroup', name)
      this.write(join('cgroup', name, 'cgroup.procs'), `${process.pid}\n`)
    }
    this.writeRecord(
      JSON.stringify({
        id: this.id,
        init_process_pid: process.pid,
        init_process_start: native.startTime(process.pid),
        cgroup_paths: paths,
        config: { namespaces: [], cgroups: { path: '/web', memory: 0 } },
      }),
    )
  }

  /** Of a v1 file's controller; v2 has one directory for all. */
  file(name: string, controller = name.split('.')[0] as string): string {
    return this.v2 ? join('cgroup', name) : join('cgroup', controller, name)
  }

  write(path: string, content: string | Buffer): void {
    const whole = join(this.directory, path)
    mkdirSync(dirname(whole), { recursive: true })
    writeFileSync(whole, content)
  }

  path(path: string): string {
    return join(this.directory, path)
  }

  get recordPath(): string {
    return this.path(join('records', this.id, 'state.json'))
  }

  writeRecord(text: string | Buffer): void {
    this.write(join('records', this.id, 'state.json'), text)
  }

  /** Every file of the cgroups with its content. */
  contents(directory = this.path('cgroup')): Record<string, string> {
    const out: Record<string, string> = {}
    for (const name of readdirSync(directory)) {
      const path = join(directory, name)
      if (statSync(path).isDirectory()) Object.assign(out, this.contents(path))
      else out[path] = readFileSync(path, 'latin1')
    }
    return out
  }

  /** A handle's native half; nothing is looked up before it is asked something. */
  box(): LiveContainer {
    return native.container({
      id: this.id,
      runtime: 'runc',
      runtimeArgs: [`--root=${this.path('records')}`],
      pid: process.pid,
      starttime: native.startTime(process.pid) as number,
    })
  }

  remove(): void {
    rmSync(this.directory, { recursive: true, force: true })
  }
}
