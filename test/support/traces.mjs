// What is left of a container on the machine, found without the library: for tests, chaos and bench.
import { readdirSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { pids, read, shimsBelow } from './processes.mjs'

/**
 * The cgroups whose name holds `part`, in every hierarchy; those below such a cgroup are left out.
 *
 * @param {string} part
 * @returns {string[]}
 */
export function cgroupsNamed(part, directory = '/sys/fs/cgroup') {
  let entries
  try {
    entries = readdirSync(directory, { withFileTypes: true })
  } catch {
    return [] // gone meanwhile
  }
  return entries
    .filter((entry) => entry.isDirectory())
    .flatMap(({ name }) => {
      const path = join(directory, name)
      return name.includes(part) ? [path] : cgroupsNamed(part, path)
    })
}

/** @returns {string[]} */
function recordsOf(/** @type {string} */ runtime) {
  try {
    return readdirSync(`/run/${runtime}`).map((name) => `/run/${runtime}/${name}`)
  } catch {
    return [] // nothing was ever run by it
  }
}

/**
 * Everything that has `part` in its name: cgroups, records of the runtimes, mounts, processes among their words.
 *
 * @param {string} part
 * @returns {string[]}
 */
export function tracesOf(part) {
  return [
    ...cgroupsNamed(part).map((path) => `cgroup ${path}`),
    ...pids()
      .map((pid) => ({ pid, words: read(`/proc/${pid}/cmdline`) ?? '' }))
      .filter(({ words }) => words.includes(part))
      .map(({ pid, words }) => `process ${pid}: ${words.replaceAll('\0', ' ')}`),
    ...['runc', 'crun'].flatMap(recordsOf).filter((path) => path.includes(part)),
    ...(read('/proc/self/mounts') ?? '')
      .split('\n')
      .filter((line) => line.includes(part))
      .map((line) => `mount ${line}`),
  ]
}

/**
 * What is left of containers whose ids hold `part`, and in their root: empty as soon as nothing is, else what there is after
 * five seconds.
 *
 * @param {string} root
 * @param {string} part
 */
export async function leftIn(root, part) {
  for (let wait = 100; ; --wait) {
    const left = [...shimsBelow(root).map((pid) => `shim ${pid}`), ...readdirSync(root), ...tracesOf(part)]
    if (left.length === 0 || wait === 0) return left
    await sleep(50)
  }
}

/**
 * The own cgroups of a container's processes that are there now.
 *
 * @param {string} id
 * @returns {string[]}
 */
export function ownCgroups(id) {
  return cgroupsNamed(id).flatMap((directory) =>
    readdirSync(directory)
      .filter((name) => name.startsWith('lc.'))
      .map((name) => join(directory, name)),
  )
}
