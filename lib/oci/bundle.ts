// An OCI bundle's config.json, as far as this package reads it.
import { join } from 'node:path'
import { corrupt, fromNodeError } from '../errors.js'
import { isObject, parseObject, readBounded } from './json_file.js'
import { checkConfigProcess, type OciConfig, type ProcessSpec } from './spec.js'

/** The bundle's config.json. ERR_SYSCALL where it cannot be read, ERR_STATE_CORRUPT where it is not what it should be. */
export async function readBundle(bundle: string, containerId: string): Promise<OciConfig> {
  const path = join(bundle, 'config.json')
  let text: string
  try {
    text = await readBounded(path, containerId)
  } catch (error) {
    throw fromNodeError(error, { containerId })
  }
  const config = parseObject(text, path, containerId)
  for (const key of ['process', 'root', 'linux']) {
    if (config[key] !== undefined && !isObject(config[key])) {
      throw corrupt(containerId, path, `is wrong: ${key} is not an object`)
    }
  }
  return config
}

/** The process of a bundle's config.json. ERR_STATE_CORRUPT where it is not what it should be. */
export function initSpecOf(config: OciConfig, bundle: string, containerId: string): ProcessSpec {
  const path = join(bundle, 'config.json')
  if (!config.process) throw corrupt(containerId, path, 'is wrong: process is missing')
  try {
    return checkConfigProcess(config.process)
  } catch (error) {
    throw corrupt(containerId, path, `is wrong: ${(error as Error).message}`)
  }
}
