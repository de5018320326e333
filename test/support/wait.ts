// Waiting for something that comes by itself: no test asserts how long it took.
import { setTimeout as sleep } from 'node:timers/promises'

const patience = process.env['VM_LAYOUT'] === undefined ? 20_000 : 300_000

/** Polls until `look` gives something true; fails with `what` when it never does. */
export async function eventually<T>(
  what: string,
  look: () => T | Promise<T>,
): Promise<Exclude<T, false | null | undefined | 0 | ''>> {
  const end = Date.now() + patience
  for (;;) {
    const value = await look()
    if (value) return value as Exclude<T, false | null | undefined | 0 | ''>
    if (Date.now() > end) throw new Error(`never came: ${what}`)
    await sleep(10)
  }
}
