// Figures from samples, and the order in which samples are taken.

/** The smallest sample that at least `share` of all do not exceed (nearest rank). */
export function quantile(samples, share) {
  if (samples.length === 0) return NaN
  const sorted = Float64Array.from(samples).sort()
  return sorted[Math.max(0, Math.ceil(share * sorted.length) - 1)]
}

export function median(samples) {
  return quantile(samples, 0.5)
}

export function summarize(samples) {
  return {
    samples: samples.length,
    min: quantile(samples, 0),
    median: median(samples),
    p90: quantile(samples, 0.9),
    p99: quantile(samples, 0.99),
    max: quantile(samples, 1),
    mean: samples.reduce((sum, value) => sum + value, 0) / samples.length,
  }
}

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

/** `count` samples of something that gives one. */
export async function repeat(count, once) {
  const samples = []
  for (let i = 0; i < count; ++i) samples.push(await once())
  return samples
}

/**
 * Takes samples of several kinds round by round, each round in an order of its own, so that a machine that changes its
 * speed does so for all of them. `kinds` maps a name to a function that gives an array of samples.
 * Resolves to name -> array of rounds -> array of samples.
 */
export async function interleave(kinds, { rounds, random, warmUp = 1, onRound }) {
  const names = Object.keys(kinds)
  const taken = Object.fromEntries(names.map((name) => [name, []]))
  for (let round = -warmUp; round < rounds; ++round) {
    for (const name of shuffle(names, random)) {
      const samples = await kinds[name]()
      if (round >= 0) taken[name].push(samples)
    }
    onRound?.(round)
  }
  return taken
}

/** How `a` compares with `b`: by the medians of all samples, and as the median and quartiles over the rounds. */
export function compare(a, b) {
  const byRound = a.map((samples, round) => median(samples) / median(b[round]))
  return {
    ofMedians: median(a.flat()) / median(b.flat()),
    byRound: { median: median(byRound), q1: quantile(byRound, 0.25), q3: quantile(byRound, 0.75) },
  }
}
