// When the kernel killed for want of memory, by its own word: the tracepoint oom:mark_victim, which comes right after the
// kill was counted, on the clock that everything here is measured by.
import { execFileSync } from 'node:child_process'
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmdirSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

export class Kills {
  #instance

  constructor(instance) {
    this.#instance = instance
  }

  /** Nanoseconds of CLOCK_MONOTONIC, to the microsecond; undefined when it is not (yet) known. Forgets the others. */
  take(pid) {
    const path = join(this.#instance, 'trace')
    const text = readFileSync(path, 'utf8')
    const [, seconds, fraction] =
      new RegExp(` (\\d+)\\.(\\d{6}): mark_victim: pid=${pid}\\b`).exec(text) ?? []
    if (seconds === undefined) return undefined
    writeFileSync(path, '')
    return (Number(seconds) * 1_000_000 + Number(fraction)) * 1000
  }
}

/** Null where the kernel has no tracing. */
export function traceKills(undo) {
  let tracing = '/sys/kernel/tracing'
  if (!existsSync(join(tracing, 'instances'))) {
    tracing = mkdtempSync(join(tmpdir(), 'libcontainer-tracing-'))
    undo.add(`remove ${tracing}`, () => rmdirSync(tracing))
    try {
      execFileSync('mount', ['-t', 'tracefs', 'libcontainer-bench', tracing], { stdio: 'ignore' })
    } catch {
      return null
    }
    undo.add(`unmount ${tracing}`, () => execFileSync('umount', [tracing]))
  }
  const instance = join(tracing, 'instances', `libcontainer-${process.pid}`)
  mkdirSync(instance)
  undo.add(`remove ${instance}`, () => rmdirSync(instance))
  writeFileSync(join(instance, 'trace_clock'), 'mono')
  writeFileSync(join(instance, 'events/oom/mark_victim/enable'), '1')
  return new Kills(instance)
}
