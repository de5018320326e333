// Finds and loads the native module and the shim; the one place that touches either.
import { closeSync, existsSync, openSync, readlinkSync, readSync } from 'node:fs'
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
 * Whether this very program runs with musl: its ELF header names the loader that it was started by. What lies on the
 * machine does not tell, since both C libraries may be installed; and process.report, which does, takes milliseconds.
 */
function isMusl(): boolean {
  let fd: number | undefined
  try {
    fd = openSync('/proc/self/exe', 'r')
    const read = (position: number, length: number): Buffer => {
      const bytes = Buffer.alloc(length)
      return bytes.subarray(0, readSync(fd as number, bytes, 0, length, position))
    }
    const header = read(0, 64)
    const size = header.readUInt16LE(54)
    const table = read(Number(header.readBigUInt64LE(32)), size * header.readUInt16LE(56))
    for (let at = 0; at + size <= table.length; at += size) {
      if (table.readUInt32LE(at) !== 3) continue // PT_INTERP
      const path = read(Number(table.readBigUInt64LE(at + 8)), Number(table.readBigUInt64LE(at + 32)))
      return path.includes('/ld-musl-')
    }
    // Without one it is the loader itself, told to run something.
    return readlinkSync('/proc/self/exe').includes('musl')
  } catch {
    return false
  } finally {
    if (fd !== undefined) closeSync(fd)
  }
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
    { directory: prebuilt, addon: isMusl() ? 'libcontainer.musl.node' : 'libcontainer.node' },
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
