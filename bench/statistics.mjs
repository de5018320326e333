// Samples, and figures from samples.

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

/** Nanoseconds from the call to the resolved promise. */
export async function time(call) {
  const before = process.hrtime.bigint()
  await call()
  return Number(process.hrtime.bigint() - before)
}

/** `count` samples of something that gives one. */
export async function repeat(count, once) {
  const samples = []
  for (let i = 0; i < count; ++i) samples.push(await once())
  return samples
}

/**
 * How `a` compares with `b`: by the medians of all samples, and as the median and quartiles over the rounds in which both
 * have some.
 */
export function compare(a, b) {
  const byRound = a
    .map((samples, round) => median(samples) / median(b[round]))
    .filter((value) => !Number.isNaN(value))
  return {
    ofMedians: median(a.flat()) / median(b.flat()),
    byRound: { median: median(byRound), q1: quantile(byRound, 0.25), q3: quantile(byRound, 0.75) },
  }
}
