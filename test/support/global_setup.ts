// Once around the whole run: the hugetlb mount that crun wants, and a dist/ that is as new as lib/ and cli/.
import { execFileSync } from 'node:child_process'
import { readdirSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { mountHugetlb } from './hugetlb.mjs'
import { missing, packageRoot } from './machine.js'

function newest(directory: string): number {
  const entries = readdirSync(directory, { recursive: true, encoding: 'utf8' })
  return Math.max(0, ...entries.map((name) => statSync(join(directory, name)).mtimeMs))
}

/** Programs that tests start load the compiled package, as users do. */
function compile(): void {
  let built = 0
  try {
    built = statSync(join(packageRoot, 'dist/cli.js')).mtimeMs
  } catch {
    // not built yet
  }
  const sources = ['lib', 'cli'].map((name) => newest(join(packageRoot, name)))
  if (built > Math.max(...sources)) return
  execFileSync('npm', ['run', '--silent', 'build:ts'], { cwd: packageRoot, stdio: 'inherit' })
}

export default function setup(): (() => Promise<void>) | undefined {
  compile()
  if (missing().length > 0) return undefined
  const unmount = mountHugetlb()
  if (!unmount) return undefined
  return () => unmount().catch((error: Error) => void process.stderr.write(`${error.message}\n`))
}
