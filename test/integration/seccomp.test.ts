// Seccomp: an exec'd process is under the container's own filter, compiled once and applied as the runtime does.
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { beforeAll, describe, expect, test } from 'vitest'
import { compileProgram } from '../support/compile.js'
import { shimOf, useContainers } from '../support/containers.js'
import { expectCode, run } from '../support/expect.js'
import { cannotRunContainers, isMemoryTold, runtimes } from '../support/machine.js'
import { memoryOf, statusLine } from '../support/processes.mjs'
import { decisions, fieldProfile, filtersOf, type SeccompProfile } from '../support/seccomp.js'
import { eventually } from '../support/wait.js'

const skip = cannotRunContainers()
const sleeper = ['/bin/sleep', '1000']
/** By <asm/unistd.h>, x64 and arm64. */
const callNumbers: Record<string, [number, number]> = {
  execve: [59, 221],
  write: [1, 64],
  sendto: [44, 206],
  exit: [60, 93],
  exit_group: [231, 94],
  setuid: [105, 146],
}

/** A compiled filter: EACCES for these calls. */
function forbidding(names: readonly string[]): Buffer {
  const instruction = (code: number, jt: number, jf: number, k: number): Buffer => {
    const out = Buffer.alloc(8)
    out.writeUInt16LE(code, 0)
    out.writeUInt8(jt, 2)
    out.writeUInt8(jf, 3)
    out.writeUInt32LE(k, 4)
    return out
  }
  return Buffer.concat([
    instruction(0x20, 0, 0, 0),
    ...names.flatMap((name) => [
      instruction(0x15, 0, 1, callNumbers[name]?.[process.arch === 'x64' ? 0 : 1] as number),
      instruction(0x06, 0, 0, 0x50000 | 13),
    ]),
    instruction(0x06, 0, 0, 0x7fff0000),
  ])
}

const allow = (...syscalls: SeccompProfile['syscalls']): SeccompProfile => ({
  defaultAction: 'SCMP_ACT_ALLOW',
  architectures: ['SCMP_ARCH_X86_64'],
  syscalls,
})

