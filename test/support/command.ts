// The command line as it is compiled: run to its end, or followed while it runs.
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { join } from 'node:path'
import { packageRoot } from './machine.js'
import { eventually } from './wait.js'

export const commandFile = join(packageRoot, 'dist/cli.js')

export class Command {
  readonly child: ChildProcess
  stdout = ''
  stderr = ''
  readonly ended: Promise<{ code: number | null; signal: NodeJS.Signals | null }>

  constructor(root: string, words: readonly string[], env: Record<string, string> = {}) {
    this.child = spawn(process.execPath, [commandFile, ...words], {
      env: { ...process.env, LIBCONTAINER_ROOT: root, ...env },
    })
    this.child.stdin?.on('error', () => undefined) // it may end before it has read all
    this.child.stdout?.setEncoding('utf8').on('data', (text: string) => (this.stdout += text))
    this.child.stderr?.setEncoding('utf8').on('data', (text: string) => (this.stderr += text))
    this.ended = once(this.child, 'close').then(([code, signal]) => ({
      code: code as number | null,
      signal: signal as NodeJS.Signals | null,
    }))
  }

  /** Lines of JSON that it has written up to now. */
  // eslint-disable-next-line @typescript-eslint/no-explicit-any
  get lines(): any[] {
    return this.stdout
      .split('\n')
      .slice(0, -1)
      .map((line) => JSON.parse(line) as unknown)
  }

  /** The first line that is like `like`. */
  // eslint-disable-next-line @typescript-eslint/no-explicit-any
  async line(what: string, like: (line: any) => boolean): Promise<any> {
    return eventually(`${what}; it wrote ${this.stdout}${this.stderr}`, () => this.lines.find(like))
  }
}

export interface Answer {
  code: number | null
  stdout: string
  stderr: string
}

/** Runs it to its end. */
export async function runCommand(root: string, words: readonly string[], input = ''): Promise<Answer> {
  const command = new Command(root, words)
  command.child.stdin?.end(input)
  const { code } = await command.ended
  return { code, stdout: command.stdout, stderr: command.stderr }
}
