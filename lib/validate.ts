// Checks of arguments: every TypeError and RangeError of the package starts here. A folder checks its own options with these.
import { randomBytes } from 'node:crypto'
import { constants } from 'node:os'
import { resolve } from 'node:path'
import { inspect } from 'node:util'
import { invalidType, invalidValue, outOfRange } from './errors.js'

/** A signal by name or number (0 to 64; 0 only asks whether the process is there). */
export type Signal = NodeJS.Signals | number

const maxIdLength = 240
/** Names that the state directory uses itself. */
const reservedProcessIds = new Set(['state.json', 'shim.sock', 'shim.lock', 'log.json', 'console.sock'])

/** A value in a message: short, and on one line. */
export function show(value: unknown): string {
  const text =
    typeof value === 'string'
      ? JSON.stringify(value)
      : typeof value === 'object' && value !== null
        ? inspect(value, { depth: 1, breakLength: Infinity })
        : String(value)
  return text.length > 80 ? `${text.slice(0, 77)}...` : text
}

export function checkString(value: unknown, name: string): asserts value is string {
  if (typeof value !== 'string') throw invalidType(`${name} must be a string, not ${show(value)}`)
  checkWellFormed(value, name)
}

/** Half a surrogate pair is no character. UTF-8 cannot hold it, so another string would be written. */
function checkWellFormed(text: string, name: string): void {
  if (/\p{Surrogate}/u.test(text)) {
    throw invalidValue(
      `${name} must be well-formed Unicode, but ${show(text)} holds half of a surrogate pair`,
    )
  }
}

const maxDepth = 32

/** Checks every string in `value`, at every depth, names of members included. */
export function checkTexts(value: unknown, name: string, depth = 0): void {
  if (typeof value === 'string') return checkWellFormed(value, name)
  if (typeof value !== 'object' || value === null) return
  if (depth === maxDepth) throw invalidValue(`${name} is nested too deeply`)
  for (const [key, item] of Object.entries(value)) {
    if (!Array.isArray(value)) checkWellFormed(key, `a key of ${name}`)
    checkTexts(item, Array.isArray(value) ? `${name}[${key}]` : `${name}.${key}`, depth + 1)
  }
}

/** The path, absolute. */
export function checkPath(value: unknown, name: string): string {
  checkString(value, name)
  if (value === '') throw invalidValue(`${name} must not be empty`)
  if (value.includes('\0')) throw invalidValue(`${name} must not hold a NUL byte: ${show(value)}`)
  return resolve(value)
}

export function checkStrings(value: unknown, name: string): string[] {
  if (!Array.isArray(value)) throw invalidType(`${name} must be an array of strings, not ${show(value)}`)
  value.forEach((item, index) => {
    checkString(item, `${name}[${index}]`)
    if (item.includes('\0')) throw invalidValue(`${name}[${index}] must not hold a NUL byte`)
  })
  return [...(value as string[])]
}

export function checkBoolean(value: unknown, name: string): boolean {
  if (typeof value !== 'boolean') throw invalidType(`${name} must be a boolean, not ${show(value)}`)
  return value
}

/** False when left out. */
export function checkFlag(value: unknown, name: string): boolean {
  return value === undefined ? false : checkBoolean(value, name)
}

export function checkObject(value: unknown, name: string): asserts value is object {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    throw invalidType(`${name} must be an object, not ${show(value)}`)
  }
}

/** The keys of an options type: the compiler refuses a table that lacks one or has one too many. */
export type Keys<Options> = Readonly<Record<Options extends unknown ? keyof Options : never, true>>

/** How many letters must change to make `b` of `a`; two that are swapped count as one. Letter case does not count. */
function distance(a: string, b: string): number {
  const [from, to] = [a.toLowerCase(), b.toLowerCase()]
  let [beforeLast, last] = [[] as number[], Array.from({ length: to.length + 1 }, (_, column) => column)]
  for (let row = 1; row <= from.length; ++row) {
    const next = [row]
    for (let column = 1; column <= to.length; ++column) {
      const isSame = from[row - 1] === to[column - 1]
      const isSwapped =
        row > 1 && column > 1 && from[row - 1] === to[column - 2] && from[row - 2] === to[column - 1]
      next[column] = Math.min(
        (last[column] as number) + 1,
        (next[column - 1] as number) + 1,
        (last[column - 1] as number) + (isSame ? 0 : 1),
        isSwapped ? (beforeLast[column - 2] as number) + 1 : Infinity,
      )
    }
    ;[beforeLast, last] = [last, next]
  }
  return last[to.length] as number
}

