// Which of the runtime's global flags are paths, and what becomes of relative ones.
import { resolve } from 'node:path'
import { expect, it } from 'vitest'
import { resolvePaths } from '../../lib/oci/runtime_args.js'

const here = (path: string): string => resolve(path)

it.each<[string[], string[]]>([
  [
    ['--root', 'a'],
    ['--root', here('a')],
  ],
  [['--root=a/b'], [`--root=${here('a/b')}`]],
  [['-root=../a'], [`-root=${here('../a')}`]],
  [
    ['-root', './a', '--debug'],
    ['-root', here('a'), '--debug'],
  ],
  [['--root=/a'], ['--root=/a']],
  [
    ['--root', '/a', '--root', 'b'],
    ['--root', '/a', '--root', here('b')],
  ],
  [
    ['--root', '--log'],
    ['--root', here('--log')],
  ],
  [['--root='], ['--root=']],
  [['--root'], ['--root']],
  [['--log=a.json'], [`--log=${here('a.json')}`]],
  [
    ['--log', 'file:a'],
    ['--log', `file:${here('a')}`],
  ],
  [['--log=journald:a'], ['--log=journald:a']],
  [['--log=syslog:a'], ['--log=syslog:a']],
  [
    ['--log-format', 'json'],
    ['--log-format', 'json'],
  ],
  [['--criu=criu'], ['--criu=criu']],
  [
    ['--criu', 'bin/criu'],
    ['--criu', here('bin/criu')],
  ],
  [
    ['--debug', '--systemd-cgroup', '--rootless=true'],
    ['--debug', '--systemd-cgroup', '--rootless=true'],
  ],
  [['--root=a\nb'], [`--root=${here('a\nb')}`]],
  [
    ['root=a', 'a'],
    ['root=a', 'a'],
  ],
  [[], []],
])('%j', (args, expected) => {
  expect(resolvePaths(args)).toEqual(expected)
})
