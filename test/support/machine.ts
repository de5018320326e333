// What this machine has, and what of it a test of real containers wants.
import { execFileSync } from 'node:child_process'
import { accessSync, constants, existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'

export const packageRoot = join(__dirname, '..', '..')
export const cgroupRoot = '/sys/fs/cgroup'

export type RuntimeName = 'runc' | 'crun'
export const runtimes: readonly RuntimeName[] = ['runc', 'crun']

/** Where a program of that name is in PATH. */
export function which(name: string): string | null {
  for (const directory of `${process.env['PATH'] ?? ''}:/usr/sbin:/sbin`.split(':')) {
    if (directory === '') continue
    const path = join(directory, name)
    try {
      accessSync(path, constants.X_OK)
      return path
    } catch {
      // not here
    }
  }
  return null
}

export function isCgroupV2(): boolean {
  return existsSync(join(cgroupRoot, 'cgroup.controllers'))
}

function isStatic(path: string): boolean {
  try {
    return !execFileSync('ldd', [path], { stdio: ['ignore', 'pipe', 'pipe'] })
      .toString()
      .includes('=>')
  } catch {
    return true // "not a dynamic executable"
  }
}

/** What is missing for tests of real containers, in words; empty when they can run. */
export function missing(): string[] {
  const out: string[] = []
  if (process.geteuid?.() !== 0) out.push('root (containers are made with every privilege)')
  for (const runtime of runtimes) {
    if (!which(runtime)) out.push(`${runtime} (apt-get install ${runtime})`)
  }
  const busybox = which('busybox')
  if (!busybox || !isStatic(busybox)) out.push('a static busybox (apt-get install busybox-static)')
  if (!existsSync(join(packageRoot, 'build/Release/libcontainer.node'))) {
    out.push('the addon (npm run build:native)')
  }
  return out
}

/**
 * For the top of a file of tests of real containers: throws with what is missing where CI is set, so that nothing
 * passes by being left out; elsewhere says whether to skip.
 */
export function cannotRunContainers(): boolean {
  const lacks = missing()
  if (lacks.length === 0) return false
  const message = `tests of real containers need ${lacks.join(', ')}`
  if (process.env['CI']) throw new Error(message)
  process.stderr.write(`skipped: ${message}\n`)
  return true
}

/** Of the running kernel: `kernelAtLeast(6, 15)`. */
export function kernelAtLeast(major: number, minor: number): boolean {
  const [a = 0, b = 0] = readFileSync('/proc/sys/kernel/osrelease', 'utf8').split('.').map(Number)
  return a > major || (a === major && b >= minor)
}

/** A sanitizer ends the program that has no memory for its own part. */
export const isSanitized = process.env['LIBCONTAINER_SANITIZER'] !== undefined

/** AddressSanitizer's own memory is many times that of what it looks at: figures of it say nothing then. */
export const isMemoryTold = process.env['LIBCONTAINER_SANITIZER'] !== 'address'
