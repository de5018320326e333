// What a run was taken under: how fast the machine went from round to round, how busy others kept it, what the hypervisor
// took. Tells which figures to believe.
import { readFileSync } from 'node:fs'
import { loadavg } from 'node:os'
import { setTimeout as sleep } from 'node:timers/promises'
import { median, quantile } from './statistics.mjs'

const loopsOfALook = 5
/** Slower than the fastest looks by this is the machine's other speed, not its jitter. */
const otherSpeed = 1.2

/** proc_stat(5), in ticks since the boot, of all CPUs together. */
function cpuTicks() {
  const [user, nice, system, idle, iowait, irq, softirq, steal] = readFileSync('/proc/stat', 'utf8')
    .split('\n')[0]
    .split(/ +/)
    .slice(1)
    .map(Number)
  const busy = user + nice + system + irq + softirq
  return { busy, steal, all: busy + steal + idle + iowait }
}

/** How many CPUs' worth others use, in a time in which this program sleeps. */
export async function othersBusy(cores, ms) {
  const before = cpuTicks()
  await sleep(ms)
  const after = cpuTicks()
  return (cores * (after.busy - before.busy)) / (after.all - before.all)
}

/** The same work each time, a fifth of a millisecond of it: what it takes is the speed of the machine. */
function spin() {
  const before = process.hrtime.bigint()
  let state = 1
  for (let i = 0; i < 100_000; ++i) state = (Math.imul(state, 1664525) + 1013904223) | 0
  const took = Number(process.hrtime.bigint() - before)
  return state === 0 ? NaN : took
}

export class Conditions {
  #start = cpuTicks()
  #loadBefore = loadavg()
  #looks = []

  /** At the start of each round; the fastest of a few loops, since others may interrupt one. */
  look() {
    if (this.#looks.length === 0) for (let i = 0; i < 100; ++i) spin() // until it is compiled
    this.#looks.push(Math.min(...Array.from({ length: loopsOfALook }, spin)))
  }

  summary() {
    const now = cpuTicks()
    const fast = quantile(this.#looks, 0.05)
    const slow = this.#looks.map((took) => took > fast * otherSpeed)
    return {
      loadAverage: { before: this.#loadBefore, after: loadavg() },
      stealShare: (now.steal - this.#start.steal) / Math.max(1, now.all - this.#start.all),
      speed: {
        rounds: this.#looks.length,
        medianOverFastest: median(this.#looks) / fast,
        slowestOverFastest: quantile(this.#looks, 0.95) / fast,
        slowShare: slow.filter(Boolean).length / slow.length,
        flips: slow.filter((is, index) => index > 0 && is !== slow[index - 1]).length,
      },
    }
  }
}

/** Of this program. */
export const conditions = new Conditions()
