// What the installed runtime is and can do: its version, and whether it can make checkpoints here; the one user of
// child_process.
import { execFile } from 'node:child_process'
import { ContainerError, type FailureContext } from '../errors.js'
import type { UpdateOptions } from '../native/binding.js'
import type { Resources } from './resources.js'

const versions = new Map<string, Promise<UpdateOptions>>()

function atLeast(version: readonly number[], wanted: readonly number[]): boolean {
  for (const [index, part] of wanted.entries()) {
    const have = version[index] ?? 0
    if (have !== part) return have > part
  }
  return true
}

/**
 * How `runtime update` would convert: cpu.shares to cpu.weight by a curve since runc 1.3.2 and crun 1.24, by a straight
 * line before; a pids limit of 0 is 1 since runc 1.3. A runtime that does not tell its version is taken for a new one.
 */
export function conversionsOf(runtime: string): Promise<UpdateOptions> {
  let known = versions.get(runtime)
  if (!known) {
    known = new Promise((resolve) => {
      execFile(runtime, ['--version'], { timeout: 5000 }, (_error, stdout) => {
        const match = /^(runc|crun) version (\d+)\.(\d+)(?:\.(\d+))?/m.exec(stdout)
        const version = match ? [match[2], match[3], match[4] ?? '0'].map(Number) : [Infinity]
        const isRunc = match?.[1] !== 'crun'
        resolve({
          linearShares: !atLeast(version, isRunc ? [1, 3, 2] : [1, 24]),
          pidsZeroIsOne: isRunc && atLeast(version, [1, 3]),
        })
      })
    })
    versions.set(runtime, known)
  }
  return known
}

/** The same, asked of the runtime only if `resources` depend on it. */
export function conversionsFor(runtime: string, resources: Resources): Promise<UpdateOptions> {
  const depends = resources.cpu?.shares !== undefined || resources.pids?.limit === 0
  return depends ? conversionsOf(runtime) : Promise.resolve({ linearShares: false, pidsZeroIsOne: false })
}

/** The program that runc runs for checkpoints: `--criu` of its global flags, else the one in PATH. */
function criuOf(runtimeArgs: readonly string[]): string {
  let criu = 'criu'
  runtimeArgs.forEach((arg, index) => {
    const match = /^--?criu(?:=(.*))?$/.exec(arg)
    if (match) criu = match[1] ?? runtimeArgs[index + 1] ?? criu
  })
  return criu
}

/** Exit status (null: it could not be run) and what it wrote. */
function run(command: string, args: string[]): Promise<{ status: number | null; text: string }> {
  return new Promise((resolve) => {
    const child = execFile(command, args, { timeout: 60_000 }, (error, stdout, stderr) => {
      const text = `${stdout}${stderr}`.trim()
      if (error && typeof error.code !== 'number') resolve({ status: null, text: text || error.message })
      else resolve({ status: child.exitCode, text })
    })
  })
}

/**
 * Why checkpoints are not to be had here, asked when one has failed: a crun without CRIU, no CRIU, or one that does not
 * work on this kernel (`criu check`). Where all that is in order the failure stays what it was.
 */
export async function explainCriuFailure(
  error: unknown,
  runtime: string,
  runtimeArgs: readonly string[],
  context: FailureContext,
): Promise<unknown> {
  if (!(error instanceof ContainerError) || error.code !== 'ERR_RUNTIME') return error
  // The runtime did not come to run: the kernel's reason is the reason.
  if (error.errno !== undefined) return error
  const unsupported = (why: string, path: string, said = ''): ContainerError =>
    new ContainerError('ERR_UNSUPPORTED', `container '${context.containerId}': ${why}; ${error.message}`, {
      ...context,
      path,
      runtimeLog: [error.runtimeLog ?? '', said].filter(Boolean).join('\n'),
      cause: error,
    })
  const version = await run(runtime, ['--version'])
  if (/^crun version/m.test(version.text) && !version.text.split(/\s+/).includes('+CRIU')) {
    return unsupported(`'${runtime}' was built without CRIU`, runtime, version.text)
  }
  const criu = criuOf(runtimeArgs)
  const check = await run(criu, ['check'])
  if (check.status === 0) return error
  const [first = ''] = check.text.split('\n')
  return unsupported(`CRIU does not work on this machine (${criu} check: ${first})`, criu, check.text)
}
