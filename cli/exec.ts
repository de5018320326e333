// `libcontainer exec`: one more process in a container, with this program's streams, signals and exit code.
import { randomBytes } from 'node:crypto'
import type { Readable } from 'node:stream'
import { constants } from 'node:os'
import { InvalidArgumentError } from 'commander'
import { type Container, ContainerError, type Process, type ProcessSpec } from 'libcontainer'
import { complain, Failure } from './failure.js'
import { checkOutput, outputFailed, writeJson } from './output.js'
import { findContainer } from './roots.js'

export interface ExecOptions {
  interactive: boolean
  terminal: boolean
  json: boolean
  env: string[]
  workdir: string | undefined
  user: { uid: number; gid: number } | undefined
  id: string | undefined
}

/** exec failed, and no process has an exit code to pass on; as docker's and podman's. */
export const exitExecFailure = 125
const exitNotExecutable = 126
const exitNotFound = 127

const passedOn: NodeJS.Signals[] = ['SIGINT', 'SIGTERM', 'SIGHUP', 'SIGQUIT', 'SIGUSR1', 'SIGUSR2']

export function failureCode(error: unknown): number {
  if (error instanceof ContainerError && error.syscall?.startsWith('exec')) {
    const { ENOENT, ENOTDIR, EACCES, ENOEXEC } = constants.errno
    if (error.errno === ENOENT || error.errno === ENOTDIR) return exitNotFound
    if (error.errno === EACCES || error.errno === ENOEXEC) return exitNotExecutable
  }
  return exitExecFailure
}

export function parseUser(text: string): { uid: number; gid: number } {
  const match = /^(\d{1,10})(?::(\d{1,10}))?$/.exec(text)
  if (!match) throw new InvalidArgumentError('uid or uid:gid, in numbers.')
  return { uid: Number(match[1]), gid: Number(match[2] ?? 0) }
}

/** `NAME=value`, or `NAME` as it is in this program's environment. */
function parseEnv(entries: readonly string[]): string[] {
  return entries.flatMap((entry) => {
    if (entry.includes('=')) return [entry]
    const value = process.env[entry]
    return value === undefined ? [] : [`${entry}=${value}`]
  })
}

function specOf(container: Container, args: string[], options: ExecOptions): ProcessSpec {
  const spec: ProcessSpec = { args, terminal: options.terminal }
  const added = parseEnv(options.env)
  if (options.terminal) {
    const { columns, rows } = process.stdout
    if (columns > 0 && rows > 0) spec.consoleSize = { columns, rows }
    if (process.env['TERM']) added.unshift(`TERM=${process.env['TERM']}`)
  }
  // Given at all, it is the whole environment.
  if (added.length > 0) {
    const own = container.processes.get('init')?.spec.env ?? []
    // A config.json may hold what no caller may: crun passes over it too.
    spec.env = [...own.filter((entry) => entry.indexOf('=') > 0), ...added]
  }
  if (options.workdir !== undefined) spec.cwd = options.workdir
  if (options.user) spec.user = options.user
  return spec
}

/** A stream that is handed on as it comes. */
class Copy {
  readonly #from: Readable
  readonly #to: NodeJS.WriteStream
  readonly #name: 'stdout' | 'stderr'
  #lost = false

