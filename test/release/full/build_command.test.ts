// libcontainer-build: from the packed sources to a container, where the package has no binary that fits.
import { execFileSync } from 'node:child_process'
import { existsSync, readFileSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { cannotRunContainers } from '../../support/machine.js'
import { Bare, pack, type Packed } from '../packed.js'

describe.skipIf(cannotRunContainers())('libcontainer-build', () => {
  let packed: Packed
  let bare: Bare
  beforeAll(() => {
    packed = pack()
    bare = new Bare()
    expect(bare.install(packed)).toMatchObject({ code: 0, stderr: '' })
    rmSync(join(bare.app, 'node_modules/libcontainer/prebuilds'), { recursive: true })
  })
  afterAll(() => {
    packed.remove()
    bare.remove()
  })

  it('is what a program without a binary is told of', () => {
    const program =
      "require('libcontainer').Container.load('/x', 'y').catch((e) => console.log(e.code, e.message))"
    const { stdout } = bare.run([process.execPath, '-e', program])
    expect(stdout).toMatch(/^ERR_UNSUPPORTED .*npx libcontainer-build/)
  })

  it('compiles what the quick start runs with', async () => {
    execFileSync(join(bare.app, 'node_modules/.bin/libcontainer-build'), { cwd: bare.app, stdio: 'inherit' })
    const release = join(bare.app, 'node_modules/libcontainer/build/Release')
    expect(existsSync(join(release, 'libcontainer.node'))).toBe(true)
    expect(await bare.quickStart('esm')).toEqual([])
    // It is in the package, and not a link to where it was made, which is gone.
    expect(readFileSync(join(release, 'libcontainer-shim')).subarray(1, 4).toString()).toBe('ELF')
  })
})
