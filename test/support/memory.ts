// Containers that run out of memory on purpose.
import type { Container } from '../../lib/index.js'
import type { Cgroup } from './cgroups.js'
import { keyed } from './cgroups.js'
import type { Ground } from './containers.js'

const limit = 32 * 1024 * 1024

/** A program that takes all the memory it gets. */
export const hog = ['/bin/tail', '/dev/zero']

/** A bundle with little memory; its init is an idler, or `args`. */
export function smallBundle(ground: Ground, args?: string[], bytes = limit): string {
  return ground.bundle((config) => {
    config.linux.resources.memory = { limit: bytes, swap: bytes }
    if (args) config.process.args = args
  })
}

let serial = 0

/** Runs a hog until the OOM killer ends it. */
export async function runOut(container: Container): Promise<void> {
  const process = await container.exec(`hog-${++serial}`, { args: hog })
  const status = await process.wait()
  if (status.signal !== 'SIGKILL') throw new Error(`the hog ended with ${JSON.stringify(status)}`)
}

/** How many the kernel says it killed. */
export function oomKills(cgroup: Cgroup): number {
  return keyed(cgroup.read('memory.events') ?? cgroup.read('memory.oom_control') ?? '')['oom_kill'] ?? 0
}
