// What the bench stands on, and takes away again: a directory, a bundle, the hugetlb mount that crun asks for, and a
// list of what has to be undone, also after a failure or Ctrl-C.
import { execFileSync, spawn } from 'node:child_process'
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, statfsSync } from 'node:fs'
import { cpus, loadavg, release, tmpdir, totalmem } from 'node:os'
import { join, relative } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { makeBundle } from '../examples/bundle.mjs'
import { mountHugetlb as mount } from '../test/support/hugetlb.mjs'
import { descriptors, memoryOf, threadCount } from '../test/support/processes.mjs'

const cgroupRoot = '/sys/fs/cgroup'

/** Undone in reverse order, each step whatever the others did. */
export class Undo {
  #steps = []
  #running = null
  interrupted = false

  add(what, step) {
    this.#steps.push({ what, step })
  }

  run() {
    this.#running ??= (async () => {
      for (const { what, step } of this.#steps.reverse()) {
        try {
          await step()
        } catch (error) {
          process.exitCode = 1
          process.stderr.write(`bench: could not undo: ${what}: ${error.message}\n`)
        }
      }
    })()
    return this.#running
  }

  /** Ctrl-C and its like: everything is undone, then the program ends by that signal's exit code. */
  onSignals() {
    for (const [signal, number] of [
      ['SIGINT', 2],
      ['SIGTERM', 15],
      ['SIGHUP', 1],
    ]) {
      process.on(signal, () => {
        this.interrupted = true
        process.stderr.write(`\nbench: ${signal}, cleaning up\n`)
        void this.run().then(() => process.exit(128 + number))
      })
    }
  }
}

export function isInstalled(program) {
  try {
    execFileSync(program, ['--version'], { stdio: 'ignore' })
    return true
  } catch {
    return false
  }
}

export function makeDirectory(undo) {
  const directory = mkdtempSync(join(tmpdir(), 'libcontainer-bench-'))
  undo.add(`remove ${directory}`, () => rmSync(directory, { recursive: true, force: true }))
  return directory
}

/** A shim that has deleted its container may need a moment to end, and has files there until then. */
async function unmount(path) {
  const attempts = 200
  for (let left = attempts; ; --left) {
    try {
      return execFileSync('umount', [path], { stdio: ['ignore', 'ignore', 'pipe'] })
    } catch (error) {
      if (left === 0) throw error
      await sleep(50)
    }
  }
}

/**
 * Where the library and the runtimes keep their records: in memory, as /run is on any machine with an init system. On a
 * disk the making of a file took 16 to 400 us, from minute to minute: more than all else in an exec.
 */
export function makeRunDirectory(directory, undo) {
  const TMPFS_MAGIC = 0x01021994
  const run = join(directory, 'run')
  mkdirSync(run)
  if (statfsSync(run).type === TMPFS_MAGIC) return run
  execFileSync('mount', ['-t', 'tmpfs', '-o', 'mode=711', 'libcontainer-bench', run])
  undo.add(`unmount ${run}`, () => unmount(run))
  return run
}

/** `idle` runs until it is killed, `brief` ends by itself at once. */
export function makeBundles(directory) {
  return {
    idle: makeBundle(join(directory, 'idle'), { process: { args: ['/bin/busybox', 'sleep', '1000000'] } }),
    brief: makeBundle(join(directory, 'brief'), { process: { args: ['/bin/busybox', 'true'] } }),
  }
}

/** A C program of the bench: `source` is a URL, the answer is the path of the binary. */
export function compile(source, binary, flags = ['-static']) {
  const args = ['-O2', '-Wall', '-Werror', ...flags, '-o', binary, source.pathname]
  execFileSync('cc', args, { stdio: 'inherit' })
  return binary
}

/** What crun wants, for as long as the bench runs. */
export function mountHugetlb(undo) {
  const unmount = mount()
  if (unmount) undo.add('unmount hugetlb', unmount)
}

/** The cgroup.procs files of all cgroups that a process is in: a list of paths, one for each hierarchy. */
export function cgroupProcsOf(pid) {
  const mounts = readFileSync('/proc/self/mountinfo', 'utf8')
    .trim()
    .split('\n')
    .map((line) => {
      const [left, right] = line.split(' - ')
      const [type, , options] = right.split(' ')
      return { root: left.split(' ')[3], path: left.split(' ')[4], type, options: options.split(',') }
    })
  const files = []
  for (const line of readFileSync(`/proc/${pid}/cgroup`, 'utf8').trim().split('\n')) {
    const [, hierarchy, controllers, path] = /^(\d+):([^:]*):(.*)$/.exec(line)
    const mount =
      hierarchy === '0'
        ? mounts.find(({ type }) => type === 'cgroup2')
        : mounts.find(
            ({ type, options }) =>
              type === 'cgroup' && controllers.split(',').every((name) => options.includes(name)),
          )
    if (!mount) continue // a hierarchy that nobody has mounted
    const below = mount.root === '/' ? path : path.slice(mount.root.length)
    files.push(join(mount.path, below, 'cgroup.procs'))
  }
  return files
}

export function countsOf(pid) {
  return {
    descriptors: descriptors(pid).size,
    threads: threadCount(pid),
    ...memoryOf(pid),
  }
}

/** Nanoseconds from the call to the exit event; rejects unless the program exits with 0. */
export function timeSpawn(program, args) {
  return new Promise((resolve, reject) => {
    const before = process.hrtime.bigint()
    const child = spawn(program, args, { stdio: 'ignore' })
    child.once('error', reject)
    child.once('exit', (code, signal) => {
      const took = Number(process.hrtime.bigint() - before)
      if (code === 0) resolve(took)
      else reject(new Error(`${program} ${args.join(' ')} ended with ${code ?? signal}`))
    })
  })
}

function firstLine(program, args) {
  try {
    return execFileSync(program, args, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] }).split(
      '\n',
    )[0]
  } catch {
    return null
  }
}

/** Where and with what the figures were taken. */
export function describeMachine() {
  const repository = new URL('..', import.meta.url).pathname
  return {
    date: new Date().toISOString(),
    cpu: cpus()[0]?.model ?? 'unknown',
    cores: cpus().length,
    memoryBytes: totalmem(),
    kernel: release(),
    cgroups: readdirSync(cgroupRoot).includes('cgroup.controllers') ? 'v2' : 'v1 or hybrid',
    loadAverage: loadavg(),
    node: process.version,
    runc: firstLine('runc', ['--version']),
    crun: firstLine('crun', ['--version']),
    cc: firstLine('cc', ['--version']),
    commit: firstLine('git', ['-C', repository, 'describe', '--always', '--dirty']),
    command: ['node', relative(repository, process.argv[1]), ...process.argv.slice(2)].join(' '),
  }
}
