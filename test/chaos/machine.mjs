// What the chaos looks at beside the library's answers: processes, cgroups, mounts and files of the machine.
import { readdirSync, readFileSync, readlinkSync } from 'node:fs'
import { join } from 'node:path'

export function read(path) {
  try {
    return readFileSync(path, 'utf8')
  } catch {
    return null
  }
}

export function isAlive(pid) {
  const text = read(`/proc/${pid}/stat`)
  return text !== null && !/^[ZX]/.test(text.slice(text.lastIndexOf(')') + 2))
}

/** Of the container alone: not its forks, which go by its name until they execute their program. */
export function shimOf(directory) {
  const candidates = shimsBelow(directory)
  return candidates.find((pid) => !candidates.includes(parentOf(pid)))
}

function parentOf(pid) {
  const text = read(`/proc/${pid}/stat`) ?? ''
  return Number(text.slice(text.lastIndexOf(')') + 2).split(' ')[1])
}

export function shimsBelow(prefix) {
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .map(Number)
    .filter((pid) => {
      const [name, directory] = (read(`/proc/${pid}/cmdline`) ?? '').split('\0')
      if (name !== 'libcontainer-shim' || directory === undefined || !isAlive(pid)) return false
      return directory === prefix || directory.startsWith(`${prefix}/`)
    })
}

function cgroups(part, directory, depth, out) {
  let entries
  try {
    entries = readdirSync(directory, { withFileTypes: true })
  } catch {
    return out
  }
  for (const entry of entries) {
    if (!entry.isDirectory()) continue
    const path = join(directory, entry.name)
    if (entry.name.includes(part)) out.push(path)
    else if (depth > 0) cgroups(part, path, depth - 1, out)
  }
  return out
}

/** Everything that has `part` in its name: cgroups, records of the runtimes, mounts, processes among their words. */
export function tracesOf(part) {
  const out = cgroups(part, '/sys/fs/cgroup', 4, []).map((path) => `cgroup ${path}`)
  for (const pid of readdirSync('/proc').filter((name) => /^\d+$/.test(name))) {
    const words = read(`/proc/${pid}/cmdline`) ?? ''
    if (words.includes(part)) out.push(`process ${pid}: ${words.replaceAll('\0', ' ')}`)
  }
  for (const runtime of ['runc', 'crun']) {
    try {
      for (const name of readdirSync(`/run/${runtime}`)) {
        if (name.includes(part)) out.push(`/run/${runtime}/${name}`)
      }
    } catch {
      // nothing was ever run by it
    }
  }
  for (const line of (read('/proc/self/mounts') ?? '').split('\n')) {
    if (line.includes(part)) out.push(`mount ${line}`)
  }
  return out
}

/** Descriptors of a process, by what they are. */
export function descriptorsOf(pid) {
  return readdirSync(`/proc/${pid}/fd`).map((fd) => {
    try {
      return readlinkSync(`/proc/${pid}/fd/${fd}`)
    } catch {
      return ''
    }
  })
}

export function threadsOf(pid) {
  return readdirSync(`/proc/${pid}/task`).length
}

/**
 * Memory in kB, by proportional shares: all of it; what is the process's own (heaps, stacks, code that was compiled, data
 * of libraries that it has written to); and that of files. A file's part is divided by how many processes map it, so it
 * says as much of the neighbours: of twenty programs that Node runs it is a twentieth each.
 */
export function memoryOf(pid) {
  const text = read(`/proc/${pid}/smaps_rollup`) ?? ''
  const of = (name) => Number(new RegExp(`^${name}:\\s+(\\d+)`, 'm').exec(text)?.[1])
  return { all: of('Pss'), own: of('Pss_Anon') + of('Pss_Shmem'), files: of('Pss_File') }
}

/** Children that have ended and were not waited for. */
export function zombiesOf(pid) {
  return (read(`/proc/${pid}/task/${pid}/children`) ?? '')
    .split(' ')
    .filter((child) => child !== '' && /^\d+ \(.*\) Z/.test(read(`/proc/${child}/stat`) ?? ''))
}
