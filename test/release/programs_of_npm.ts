// Runtimes that come as packages of npm, kept in ~/.cache/libcontainer-release: fetched once.
import { execFileSync } from 'node:child_process'
import { existsSync, mkdirSync } from 'node:fs'
import { homedir } from 'node:os'
import { join } from 'node:path'

export const cache = join(process.env['XDG_CACHE_HOME'] ?? join(homedir(), '.cache'), 'libcontainer-release')

/** The path of `program` in a package, at the newest version of `range` (at the time it was first asked for). */
export function programOf(name: string, range: string, program: string): string {
  const directory = join(cache, `${name.replace(/\W/g, '_')}-${range}`)
  const path = join(directory, 'node_modules', name, program)
  if (!existsSync(path)) {
    mkdirSync(directory, { recursive: true })
    const options = ['--force', '--ignore-scripts', '--no-audit', '--no-fund', '--loglevel=error']
    execFileSync('npm', ['install', `--prefix=${directory}`, ...options, `${name}@${range}`], {
      stdio: 'inherit',
    })
  }
  return path
}
