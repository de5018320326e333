// Which addon fits the C library of the running program: by what is mapped in it.
import { describe, expect, test } from 'vitest'
import { isMusl } from '../../lib/native/load.js'

const line = (path: string): string => `7f6d8a000000-7f6d8a095000 r-xp 00014000 fe:00 1313 ${path}\n`
const program = line('/usr/bin/node') + line('/app/node_modules/libc.so.js/x.node')

describe('the C library of a program', () => {
  test.each([
    ['Alpine', '/lib/ld-musl-x86_64.so.1'],
    ['Alpine on arm64', '/lib/ld-musl-aarch64.so.1'],
    ['Debian, where the loader is a link', '/usr/lib/x86_64-linux-musl/libc.so'],
    ['an upgrade while it runs', '/lib/ld-musl-x86_64.so.1 (deleted)'],
  ])('is musl: %s', (_, path) => {
    expect(isMusl(program + line(path) + line('[stack]'))).toBe(true)
  })

  test.each([
    ['Debian', '/usr/lib/x86_64-linux-gnu/libc.so.6'],
    ['Debian 10', '/usr/lib/x86_64-linux-gnu/libc-2.28.so'],
    ['a file of musl that is only read', '/srv/ld-musl-x86_64.so.1/data'],
    ['no library', '[vdso]'],
  ])('is not musl: %s', (_, path) => {
    expect(isMusl(program + line(path) + line('[stack]'))).toBe(false)
  })
})
