// A runtime with something before it or after it, for what a test wants to see or to break.
import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import type { Ground } from './containers.js'
import { which } from './machine.js'

/**
 * A script that stands before the real runtime and has its name, by which its records are found. `body` runs for that
 * command, in which $@ are its arguments, `$real` is the real runtime and `$log` the path of `--log`; without an exit of its
 * own the real one is executed then.
 */
export function wrapRuntime(ground: Ground, command: string, body: string): string {
  const directory = ground.newPath('wrapper')
  mkdirSync(directory)
  const path = join(directory, ground.runtime)
  const script = `#!/bin/sh
real=${which(ground.runtime) as string}
value() { want=$1; shift; while [ $# -gt 0 ]; do [ "$1" = "$want" ] && echo "$2"; shift; done; }
log=$(value --log "$@")
for word in "$@"; do
  if [ "$word" = ${command} ]; then
${body}
    break
  fi
done
exec $real "$@"
`
  writeFileSync(path, script, { mode: 0o755 })
  return path
}
