// The binaries as they are shipped for this machine, and that their check finds what it looks for.
import { execFileSync } from 'node:child_process'
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { packageRoot } from '../support/machine.js'
import { timeToCompile } from './packed.js'

interface Checked {
  problems: string[]
}
type Check = (path: string, options?: { unstripped?: string }) => Checked

describe.skipIf(process.arch !== 'x64')('the binaries for x64', () => {
  const shipped = join(packageRoot, 'prebuilds/linux-x64')
  const built = join(packageRoot, 'build-prebuild/x64')
  let check: Check
  let directory = ''

  beforeAll(async () => {
    execFileSync('sh', ['scripts/prebuild.sh', 'x64'], { cwd: packageRoot, stdio: 'inherit' })
    const path = join(packageRoot, 'scripts/check-binaries.mjs')
    check = ((await import(path)) as { check: Check }).check
    directory = join(mkdtempSync(join(tmpdir(), 'libcontainer-binaries-')), 'linux-x64')
    mkdirSync(directory)
  }, timeToCompile)
  afterAll(() => rmSync(join(directory, '..'), { recursive: true, force: true }))

  it('ask for an old glibc at most, are hardened and small', () => {
    expect(check(join(shipped, 'libcontainer.node')).problems).toEqual([])
    const shim = check(join(shipped, 'libcontainer-shim'), { unstripped: join(built, 'libcontainer-shim') })
    expect(shim.problems).toEqual([])
  })

  it('would be found to be anything else', () => {
    const source = join(directory, 'weak.c')
    writeFileSync(
      source,
      `#include <dlfcn.h>
       #include <stdio.h>
       #include <sys/stat.h>
       static char big[1 << 21] = {1};
       void f(const char* a) { char b[20]; sprintf(b, "%s", a); struct stat s; stat(b, &s); dlopen(b, 0); big[3] = 0; }
       int main(void) { f("x"); return big[1]; }`,
    )
    const compile = (name: string, ...flags: string[]) => {
      const out = join(directory, name)
      execFileSync('gcc', ['-w', '-g', '-O1', '-fno-stack-protector', ...flags, source, '-o', out])
      return check(out, { unstripped: out }).problems
    }
    const weak = ['-Wl,-z,norelro', '-Wl,-z,lazy', '-Wl,-z,execstack']
    const addon = compile(
      'libcontainer.node',
      '-shared',
      '-fPIC',
      ...weak,
      '-Wl,-rpath,/x',
      '-Wl,--no-as-needed',
      '-lresolv',
    )
    expect(addon).toEqual(
      expect.arrayContaining([
        'no RELRO',
        'no BIND_NOW',
        'executable stack',
        'a library path of its own',
        'is not stripped',
        expect.stringMatching(/^\d+ bytes$/),
        expect.stringMatching(/^exports .*main/),
        'no stack protector',
        'is not fortified',
        'needs libresolv.so.2',
        expect.stringMatching(/^needs glibc 2\.3\d/),
      ]),
    )
    const shim = compile('libcontainer-shim', '-no-pie', ...weak)
    expect(shim).toEqual(
      expect.arrayContaining([
        'is not position-independent',
        'no PIE',
        'no stack protector',
        'is not static: libc.so.6',
      ]),
    )
    const musl = compile('libcontainer.musl.node', '-shared', '-fPIC')
    expect(musl).toEqual(expect.arrayContaining(['needs libc.so.6', expect.stringMatching(/^needs GLIBC_/)]))
  })
})
