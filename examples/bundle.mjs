// Makes an OCI bundle, which is what a runtime starts a container from: a directory with config.json beside a root
// filesystem. This one holds the system's static busybox and nothing else, so it needs neither network nor image.
import { execFileSync } from 'node:child_process'
import {
  accessSync,
  chmodSync,
  constants,
  copyFileSync,
  mkdirSync,
  mkdtempSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { constants as system, tmpdir } from 'node:os'
import { join } from 'node:path'

/** A directory that is gone when this program is, also by Ctrl-C. */
export function temporaryDirectory(name) {
  const directory = mkdtempSync(join(tmpdir(), `${name}-`))
  process.on('exit', () => rmSync(directory, { recursive: true, force: true }))
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) {
    process.once(signal, () => process.exit(128 + system.signals[signal]))
  }
  return directory
}

/** Path of the system's busybox. */
export function findBusybox() {
  for (const directory of [...(process.env.PATH ?? '').split(':'), '/bin', '/usr/bin']) {
    const path = join(directory || '.', 'busybox')
    try {
      accessSync(path, constants.X_OK)
      return path
    } catch {
      // Look on.
    }
  }
  throw new Error('no busybox found: apt-get install busybox-static')
}

/** The root filesystem: busybox, and a link for each of the programs that it is. */
export function makeRootfs(rootfs) {
  for (const name of ['bin', 'dev', 'etc', 'proc', 'sys', 'tmp', 'workspace'])
    mkdirSync(join(rootfs, name), { recursive: true })
  chmodSync(join(rootfs, 'tmp'), 0o1777) // runc gives a tmpfs the mode of what it covers
  const busybox = findBusybox()
  copyFileSync(busybox, join(rootfs, 'bin/busybox'))
  for (const applet of execFileSync(busybox, ['--list'], { encoding: 'utf8' }).trim().split('\n')) {
    if (applet !== 'busybox') symlinkSync('busybox', join(rootfs, 'bin', applet))
  }
  writeFileSync(
    join(rootfs, 'etc/passwd'),
    'root:x:0:0:root:/:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n',
  )
}

/**
 * Makes a bundle in `directory` and returns that path. `process` is laid over the OCI `process` object, `resources`
 * becomes `linux.resources`: both are OCI runtime-spec JSON, as a container engine would write it. `workspace` is a
 * directory of the host that is /workspace in there, the only place on a disk that can be written to.
 */
export function makeBundle(
  directory,
  { process = {}, resources = {}, hostname = 'example', workspace = null } = {},
) {
  makeRootfs(join(directory, 'rootfs'))
  const capabilities = ['CAP_AUDIT_WRITE', 'CAP_KILL', 'CAP_NET_BIND_SERVICE']
  const config = {
    ociVersion: '1.0.2',
    process: {
      user: { uid: 0, gid: 0 },
      args: ['/bin/sh'],
      env: ['PATH=/bin', 'TERM=xterm'],
      cwd: '/',
      capabilities: { bounding: capabilities, effective: capabilities, permitted: capabilities },
      rlimits: [{ type: 'RLIMIT_NOFILE', hard: 1024, soft: 1024 }],
      noNewPrivileges: true,
      ...process,
    },
    root: { path: 'rootfs', readonly: true },
    hostname,
    mounts: [
      { destination: '/proc', type: 'proc', source: 'proc' },
      mount('/dev', 'tmpfs', ['nosuid', 'strictatime', 'mode=755', 'size=64k']),
      mount('/dev/pts', 'devpts', ['nosuid', 'noexec', 'newinstance', 'ptmxmode=0666', 'mode=0620']),
      mount('/dev/shm', 'tmpfs', ['nosuid', 'noexec', 'nodev', 'mode=1777', 'size=8m']),
      mount('/tmp', 'tmpfs', ['nosuid', 'nodev', 'mode=1777', 'size=8m']),
      mount('/sys', 'sysfs', ['nosuid', 'noexec', 'nodev', 'ro']),
      ...(workspace === null
        ? []
        : [
            {
              destination: '/workspace',
              type: 'bind',
              source: workspace,
              options: ['bind', 'nosuid', 'nodev'],
            },
          ]),
    ],
    linux: {
      // Devices are allow-listed by the runtime: null, zero, random, tty and the container's own terminals.
      resources: { devices: [{ allow: false, access: 'rwm' }], ...resources },
      namespaces: ['pid', 'network', 'ipc', 'uts', 'mount'].map((type) => ({ type })),
      maskedPaths: [
        '/proc/acpi',
        '/proc/kcore',
        '/proc/keys',
        '/proc/timer_list',
        '/sys/firmware',
        '/proc/scsi',
      ],
      readonlyPaths: ['/proc/bus', '/proc/fs', '/proc/irq', '/proc/sys', '/proc/sysrq-trigger'],
    },
  }
  writeFileSync(join(directory, 'config.json'), JSON.stringify(config, null, 2))
  return directory
}

function mount(destination, type, options) {
  return { destination, type, source: type, options }
}
