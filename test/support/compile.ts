// The C programs of test/programs, compiled static: they run in containers that have no C library.
import { execFileSync } from 'node:child_process'
import { join } from 'node:path'
import { packageRoot } from './machine.js'

/** Compiles test/programs/<name>.c into `directory`; the binary's path. */
export function compileProgram(name: string, directory: string, ...flags: string[]): string {
  const binary = join(directory, name)
  const source = join(packageRoot, 'test/programs', `${name}.c`)
  execFileSync('gcc', ['-O1', '-Wall', '-Wextra', '-Werror', '-static', ...flags, '-o', binary, source], {
    stdio: ['ignore', 'inherit', 'inherit'],
  })
  return binary
}
