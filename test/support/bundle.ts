// OCI bundles of a static busybox: a root filesystem made once a file of tests, and a config.json for each need.
import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import type { ProcessSpec } from '../../lib/index.js'
import { makeRootfs as makeBusyboxRootfs } from '../../examples/bundle.mjs'

/** The OCI configuration, as loosely as tests want to bend it. */
// eslint-disable-next-line @typescript-eslint/no-explicit-any
export type Config = any

export const capabilities = [
  'CAP_AUDIT_WRITE',
  'CAP_CHOWN',
  'CAP_DAC_OVERRIDE',
  'CAP_KILL',
  'CAP_NET_BIND_SERVICE',
  'CAP_SETGID',
  'CAP_SETUID',
]

export const environment = ['PATH=/usr/bin:/bin', 'HOME=/root', 'OWN=from the container']

/** A program that runs until it is told to end: SIGTERM makes it exit with 7. */
export const idler = ['/bin/sh', '-c', 'trap "exit 7" TERM; while :; do sleep 1000 & wait; done']

export function defaultConfig(rootfs: string, cgroupsPath: string | null): Config {
  const namespaces = ['pid', 'network', 'ipc', 'uts', 'mount', 'cgroup']
  return {
    ociVersion: '1.0.2',
    process: {
      terminal: false,
      user: { uid: 0, gid: 0 },
      args: ['/bin/sleep', '100000'],
      env: environment,
      cwd: '/',
      capabilities: {
        bounding: capabilities,
        effective: capabilities,
        permitted: capabilities,
      },
      rlimits: [{ type: 'RLIMIT_NOFILE', hard: 1024, soft: 512 }],
      noNewPrivileges: true,
    } satisfies ProcessSpec,
    root: { path: rootfs, readonly: false },
    hostname: 'inside',
    mounts: [
      { destination: '/proc', type: 'proc', source: 'proc' },
      {
        destination: '/dev',
        type: 'tmpfs',
        source: 'tmpfs',
        options: ['nosuid', 'strictatime', 'mode=755', 'size=65536k'],
      },
      {
        destination: '/dev/pts',
        type: 'devpts',
        source: 'devpts',
        options: ['nosuid', 'noexec', 'newinstance', 'ptmxmode=0666', 'mode=0620', 'gid=5'],
      },
      { destination: '/tmp', type: 'tmpfs', source: 'tmpfs', options: ['mode=1777'] },
    ],
    linux: {
      ...(cgroupsPath === null ? {} : { cgroupsPath }),
      resources: { devices: [{ allow: true, access: 'rwm' }] },
      namespaces: namespaces.map((type) => ({ type })),
    },
  }
}

/** A root filesystem with busybox and its applets, and a few things that cannot be run. */
export function makeRootfs(directory: string): string {
  const rootfs = join(directory, 'rootfs')
  makeBusyboxRootfs(rootfs)
  for (const name of ['root', 'usr/bin', 'home/user', 'closed']) {
    mkdirSync(join(rootfs, name), { recursive: true })
  }
  writeFileSync(
    join(rootfs, 'etc/passwd'),
    'root:x:0:0:root:/root:/bin/sh\nuser:x:1000:1000::/home/user:/bin/sh\n',
  )
  writeFileSync(join(rootfs, 'etc/group'), 'root:x:0:\nuser:x:1000:\n')
  writeFileSync(join(rootfs, 'etc/plain'), 'no program\n', { mode: 0o644 })
  writeFileSync(join(rootfs, 'usr/bin/only-in-usr-bin'), '#!/bin/sh\necho found in /usr/bin\n', {
    mode: 0o755,
  })
  return rootfs
}

/** Writes config.json into a new bundle directory. */
export function writeBundle(directory: string, config: unknown): string {
  mkdirSync(directory, { recursive: true })
  writeFileSync(join(directory, 'config.json'), JSON.stringify(config, null, 1))
  return directory
}
