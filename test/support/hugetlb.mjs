// The hugetlb hierarchy that crun 1.8 wants: it reads that controller's files of every container on v1, and refuses while
// the v2 mount beside the others has it.
import { execFileSync } from 'node:child_process'
import { existsSync, mkdirSync, readdirSync, readFileSync, rmdirSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'

const cgroupRoot = '/sys/fs/cgroup'
const hugetlb = join(cgroupRoot, 'hugetlb')

/** True on v1 and hybrid, where the kernel has the controller and nobody has mounted it. */
function isMissing() {
  if (existsSync(join(cgroupRoot, 'cgroup.controllers'))) return false
  if (!/^hugetlb\t/m.test(readFileSync('/proc/cgroups', 'utf8'))) return false
  return !/ cgroup [^ ]*\bhugetlb\b/m.test(readFileSync('/proc/mounts', 'utf8'))
}

async function unmount(made) {
  let last
  // The kernel gives the hierarchy back only when the last dead cgroup in it is gone.
  for (let attempt = 0; attempt < 50; ++attempt) {
    try {
      // Somebody else's containers may be in it by now.
      const used = readdirSync(hugetlb).some((name) => statSync(join(hugetlb, name)).isDirectory())
      if (used) throw new Error('other containers use it')
      execFileSync('umount', [hugetlb], { stdio: 'pipe' })
      last = undefined
      break
    } catch (error) {
      last = error
      await sleep(200)
    }
  }
  if (last) throw new Error(`LEFT BEHIND: ${hugetlb} is still mounted: ${String(last)}`)
  if (made) rmdirSync(hugetlb)
}

export function mountHugetlb() {
  if (!isMissing()) return null
  const made = mkdirSync(hugetlb, { recursive: true }) !== undefined
  execFileSync('mount', ['-t', 'cgroup', '-o', 'hugetlb', 'none', hugetlb])
  return () => unmount(made)
}
