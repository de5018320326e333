// What /proc says of processes: for tests, chaos and bench.
import { readdirSync, readFileSync, readlinkSync } from 'node:fs'

/**
 * @param {string} path
 * @returns {string | null}
 */
export function read(path) {
  try {
    return readFileSync(path, 'utf8')
  } catch {
    return null
  }
}

/**
 * Fields 3, 4 and 22 of proc_pid_stat(5).
 *
 * @param {number} pid
 */
export function procStat(pid) {
  const text = read(`/proc/${pid}/stat`)
  if (text === null) return null
  const fields = text.slice(text.lastIndexOf(')') + 2).split(' ')
  return { state: String(fields[0]), parent: Number(fields[1]), starttime: Number(fields[19]) }
}

/**
 * True while it runs; a zombie does not.
 *
 * @param {number} pid
 */
export function isAlive(pid) {
  const stat = procStat(pid)
  return stat !== null && stat.state !== 'Z' && stat.state !== 'X'
}

/** @returns {number[]} */
export function pids() {
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .map(Number)
}

/**
 * Shims (the short-lived process that forks one too) whose state directory is `prefix` or lies below it.
 *
 * @param {string} prefix
 * @returns {number[]}
 */
export function shimsBelow(prefix) {
  return pids().filter((pid) => {
    const [name, directory] = (read(`/proc/${pid}/cmdline`) ?? '').split('\0')
    if (name !== 'libcontainer-shim' || directory === undefined || !isAlive(pid)) return false
    return directory === prefix || directory.startsWith(`${prefix}/`)
  })
}

/**
 * The shim of one state directory: not its forks, which go by its name until they execute their program.
 *
 * @param {string} directory
 * @returns {number | undefined}
 */
export function shimIn(directory) {
  const candidates = shimsBelow(directory)
  return candidates.find((pid) => !candidates.includes(procStat(pid)?.parent ?? 0))
}

/**
 * Descriptor number -> what it is.
 *
 * @param {number} pid
 * @returns {Map<number, string>}
 */
export function descriptors(pid) {
  const out = new Map()
  for (const name of readdirSync(`/proc/${pid}/fd`)) {
    try {
      out.set(Number(name), readlinkSync(`/proc/${pid}/fd/${name}`))
    } catch {
      // closed meanwhile
    }
  }
  return out
}

/** @param {number} pid */
export function threadCount(pid) {
  return readdirSync(`/proc/${pid}/task`).length
}

/**
 * Children that have ended and were not waited for.
 *
 * @param {number} pid
 * @returns {number[]}
 */
export function zombiesOf(pid) {
  return (read(`/proc/${pid}/task/${pid}/children`) ?? '')
    .split(' ')
    .filter(Boolean)
    .map(Number)
    .filter((child) => procStat(child)?.state === 'Z')
}

/**
 * One line of /proc/PID/status.
 *
 * @param {number} pid
 * @param {string} key
 * @returns {string}
 */
export function statusLine(pid, key) {
  const line = new RegExp(`^${key}:[ \\t]*(.*)$`, 'm').exec(read(`/proc/${pid}/status`) ?? '')
  return line?.[1] ?? ''
}

/**
 * Memory in KiB, from smaps_rollup. `pss` is by proportional shares: a page that twenty processes map counts a twentieth in
 * each, so files say as much of the neighbours. What is the process's own (heaps, stacks, compiled code) is anonymous or shmem.
 *
 * @param {number} pid
 */
export function memoryOf(pid) {
  const text = readFileSync(`/proc/${pid}/smaps_rollup`, 'utf8')
  /** @param {string} name */
  const field = (name) => Number(new RegExp(`^${name}:\\s+(\\d+) kB$`, 'm').exec(text)?.[1])
  return {
    pssKib: field('Pss'),
    pssAnonKib: field('Pss_Anon'),
    pssShmemKib: field('Pss_Shmem'),
    pssFileKib: field('Pss_File'),
    privateKib: field('Private_Clean') + field('Private_Dirty'),
  }
}