describe.skipIf(skip).each(runtimes)('seccomp, %s', (runtime) => {
  const ground = useContainers(runtime)
  let filters = ''
  beforeAll(() => {
    filters = compileProgram('filters', ground.directory)
  })

  const withProfile = (seccomp: SeccompProfile, process: object = {}): string =>
    ground.bundle((config) => {
      config.linux.seccomp = seccomp
      Object.assign(config.process, process)
    })

  // init's filter is what the runtime made of the profile.
  const profiles: [string, SeccompProfile][] = [
    ['the default one of the field', fieldProfile()],
    ['the default one, with every capability', fieldProfile(['CAP_SYS_ADMIN', 'CAP_AUDIT_WRITE'])],
    [
      'every action',
      allow(
        { names: ['getpgrp'], action: 'SCMP_ACT_KILL' },
        { names: ['acct'], action: 'SCMP_ACT_KILL_THREAD' },
        { names: ['swapon'], action: 'SCMP_ACT_KILL_PROCESS' },
        { names: ['swapoff'], action: 'SCMP_ACT_TRAP' },
        { names: ['mkdir'], action: 'SCMP_ACT_ERRNO', errnoRet: 28 },
        { names: ['rmdir'], action: 'SCMP_ACT_ERRNO' },
        { names: ['reboot'], action: 'SCMP_ACT_TRACE', errnoRet: 5 },
        { names: ['pause'], action: 'SCMP_ACT_LOG' },
        { names: ['no_such_call'], action: 'SCMP_ACT_KILL' },
      ),
    ],
    [
      'every operator',
      allow(
        ...['EQ', 'NE', 'GT', 'GE', 'LT', 'LE', 'MASKED_EQ'].map((op, n) => ({
          names: [
            ['getpriority', 'mlock', 'munlock', 'flock', 'symlink', 'link', 'personality'][n] as string,
          ],
          action: 'SCMP_ACT_ERRNO',
          args: [{ index: n % 3, value: 10, valueTwo: 2, op: `SCMP_CMP_${op}` }],
        })),
        {
          names: ['chroot'],
          action: 'SCMP_ACT_ERRNO',
          args: [
            { index: 0, value: 1, op: 'SCMP_CMP_EQ' },
            { index: 0, value: 9, op: 'SCMP_CMP_EQ' },
          ],
        },
        {
          names: ['syslog'],
          action: 'SCMP_ACT_ERRNO',
          args: [
            { index: 0, value: 16, op: 'SCMP_CMP_EQ' },
            { index: 2, value: 9, op: 'SCMP_CMP_EQ' },
          ],
        },
      ),
    ],
    ['a default action alone', { defaultAction: 'SCMP_ACT_LOG', syscalls: [] }],
    [
      'several architectures, newer calls answered by ENOSYS',
      {
        ...fieldProfile(),
        defaultErrnoRet: 1,
        architectures: ['SCMP_ARCH_X86', 'SCMP_ARCH_X32', 'SCMP_ARCH_X86_64', 'SCMP_ARCH_AARCH64'],
      },
    ],
  ]
  describe.each(profiles)('%s', (_, profile) => {
    test.each([true, false])('noNewPrivileges %j', async (noNewPrivileges) => {
      const container = await ground.running({ bundle: withProfile(profile, { noNewPrivileges }) })
      const init = container.processes.get('init')?.pid as number
      const job = await container.exec('job', { args: sleeper })
      for (const key of [
        'Seccomp',
        'Seccomp_filters',
        'NoNewPrivs',
        'CapEff',
        'CapBnd',
        'Speculation_Store_Bypass',
      ]) {
        expect(statusLine(job.pid, key), key).toBe(statusLine(init, key))
      }
      expect(statusLine(job.pid, 'Seccomp')).toBe('2')
      const own = filtersOf(filters, init)
      expect(own).toHaveLength(1)
      expect(decisions(filtersOf(filters, job.pid))).toBe(decisions(own))
      // The process's own word on no_new_privs counts, and the filter comes either way.
      const other = await container.exec('other', { args: sleeper, noNewPrivileges: !noNewPrivileges })
      expect(statusLine(other.pid, 'NoNewPrivs')).toBe(noNewPrivileges ? '0' : '1')
      expect(decisions(filtersOf(filters, other.pid))).toBe(decisions(own))
      const user = await container.exec('user', { args: sleeper, user: { uid: 1000, gid: 1000 } })
      expect(statusLine(user.pid, 'Seccomp')).toBe('2')
      const terminal = await container.exec('terminal', { args: sleeper, terminal: true })
      expect(statusLine(terminal.pid, 'Seccomp_filters')).toBe('1')
    })
  })

  test('a call is answered as the profile says', async () => {
    const container = await ground.running({
      bundle: withProfile(
        allow(
          { names: ['mkdir', 'mkdirat'], action: 'SCMP_ACT_ERRNO', errnoRet: 28 },
          { names: ['swapoff'], action: 'SCMP_ACT_KILL_PROCESS' },
        ),
      ),
    })
    const made = await run(container, 'mkdir /tmp/x')
    expect(made.stderr).toContain('No space left on device')
    expect(
      await (await container.exec('killed', { args: ['/bin/swapoff', '/dev/null'] })).wait(),
    ).toMatchObject({
      signal: 'SIGSYS',
    })
  })

  test('the compiling costs the shim no memory and is done once', async () => {
    const container = await ground.running({ bundle: withProfile(fieldProfile()) })
    const shim = shimOf(container)
    await run(container, ['/bin/true'])
    const record = join(ground.record(container.id), runtime === 'runc' ? 'state.json' : 'seccomp.bpf')
    const before = readFileSync(record)
    writeFileSync(record, 'no longer looked at')
    expect(statusLine((await container.exec('job', { args: sleeper })).pid, 'Seccomp')).toBe('2')
    writeFileSync(record, before)
    // Beside one that has compiled nothing; the filter itself takes its place.
    const plain = await ground.running()
    await run(plain, ['/bin/true'])
    await plain.exec('job', { args: sleeper })
    const more = memoryOf(shim).pssKib - memoryOf(shimOf(plain)).pssKib
    if (isMemoryTold) expect(more).toBeLessThanOrEqual(48)
  })

  /** Bends the profile in the runtime's record; gives a function that puts it back. */
  const edit = (id: string, change: (seccomp: { [key: string]: unknown }) => void): (() => void) => {
    const path = join(ground.record(id), runtime === 'runc' ? 'state.json' : 'config.json')
    const before = readFileSync(path)
    const json = JSON.parse(before.toString()) as Record<string, { seccomp: { [key: string]: unknown } }>
    change((json[runtime === 'runc' ? 'config' : 'linux'] as { seccomp: { [key: string]: unknown } }).seccomp)
    writeFileSync(path, JSON.stringify(json))
    return () => writeFileSync(path, before)
  }

  test('a profile with a listener is refused, and so is one that is not understood', async () => {
    const changes: [
      (seccomp: { [key: string]: unknown }) => void,
      'ERR_UNSUPPORTED' | 'ERR_STATE_CORRUPT',
    ][] = [
      [
        (seccomp) => {
          seccomp['syscalls'] = [
            runtime === 'runc'
              ? { name: 'mount', action: 7 }
              : { names: ['mount'], action: 'SCMP_ACT_NOTIFY' },
          ]
        },
        'ERR_UNSUPPORTED',
      ],
      [(seccomp) => (seccomp['flags'] = ['SECCOMP_FILTER_FLAG_OF_TOMORROW']), 'ERR_UNSUPPORTED'],
      [(seccomp) => (seccomp['architectures'] = runtime === 'runc' ? 'amd64' : 7), 'ERR_STATE_CORRUPT'],
      [(seccomp) => (seccomp['syscalls'] = {}), 'ERR_STATE_CORRUPT'],
    ]
    for (const [change, code] of changes) {
      const container = await ground.running({ bundle: withProfile(allow()) })
      const restore = edit(container.id, change)
      const error = await expectCode(container.exec('job', { args: ['/bin/true'] }), code)
      restore()
      expect(error.path).toContain(ground.record(container.id))
      expect([...container.processes.keys()]).toEqual(['init'])
    }
  })

  // runc keeps none.
  if (runtime === 'crun') {
    test('a compiled filter that is no filter is refused', async () => {
      const container = await ground.running({ bundle: withProfile(allow()) })
      const init = container.processes.get('init')?.pid as number
      // crun's start is over before init has read the file.
      await eventually('init runs', () => statusLine(init, 'Name') === 'sleep')
      writeFileSync(join(ground.record(container.id), 'seccomp.bpf'), 'seven b')
      await expectCode(container.exec('job', { args: ['/bin/true'] }), 'ERR_STATE_CORRUPT')
      writeFileSync(join(ground.record(container.id), 'seccomp.bpf'), Buffer.alloc(80))
      const error = await expectCode(container.exec('job', { args: ['/bin/true'] }), 'ERR_SYSCALL')
      expect(error).toMatchObject({ errno: 22 })
    })
  }

  // Beyond what a container can be started with: the filter stands in the way of the exec itself.
  test.each([
    ['execve', true, ['execve'], 'ERR_SYSCALL'],
    ['execve and write', true, ['execve', 'write', 'sendto'], null],
    ['all of it', true, ['execve', 'write', 'sendto', 'exit_group', 'exit'], null],
    ['setuid', false, ['setuid'], 'ERR_SYSCALL'],
    ['setuid and write', false, ['setuid', 'write', 'sendto'], null],
  ] as const)('a filter that forbids %s fails the exec', async (_, noNewPrivileges, names, code) => {
    const container = await ground.running({ bundle: withProfile(allow(), { noNewPrivileges }) })
    if (runtime === 'crun') {
      const init = container.processes.get('init')?.pid as number
      await eventually('init runs', () => statusLine(init, 'Name') === 'sleep')
      writeFileSync(join(ground.record(container.id), 'seccomp.bpf'), forbidding(names))
    } else {
      edit(container.id, (seccomp) => {
        seccomp['syscalls'] = names.map((name) => ({ name, action: 2, errnoRet: 13 }))
      })
    }
    const failed = container.exec('job', { args: ['/bin/true'] })
    if (code) expect(await expectCode(failed, code)).toMatchObject({ errno: 13, syscall: names[0] })
    else await expectCode(failed, 'ERR_PROCESS_EXITED')
    expect([...container.processes.keys()]).toEqual(['init'])
    expect(await container.pids()).toEqual([container.processes.get('init')?.pid])
  })
})
