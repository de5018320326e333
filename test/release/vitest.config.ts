// What only a release is asked for: other Nodes, Bun, musl, a compilation from the packed sources. See release-check.sh.
import type { ViteUserConfig } from 'vitest/config' with { 'resolution-mode': 'import' }

const config: ViteUserConfig = {
  test: {
    pool: 'forks',
    fileParallelism: false,
    globalSetup: ['test/support/global_setup.ts'],
    include: ['test/release/full/*.test.ts'],
    testTimeout: 600_000,
    hookTimeout: 600_000,
  },
}

export default config