  constructor(from: Readable, name: 'stdout' | 'stderr') {
    this.#from = from
    this.#to = process[name]
    this.#name = name
    from.on('data', (chunk: Buffer) => this.#write(chunk))
    from.on('error', () => undefined)
    this.#to.on('error', (error: Error) => this.#fail(error))
  }

  /** True while it waits for whoever reads `to`. */
  get blocked(): boolean {
    return !this.#lost && this.#to.writableNeedDrain
  }

  /** Resolves when `to` takes more, or never will. */
  async unblocked(): Promise<void> {
    await new Promise<void>((resolve) => {
      if (!this.blocked) return resolve()
      this.#to.once('drain', resolve)
      this.#to.once('error', () => resolve())
      this.#to.once('close', resolve)
    })
  }

  /** Resolves when all that was written is on its way. */
  async flushed(): Promise<void> {
    if (this.#lost || this.#to.writableLength === 0) return
    await new Promise<void>((resolve) => this.#to.write('', () => resolve()))
  }

  #write(chunk: Buffer): void {
    if (this.#lost) return
    const goesOn = this.#to.write(chunk, (error) => {
      if (error) this.#fail(error)
    })
    if (goesOn || this.#lost) return
    this.#from.pause()
    void this.unblocked().then(() => this.#from.resume())
  }

  /** Nobody reads any more, or the disk is full: the process is told by SIGPIPE, as in any pipeline. */
  #fail(error: Error): void {
    if (this.#lost) return
    this.#lost = true
    outputFailed(this.#name, error)
    this.#from.destroy()
  }
}

/** Its end is the process's, however it comes. */
async function follow(job: Process, options: ExecOptions): Promise<{ stdout: string; stderr: string }> {
  const { stdin } = process
  const cleaning: (() => void)[] = []
  for (const signal of passedOn) {
    const pass = (): void => void job.kill(signal).catch(() => undefined)
    process.on(signal, pass)
    cleaning.push(() => process.off(signal, pass))
  }
  if (options.terminal) {
    const resize = (): void => {
      const { columns, rows } = process.stdout
      void job.resize({ columns, rows }).catch(() => undefined)
    }
    process.on('SIGWINCH', resize)
    cleaning.push(() => process.off('SIGWINCH', resize))
    if (process.stdout.isTTY) resize() // it may have changed since the spec was made
  }
  if (job.stdin) {
    if (options.terminal) {
      stdin.setRawMode(true)
      cleaning.push(() => stdin.setRawMode(false))
    }
    job.stdin.on('error', () => undefined) // it may end before it has read all
    stdin.pipe(job.stdin)
    cleaning.push(() => {
      stdin.unpipe()
      stdin.pause()
    })
  }
  const kept: Record<'stdout' | 'stderr', Buffer[]> = { stdout: [], stderr: [] }
  const copies: Copy[] = []
  for (const name of ['stdout', 'stderr'] as const) {
    const stream = job[name]
    if (!stream) continue
    if (options.json) stream.on('data', (chunk: Buffer) => kept[name].push(chunk))
    else copies.push(new Copy(stream, name))
  }
  try {
    await job.wait()
    // wait() takes a stream that is paused for long for one that nobody reads on; this one waits for its reader.
    while (copies.some(({ blocked }) => blocked)) {
      await Promise.all(copies.map((copy) => copy.unblocked()))
      await job.wait()
    }
    await Promise.all(copies.map((copy) => copy.flushed()))
  } finally {
    for (const clean of cleaning) clean()
  }
  return { stdout: Buffer.concat(kept.stdout).toString(), stderr: Buffer.concat(kept.stderr).toString() }
}

export async function exec(
  roots: readonly string[],
  containerId: string,
  args: string[],
  options: ExecOptions,
): Promise<number> {
  if (options.terminal && options.json) throw new Failure('ERR_USAGE', '--json and --tty exclude each other')
  if (options.terminal && options.interactive && !process.stdin.isTTY) {
    throw new Failure('ERR_NOT_A_TERMINAL', 'standard input is no terminal: leave --tty out')
  }
  const container = await findContainer(roots, containerId, { observe: false })
  try {
    const id = options.id ?? `cli-${process.pid}-${randomBytes(3).toString('hex')}`
    const job = await container.exec(id, specOf(container, args, options), {
      stdin: options.interactive ? 'pipe' : 'ignore',
      stdout: 'pipe',
      stderr: options.terminal ? 'ignore' : 'pipe',
    })
    const written = await follow(job, options)
    const { exitCode, signal, oomKilled, known, exitedAt } = await job.wait()
    // Gone already when the container was deleted meanwhile.
    await container.removeProcess(id).catch(() => undefined)
    checkOutput()
    if (options.json) {
      await writeJson({
        container: containerId,
        root: container.root,
        id,
        pid: job.pid,
        exitCode,
        signal,
        oomKilled,
        known,
        exitedAt,
        ...written,
      })
    } else if (!known) {
      complain(new Failure('ERR_EXIT_UNKNOWN', `how process '${id}' ended is not known`))
    } else if (oomKilled) {
      complain(new Failure('ERR_OOM_KILLED', `process '${id}' was ended for want of memory`))
    }
    return exitCode
  } finally {
    await container.close()
  }
}