/** The end of a message about an unknown word: the nearest known one, or all of them when none is near. */
export function didYouMean(word: string, known: readonly string[]): string {
  const nearest = known
    .map((name) => ({ name, away: distance(word, name) }))
    .sort((a, b) => a.away - b.away)[0]
  if (!nearest) return ''
  const isNear = nearest.away <= Math.max(2, Math.min(word.length, nearest.name.length) / 2)
  return isNear ? `; did you mean ${show(nearest.name)}?` : `; known: ${known.join(', ')}`
}

/**
 * Refuses a key that is not known: a misspelt option must never run less confined. A key whose value is undefined is
 * ignored. Inherited keys count.
 */
export function checkKeys(value: object, name: string, keys: Readonly<Record<string, true>>): void {
  for (const key in value) {
    if (Object.hasOwn(keys, key) || (value as Record<string, unknown>)[key] === undefined) continue
    const place = /^\w+$/.test(key) ? `${name}.${key}` : `${name}[${show(key)}]`
    throw invalidValue(`${place} is not known${didYouMean(key, Object.keys(keys))}`)
  }
}

/** An object with known keys alone. */
export function checkClosed(
  value: unknown,
  name: string,
  keys: Readonly<Record<string, true>>,
): asserts value is object {
  checkObject(value, name)
  checkKeys(value, name, keys)
}

/** A whole number. `what` says what is counted. */
export function checkRange(
  value: unknown,
  name: string,
  least: number,
  most: number,
  what = 'number',
): number {
  if (typeof value !== 'number') throw invalidType(`${name} must be a ${what}, not ${show(value)}`)
  if (!Number.isInteger(value) || value < least || value > most) {
    throw outOfRange(`${name} must be a whole number from ${least} to ${most}, not ${value}`)
  }
  return value
}

/** One of the words. */
export function checkMember<T extends string>(value: unknown, name: string, members: readonly T[]): T {
  checkString(value, name)
  if (!(members as readonly string[]).includes(value)) {
    throw invalidValue(`${name} must be one of ${members.join(', ')}, not ${show(value)}`)
  }
  return value as T
}

export function checkId(value: unknown, name = 'id'): string {
  checkString(value, name)
  if (!/^[A-Za-z0-9_+.-]+$/.test(value) || value === '.' || value === '..') {
    throw invalidValue(`${name} must match ^[A-Za-z0-9_+.-]+$ and be neither '.' nor '..': ${show(value)}`)
  }
  if (value.length > maxIdLength) {
    throw invalidValue(`${name} must be at most ${maxIdLength} characters long, not ${value.length}`)
  }
  return value
}

export function checkProcessId(value: unknown): string {
  const id = checkId(value, 'process id')
  if (reservedProcessIds.has(id)) {
    throw invalidValue(`process id ${show(id)} is a name that the state directory uses itself`)
  }
  return id
}

/** Ids that exec() generates begin with it, and none that a caller gives. */
const anonymousPrefix = '~'

/** An id for a process that its caller gave none. */
export function anonymousId(): string {
  return anonymousPrefix + randomBytes(8).toString('hex')
}

/** Whether exec() generated it. */
export function isAnonymousId(id: string): boolean {
  return id.startsWith(anonymousPrefix)
}

/** A terminal's rows or columns. */
export function checkSize(value: unknown, name: string): number {
  return checkRange(value, name, 0, 65535)
}

/** What `find` gives for each of the containers; undefined for what is none. */
export function checkContainers<T>(containers: unknown, find: (container: object) => T | undefined): T[] {
  if (!Array.isArray(containers)) throw invalidType(`containers must be an array, not ${show(containers)}`)
  return containers.map((container: unknown, index) => {
    const found = typeof container === 'object' && container !== null ? find(container) : undefined
    if (!found) throw invalidType(`containers[${index}] must be a Container, not ${show(container)}`)
    return found
  })
}

/** The number of a signal. */
export function checkSignal(value: unknown): number {
  if (typeof value === 'number') return checkRange(value, 'signal', 0, 64)
  if (typeof value !== 'string') throw invalidType(`signal must be a name or a number, not ${show(value)}`)
  const number = (constants.signals as Record<string, number>)[value]
  if (number === undefined) throw invalidValue(`unknown signal: ${show(value)}`)
  return number
}

export function checkAbortSignal(value: unknown): AbortSignal | undefined {
  if (value === undefined) return undefined
  if (!(value instanceof AbortSignal)) throw invalidType('signal must be an AbortSignal')
  return value
}
