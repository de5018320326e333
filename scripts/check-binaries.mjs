// Checks the binaries of the package, one by one: what they ask of the C library and of the machine, how they are
// hardened, and their size. Prints a line for each and what is wrong with it.
// Usage: node scripts/check-binaries.mjs [FILE...]      (without one all that the package ships)
import { execFileSync } from 'node:child_process'
import { existsSync, readFileSync, statSync } from 'node:fs'
import { homedir } from 'node:os'
import { basename, dirname, join, resolve } from 'node:path'
import { fileURLToPath } from 'node:url'

const root = resolve(dirname(fileURLToPath(import.meta.url)), '..')

/** The oldest glibc that an addon loads with: that of Debian 10, Ubuntu 20.04, RHEL 8, and of Node's own builds. */
export const glibcFloor = '2.28'
export const largest = 1_200_000 // bytes, of each

export const binaries = ['x64', 'arm64'].flatMap((arch) =>
  ['libcontainer.node', 'libcontainer.musl.node', 'libcontainer-shim'].map((name) =>
    join(root, 'prebuilds', `linux-${arch}`, name),
  ),
)

const machines = { 'Advanced Micro Devices X86-64': 'x64', AArch64: 'arm64' }
const exported = ['napi_register_module_v1', 'node_api_module_get_api_version_v1']
const glibcLibraries =
  /^(libc\.so\.6|libm\.so\.6|libpthread\.so\.0|ld-linux-x86-64\.so\.2|ld-linux-aarch64\.so\.1)$/

const readelf = (...args) =>
  execFileSync('readelf', ['-W', ...args], {
    encoding: 'utf8',
    maxBuffer: 1 << 28,
    env: { ...process.env, LC_ALL: 'C' },
    stdio: ['ignore', 'pipe', 'ignore'],
  })

/** What musl's own library defines, for an architecture: where Debian's musl-dev is installed or unpacked. */
function muslSymbols(arch) {
  const triplet = { x64: 'x86_64', arm64: 'aarch64' }[arch] + '-linux-musl'
  const cache = process.env.XDG_CACHE_HOME ?? join(homedir(), '.cache')
  const library = ['/usr/lib', '/lib', join(cache, 'libcontainer-release/sysroot-arm64/lib')]
    .map((directory) => join(directory, triplet, 'libc.so'))
    .find((path) => existsSync(path))
  if (library === undefined) throw new Error(`no musl for ${arch} to compare with (Debian: musl-dev)`)
  return new Set(symbolsOf(library).flatMap(({ name, undefined: wanted }) => (wanted ? [] : [name])))
}

function symbolsOf(path) {
  return readelf('--dyn-syms', path)
    .split('\n')
    .map((line) => line.trim().split(/\s+/))
    .filter(([number, , , , bind, , , name]) => /^\d+:$/.test(number ?? '') && bind !== 'LOCAL' && name)
    .map(([, , , , bind, , section, versioned]) => {
      const [name, version] = versioned.split(/@@?/)
      return { name, version, weak: bind === 'WEAK', undefined: section === 'UND' }
    })
}

const newer = (a, b) => {
  const [x, y] = [a, b].map((version) => version.split('.').map(Number))
  return x[0] - y[0] || (x[1] ?? 0) - (y[1] ?? 0) || (x[2] ?? 0) - (y[2] ?? 0)
}

/**
 * What is wrong with a binary, and what it asks for. Its name tells what it should be: an addon for glibc or for musl, or
 * the shim. `unstripped` is the same file before it was stripped, where the name of the stack protector's function
 * still is: an addon imports it, a static shim has it within.
 */
