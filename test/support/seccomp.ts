// Seccomp profiles for tests: the field's default one, and what the kernel holds of any.
import { execFileSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { capabilities as defaultCapabilities } from './bundle.js'

export interface SeccompProfile {
  defaultAction: string
  defaultErrnoRet?: number
  architectures?: string[]
  flags?: string[]
  syscalls: {
    names: string[]
    action: string
    errnoRet?: number
    args?: { index: number; value: number; valueTwo?: number; op: string }[]
  }[]
}

const fieldPath = '/usr/share/containers/seccomp.json'
const goArchitecture = { x64: 'amd64', arm64: 'arm64' }[process.arch as string] as string
const nativeArchitecture = { x64: 'SCMP_ARCH_X86_64', arm64: 'SCMP_ARCH_AARCH64' }[process.arch as string]

interface FieldRule {
  names: string[]
  action: string
  errnoRet?: number
  args: { index: number; value: number; valueTwo: number; op: string }[] | null
  includes: { arches?: string[]; caps?: string[] }
  excludes: { arches?: string[]; caps?: string[] }
}

/** The default profile of podman and its kin (Debian: golang-github-containers-common), as they would write it. */
export function fieldProfile(capabilities: readonly string[] = defaultCapabilities): SeccompProfile {
  const field = JSON.parse(readFileSync(fieldPath, 'utf8')) as {
    defaultAction: string
    defaultErrnoRet: number
    archMap: { architecture: string; subArchitectures: string[] }[]
    syscalls: FieldRule[]
  }
  const applies = ({ includes, excludes }: FieldRule): boolean =>
    (includes.arches?.includes(goArchitecture) ?? true) &&
    !(excludes.arches?.includes(goArchitecture) ?? false) &&
    (includes.caps?.every((name) => capabilities.includes(name)) ?? true) &&
    !(excludes.caps?.some((name) => capabilities.includes(name)) ?? false)
  const map = field.archMap.find(({ architecture }) => architecture === nativeArchitecture)
  return {
    defaultAction: field.defaultAction,
    defaultErrnoRet: field.defaultErrnoRet,
    architectures: map ? [map.architecture, ...map.subArchitectures] : [],
    syscalls: field.syscalls.filter(applies).map(({ names, action, errnoRet, args }) => ({
      names,
      action,
      ...(errnoRet === undefined ? {} : { errnoRet }),
      ...(args === null || args.length === 0 ? {} : { args }),
    })),
  }
}

interface Instruction {
  code: number
  jt: number
  jf: number
  k: number
}

/** The filters that a process is under, newest first; `program` is the compiled filters.c. */
export function filtersOf(program: string, pid: number): Instruction[][] {
  return execFileSync(program, [String(pid)], { encoding: 'utf8' })
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => {
      const bytes = Buffer.from(line, 'hex')
      return Array.from({ length: bytes.length / 8 }, (_, i) => ({
        code: bytes.readUInt16LE(i * 8),
        jt: bytes[i * 8 + 2] as number,
        jf: bytes[i * 8 + 3] as number,
        k: bytes.readUInt32LE(i * 8 + 4),
      }))
    })
}

/** What a filter answers to a call; `args` are the low halves of its arguments, the high ones are 0. */
export function decide(filter: Instruction[], arch: number, number: number, args: number[]): number {
  const words = [number >>> 0, arch >>> 0, 0, 0, ...args.flatMap((arg) => [arg >>> 0, 0])]
  let a = 0
  for (let at = 0; at < filter.length; ++at) {
    const { code, jt, jf, k } = filter[at] as Instruction
    if (code === 0x20) a = words[k / 4] ?? 0
    else if (code === 0x54) a = (a & k) >>> 0
    else if (code === 0x06) return k
    else if (code === 0x05) at += k
    else if (code === 0x15) at += a === k ? jt : jf
    else if (code === 0x25) at += a > k ? jt : jf
    else if (code === 0x35) at += a >= k ? jt : jf
    else if (code === 0x45) at += (a & k) !== 0 ? jt : jf
    else throw new Error(`unknown instruction ${code}`)
  }
  throw new Error('the filter has no end')
}

const architectures = [0xc000003e, 0x40000003, 0xc00000b7, 0x40000028]
const x32 = 0x40000000

/**
 * Every decision that tells two filters apart in practice: each system call number of each architecture, with
 * arguments around those that profiles name. One string, to be compared whole.
 */
export function decisions(filters: Instruction[][]): string {
  const tries = [0, 1, 2, 8, 9, 10, 11, 16, 0x20000, 0x20008, 0x10000000, 0x7e020000, 0xffffffff]
  const numbers = Array.from({ length: 480 }, (_, i) => i)
  const out: string[] = []
  for (const [depth, filter] of filters.entries()) {
    for (const arch of architectures) {
      for (const number of [...numbers, ...numbers.map((n) => n | x32)]) {
        const answers = tries.map((arg) =>
          decide(filter, arch, number, [arg, arg, arg, 0, 0, 0]).toString(16),
        )
        const mixed = decide(filter, arch, number, [16, 3, 9, 0, 0, 0]).toString(16)
        out.push(`${depth} ${arch.toString(16)} ${number}: ${[...new Set([...answers, mixed])].join(' ')}`)
      }
    }
  }
  return out.join('\n')
}
