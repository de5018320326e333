// System calls of a process that fail, one after the other.
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { isAlive, statusLine } from './processes.mjs'
import { eventually } from './wait.js'

/** What came of the work, and how often a system call was tampered with meanwhile. */
export interface Tried<T> {
  value: T
  injected: number
}

/** Runs `work` while the n-th `call` of the process, or of the one thread that has that id, fails with `error`. */
export async function withFault<T>(
  pid: number,
  call: string,
  n: number,
  error: string,
  work: () => Promise<T>,
  more: readonly string[] = [],
): Promise<T> {
  return (await tryFault(pid, call, n, error, work, more)).value
}

/** The same, for whoever wants to know that the fault was there. */
export function tryFault<T>(
  pid: number,
  call: string,
  n: number,
  error: string,
  work: () => Promise<T>,
  more: readonly string[] = [],
): Promise<Tried<T>> {
  return tryInjection(pid, call, `error=${error}:when=${n}`, work, more)
}

/** Runs `work` while strace(1) tampers with the process's `calls` (names with commas between). */
export async function withInjection<T>(
  pid: number,
  calls: string,
  how: string,
  work: () => Promise<T>,
  more: readonly string[] = [],
): Promise<T> {
  return (await tryInjection(pid, calls, how, work, more)).value
}

async function tryInjection<T>(
  pid: number,
  calls: string,
  how: string,
  work: () => Promise<T>,
  more: readonly string[] = [],
): Promise<Tried<T>> {
  const strace = spawn(
    'strace',
    [...more, '-qq', '-p', String(pid), `--trace=${calls}`, `--inject=${calls}:${how}`],
    { stdio: ['ignore', 'ignore', 'pipe'] },
  )
  let trace = ''
  strace.stderr.setEncoding('utf8').on('data', (text: string) => {
    trace += text
  })
  const ended = once(strace, 'close')
  let value: T
  try {
    await eventually(
      `strace of ${calls}:${how}`,
      () => !isAlive(pid) || statusLine(pid, 'TracerPid') === String(strace.pid),
    ).catch((cause: Error) => {
      throw new Error(`${cause.message}: ${trace}`, { cause })
    })
    value = await work()
  } finally {
    strace.kill('SIGINT')
    await ended
  }
  return { value, injected: trace.split('(INJECTED)').length - 1 }
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
  pipe2: 'EMFILE',
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

/** A system call that is to fail. */
export interface Fault {
  call: string
  n: number
  error: string
  what: string
}

/**
 * `call n` of all that `counts` has, where something can go wrong with it. Of more than `most` calls of one name: the first
 * two, the last, and those between that are so far apart.
 */
export function* faultsIn(
  counts: Map<string, number>,
  errors: Record<string, string> = resourceFaults,
  most = Infinity,
): Generator<Fault> {
  for (const [call, error] of Object.entries(errors)) {
    const count = counts.get(call) ?? 0
    const step = Math.ceil(count / Math.max(1, most - 3))
    for (let n = 1; n <= count; ++n) {
      if (count > most && n > 2 && n < count && n % step !== 0) continue
      yield { call, n, error, what: `${call} ${n} ${error}` }
    }
  }
}
