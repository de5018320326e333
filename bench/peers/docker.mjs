// A dockerd of the bench's own, with directories, socket and cgroups that are nobody else's, and its API as a Node program
// uses it, by dockerode. The packages are unpacked by fetch-docker.sh, so that no daemon of the system is started by this.
import { execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'
import { createRequire } from 'node:module'
import {
  existsSync,
  mkdirSync,
  openSync,
  closeSync,
  readdirSync,
  readFileSync,
  rmdirSync,
  writeFileSync,
} from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'

const unpacked = new URL('../../build/peers/', import.meta.url).pathname
const cgroupRoot = '/sys/fs/cgroup'
const image = 'libcontainer-bench'
const startLimitMs = 20_000
const stopLimitMs = 15_000

/** dockerode's class, or null: it belongs to bench/package.json alone. */
function findClient() {
  try {
    return createRequire(import.meta.url)('dockerode')
  } catch (error) {
    if (error.code !== 'MODULE_NOT_FOUND') throw error
    return null
  }
}

/** Directories of PATH with dockerd and containerd in front, or null. */
function findPrograms() {
  const path = [join(unpacked, 'usr/sbin'), join(unpacked, 'usr/bin'), ...process.env.PATH.split(':')]
  const has = (program) => path.some((directory) => existsSync(join(directory, program)))
  return ['dockerd', 'containerd', 'containerd-shim-runc-v2'].every(has) ? path.join(':') : null
}

/** Processes that have `text` in their command line. */
function processesWith(text) {
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .map(Number)
    .filter((pid) => {
      try {
        return readFileSync(`/proc/${pid}/cmdline`, 'utf8').includes(text)
      } catch {
        return false
      }
    })
}

async function until(condition, limitMs) {
  for (const end = Date.now() + limitMs; Date.now() < end; await sleep(20)) if (await condition()) return true
  return false
}

/** Ends what SIGTERM to dockerd left, which is nothing when all goes well, and takes its mounts and cgroups away. */
async function removeTraces(directory, cgroupParent) {
  const left = () => processesWith(directory).filter((pid) => pid !== process.pid)
  if (!(await until(() => left().length === 0, stopLimitMs))) {
    for (const pid of left()) process.kill(pid, 'SIGKILL')
    await until(() => left().length === 0, stopLimitMs)
  }
  const mounts = readFileSync('/proc/self/mountinfo', 'utf8')
    .split('\n')
    .map((line) => line.split(' ')[4])
    .filter((path) => path?.startsWith(`${directory}/`))
  for (const path of mounts.reverse()) execFileSync('umount', ['--lazy', path])
  for (const hierarchy of ['', ...readdirSync(cgroupRoot)]) {
    const cgroup = join(cgroupRoot, hierarchy, cgroupParent)
    if (existsSync(join(cgroup, 'cgroup.procs'))) rmdirSync(cgroup)
  }
}

class Docker {
  #client
  #settings
  #serial = 0
  version

  constructor(client, version, settings) {
    this.#client = client
    this.version = version
    this.#settings = settings
  }

  /** Ends it with all its containers, and takes away what it left. */
  stop() {
    return this.#settings.stop()
  }

  /** Made, not started; as confined as the bundles of the bench, and without log, network and health checks. */
  create(args) {
    const { name, cgroupParent } = this.#settings
    return this.#client.createContainer({
      Image: image,
      name: `${name}-${++this.#serial}`,
      Cmd: args,
      HostConfig: {
        NetworkMode: 'none',
        LogConfig: { Type: 'none' },
        SecurityOpt: ['seccomp=unconfined', 'no-new-privileges'],
        CapDrop: ['ALL'],
        CapAdd: ['AUDIT_WRITE', 'KILL', 'NET_BIND_SERVICE'],
        CgroupParent: `/${cgroupParent}`,
      },
    })
  }

  async start(args) {
    const container = await this.create(args)
    await container.start()
    return container
  }

  /** An exec to its end: the API has no call that waits for one, so its output is followed until that ends. */
  async exec(container, args) {
    const exec = await container.exec({ Cmd: args, AttachStdout: true, AttachStderr: true })
    const stream = await exec.start({})
    stream.resume()
    await once(stream, 'end')
    const { ExitCode: exitCode } = await exec.inspect()
    if (exitCode !== 0) throw new Error(`docker exec ended with ${exitCode}`)
  }

  /** The pid of what stands for a container while it runs, as this library's shim does. */
  shims() {
    return processesWith(join(this.#settings.directory, 'exec')).filter((pid) =>
      readFileSync(`/proc/${pid}/comm`, 'utf8').startsWith('containerd-shim'),
    )
  }

  /** dockerd and its containerd. */
  daemons() {
    return processesWith(this.#settings.directory).filter((pid) =>
      ['dockerd\n', 'containerd\n'].includes(readFileSync(`/proc/${pid}/comm`, 'utf8')),
    )
  }
}

