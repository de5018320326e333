// The installed runtime's version, for the conversions that changed between versions; the one user of child_process.
import { execFile } from 'node:child_process'
import type { UpdateOptions } from './native.js'

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
