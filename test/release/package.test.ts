// What npm would publish: nothing but what is used, no script on installation, and it runs without a compiler.
import { execFileSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { dirname, join, normalize } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { linksOf } from '../examples/pages.js'
import { cannotRunContainers, packageRoot } from '../support/machine.js'
import { Bare, pack, type Packed, timeToCompile } from './packed.js'

const expected = [
  /^(LICENSE|package\.json|(README|CHANGELOG|CONTRIBUTING|SECURITY)\.md)$/,
  // Where the pages lead to.
  /^docs\/([\w-]+\.md|figures\/\w+\.svg)$/,
  /^(bench|examples)\/README\.md$/,
  /^examples\/[\w-]+\.mjs$/,
  /^dist\/[\w./]+\.(js|mjs|d\.ts|d\.mts)$/,
  /^dist\/cli\.licenses\.txt$/,
  /^prebuilds\/linux-(x64|arm64)\/(libcontainer\.node|libcontainer\.musl\.node|libcontainer-shim)$/,
  // What libcontainer-build compiles.
  /^native\/(?!test\/)(\w+\/)+\w+\.(cc|h)$/,
  /^native\/(addon\/exports\.map|sources\.gypi|targets\.gypi)$/,
  /^scripts\/(build-native\.sh|toolchain\.sh|libcontainer-build\.mjs)$/,
]

describe.skipIf(cannotRunContainers())('the package', () => {
  let packed: Packed
  let bare: Bare

  beforeAll(() => {
    execFileSync('sh', ['scripts/prebuild.sh', 'x64'], { cwd: packageRoot, stdio: 'inherit' })
    packed = pack()
    bare = new Bare()
    const { code, stdout, stderr } = bare.install(packed)
    expect(stderr).toBe('')
    expect(stdout).not.toMatch(/^> /m) // no script ran
    expect(code).toBe(0)
  }, timeToCompile)
  afterAll(() => {
    packed.remove()
    bare.remove()
  })

  it('has what is used and nothing else', () => {
    expect(packed.files.filter((path) => !expected.some((pattern) => pattern.test(path)))).toEqual([])
    expect(packed.files).toEqual(
      expect.arrayContaining([
        'dist/cli.js',
        'dist/cli.licenses.txt',
        'dist/index.js',
        'dist/index.mjs',
        'dist/index.d.ts',
        'dist/index.d.mts',
        'native/targets.gypi',
        'prebuilds/linux-x64/libcontainer.node',
        'prebuilds/linux-x64/libcontainer-shim',
      ]),
    )
    const { variables } = JSON.parse(readFileSync(join(packageRoot, 'native/sources.gypi'), 'utf8')) as {
      variables: Record<string, string[]>
    }
    const compiled = Object.entries(variables)
      .filter(([name]) => name.endsWith('_sources') && !/^(test|fuzz)_/.test(name))
      .flatMap(([, sources]) => sources)
    expect(packed.files).toEqual(expect.arrayContaining(compiled))
  })

  it('has every file that its pages link to, pictures included', () => {
    const inPackage = packed.files.filter((path) => path.endsWith('.md'))
    expect(inPackage).toEqual(expect.arrayContaining(['README.md', 'docs/README.md', 'docs/performance.md']))
    const missing = inPackage.flatMap((page) =>
      linksOf(page)
        .map((link) => normalize(join(dirname(page), link.replace(/#.*/, ''))))
        .filter((path) => path !== `${dirname(page)}/` && !packed.files.includes(path))
        .map((path) => `${page}: ${path}`),
    )
    expect(missing).toEqual([])
  })

  it('is below one megabyte without its binaries', () => {
    const installed = join(bare.app, 'node_modules/libcontainer')
    const tarball = execFileSync('tar', ['-cz', '--exclude=./prebuilds', '-C', installed, '.'])
    expect(tarball.length).toBeLessThan(1_000_000)
  })

  it('names no page of the web that is not there', () => {
    const { repository, homepage, bugs } = JSON.parse(
      readFileSync(join(packageRoot, 'package.json'), 'utf8'),
    ) as Record<string, unknown>
    expect({ repository, homepage, bugs }).toEqual({})
  })

  it('runs nothing when it is installed', () => {
    const lock = JSON.parse(readFileSync(join(bare.app, 'package-lock.json'), 'utf8')) as {
      packages: Record<string, { hasInstallScript?: boolean }>
    }
    expect(Object.keys(lock.packages).sort()).toEqual([
      '',
      'node_modules/bindings',
      'node_modules/file-uri-to-path',
      'node_modules/libcontainer',
    ])
    expect(Object.values(lock.packages).filter(({ hasInstallScript }) => hasInstallScript)).toEqual([])
  })

  it('has a command line that stands alone', () => {
    const command = join(bare.app, 'node_modules/.bin/libcontainer')
    const version = bare.run([process.execPath, command, '--version'])
    expect(version).toMatchObject({ code: 0, stdout: '0.1.0\n', stderr: '' })
    const listed = bare.run([process.execPath, command, 'ps', '--json', '--root', bare.directory])
    expect(listed).toMatchObject({ code: 0, stdout: '[]\n', stderr: '' })
  })

  it('runs the quick start from an ECMAScript module', async () => {
    expect(await bare.quickStart('esm')).toEqual([])
  })

  it('runs the quick start from CommonJS', async () => {
    expect(await bare.quickStart('cjs')).toEqual([])
  })
})
