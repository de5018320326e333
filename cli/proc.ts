// When a process was started: the library knows it as clock ticks, which people do not read.
import { readFileSync } from 'node:fs'

/** USER_HZ, which is 100 on every architecture that this package is built for. */
const ticksPerSecond = 100

let bootedAtMs: number | null | undefined

function bootTime(): number | null {
  if (bootedAtMs === undefined) {
    const seconds = /^btime (\d+)$/m.exec(readFileSync('/proc/stat', 'utf8'))?.[1]
    bootedAtMs = seconds === undefined ? null : Number(seconds) * 1000
  }
  return bootedAtMs
}

/** Of a process that runs; null for one that is gone. To the second, as the kernel tells the time of the boot. */
export function startedAt(pid: number): Date | null {
  try {
    const text = readFileSync(`/proc/${pid}/stat`, 'utf8')
    // Field 22 of proc_pid_stat(5), counted behind the name, in which there may be anything.
    const ticks = Number(text.slice(text.lastIndexOf(')') + 2).split(' ')[19])
    const booted = bootTime()
    return booted === null || !Number.isFinite(ticks)
      ? null
      : new Date(booted + (ticks / ticksPerSecond) * 1000)
  } catch {
    return null
  }
}
