// Finds and loads the native module and the shim; the one place that touches either.
import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import loadBindings from 'bindings'
import { ContainerError } from '../errors.js'
import type { NativeBinding } from './binding.js'

const packageRoot = join(__dirname, '..', '..')
const shimName = 'libcontainer-shim'

/** The native module and the path of the shim that belongs to it. */
export interface Loaded {
  native: NativeBinding
  shim: string
}

/**
 * Whether this program runs with musl: its loader, which is its C library too, is mapped then. `maps` is /proc/self/maps.
 * What lies on the disk does not say it, since both C libraries may be installed. detect-libc first asks what this asks,
 * and would be a second dependency; process.report takes milliseconds.
 */
export function isMusl(maps: string): boolean {
  return /\/(ld-musl-[\w.-]+|libc\.so)( \(deleted\))?$/m.test(maps)
}

function addonName(): string {
  const path = '/proc/self/maps'
  return existsSync(path) && isMusl(readFileSync(path, 'latin1'))
    ? 'libcontainer.musl.node'
    : 'libcontainer.node'
}

let loaded: Loaded | undefined

/**
 * Loads on first use, so that importing the package costs nothing and works everywhere; on a system or
 * architecture without a binary the first call tells what was tried.
 *
 * What was compiled on this machine (by a checkout, or by `libcontainer-build`) goes before what the package ships:
 * an addon for each C library that Node may run with, and one static shim for both.
 */
export function load(): Loaded {
  if (loaded) return loaded
  const prebuilt = join('prebuilds', `linux-${process.arch}`)
  const candidates = [
    { directory: join('build', 'Release'), addon: 'libcontainer.node' },
    { directory: prebuilt, addon: addonName() },
  ]
  const found = candidates.find(({ directory, addon }) => existsSync(join(packageRoot, directory, addon)))
  const tried = candidates.map(({ directory, addon }) => join(packageRoot, directory, addon)).join(', ')
  try {
    if (found === undefined) throw new Error('there is none')
    const native = loadBindings({
      bindings: found.addon,
      module_root: packageRoot,
      try: [['module_root', found.directory, 'bindings']],
    }) as NativeBinding
    const shim = join(packageRoot, found.directory, shimName)
    if (!existsSync(shim)) throw new Error(`there is no shim at ${shim}`)
    loaded = { native, shim }
    return loaded
  } catch (cause) {
    throw new ContainerError(
      'ERR_UNSUPPORTED',
      `the native part of libcontainer for ${process.platform}-${process.arch} cannot be loaded; ` +
        `tried ${tried}: ${(cause as Error).message}. \`npx libcontainer-build\` compiles it on this machine ` +
        '(Linux; g++, make, python3, and the headers of RapidJSON and libseccomp).',
      { path: found ? join(packageRoot, found.directory, found.addon) : packageRoot, cause },
    )
  }
}
