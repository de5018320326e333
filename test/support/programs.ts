// Node programs of their own that use the package, as a user's would: the compiled one, with the real addon.
import { type ChildProcess, spawn, type StdioOptions } from 'node:child_process'
import { once } from 'node:events'
import { join } from 'node:path'
import { packageRoot } from './machine.js'

const prelude = `
const { Container, ContainerError } = require(${JSON.stringify(join(packageRoot, 'dist/index.js'))})
const say = (value) => require('node:fs').writeSync(1, JSON.stringify(value) + '\\n')
const args = JSON.parse(process.argv[1])
const sleep = require('node:timers/promises').setTimeout
`

/** A program that runs; `say(value)` in it comes out of `next()`. */
export class Program {
  readonly child: ChildProcess
  stderr = ''
  #lines: unknown[] = []
  #rest = ''
  #wake: (() => void) | null = null
  readonly ended: Promise<{ code: number | null; signal: NodeJS.Signals | null }>
  #over = false

  /** `before` is a command line to run it under. */
  constructor(
    code: string,
    args: unknown,
    stdio: StdioOptions = ['ignore', 'pipe', 'pipe'],
    before: readonly string[] = [],
  ) {
    const [command, ...words] = [
      ...before,
      process.execPath,
      ...['--expose-gc', '-e', `${prelude}\n;(async () => {\n${code}\n})()`, JSON.stringify(args)],
    ] as [string, ...string[]]
    this.child = spawn(command, words, { stdio, cwd: packageRoot })
    this.child.stdout?.setEncoding('utf8').on('data', (text: string) => {
      const parts = (this.#rest + text).split('\n')
      this.#rest = parts.pop() as string
      for (const part of parts) {
        if (part !== '') this.#lines.push(JSON.parse(part))
      }
      this.#wake?.()
    })
    this.child.stderr?.setEncoding('utf8').on('data', (text: string) => {
      this.stderr += text
    })
    this.ended = once(this.child, 'close').then(([code, signal]) => {
      this.#over = true
      this.#wake?.()
      return { code: code as number | null, signal: signal as NodeJS.Signals | null }
    })
  }

  /** The next thing that it says. */
  // eslint-disable-next-line @typescript-eslint/no-explicit-any
  async next(): Promise<any> {
    while (this.#lines.length === 0) {
      if (this.#over) throw new Error(`the program said no more; its stderr: ${this.stderr}`)
      await new Promise<void>((resolve) => {
        this.#wake = resolve
      })
    }
    return this.#lines.shift()
  }

  kill(): void {
    this.child.kill('SIGKILL')
  }
}

/** Runs to its end; the values it said. Fails unless it exits with 0. */

export async function runProgram(
  code: string,
  args: unknown,
  before: readonly string[] = [],
  // eslint-disable-next-line @typescript-eslint/no-explicit-any
): Promise<any[]> {
  const program = new Program(code, args, undefined, before)
  const said: unknown[] = []
  const collecting = (async () => {
    for (;;) said.push(await program.next())
  })().catch(() => undefined)
  const { code: exitCode, signal } = await program.ended
  await collecting
  if (exitCode !== 0) throw new Error(`the program ended with ${exitCode ?? signal}: ${program.stderr}`)
  return said
}
