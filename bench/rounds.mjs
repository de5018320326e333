// The order in which samples are taken.
import { conditions } from './conditions.mjs'

/** Numbers in [0, 1) that are the same for the same seed (mulberry32). */
export function makeRandom(seed) {
  let state = seed >>> 0
  return () => {
    state = (state + 0x6d2b79f5) >>> 0
    let mixed = Math.imul(state ^ (state >>> 15), state | 1)
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61)
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32
  }
}

/** A new array in another order (Fisher-Yates). */
export function shuffle(items, random) {
  const out = [...items]
  for (let last = out.length - 1; last > 0; --last) {
    const other = Math.floor(random() * (last + 1))
    ;[out[last], out[other]] = [out[other], out[last]]
  }
  return out
}

/**
 * Takes samples of several kinds round by round, each round in an order of its own, so that a machine that changes its
 * speed does so for all of them. `kinds` maps a name to a function that gives an array of samples, which may be empty.
 * Resolves to name -> array of rounds -> array of samples.
 */
export async function interleave(kinds, { rounds, random, warmUp = 1 }) {
  const names = Object.keys(kinds)
  const taken = Object.fromEntries(names.map((name) => [name, []]))
  for (let round = -warmUp; round < rounds; ++round) {
    conditions.look()
    for (const name of shuffle(names, random)) {
      const samples = await kinds[name]()
      if (round >= 0) taken[name].push(samples)
    }
  }
  return taken
}
