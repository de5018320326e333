// What goes to stdout and stderr. Whoever reads stdout may leave early (`| head`), which is no error; a full disk is one.
import { Failure } from './failure.js'

type Output = 'stdout' | 'stderr'

let over = false
let failure: Failure | null = null

/** Output was lost. Of several failures the first is the one to report; a reader that has left is none. */
export function outputFailed(name: Output, error: NodeJS.ErrnoException): void {
  if (error.code !== 'EPIPE' && !over) {
    failure ??= new Failure('ERR_OUTPUT', `cannot write to ${name}: ${error.message}`)
  }
  if (name === 'stdout') over = true
}

process.stdout.on('error', (error: Error) => outputFailed('stdout', error))
// A complaint that cannot be written is said by the exit code alone.
process.stderr.on('error', () => undefined)

/** Nobody reads any more, or nothing can be written any more. */
export function outputIsOver(): boolean {
  return over
}

/** Throws where output was lost, unless its reader has left. */
export function checkOutput(): void {
  if (failure) throw failure
}

/**
 * Resolves when it is on its way, so that a slow reader holds this program back and fills no memory. Throws ERR_OUTPUT where
 * it cannot be written, unless the reader has left.
 */
export async function writeOut(data: string | Buffer): Promise<void> {
  if (!over && data.length > 0) {
    await new Promise<void>((resolve) => {
      process.stdout.write(data, (error) => {
        if (error) outputFailed('stdout', error)
        resolve()
      })
    })
  }
  checkOutput()
}

/** One value, one line. */
export function writeJson(value: unknown): Promise<void> {
  return writeOut(`${JSON.stringify(value)}\n`)
}
