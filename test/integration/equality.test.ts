// A process started by exec() is the one that the runtime's own exec would have started: a probe prints all that it
// can learn about itself, and the two texts are the same. fast-check crosses the fields of the OCI process; the
// containers differ in what they impose.
import { execFileSync } from 'node:child_process'
import { chmodSync, closeSync, existsSync, openSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import fc from 'fast-check'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import type { Container, ProcessSpec } from '../../lib/index.js'
import { capabilities, type Config } from '../support/bundle.js'
import { compileProgram } from '../support/compile.js'
import { useContainers } from '../support/containers.js'
import { cannotRunContainers, type RuntimeName, runtimes } from '../support/machine.js'
import { fieldProfile } from '../support/seccomp.js'
import { eventually } from '../support/wait.js'

const skip = cannotRunContainers()
const specsPerContainer = 40

/**
 * Where the two differ on purpose. Each line that matches is left out of both texts; `runtimes` says whose exec
 * differs, and `why` why ours stays as it is.
 */
const differences: { line: RegExp; runtimes: readonly RuntimeName[]; terminal?: boolean; why: string }[] = [
  {
    line: /^\/proc\/self\/limits: Max open files/,
    runtimes: ['runc'],
    why: 'Go 1.19 and later raise the soft limit of runc to the hard one, and its exec passes that on. Ours is the spec.',
  },
  {
    line: /^(umask:|\/proc\/self\/status: Umask:)/,
    runtimes,
    why: "Both give the container's umask to init alone; runc since 1.2 gives it to an exec too, and so do we.",
  },
  {
    line: /^session leader:/,
    runtimes: ['crun'],
    terminal: false,
    why: 'crun leaves an exec without a terminal in the session of its caller, whose terminal it then can reach.',
  },
  {
    line: /^fd [012]:/,
    runtimes: ['crun'],
    why: "crun gives stdio to the process's group as well as its user, /dev/null too; ours and runc's only to the user.",
  },
  {
    line: /^(signal 3[23]:|\/proc\/self\/status: SigIgn:)/,
    runtimes,
    why:
      'The runtimes hand on what their caller ignores; ours starts with every signal at its default. 32 and 33 are the C ' +
      "library's own, which a posix_spawn(3) above may have left ignored; all others are compared line by line.",
  },
  {
    line: /^\/proc\/self\/oom_score_adj:/,
    runtimes: ['crun'],
    why: "crun's exec keeps its caller's OOM score; ours and runc's take the container's.",
  },
  {
    line: /^environ: HOME=/,
    runtimes: ['crun'],
    why: 'crun looks HOME up where it is missing, and leaves an empty one; runc and ours look it up then too.',
  },
]

/** What containers impose, by name. */
const containers: [string, readonly RuntimeName[], (config: Config, directory: string) => void][] = [
  ['as any other', runtimes, () => undefined],
  [
    'the default seccomp profile',
    runtimes,
    (config) => {
      config.linux.seccomp = fieldProfile()
    },
  ],
  [
    'a user namespace',
    runtimes,
    (config) => {
      const mapping = [{ containerID: 0, hostID: 100000, size: 65536 }]
      config.linux.namespaces.push({ type: 'user' })
      Object.assign(config.linux, { uidMappings: mapping, gidMappings: mapping })
    },
  ],
  [
    'a user namespace, seccomp, and a higher OOM score',
    runtimes,
    (config) => {
      const mapping = [
        { containerID: 0, hostID: 100000, size: 1000 },
        { containerID: 1000, hostID: 300000, size: 64536 },
      ]
      config.linux.namespaces.push({ type: 'user' })
      Object.assign(config.linux, { uidMappings: mapping, gidMappings: mapping, seccomp: fieldProfile() })
      config.process.oomScoreAdj = 500
    },
  ],
  [
    "the host's network, IPC and hostname",
    runtimes,
    (config) => {
      delete config.hostname
      keepNamespaces(config, ['pid', 'mount', 'cgroup'])
    },
  ],
  [
    'no pid and no cgroup namespace',
    runtimes,
    (config) => keepNamespaces(config, ['network', 'ipc', 'uts', 'mount']),
  ],
  [
    'namespaces of another process, by path',
    runtimes,
    (config) => {
      for (const [type, file] of [
        ['network', 'net'],
        ['ipc', 'ipc'],
        ['uts', 'uts'],
      ]) {
        config.linux.namespaces.find((one: { type: string }) => one.type === type).path =
          `/proc/${process.pid}/ns/${file}`
      }
      delete config.hostname
    },
  ],
  [
    'a read-only root, a umask, an OOM score, no capability at all',
    runtimes,
    (config) => {
      config.root.readonly = true
      config.process.user.umask = 0o27
      config.process.oomScoreAdj = 123
      config.process.noNewPrivileges = false
      config.process.capabilities = { bounding: [], effective: [], permitted: [] }
    },
  ],
  [
    'another personality and limits',
    ['crun'],
    (config) => {
      config.linux.personality = { domain: 'LINUX32' }
      config.process.rlimits = [{ type: 'RLIMIT_CORE', soft: 1, hard: 2 }]
    },
  ],
]

function keepNamespaces(config: Config, types: string[]): void {
  config.linux.namespaces = config.linux.namespaces.filter((one: { type: string }) =>
    types.includes(one.type),
  )
}

const someCapabilities = fc.subarray([...capabilities, 'CAP_SYS_ADMIN', 'CAP_NET_RAW', 'CAP_SYS_PTRACE'])
const arbitrarySpec = fc.record({
  args: fc.constantFrom(['/probe'], ['probe', 'a word', ''], ['//bin/../probe', '--']),
  cwd: fc.constantFrom('/', '/tmp', '/usr/bin'),
  user: fc.record({
    uid: fc.constantFrom(0, 0, 1000, 4242),
    gid: fc.constantFrom(0, 1000, 50),
    additionalGids: fc.constantFrom([], [7], [1000, 5, 3000], [0]),
  }),
  env: fc.constantFrom(
    ['PATH=/bin:/', 'HOME=/root'],
    ['PATH=/:/bin', 'A=1', 'B=2', 'A=3', 'HOME='],
    ['B=x y', 'PATH=/none:/', 'A==', 'E='],
  ),
  capabilities: fc.oneof(
    fc.record({
      bounding: fc.constant(capabilities),
      effective: fc.constant(capabilities),
      permitted: fc.constant(capabilities),
    }),
    fc.constant({ bounding: [], effective: [], permitted: [], inheritable: [], ambient: [] }),
    someCapabilities.map((all) => ({
      bounding: all,
      permitted: all,
      effective: all,
      inheritable: all,
      ambient: all,
    })),
    fc.record({ bounding: someCapabilities }),
    someCapabilities.map((all) => ({
      bounding: [...capabilities, ...all],
      permitted: all,
      effective: all.slice(1),
    })),
  ),
  rlimits: fc.constantFrom(
    [{ type: 'RLIMIT_NOFILE', soft: 512, hard: 1024 }],
    [
      { type: 'RLIMIT_NOFILE', soft: 1048, hard: 4096 },
      { type: 'RLIMIT_CORE', soft: 0, hard: 0 },
      { type: 'RLIMIT_NPROC', soft: 9000, hard: 10000 },
      { type: 'RLIMIT_STACK', soft: 8388608, hard: 16777216 },
      { type: 'RLIMIT_MSGQUEUE', soft: 1000, hard: 2000 },
    ],
  ),
  noNewPrivileges: fc.boolean(),
  terminal: fc.constantFrom(false, false, false, true),
})

describe.skipIf(skip).each(runtimes)('exec beside %s exec', (runtime) => {
  const ground = useContainers(runtime)
  let serial = 0
  let stdin = -1
  let inUserNamespace = false
  beforeAll(() => {
    // Not /dev/null: crun gives even that to the user, for everybody.
    writeFileSync(`${ground.directory}/in`, '')
    stdin = openSync(`${ground.directory}/in`, 'r')
    compileProgram('probe', ground.rootfs)
    chmodSync(ground.directory, 0o711)
    // runc gives a tmpfs the mode of what it covers.
    chmodSync(`${ground.rootfs}/tmp`, 0o1777)
  })

  afterAll(() => closeSync(stdin))

  /** The probe's text, whoever started it. */
  async function probe(
    container: Container,
    spec: ProcessSpec,
    start: (out: number) => Promise<void>,
  ): Promise<string> {
    const init = container.processes.get('init')?.pid as number
    const path = `${ground.directory}/out`
    const out = openSync(path, 'w+')
    const report = spec.terminal ? `/proc/${init}/root/tmp/report` : path
    try {
      await start(out)
      const whole = await eventually('the probe to end', () => {
        const text = existsSync(report) ? readFileSync(report, 'utf8') : ''
        return text.endsWith('\nend\n') && text
      }).catch((error: unknown) => {
        throw new Error(`${String(error)}: ${readFileSync(path, 'utf8')} of ${JSON.stringify(spec)}`)
      })
      return (
        whole
          .split('\n')
          .filter((line) => !differences.some((one) => differs(one, spec, line)))
          // Ours are open for reading too, so that a writer waits, and gets no EPIPE, while no shim runs.
          .map((line) => line.replace(/^(fd [12]: pipe: .*) flags 0 [12]$/, '$1'))
          // A pipe that `runc exec -d` was given belongs to nobody whom a user namespace knows; ours to the user, as the pipes
          // that runc makes itself without -d. See stdio_owner.test.ts.
          .map((line) => (inUserNamespace ? line.replace(/^(fd [012]: pipe: mode \d+) uid \d+/, '$1') : line))
          .join('\n')
      )
    } finally {
      closeSync(out)
      rmSync(report)
    }
  }

  function differs(one: (typeof differences)[number], spec: ProcessSpec, line: string): boolean {
    if (!one.runtimes.includes(runtime)) return false
    if (one.terminal !== undefined && one.terminal !== (spec.terminal ?? false)) return false
    return one.line.test(line)
  }

  function theirs(container: Container, spec: ProcessSpec): Promise<string> {
    return probe(container, spec, async (out) => {
      const path = ground.newPath('process')
      writeFileSync(path, JSON.stringify(spec))
      const args = ['exec', ...(spec.terminal ? [] : ['-d']), '-p', path, container.id]
      // The runtime's command wants a terminal to stand in front of the container's.
      if (spec.terminal) execFileSync('script', ['-qec', [runtime, ...args].join(' '), '/dev/null'])
      // Pipes, as a process of ours has them for files.
      else {
        const piped = ['-c', 'cat | "$@" 2>&1 | cat', 'sh', runtime, ...args]
        execFileSync('sh', piped, { stdio: [stdin, out, 'inherit'] })
      }
      rmSync(path)
    })
  }

  function ours(container: Container, spec: ProcessSpec): Promise<string> {
    return probe(container, spec, async (out) => {
      const id = `probe-${++serial}`
      const job = await container.exec(
        id,
        spec,
        spec.terminal ? { stdout: 'pipe' } : { stdin, stdout: out, stderr: out },
      )
      job.stdout?.resume()
      await job.wait()
      await container.removeProcess(id)
    })
  }

  const mine = containers.filter(([, who]) => who.includes(runtime))
  test.each(mine)('a container with %s', async (_, __, edit) => {
    const container = await ground.running({
      bundle: ground.bundle((config) => {
        edit(config, ground.directory)
        inUserNamespace = config.linux.namespaces.some(({ type }: { type: string }) => type === 'user')
      }),
    })
    let compared = 0
    await fc.assert(
      fc.asyncProperty(arbitrarySpec, async (values) => {
        const spec = JSON.parse(JSON.stringify(values)) as ProcessSpec
        expect(await ours(container, spec)).toBe(await theirs(container, spec))
        ++compared
      }),
      { numRuns: specsPerContainer, seed: 20 + mine.findIndex(([name]) => name === _), endOnFailure: true },
    )
    expect(compared).toBe(specsPerContainer)
  })
})
