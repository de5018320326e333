// Tests by directory: unit and addon run anywhere; the others require root, runc, crun and busybox.
import { availableParallelism } from 'node:os'
import type { ViteUserConfig } from 'vitest/config' with { 'resolution-mode': 'import' }

// The cgroup v2 machine of test/vm is emulated: everything takes 15 to 40 times as long there.
const slow = process.env['VM_LAYOUT'] === undefined ? 1 : 15

const config: ViteUserConfig = {
  test: {
    pool: 'forks',
    // Of one core fewer, as vitest has it, the tests would leave half of a small machine idle: they wait a lot.
    maxWorkers: Math.max(2, availableParallelism()),
    globalSetup: ['test/support/global_setup.ts'],
    include: [
      'test/{unit,addon,integration,faults,security,examples,chaos}/**/*.test.ts',
      'test/release/*.test.ts',
    ],
    // A wait that is worth waiting for ends by itself; these only end what hangs.
    testTimeout: 60_000 * slow,
    hookTimeout: 120_000 * slow,
    coverage: { include: ['lib/**'] },
  },
}

export default config
