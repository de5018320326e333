// Runs an example as a user would, in a process of its own, and looks whether it left anything behind.
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, mkdtempSync, readdirSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach } from 'vitest'
import { packageRoot } from '../support/machine.js'
import { isAlive, shimsBelow } from '../support/processes.mjs'
import { eventually } from '../support/wait.js'
import { cgroupsNamed } from '../support/traces.mjs'

/** A program that runs, and all that it has written. */
export class Running {
  readonly child: ChildProcess
  stdout = ''
  stderr = ''
  readonly ended: Promise<{ code: number | null; signal: NodeJS.Signals | null }>

  constructor(command: string[], env: Record<string, string>) {
    this.child = spawn(command[0] as string, command.slice(1), {
      cwd: packageRoot,
      stdio: ['pipe', 'pipe', 'pipe'],
      env: { ...process.env, ...env },
    })
    this.child.stdin?.on('error', () => undefined) // it may end before it has read all
    this.child.stdout?.setEncoding('utf8').on('data', (text: string) => {
      this.stdout += text
    })
    this.child.stderr?.setEncoding('utf8').on('data', (text: string) => {
      this.stderr += text
    })
    this.ended = once(this.child, 'close').then(([code, signal]) => ({
      code: code as number | null,
      signal: signal as NodeJS.Signals | null,
    }))
  }

  get pid(): number {
    return this.child.pid as number
  }

  write(text: string): void {
    this.child.stdin?.write(text)
  }

  /** Until it has written `pattern`, after what earlier calls have found; gives what was matched. */
  async expect(pattern: RegExp): Promise<string> {
    try {
      return await eventually(`output like ${String(pattern)}`, () => {
        const match = pattern.exec(this.stdout.slice(this.#read))
        if (!match) return null
        this.#read += match.index + match[0].length
        return match[0]
      })
    } catch (error) {
      throw new Error(`${(error as Error).message}; it wrote ${JSON.stringify(this.stdout + this.stderr)}`)
    }
  }
  #read = 0
}

export interface Examples {
  /** The directory of their temporary files. */
  temporary(): string
  run(command: string[]): Running
  /** Neither files nor processes nor cgroups of the container; its directory in `root`, if that is not temporary. */
  expectNothingLeft(id: string, root?: string): Promise<void>
}

/** Call at the top of a describe(): temporary files of examples go to a directory that must be empty in the end. */
export function useExamples(): Examples {
  let temporary = ''
  let running: Running[] = []

  function leftovers(id: string, root?: string): string[] {
    const out = readdirSync(temporary).map((name) => join(temporary, name))
    const paths = [`/run/runc/${id}`, ...(root === undefined ? [] : [join(root, id)])]
    out.push(...paths.filter((path) => existsSync(path)), ...cgroupsNamed(id))
    for (const prefix of [temporary, ...(root === undefined ? [] : [join(root, id)])]) {
      out.push(...shimsBelow(prefix).map((pid) => `shim ${pid}`))
    }
    return out
  }

  beforeEach(() => {
    temporary = mkdtempSync(join(tmpdir(), 'libcontainer-examples-'))
  })
  afterEach(() => {
    for (const { child } of running) {
      if (child.exitCode === null && child.signalCode === null && isAlive(child.pid as number))
        child.kill('SIGKILL')
    }
    running = []
    rmSync(temporary, { recursive: true, force: true })
  })

  return {
    temporary: () => temporary,
    run(command) {
      const one = new Running(command, { TMPDIR: temporary })
      running.push(one)
      return one
    },
    async expectNothingLeft(id, root) {
      await eventually(`nothing left of ${id}`, () => leftovers(id, root).length === 0).catch(() => {
        throw new Error(`left behind: ${leftovers(id, root).join(', ')}`)
      })
    },
  }
}

/** Where the examples keep their containers' state. */
export const examplesRoot = '/run/libcontainer'
