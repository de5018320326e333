// What confinement costs: exec in a container with the field's default seccomp profile, 14 capabilities dropped, 5
// limits and 3 groups, against exec in a plain one; runc exec and crun exec of the same beside it. As root after a build.
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { Container } from '../../dist/index.mjs'
import { makeBundle } from '../../examples/bundle.mjs'
import {
  describeMachine,
  isInstalled,
  makeDirectory,
  makeRunDirectory,
  mountHugetlb,
  timeSpawn,
  Undo,
} from '../ground.mjs'
import { compare, interleave, makeRandom, summarize } from '../statistics.mjs'

const { values } = parseArgs({
  options: { rounds: { type: 'string', default: '60' }, batch: { type: 'string', default: '8' } },
})
const fieldProfile = '/usr/share/containers/seccomp.json' // Debian: golang-github-containers-common
const limit = 1.35
const program = ['/bin/busybox', 'true']
/** What there is to give on this machine, in the kernel's order. */
const own = BigInt(`0x${/^CapBnd:\s+(\w+)$/m.exec(readFileSync('/proc/self/status', 'utf8'))[1]}`)
const all = [
  ...['CHOWN', 'DAC_OVERRIDE', 'DAC_READ_SEARCH', 'FOWNER', 'FSETID', 'KILL', 'SETGID', 'SETUID', 'SETPCAP'],
  ...[
    'LINUX_IMMUTABLE',
    'NET_BIND_SERVICE',
    'NET_BROADCAST',
    'NET_ADMIN',
    'NET_RAW',
    'IPC_LOCK',
    'IPC_OWNER',
  ],
  ...[
    'SYS_MODULE',
    'SYS_RAWIO',
    'SYS_CHROOT',
    'SYS_PTRACE',
    'SYS_PACCT',
    'SYS_ADMIN',
    'SYS_BOOT',
    'SYS_NICE',
  ],
  ...[
    'SYS_RESOURCE',
    'SYS_TIME',
    'SYS_TTY_CONFIG',
    'MKNOD',
    'LEASE',
    'AUDIT_WRITE',
    'AUDIT_CONTROL',
    'SETFCAP',
  ],
  ...['MAC_OVERRIDE', 'MAC_ADMIN', 'SYSLOG', 'WAKE_ALARM', 'BLOCK_SUSPEND', 'AUDIT_READ', 'PERFMON', 'BPF'],
  'CHECKPOINT_RESTORE',
]
  .map((name) => `CAP_${name}`)
  .filter((_, number) => ((own >> BigInt(number)) & 1n) === 1n)
const dropped = 14

/** linux.seccomp of the profile, for a container with these capabilities on this architecture. */
function seccompFor(capabilities) {
  const field = JSON.parse(readFileSync(fieldProfile, 'utf8'))
  const go = { x64: 'amd64', arm64: 'arm64' }[process.arch]
  const native = { x64: 'SCMP_ARCH_X86_64', arm64: 'SCMP_ARCH_AARCH64' }[process.arch]
  const applies = ({ includes, excludes }) =>
    (includes.arches?.includes(go) ?? true) &&
    !(excludes.arches?.includes(go) ?? false) &&
    (includes.caps?.every((name) => capabilities.includes(name)) ?? true) &&
    !(excludes.caps?.some((name) => capabilities.includes(name)) ?? false)
  const map = field.archMap.find(({ architecture }) => architecture === native)
  return {
    defaultAction: field.defaultAction,
    defaultErrnoRet: field.defaultErrnoRet,
    architectures: [map.architecture, ...map.subArchitectures],
    syscalls: field.syscalls.filter(applies).map(({ names, action, errnoRet, args }) => ({
      names,
      action,
      ...(errnoRet === undefined ? {} : { errnoRet }),
      ...(args?.length ? { args } : {}),
    })),
  }
}

