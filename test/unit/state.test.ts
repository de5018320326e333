// State directories as they are made and removed, and bundles as they are read.
import { mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, it } from 'vitest'
import { readBundle } from '../../lib/oci/bundle.js'
import { createDirectory, removeDirectory } from '../../lib/state/directory.js'
import { stateFile as file } from '../support/state_file.js'

let root: string
beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), 'lc-state-'))
})
afterEach(() => {
  rmSync(root, { recursive: true, force: true })
})

it('a container is written as it was created, below a root that was not there', async () => {
  await createDirectory(join(root, 'deep', 'root'), 'web', file)
  const text = readFileSync(join(root, 'deep', 'root', 'web', 'state.json'), 'utf8')
  expect(JSON.parse(text)).toEqual(file)
  expect(statSync(join(root, 'deep', 'root', 'web')).mode & 0o777).toBe(0o711)
  expect(statSync(join(root, 'deep', 'root', 'web', 'state.json')).mode & 0o777).toBe(0o600)
})

it('of many that race for an id one wins, and nothing else is left', async () => {
  const results = await Promise.allSettled(
    Array.from({ length: 20 }, () => createDirectory(root, 'web', file)),
  )
  expect(results.filter((result) => result.status === 'fulfilled')).toHaveLength(1)
  for (const result of results) {
    if (result.status === 'rejected') expect(result.reason).toMatchObject({ code: 'ERR_CONTAINER_EXISTS' })
  }
  expect(readdirSync(root)).toEqual(['web'])
})

it('a removed one is gone at once; again is no error', async () => {
  await createDirectory(root, 'web', file)
  await removeDirectory(root, 'web')
  await removeDirectory(root, 'web')
  expect(readdirSync(root)).toEqual([])
})

it.each<[string | null, string]>([
  [null, 'ERR_SYSCALL'],
  ['', 'ERR_STATE_CORRUPT'],
  ['{"process": {', 'ERR_STATE_CORRUPT'],
  ['[]', 'ERR_STATE_CORRUPT'],
  ['{"process": []}', 'ERR_STATE_CORRUPT'],
  ['{"linux": "x"}', 'ERR_STATE_CORRUPT'],
])('a bundle with config.json %j', async (text, code) => {
  if (text !== null) writeFileSync(join(root, 'config.json'), text)
  await expect(readBundle(root, 'web')).rejects.toMatchObject({ code, path: join(root, 'config.json') })
})
