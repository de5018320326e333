// That the addons load where no whole Node is to be had: with musl, and on arm64 under qemu-user.
import { execFileSync, spawnSync } from 'node:child_process'
import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { homedir, tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { packageRoot } from '../../support/machine.js'
import { cache } from '../programs_of_npm.js'

const sysroot = join(cache, 'sysroot-arm64')
const machines = [
  { arch: 'x64', compiler: 'gcc', triplet: 'x86_64-linux-musl', root: '', emulator: [] },
  {
    arch: 'arm64',
    compiler: 'aarch64-linux-gnu-gcc',
    triplet: 'aarch64-linux-musl',
    root: sysroot,
    emulator: ['qemu-aarch64-static', '-L', sysroot],
  },
]

describe('an addon', () => {
  let directory = ''
  beforeAll(() => {
    directory = mkdtempSync(join(tmpdir(), 'libcontainer-libraries-'))
  })
  afterAll(() => rmSync(directory, { recursive: true, force: true }))

  it.each(machines)('finds all that it asks for with musl on $arch', (machine) => {
    const { arch, compiler, triplet, root, emulator } = machine
    const addon = join(packageRoot, `prebuilds/linux-${arch}/libcontainer.musl.node`)
    const asked = execFileSync('nm', ['-D', '--undefined-only', addon], { encoding: 'utf8' })
    const names = [...asked.matchAll(/ U ((?:napi|node_api)_\w+)$/gm)].map(([, name]) => name)
    expect(names.length).toBeGreaterThan(30)
    const nothing = join(directory, `nothing-${arch}.c`)
    writeFileSync(nothing, names.map((name) => `int ${String(name)}(void) { return 9; }\n`).join(''))

    const library = join(root, 'usr/lib', triplet)
    const shared = [
      join(root || '/', 'usr/lib', triplet, 'libc.so'),
      join(root || '/', 'lib', triplet, 'libc.so'),
    ]
    const host = join(directory, `host-${arch}`)
    const at = (name: string) => join(root || '/', library.slice(root.length), name)
    execFileSync(compiler, [
      ...[
        '-nostdinc',
        '-isystem',
        join(root || '/', 'usr/include', triplet),
        '-nostdlib',
        '-nostartfiles',
        '-no-pie',
      ],
      ...[
        '-rdynamic',
        `-Wl,--dynamic-linker=/lib/ld-musl-${triplet.split('-')[0] as string}.so.1`,
        '-o',
        host,
      ],
      ...[at('crt1.o'), at('crti.o'), join(packageRoot, 'test/release/programs/musl_host.c'), nothing],
      ...[shared.find((path) => existsSync(path)) as string, at('crtn.o')],
    ])
    const { stdout, stderr, status } = spawnSync(
      emulator[0] ?? host,
      [...emulator.slice(1), ...(emulator.length ? [host] : []), addon],
      {
        encoding: 'utf8',
      },
    )
    expect({ stdout, stderr, status }).toEqual({ stdout: 'Node-API 8\n', stderr: '', status: 0 })
  })

  it('is loaded by a Node of arm64', () => {
    const root = join(
      process.env['XDG_CACHE_HOME'] ?? join(homedir(), '.cache'),
      'libcontainer-vm/bookworm-arm64-root',
    )
    execFileSync(join(packageRoot, 'test/vm/setup'), ['--arch', 'arm64'], { stdio: 'inherit' })
    const program = 'console.log(process.arch, Object.keys(require(process.argv[1])).length > 20)'
    const addon = join(packageRoot, 'prebuilds/linux-arm64/libcontainer.node')
    const node = join(root, 'usr/local/bin/node')
    expect(
      execFileSync('qemu-aarch64-static', ['-L', root, node, '-e', program, addon], { encoding: 'utf8' }),
    ).toBe('arm64 true\n')
  })
})
