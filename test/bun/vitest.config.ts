// The tests of streams once more, in Bun: `npm run test:bun`, part of `make test`.
import type { ViteUserConfig } from 'vitest/config' with { 'resolution-mode': 'import' }

const streams = ['stdio', 'hand_over', 'keep', 'terminal', 'stdio_owner']

const config: ViteUserConfig = {
  test: {
    pool: 'forks',
    globalSetup: ['test/support/global_setup.ts'],
    include: [
      'test/bun/*.test.ts',
      'test/addon/{frames,readiness}.test.ts',
      `test/integration/{${streams.join(',')}}.test.ts`,
    ],
    testTimeout: 60_000,
    hookTimeout: 120_000,
  },
}

export default config