/**
 * Starts it in `directory`, which is made, with an image of `rootfs`. Resolves with a Docker, or with `missing`: why there
 * is none. `undo` gets its end.
 */
export async function startDocker({ directory, rootfs, undo }) {
  const Client = findClient()
  if (!Client) return { missing: 'dockerode is not installed (npm ci --prefix bench)' }
  const path = findPrograms()
  if (!path) return { missing: 'dockerd and containerd are not there (bench/peers/fetch-docker.sh)' }
  mkdirSync(directory)
  const at = (name) => join(directory, name)
  writeFileSync(at('daemon.json'), '{}') // not the system's
  const cgroupParent = `libcontainer-bench-${process.pid}-docker`
  const log = openSync(at('log'), 'a')
  // SIGTERM, of which it dies in good order, also when this program is killed.
  const daemon = spawn(
    'setpriv',
    [
      ...['--pdeathsig', 'SIGTERM', 'dockerd'],
      ...['--iptables=false', '--ip6tables=false', '--ip-forward=false', '--ip-masq=false', '--bridge=none'],
      ...[
        '--userland-proxy=false',
        '--storage-driver=vfs',
        '--log-level=warn',
        `--config-file=${at('daemon.json')}`,
      ],
      ...[`--data-root=${at('data')}`, `--exec-root=${at('exec')}`, `--pidfile=${at('pid')}`],
      `--host=unix://${at('socket')}`,
    ],
    { env: { ...process.env, PATH: path, TMPDIR: directory }, stdio: ['ignore', log, log] },
  )
  closeSync(log)
  const ended = once(daemon, 'exit')
  let running = true
  void ended.then(() => (running = false))
  const client = new Client({ socketPath: at('socket') })
  let stopping = null
  const stop = () =>
    (stopping ??= (async () => {
      if (running) {
        // With containers it would wait ten seconds for each to heed its SIGTERM.
        const containers = await client.listContainers({ all: true })
        await Promise.all(containers.map(({ Id }) => client.getContainer(Id).remove({ force: true })))
        daemon.kill('SIGTERM')
        if (!(await until(() => !running, stopLimitMs))) daemon.kill('SIGKILL')
        await ended
      }
      await removeTraces(directory, cgroupParent)
    })())
  undo.add('end dockerd', stop)
  const answers = async () => {
    if (!running) throw new Error(`dockerd ended at once: ${readFileSync(at('log'), 'utf8')}`)
    return client.ping().then(
      () => true,
      () => false,
    )
  }
  if (!(await until(answers, startLimitMs))) throw new Error(`dockerd does not answer; see ${at('log')}`)
  const tar = spawn('tar', ['-C', rootfs, '-c', '.'], { stdio: ['ignore', 'pipe', 'inherit'] })
  const progress = await client.importImage(tar.stdout, { repo: image })
  progress.resume()
  await once(progress, 'end')
  const { Version, Components } = await client.version()
  const containerd = Components.find(({ Name }) => Name === 'containerd')?.Version
  const { version: dockerode } = createRequire(import.meta.url)('dockerode/package.json')
  return new Docker(client, `dockerd ${Version}, containerd ${containerd}, dockerode ${dockerode}`, {
    directory,
    name: `bench-${process.pid}`,
    cgroupParent,
    stop,
  })
}
