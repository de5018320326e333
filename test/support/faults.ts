// System calls of a process that fail, one after the other.
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { isAlive, statusLine } from './processes.js'
import { eventually } from './wait.js'

/** Runs `work` while the n-th `call` of the process fails with `error`. */
export function withFault<T>(
  pid: number,
  call: string,
  n: number,
  error: string,
  work: () => Promise<T>,
  more: readonly string[] = [],
): Promise<T> {
  return withInjection(pid, call, `error=${error}:when=${n}`, work, more)
}

/** Runs `work` while strace(1) tampers with the process's `calls` (names with commas between). */
export async function withInjection<T>(
  pid: number,
  calls: string,
  how: string,
  work: () => Promise<T>,
  more: readonly string[] = [],
): Promise<T> {
  const strace = spawn('strace', [
    ...more,
    '-qq',
    '-o',
    '/dev/null',
    '-p',
    String(pid),
    `--trace=${calls}`,
    `--inject=${calls}:${how}`,
  ])
  const ended = once(strace, 'close')
  try {
    await eventually('strace', () => !isAlive(pid) || statusLine(pid, 'TracerPid') === String(strace.pid))
    return await work()
  } finally {
    strace.kill('SIGINT')
    await ended
  }
}

/** How often the process makes each system call while `work` runs. */
export async function callsOf(
  pid: number,
  file: string,
  work: () => Promise<unknown>,
  more: readonly string[] = [],
): Promise<Map<string, number>> {
  const strace = spawn('strace', [...more, '-qq', '-o', file, '-p', String(pid)])
  const ended = once(strace, 'close')
  await eventually('strace', () => statusLine(pid, 'TracerPid') === String(strace.pid))
  await work()
  strace.kill('SIGINT')
  await ended
  const counts = new Map<string, number>()
  for (const line of readFileSync(file, 'utf8').split('\n')) {
    const name = /^(?:\d+ +)?(\w+)\(/.exec(line)?.[1]
    if (name !== undefined) counts.set(name, (counts.get(name) ?? 0) + 1)
  }
  return counts
}

// What can fail on a machine that has run out of something, and by what.
export const resourceFaults: Record<string, string> = {
  open: 'EMFILE',
  openat: 'EMFILE',
  mkdir: 'ENOSPC',
  mknod: 'ENOSPC',
  mknodat: 'ENOSPC',
  write: 'ENOSPC',
  renameat: 'ENOSPC',
  renameat2: 'ENOSPC',
  socketpair: 'EMFILE',
  fcntl: 'EMFILE',
  clone: 'EAGAIN',
  clone3: 'EAGAIN',
  mmap: 'ENOMEM',
  epoll_ctl: 'ENOSPC',
  sendto: 'ENOBUFS',
  sendmsg: 'ENOBUFS',
  recvmsg: 'ENOMEM',
  setns: 'ENOMEM',
  fstat: 'EIO',
  getrandom: 'EIO',
  utimensat: 'EIO',
  ioctl: 'ENOMEM',
}
