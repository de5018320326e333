// What /proc says of processes.
import { readdirSync, readFileSync, readlinkSync } from 'node:fs'

export function read(path: string): string | null {
  try {
    return readFileSync(path, 'utf8')
  } catch {
    return null
  }
}

/** Field 3 and field 22 of proc_pid_stat(5). */
export function procStat(pid: number): { state: string; starttime: number; parent: number } | null {
  const text = read(`/proc/${pid}/stat`)
  if (text === null) return null
  const fields = text.slice(text.lastIndexOf(')') + 2).split(' ')
  return { state: fields[0] as string, parent: Number(fields[1]), starttime: Number(fields[19]) }
}

/** True while it runs; a zombie does not. */
export function isAlive(pid: number): boolean {
  const stat = procStat(pid)
  return stat !== null && stat.state !== 'Z' && stat.state !== 'X'
}

export function pids(): number[] {
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .map(Number)
}

/** Shims (the short-lived process that forks one too) whose state directory is `prefix` or lies below it. */
export function shimsBelow(prefix: string): number[] {
  return pids().filter((pid) => {
    const [name, directory] = (read(`/proc/${pid}/cmdline`) ?? '').split('\0')
    if (name !== 'libcontainer-shim' || directory === undefined || !isAlive(pid)) return false
    return directory === prefix || directory.startsWith(`${prefix}/`)
  })
}

/** Descriptor number -> what it is. */
export function descriptors(pid: number): Map<number, string> {
  const out = new Map<number, string>()
  for (const name of readdirSync(`/proc/${pid}/fd`)) {
    try {
      out.set(Number(name), readlinkSync(`/proc/${pid}/fd/${name}`))
    } catch {
      // closed meanwhile
    }
  }
  return out
}

export function threadCount(pid: number): number {
  return readdirSync(`/proc/${pid}/task`).length
}

/** One line of /proc/PID/status. */
export function statusLine(pid: number, key: string): string {
  const line = new RegExp(`^${key}:[ \\t]*(.*)$`, 'm').exec(read(`/proc/${pid}/status`) ?? '')
  return line?.[1] ?? ''
}