export function check(path, { unstripped } = {}) {
  const name = basename(path)
  const kind = name.endsWith('.musl.node') ? 'musl addon' : name.endsWith('.node') ? 'addon' : 'shim'
  const problems = []
  const want = (condition, problem) => condition || problems.push(problem)

  const header = readelf('-h', path)
  const arch = machines[/Machine:\s*(.*)/.exec(header)[1]]
  want(basename(dirname(path)) === `linux-${arch}`, `is for ${arch}`)
  want(/Type:\s*DYN/.test(header), 'is not position-independent')

  const segments = readelf('-l', path)
  want(/GNU_RELRO/.test(segments), 'no RELRO')
  want(/GNU_STACK(?!.*E )/.test(segments), 'executable stack')
  want(!/LOAD.* RWE /.test(segments), 'a segment that is writable and executable')
  const dynamic = readelf('-d', path)
  want(/\(FLAGS(_1)?\).*\bNOW\b/.test(dynamic), 'no BIND_NOW')
  want(!/RPATH|RUNPATH/.test(dynamic), 'a library path of its own')
  want(!/TEXTREL/.test(dynamic), 'relocations in its code')
  const needed = [...dynamic.matchAll(/\(NEEDED\).*\[(.*)\]/g)].map(([, library]) => library)

  const sections = readelf('-S', path)
  want(!/ \.(symtab|debug_\w+) /.test(sections), 'is not stripped')
  const { size } = statSync(path)
  want(size < largest, `${size} bytes`)
  const bytes = readFileSync(path)
  for (const directory of new Set([root, homedir(), process.cwd()]))
    want(directory === '/' || !bytes.includes(`${directory}/`), `names the directory ${directory}`)

  const symbols = symbolsOf(path)
  const wanted = symbols.filter(({ undefined: is }) => is)
  const versions = wanted.flatMap(({ version }) => (version === undefined ? [] : [version]))
  const glibc = versions.flatMap((version) => /^GLIBC_([\d.]+)$/.exec(version)?.[1] ?? []).sort(newer)
  const floor = glibc.at(-1)
  const loose = wanted.filter(
    ({ version, weak, name }) => !version && !weak && !/^(napi|node_api)_/.test(name),
  )

  if (kind === 'shim') {
    want(/\(FLAGS_1\).*\bPIE\b/.test(dynamic), 'no PIE')
    want(!/INTERP/.test(segments) && needed.length === 0, `is not static: ${needed.join(' ')}`)
    if (unstripped !== undefined)
      want(/ __stack_chk_fail$/m.test(readelf('-s', unstripped)), 'no stack protector')
  } else {
    const defined = symbols.filter(({ undefined: is }) => !is).map((symbol) => symbol.name)
    want(defined.sort().join() === exported.join(), `exports ${defined.join(' ')}`)
    want(
      wanted.some((symbol) => symbol.name === '__stack_chk_fail'),
      'no stack protector',
    )
  }
  if (kind === 'addon') {
    for (const library of needed) want(glibcLibraries.test(library), `needs ${library}`)
    for (const version of versions) want(version.startsWith('GLIBC_'), `needs ${version}`)
    want(floor !== undefined && newer(floor, glibcFloor) <= 0, `needs glibc ${floor}`)
    for (const symbol of loose) problems.push(`needs ${symbol.name}, which glibc ${glibcFloor} does not have`)
    want(
      wanted.some((symbol) => /^__\w+_chk$/.test(symbol.name)),
      'is not fortified',
    )
  }
  if (kind === 'musl addon') {
    want(needed.join() === 'libc.so', `needs ${needed.join(' ')}`)
    want(versions.length === 0, `needs ${versions[0]}`)
    const has = muslSymbols(arch)
    for (const symbol of loose) want(has.has(symbol.name), `needs ${symbol.name}, which musl does not have`)
  }
  return { kind, arch, size, needed, floor, problems }
}

function main(paths) {
  let failed = false
  for (const path of paths) {
    if (!existsSync(path)) {
      console.log(`${path}: is not there`)
      failed = true
      continue
    }
    const { arch, size, needed, floor, problems } = check(resolve(path))
    const asks = needed.length === 0 ? 'nothing' : needed.join(' ') + (floor ? ` (glibc ${floor})` : '')
    console.log(`${arch} ${basename(path)}: ${size} bytes, needs ${asks}${problems.length ? '' : ': ok'}`)
    for (const problem of problems) console.log(`  ${problem}`)
    failed ||= problems.length > 0
  }
  process.exitCode = failed ? 1 : 0
}

if (process.argv[1] !== undefined && resolve(process.argv[1]) === fileURLToPath(import.meta.url))
  main(process.argv.length > 2 ? process.argv.slice(2) : binaries)
