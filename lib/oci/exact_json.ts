// JSON of other tools, with its whole numbers above 2^53: JSON.parse() rounds them, so they are kept beside what it gives.
import { randomUUID } from 'node:crypto'

/** Stands before the digits of a number that became a string; no file can know it. */
const mark = `${randomUUID()}:`
const marked = new RegExp(`"${mark}(-?\\d+)"`, 'g')
/** What matters of JSON's text here: escapes, so that a quote is one, quotes, and numbers. */
const tokens = /\\[^]|"|-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?/g

const exact = new WeakMap<object, object>()

/** Half a surrogate pair becomes U+FFFD, as runc's JSON parser has it. */
function wellFormed(_key: string, value: unknown): unknown {
  return typeof value === 'string' ? value.replace(/\p{Surrogate}/gu, '\ufffd') : value
}

function parse(text: string): unknown {
  return JSON.parse(text, /\\u[dD][89a-fA-F]/.test(text) ? wellFormed : undefined)
}

function markLargeNumbers(text: string): string {
  let inString = false
  return text.replace(tokens, (token) => {
    if (token === '"') inString = !inString
    const isLarge = !inString && /^-?\d+$/.test(token) && !Number.isSafeInteger(Number(token))
    return isLarge ? `"${mark}${token}"` : token
  })
}

function remember(value: unknown, with_: unknown): void {
  if (typeof value !== 'object' || value === null || typeof with_ !== 'object' || with_ === null) return
  exact.set(value, with_)
  for (const [key, item] of Object.entries(value)) remember(item, (with_ as Record<string, unknown>)[key])
}

/** As JSON.parse(); toExactText() of any object or array in it has the numbers as they stand in `text`. */
export function parseExact(text: string): unknown {
  const value = parse(text)
  if (/\d{16}/.test(text)) remember(value, parse(markLargeNumbers(text)))
  return value
}

/** As JSON.stringify(); undefined where there is no JSON of it. */
export function toExactText(value: unknown): string | undefined {
  const from = typeof value === 'object' && value !== null ? exact.get(value) : undefined
  return from ? JSON.stringify(from).replace(marked, '$1') : (JSON.stringify(value) as string | undefined)
}

/** The members of `object` as JSON, each by toExactText(). */
export function toExactObject(object: object): string {
  const members = Object.entries(object).flatMap(([key, value]) => {
    const text = toExactText(value)
    return text === undefined ? [] : [`${JSON.stringify(key)}:${text}`]
  })
  return `{${members.join(',')}}`
}
