// JSON files of bundles and checkpoints, read with care.
import { readFile, stat } from 'node:fs/promises'
import { corrupt } from '../errors.js'
import { parseExact } from './exact_json.js'

const maxFileBytes = 16 * 1024 * 1024

export function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

export async function readBounded(path: string, containerId: string): Promise<string> {
  // A FIFO or device in a file's place must hold nobody up.
  const info = await stat(path)
  if (!info.isFile()) throw corrupt(containerId, path, 'is not a regular file')
  if (info.size > maxFileBytes) throw corrupt(containerId, path, 'is too large')
  return readFile(path, 'utf8')
}

export function parseObject(text: string, path: string, containerId: string): Record<string, unknown> {
  let value: unknown
  try {
    value = parseExact(text)
  } catch (cause) {
    throw corrupt(containerId, path, 'is not JSON', cause)
  }
  if (!isObject(value)) throw corrupt(containerId, path, 'holds no JSON object')
  return value
}
