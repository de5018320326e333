// The check of who imports whom: each of its rules is broken.
import { spawnSync } from 'node:child_process'
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { afterEach, beforeEach, expect, it } from 'vitest'
import { packageRoot } from '../support/machine.js'

const script = join(packageRoot, 'scripts/check-imports.mjs')

let root: string
beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), 'lc-imports-'))
})
afterEach(() => {
  rmSync(root, { recursive: true, force: true })
})

/** What the check says of a package with these files beside those that break no rule. */
function check(files: Record<string, string>): string[] {
  const sound = {
    'lib/index.ts': `export * from './container/container.js'\nexport * from './errors.js'`,
    'lib/errors.ts': 'export class ContainerError extends Error {}',
    'lib/container/container.ts': `import { Process } from '../process/process.js'\nexport const made = Process`,
    'lib/process/process.ts': `import { ContainerError } from '../errors.js'\nexport const Process = ContainerError`,
    'cli/main.ts': `import { Container } from 'libcontainer'\nexport const used = Container`,
    'native/core/result.h': '#include <string>',
    'native/oci/process.h': '#include "core/result.h"',
    'native/state/records.h': '#include "core/result.h"',
    'native/cgroup/layout.h': '#include "core/result.h"',
    'native/addon/module.cc': '#include <napi.h>\n#include "oci/process.h"',
    'native/shim/main.cc': '#include "cgroup/layout.h"\n#include "state/records.h"',
    'native/test/all_test.cc': '#include "shim/main.cc"\n#include "addon/module.cc"',
  }
  for (const [name, text] of Object.entries({ ...sound, ...files })) {
    mkdirSync(dirname(join(root, name)), { recursive: true })
    writeFileSync(join(root, name), `${text}\n`)
  }
  const { status, stderr } = spawnSync(process.execPath, [script, root], { encoding: 'utf8' })
  const faults = stderr.split('\n').filter((line) => line !== '')
  expect(status).toBe(faults.length > 0 ? 1 : 0)
  return faults
}

it('says nothing of a package in order', () => {
  expect(check({})).toEqual([])
})

it('names each TypeScript import against the order, types included', () => {
  const from = `'../container/container.js'`
  expect(
    check({
      'lib/container/a.ts': `import type { made } from '../index.js'\nexport type X = typeof made`,
      'lib/process/a.ts': `import { made } from ${from}\nexport const x = made`,
      'lib/process/b.ts': `import type { made } from ${from}\nexport type X = typeof made`,
      'lib/process/c.ts': `export type X = import(${from}).X`,
      'lib/process/d.ts': `export { made } from ${from}`,
      'lib/process/e.ts': `export const x = import(${from})`,
      'lib/process/f.ts': `import './gone.js'`,
      'lib/process/g.ts': `import '../../test/support.js'`,
      'lib/utils/a.ts': 'export {}',
      'test/support.ts': 'export {}',
      'cli/other.ts': `import '../lib/errors.js'`,
    }).sort(),
  ).toEqual([
    'cli/other.ts imports lib/errors.ts, which is not public: the command line uses the package by its name',
    'lib/container/a.ts imports lib/index.ts, which lies above it',
    'lib/process/a.ts imports lib/container/container.ts, which lies above it',
    'lib/process/b.ts imports lib/container/container.ts, which lies above it',
    'lib/process/c.ts imports lib/container/container.ts, which lies above it',
    'lib/process/d.ts imports lib/container/container.ts, which lies above it',
    'lib/process/e.ts imports lib/container/container.ts, which lies above it',
    'lib/process/f.ts imports ./gone.js, which is not found',
    'lib/process/g.ts imports test/support.ts, which lies outside lib/',
    'lib/utils/a.ts has no place in the order of imports',
  ])
})

it('finds a circle of TypeScript types', () => {
  const faults = check({
    'lib/process/a.ts': `import type { B } from './b.js'\nexport interface A { b: B }`,
    'lib/process/b.ts': `import type { A } from './a.js'\nexport interface B { a: A }`,
  })
  expect(faults).toHaveLength(1)
  expect(faults[0]).toContain('closes a circle (lib/process/')
})

it('names each C++ include against the order, and a circle', () => {
  expect(
    check({
      'native/core/a.h': '#include "core/b.h"',
      'native/core/b.h': '#include "core/a.h"',
      'native/core/c.h': '#include "oci/process.h"',
      'native/core/d.h': '#include "common/a.h"',
      'native/common/a.h': '',
      'native/cgroup/a.h': '#include "state/records.h"',
      'native/shim/a.cc': '#include "addon/module.cc"',
      'native/shim/b.cc': '#include "shim/gone.h"',
      'native/shim/c.cc': '#include <napi.h>',
      'native/shim/d.cc': '#include "napi.h"',
      'native/shim/e.cc': '  #  include <node_api.h>',
    }).sort(),
  ).toEqual([
    'native/cgroup/a.h includes native/state/records.h, which lies beside it',
    'native/common/a.h has no place in the order of imports',
    'native/core/a.h includes native/core/b.h, which closes a circle (native/core/a.h -> native/core/b.h -> native/core/a.h)',
    'native/core/c.h includes native/oci/process.h, which lies above it',
    'native/core/d.h includes native/common/a.h, which has no place in the order of imports',
    'native/shim/a.cc includes native/addon/module.cc, which lies beside it',
    'native/shim/b.cc includes native/shim/gone.h, which is not found',
    'native/shim/c.cc includes Node-API, which belongs to native/addon alone',
    'native/shim/d.cc includes Node-API, which belongs to native/addon alone',
    'native/shim/e.cc includes Node-API, which belongs to native/addon alone',
  ])
})
