// Makes libraries to link an addon against that runs with an old glibc, out of the one that is installed:
//
//   node scripts/glibc-floor.mjs VERSION COMPILER DIRECTORY
//
// glibc keeps every old version of its functions, but a linker takes the newest. The libraries made here have the names
// of glibc's and of each function the newest version up to VERSION, and no code: what is linked against them asks for
// those, and what VERSION did not have at all is left undefined, which test/release/binaries.mjs finds.
import { execFileSync } from 'node:child_process'
import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'

const [floor, compiler, directory] = process.argv.slice(2)
const number = (version) => version.split('.').map(Number)
const compare = (a, b) => {
  const [x, y] = [number(a), number(b)]
  for (let i = 0; i < 3; ++i) if ((x[i] ?? 0) !== (y[i] ?? 0)) return (x[i] ?? 0) - (y[i] ?? 0)
  return 0
}

const run = (...command) =>
  execFileSync(command[0], command.slice(1), { encoding: 'utf8', maxBuffer: 1 << 26 })
const locate = (name) => run(...compiler.split(' '), `-print-file-name=${name}`).trim()

/** Name -> version -> { version, data, size } of what a library defines. */
function definedBy(library) {
  const symbols = new Map()
  for (const line of run('readelf', '--dyn-syms', '-W', locate(library)).split('\n')) {
    const [, , size, type, bind, , section, name] = line.trim().split(/\s+/)
    const match = /^(\w+)@@?GLIBC_(\d[\d.]*)$/.exec(name ?? '')
    if (!match || section === 'UND' || bind === 'LOCAL' || type === 'TLS') continue
    const [, plain, version] = match
    const versions = symbols.get(plain) ?? []
    versions.push({ version, data: type === 'OBJECT', size: Number(size) })
    symbols.set(plain, versions)
  }
  return symbols
}

function write(library, chosen) {
  const versions = [...new Set([...chosen.values()].map(({ version }) => version))].sort(compare)
  const source = [
    '.section .note.GNU-stack,"",%progbits',
    '.text',
    '.balign 16',
    '.skip 16',
    '.data',
    '.balign 16',
    '.skip 16',
  ]
  for (const [name, { version, data, size }] of [...chosen].sort(([a], [b]) => (a < b ? -1 : 1)))
    source.push(
      data ? '.data' : '.text',
      `.globl x_${name}`,
      `.type x_${name}, ${data ? '%object' : '%function'}`,
      `x_${name}:`,
      ...(data ? [`.size x_${name}, ${size}`, `.skip ${size}`] : []),
      `.symver x_${name}, ${name}@@GLIBC_${version}`,
    )
  const path = join(directory, library)
  writeFileSync(`${path}.s`, `${source.join('\n')}\n`)
  const nodes = versions.map((version, i) => `GLIBC_${version} {${i === 0 ? ' local: x_*; ' : ''}};`)
  writeFileSync(`${path}.map`, `${nodes.join('\n')}\n`)
  run(
    ...compiler.split(' '),
    '-shared',
    '-nostdlib',
    '-x',
    'assembler',
    `${path}.s`,
    `-Wl,-soname,${library}`,
    `-Wl,--version-script=${path}.map`,
    '-o',
    path,
  )
}

mkdirSync(directory, { recursive: true })
const loader = run('readelf', '-d', locate('libc.so.6')).match(/ld-linux[\w-]*\.so\.\d/)[0]
const libraries = new Map(
  ['libc.so.6', 'libpthread.so.0', 'libm.so.6', loader].map((name) => [name, new Map()]),
)
for (const library of ['libc.so.6', 'libm.so.6', loader])
  for (const [name, versions] of definedBy(library)) {
    const old = versions
      .filter(({ version }) => compare(version, floor) <= 0)
      .sort((a, b) => compare(b.version, a.version))
    if (old.length === 0) continue
    // Up to 2.34 libpthread was taken into libc bit by bit, each function with a new version then.
    const moved = /^(pthread|sem)_/.test(name) && versions.some(({ version }) => compare(version, floor) > 0)
    libraries.get(moved ? 'libpthread.so.0' : library).set(name, old[0])
  }
for (const [library, chosen] of libraries) write(library, chosen)

writeFileSync(join(directory, 'libc.so'), `GROUP ( libc.so.6 AS_NEEDED ( libpthread.so.0 ${loader} ) )\n`)
writeFileSync(join(directory, 'libm.so'), 'INPUT ( AS_NEEDED ( libm.so.6 ) )\n')
writeFileSync(join(directory, 'libpthread.so'), 'INPUT ( AS_NEEDED ( libpthread.so.0 ) )\n')
