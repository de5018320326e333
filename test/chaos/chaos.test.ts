// A short piece of the chaos, with seeds that stay; `make chaos` is the long one.
import { execFile } from 'node:child_process'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { describe, expect, test } from 'vitest'
import { cannotRunContainers, packageRoot } from '../support/machine.js'

const skip = cannotRunContainers()

describe.skipIf(skip)('chaos', () => {
  test.each([1, 2])('seed %i: nothing is lost, wrong or left behind', async (seed) => {
    const words = ['--seed', seed, '--steps', 80, '--seconds', 8, '--containers', 8, '--lanes', 4]
    const { stdout } = await promisify(execFile)(process.execPath, [
      join(packageRoot, 'test/chaos/run.mjs'),
      ...words.map(String),
    ])
    expect(stdout).toMatch(/^chaos: [1-9]\d* steps .* exits checked/m)
  })
})
