// Finds and loads the native module and the shim; the one place that touches either.
import { existsSync } from 'node:fs'
import { dirname, join } from 'node:path'
import loadBindings from 'bindings'
import { ContainerError } from './errors.js'
import type { NativeBinding } from './native.js'

const packageRoot = join(__dirname, '..')
const prebuilt = join('prebuilds', `linux-${process.arch}`)
const shimName = 'libcontainer-shim'

/** The native module and the path of the shim that belongs to it. */
export interface Loaded {
  native: NativeBinding
  shim: string
}

let loaded: Loaded | undefined

/**
 * Loads on first use, so that importing the package costs nothing and works everywhere; on a system or
 * architecture without a binary the first call tells what was tried.
 */
export function load(): Loaded {
  if (loaded) return loaded
  const tried: string[] = []
  try {
    const native = loadBindings({
      bindings: 'libcontainer.node',
      module_root: packageRoot,
      try: [
        ['module_root', 'build', 'Release', 'bindings'],
        ['module_root', prebuilt, 'bindings'],
      ],
    }) as NativeBinding & { path?: string }
    const directory = [join(packageRoot, 'build', 'Release'), join(packageRoot, prebuilt)].find(
      (candidate) => {
        tried.push(join(candidate, shimName))
        return existsSync(join(candidate, 'libcontainer.node')) && existsSync(join(candidate, shimName))
      },
    )
    if (directory === undefined) throw new Error(`no shim; tried ${tried.join(', ')}`)
    loaded = { native, shim: join(directory, shimName) }
    return loaded
  } catch (cause) {
    const { tries } = cause as { tries?: string[] }
    throw new ContainerError(
      'ERR_UNSUPPORTED',
      `the native part of libcontainer for ${process.platform}-${process.arch} cannot be loaded` +
        `${tries ? `; tried ${tries.join(', ')}` : ''}: ${(cause as Error).message}. ` +
        'It is built by `npm run build:native` in a checkout of the package (Linux, g++, python3, rapidjson-dev).',
      { path: dirname(tries?.[0] ?? packageRoot), cause },
    )
  }
}
