// A shim whose protections can be switched off one by one: it shows that a test of test/security would notice.
import { execFileSync } from 'node:child_process'
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { load } from '../../lib/native/load.js'
import { packageRoot } from './machine.js'

const build = join(packageRoot, 'build-test')

/** Builds it where that is still to be done. */
export function weakenedShim(): string {
  const environment = { ...process.env, LIBCONTAINER_SHIM_LIBC: 'glibc' }
  const cmake = (...args: string[]): void => {
    execFileSync('cmake', args, {
      cwd: packageRoot,
      env: environment,
      stdio: ['ignore', 'ignore', 'inherit'],
    })
  }
  if (!existsSync(join(build, 'Makefile'))) cmake('-S', '.', '-B', build, '-DLIBCONTAINER_TESTS=ON')
  cmake('--build', build, '--target', 'libcontainer-shim-weakened', '-j2')
  return join(build, 'libcontainer-shim-weakened')
}

async function without(protection: string, shim: string, act: () => Promise<void>): Promise<void> {
  const loaded = load()
  const shipped = loaded.shim
  loaded.shim = shim
  Object.assign(process.env, { LIBCONTAINER_WITHOUT: protection, LIBCONTAINER_SHIM: shim })
  try {
    await act()
  } finally {
    loaded.shim = shipped
    delete process.env['LIBCONTAINER_WITHOUT']
    delete process.env['LIBCONTAINER_SHIM']
  }
}

/**
 * One row of the past: `body` passes, and its expectations (not an accident on the way) fail with a shim that lacks
 * the protection.
 */
export function row(
  cves: string,
  what: string,
  protection: string,
  body: () => Promise<void>,
  { prove = true, timeout = 60_000 } = {},
): void {
  test(`${cves}: ${what}`, body, timeout)
  if (!prove) return
  test(
    `${cves}: noticed without the protection "${protection}"`,
    async () => {
      const noticed = await without(protection, weakenedShim(), body).then(
        () => null,
        (error: unknown) => error,
      )
      expect(noticed, 'it passes all the same').toMatchObject({ name: 'AssertionError' })
    },
    timeout + 300_000,
  )
}