function makeBundles(directory) {
  const args = ['/bin/busybox', 'sleep', '1000000']
  const plain = makeBundle(join(directory, 'plain'), {
    // None to drop: a call for each that is not there would be a gift to the other.
    process: { args, capabilities: { bounding: all, effective: all, permitted: all } },
  })
  const kept = all.slice(0, all.length - dropped)
  const confined = makeBundle(join(directory, 'confined'), {
    process: {
      args,
      capabilities: { bounding: kept, effective: kept, permitted: kept },
      noNewPrivileges: true,
      user: { uid: 0, gid: 0, additionalGids: [4, 20, 27] },
      rlimits: [
        { type: 'RLIMIT_NOFILE', soft: 1024, hard: 4096 },
        { type: 'RLIMIT_CORE', soft: 0, hard: 0 },
        { type: 'RLIMIT_NPROC', soft: 4096, hard: 8192 },
        { type: 'RLIMIT_STACK', soft: 8388608, hard: 67108864 },
        { type: 'RLIMIT_MEMLOCK', soft: 65536, hard: 65536 },
      ],
    },
  })
  const path = join(confined, 'config.json')
  const config = JSON.parse(readFileSync(path, 'utf8'))
  config.linux.seccomp = seccompFor(kept)
  writeFileSync(path, JSON.stringify(config))
  return { plain, confined }
}

const undo = new Undo()
undo.onSignals()

async function main() {
  const directory = makeDirectory(undo)
  const run = makeRunDirectory(directory, undo)
  mountHugetlb(undo)
  const bundles = makeBundles(directory)
  let serial = 0
  const make = async (name, bundle, runtime) => {
    const container = await Container.create({
      root: join(run, 'state'),
      id: `bench-${process.pid}-${name}`,
      bundle,
      runtime,
      runtimeArgs: [`--root=${join(run, runtime)}`],
      ephemeral: true,
    })
    undo.add(`delete container ${container.id}`, () => container[Symbol.asyncDispose]())
    await container.start()
    return container
  }
  const exec = (container) => async () => {
    const samples = []
    const jobs = []
    for (let i = 0; i < Number(values.batch); ++i) {
      const before = process.hrtime.bigint()
      const job = await container.exec(`job-${++serial}`, { args: program })
      const { exitCode } = await job.wait()
      samples.push(Number(process.hrtime.bigint() - before))
      if (exitCode !== 0) throw new Error(`exec ended with ${exitCode}`)
      jobs.push(job)
    }
    for (const job of jobs) await container.removeProcess(job.id)
    return samples
  }
  const kinds = {}
  for (const runtime of ['runc', 'crun'].filter(isInstalled)) {
    for (const [name, bundle] of Object.entries(bundles)) {
      const container = await make(`${runtime}-${name}`, bundle, runtime)
      kinds[`libcontainer, ${name}, ${runtime}`] = exec(container)
      kinds[`${runtime} exec, ${name}`] = async () => [
        await timeSpawn(runtime, [`--root=${join(run, runtime)}`, 'exec', container.id, ...program]),
      ]
    }
  }
  const taken = await interleave(kinds, { rounds: Number(values.rounds), random: makeRandom(1), warmUp: 2 })
  const machine = describeMachine()
  console.log(
    `${machine.date} ${machine.commit} load ${machine.loadAverage.map((one) => one.toFixed(2)).join(' ')}`,
  )
  for (const [name, samples] of Object.entries(taken)) {
    const { samples: count, median, p99 } = summarize(samples.flat())
    console.log(
      `${name.padEnd(30)} ${count} samples, median ${(median / 1000).toFixed(0)} us, p99 ${(p99 / 1000).toFixed(0)} us`,
    )
  }
  for (const runtime of ['runc', 'crun'].filter(isInstalled)) {
    const ours = compare(
      taken[`libcontainer, confined, ${runtime}`],
      taken[`libcontainer, plain, ${runtime}`],
    ).ofMedians
    const theirs = compare(taken[`${runtime} exec, confined`], taken[`${runtime} exec, plain`]).ofMedians
    console.log(
      `${ours <= limit ? 'reached' : 'MISSED '} confined / plain in a container of ${runtime}: ${ours.toFixed(2)}, to reach at most ${limit}; ${runtime} exec ${theirs.toFixed(2)}`,
    )
  }
}

main()
  .catch((error) => {
    console.error(error)
    process.exitCode = 1
  })
  .finally(() => undo.run())
