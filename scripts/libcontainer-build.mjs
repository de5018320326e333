#!/usr/bin/env node
// libcontainer-build: compiles addon and shim from the sources in this package, for a machine that none of its binaries
// fits (another processor, an older C library), into its build/Release, which goes before the prebuilt ones.
// Wants g++ 11 or later, make, python3 and the headers of RapidJSON and libseccomp, and gets node-gyp from npm.
import { execFileSync } from 'node:child_process'
import { cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'

const root = join(dirname(fileURLToPath(import.meta.url)), '..')
const built = ['libcontainer.node', 'libcontainer-shim']

function run(work, command, ...args) {
  execFileSync(command, args, { cwd: work, stdio: 'inherit' })
}

function build(work) {
  for (const part of ['native', 'scripts']) cpSync(join(root, part), join(work, part), { recursive: true })
  writeFileSync(join(work, 'binding.gyp'), '{ "includes": ["native/targets.gypi"] }\n')
  writeFileSync(join(work, 'package.json'), '{ "private": true, "gypfile": false }\n')
  const { devDependencies } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'))
  const tools = ['node-gyp', 'node-addon-api'].map((name) => `${name}@${devDependencies[name]}`)
  run(work, 'npm', 'install', '--no-audit', '--no-fund', '--loglevel=error', ...tools)
  run(work, 'sh', 'scripts/build-native.sh')

  const made = join(work, 'build', 'Release')
  run(work, process.execPath, '-e', 'require(process.argv[1])', join(made, 'libcontainer.node'))
  const release = join(root, 'build', 'Release')
  mkdirSync(release, { recursive: true })
  for (const name of built) cpSync(join(made, name), join(release, name))
  console.log(`libcontainer-build: ${built.map((name) => join(release, name)).join(' and ')}`)
}

if (process.argv.length > 2) {
  console.log(
    'usage: libcontainer-build (takes no arguments): compiles the native part of libcontainer on this machine',
  )
  process.exit(process.argv[2] === '--help' ? 0 : 64)
}
const work = mkdtempSync(join(tmpdir(), 'libcontainer-build-'))
try {
  build(work)
} catch (error) {
  console.error(`libcontainer-build: ${error.message}`)
  process.exitCode = 1
} finally {
  rmSync(work, { recursive: true, force: true })
}
