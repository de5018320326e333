// What is worked out of two looks at a container's figures.
import type { PressureStats, Stats } from 'libcontainer'

/** Percent of one CPU between two looks; null where the kernel did not tell. */
export function cpuPercent(before: Stats, after: Stats): number | null {
  const [from, to] = [before.cpu.usage.total, after.cpu.usage.total]
  const ms = after.timestamp.getTime() - before.timestamp.getTime()
  if (from === undefined || to === undefined || ms <= 0) return null
  // Less than before is another cgroup of the same name.
  return to < from ? null : ((to - from) / (ms * 1e6)) * 100
}

/** Of all devices, since the beginning; null where the kernel does not tell. */
export function ioBytes(stats: Stats): { read: number; write: number } | null {
  const entries = stats.blkio.ioServiceBytesRecursive
  if (!entries) return null
  const sum = (op: string): number =>
    entries.reduce((total, entry) => (entry.op?.toLowerCase() === op ? total + entry.value : total), 0)
  return { read: sum('read'), write: sum('write') }
}

/** Percent of the last 10 s in which some process waited. */
export interface Pressure {
  cpu: number | undefined
  memory: number | undefined
  io: number | undefined
}

export function pressureOf(stats: Stats): Pressure {
  const some = (psi: PressureStats | undefined): number | undefined => psi?.some?.avg10
  return { cpu: some(stats.cpu.psi), memory: some(stats.memory.psi), io: some(stats.blkio.psi) }
}
