// Once around the whole run: the hugetlb mount that crun wants, and a dist/ that is as new as lib/ and cli/.
import { execFileSync } from 'node:child_process'
import { mkdirSync, readdirSync, rmdirSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { cgroupRoot, missing, packageRoot, wantsHugetlb } from './machine.js'

const hugetlb = join(cgroupRoot, 'hugetlb')

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

async function unmount(): Promise<void> {
  let last: unknown
  // The kernel gives the hierarchy back only when the last dead cgroup in it is gone.
  for (let attempt = 0; attempt < 50; ++attempt) {
    try {
      execFileSync('umount', [hugetlb], { stdio: 'pipe' })
      rmdirSync(hugetlb)
      return
    } catch (error) {
      last = error
      if (!wantsHugetlb()) await sleep(200)
      else break
    }
  }
  try {
    rmdirSync(hugetlb)
  } catch {
    process.stderr.write(`LEFT BEHIND: ${hugetlb} is still mounted: ${String(last)}\n`)
  }
}

export default function setup(): (() => Promise<void>) | undefined {
  compile()
  if (missing().length > 0 || !wantsHugetlb()) return undefined
  mkdirSync(hugetlb, { recursive: true })
  execFileSync('mount', ['-t', 'cgroup', '-o', 'hugetlb', 'none', hugetlb], { stdio: 'inherit' })
  return unmount
}
