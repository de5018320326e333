// A short piece of the chaos, with seeds that stay; `make chaos` is the long one.
import { execFile } from 'node:child_process'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { describe, expect, test } from 'vitest'
import { cannotRunContainers, packageRoot } from '../support/machine.js'

const skip = cannotRunContainers()

const run = (program: string, ...words: (string | number)[]): Promise<{ stdout: string }> =>
  promisify(execFile)(process.execPath, [join(packageRoot, 'test/chaos', program), ...words.map(String)])

describe.skipIf(skip)('chaos', () => {
  test.each([1, 2])('seed %i: nothing is lost, wrong or left behind', async (seed) => {
    const { stdout } = await run(
      'run.mjs',
      ...['--seed', seed, '--steps', 80, '--seconds', 8, '--containers', 8, '--lanes', 4],
    )
    expect(stdout).toMatch(/^chaos: [1-9]\d* steps .* exits checked/m)
  })

  test('every verb against the end of its container', async () => {
    const { stdout } = await run('races.mjs', '--rounds', 2)
    expect(stdout).toMatch(/^races: [1-9]\d* calls .* 0 wrong$/m)
  })
})
