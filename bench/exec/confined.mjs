// What confinement costs: exec in a container with the field's default seccomp profile, 14 capabilities dropped, 5
// limits and 3 groups, against exec in a plain one; runc exec and crun exec of the same beside it. Writes
// bench/results/confined.json. See bench/README.md.
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { makeBundle } from '../../examples/bundle.mjs'
import { timeSpawn } from '../ground.mjs'
import { Part } from '../part.mjs'
import { heading, say, showKinds } from '../report.mjs'
import { interleave } from '../rounds.mjs'
import { compare, repeat, time } from '../statistics.mjs'

const part = new Part(
  'confined',
  { confined: benchConfined },
  { rounds: ['60', 'rounds'], batch: ['8', 'samples of this library in a round, and one of each runtime'] },
)
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

async function benchConfined() {
  heading('exec in a confined container, and in a plain one')
  const bundles = makeBundles(part.directory)
  let serial = 0
  const byLibrary = (container) => async () => {
    const jobs = []
    const samples = await repeat(part.number('batch'), () =>
      time(async () => {
        const job = await container.exec(`job-${++serial}`, { args: program })
        jobs.push(job)
        const { exitCode } = await job.wait()
        if (exitCode !== 0) throw new Error(`exec ended with ${exitCode}`)
      }),
    )
    for (const job of jobs) await container.removeProcess(job.id)
    return samples
  }
  const runtimes = part.withCrun() ? ['runc', 'crun'] : ['runc']
  const kinds = {}
  for (const runtime of runtimes) {
    for (const [name, bundle] of Object.entries(bundles)) {
      const container = await part.makeContainer(`${runtime}-${name}`, { bundle, runtime })
      const args = [`--root=${part.recordsOf(runtime)}`, 'exec', container.id, ...program]
      kinds[`libcontainer, ${name}, ${runtime}`] = byLibrary(container)
      kinds[`${runtime} exec, ${name}`] = async () => [await timeSpawn(runtime, args)]
    }
  }
  const settings = { rounds: part.number('rounds'), random: part.random, warmUp: 2 }
  const taken = await interleave(kinds, settings)
  showKinds(taken)
  const ratios = {}
  for (const runtime of runtimes) {
    const confinedToPlain = (confined, plain) => compare(taken[confined], taken[plain])
    const ours = confinedToPlain(`libcontainer, confined, ${runtime}`, `libcontainer, plain, ${runtime}`)
    const theirs = confinedToPlain(`${runtime} exec, confined`, `${runtime} exec, plain`)
    ratios[runtime] = { libcontainer: ours, runtime: theirs }
    part.report.atMost(`confined / plain exec in a container of ${runtime}`, ours.ofMedians, limit)
    say(`${runtime} exec: ${theirs.ofMedians.toFixed(2)}`)
  }
  part.report.keep('confined', taken, { ratios })
}

await part.run()
