// Whether CRIU works here, which decides what tests of checkpoints can be about.
import { spawnSync } from 'node:child_process'

/** `criu check` is content; never on a kernel that CRIU does not know, as newer ones than it. */
export function criuWorks(): boolean {
  const { status } = spawnSync('criu', ['check'], { stdio: 'ignore' })
  // In the machine that was started for these tests nothing passes by being left out.
  if (status !== 0 && process.env['VM_CHECKPOINT']) throw new Error('CRIU does not work in this machine')
  return status === 0
}
