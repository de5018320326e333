// `libcontainer top`: looks, draws, and does what keys say.
import { availableParallelism, constants, totalmem } from 'node:os'
import { emitKeypressEvents, type Interface } from 'node:readline'
import { codeOf, complain, describe, exitFailure, Failure } from '../failure.js'
import { compare, type SortKey, sortKeys } from './columns.js'
import { Machine, type Row } from './machine.js'
import { Screen } from './screen.js'
import type { Look } from './style.js'
import { type Choices, layOut, render } from './view.js'

export interface TopOptions {
  delayMs: number
  filter: string
  sort: string
}

interface Key {
  name?: string
  ctrl?: boolean
  sequence?: string
}

const leastDelayMs = 100
const mostDelayMs = 60_000
/** So long a message stays. */
const messageMs = 4000
/** A lone Escape is told from the beginning of a key's sequence by what comes so soon after it. */
const escapeMs = 50

const sortLetters: Record<string, SortKey> = {
  c: 'cpu',
  m: 'memory',
  i: 'pids',
  x: 'pressure',
  o: 'oom',
  u: 'age',
  n: 'name',
}

const killLetters: Record<string, NodeJS.Signals> = {
  t: 'SIGTERM',
  k: 'SIGKILL',
  i: 'SIGINT',
  h: 'SIGHUP',
  1: 'SIGUSR1',
  2: 'SIGUSR2',
}

function takesUnicode(): boolean {
  const { LC_ALL, LC_CTYPE, LANG } = process.env
  return /utf-?8/i.test(LC_ALL || LC_CTYPE || LANG || '')
}

class Top {
  readonly #roots: readonly string[]
  readonly #machine: Machine
  readonly #screen: Screen
  readonly #look: Look
  readonly #choices: Choices
  readonly #host = { cpus: availableParallelism(), memoryBytes: totalmem() }
  #shown: Row[] = []
  #messageTimer: NodeJS.Timeout | undefined
  #wake: (() => void) | null = null
  #again = false
  #over = false
  #code = 0

  constructor(roots: readonly string[], options: TopOptions) {
    this.#roots = roots
    this.#machine = new Machine(roots)
    this.#screen = new Screen(process.stdin, process.stdout)
    this.#look = { colourBits: process.stdout.getColorDepth(), unicode: takesUnicode() }
    this.#choices = {
      sort: options.sort as SortKey,
      reversed: false,
      filter: options.filter,
      mode: 'list',
      details: false,
      selected: null,
      first: 0,
      message: null,
      delayMs: options.delayMs,
    }
  }

  async run(): Promise<number> {
    const onKey = (text: string | undefined, key: Key): void => this.#key(text ?? '', key)
    const onResize = (): void => {
      this.#screen.forget()
      this.#draw()
    }
    const onContinue = (): void => {
      this.#screen.enter()
      this.#draw()
    }
    const onSignal = (signal: NodeJS.Signals): void => this.#end(128 + constants.signals[signal])
    const onEnd = (): void => this.#end(exitFailure)
    // What was not foreseen is said where it can be read.
    const onCrash = (error: unknown): void => {
      this.#screen.leave()
      complain(error)
      process.exit(exitFailure)
    }
    process.on('uncaughtException', onCrash)
    process.on('unhandledRejection', onCrash)
    for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP', 'SIGQUIT'] as const) process.on(signal, onSignal)
    process.on('SIGCONT', onContinue)
    process.stdout.on('resize', onResize)
    process.stdout.on('error', onEnd) // the terminal is gone
    process.stdin.on('error', onEnd)
    process.stdin.on('end', onEnd)
    this.#screen.enter()
    emitKeypressEvents(process.stdin, { escapeCodeTimeout: escapeMs } as unknown as Interface)
    process.stdin.on('keypress', onKey)
    process.stdin.resume()
    try {
      await this.#loop()
    } finally {
      process.stdin.off('keypress', onKey)
      process.stdin.pause()
      this.#screen.leave()
      await this.#machine.close()
    }
    return this.#code
  }

  async #loop(): Promise<void> {
    while (!this.#over) {
      const began = performance.now()
      this.#again = false
      await this.#machine.look(this.#inSight(), this.#choices.details ? this.#choices.selected : null)
      if (this.#over) return
      this.#draw()
      if (this.#again) continue
      const rest = Math.max(20, this.#choices.delayMs - (performance.now() - began))
      await new Promise<void>((resolve) => {
        const timer = setTimeout(resolve, rest)
        this.#wake = () => {
          clearTimeout(timer)
          resolve()
        }
      })
      this.#wake = null
    }
  }

  /** Looks at once. */
  #hurry(): void {
    this.#again = true
    this.#wake?.()
  }

  #end(code: number): void {
    if (!this.#over) this.#code = code
    this.#over = true
    this.#screen.leave()
    this.#wake?.()
  }

  #say(text: string, bad = false): void {
    clearTimeout(this.#messageTimer)
    this.#choices.message = { text, bad }
    this.#messageTimer = setTimeout(() => {
      this.#choices.message = null
      this.#draw()
    }, messageMs).unref()
    this.#draw()
  }

  #inSight(): Set<Row> {
    const { first } = this.#choices
    return new Set(this.#shown.slice(first, first + this.#bodyHeight()))
  }

  #bodyHeight(): number {
    return layOut(this.#screen.size.rows, this.#choices.details).body
  }

  /** What is shown, in its order, with what is selected in sight. */
  #arrange(): void {
    const { sort, reversed, filter } = this.#choices
    const words = filter.toLowerCase()
    const matches = ({ id, labels, command }: Row): boolean =>
      [id, labels, command].some((text) => text.toLowerCase().includes(words))
    const order = compare(sort)
    this.#shown = this.#machine.rows
      .filter((row) => words === '' || matches(row))
      .sort(reversed ? (a, b) => order(b, a) : order)
    const at = this.#choices.selected ? this.#shown.indexOf(this.#choices.selected) : -1
    if (at >= 0) return this.#reveal(at)
    // What was selected is gone: whatever took its place on the screen is not what keys are meant for.
    if (this.#choices.mode === 'kill') this.#choices.mode = 'list'
    this.#choices.selected = null
    this.#reveal(0)
  }

  #reveal(at: number): void {
    const body = Math.max(1, this.#bodyHeight())
    const choices = this.#choices
    const last = Math.max(0, this.#shown.length - body)
    choices.first = Math.min(choices.first, last, at)
    if (at >= choices.first + body) choices.first = at - body + 1
  }

  #draw(): void {
    if (this.#over) return
    this.#arrange()
    const { problem } = this.#machine
    const scene = {
      roots: this.#roots,
      rows: this.#machine.rows,
      shown: this.#shown,
      totals: this.#machine.totals,
      host: this.#host,
      choices: this.#choices,
      problem: problem === null ? null : (describe(problem).split('\n')[0] ?? null),
    }
    this.#screen.draw(render(scene, this.#screen.size, this.#look))
  }

  #key(text: string, key: Key): void {
    if (this.#over) return
    if (key.ctrl) {
      if (key.name === 'c') return this.#end(0)
      if (key.name === 'l') this.#screen.forget()
      if (key.name === 'z') return this.#suspend()
      return this.#draw()
    }
    const { mode } = this.#choices
    if (mode === 'filter') this.#filterKey(text, key)
    else if (mode === 'kill') this.#killKey(text, key)
    else if (mode === 'help') this.#choices.mode = 'list'
    else this.#listKey(text, key)
    this.#draw()
  }

  #filterKey(text: string, key: Key): void {
    const choices = this.#choices
    if (key.name === 'return' || key.name === 'enter') choices.mode = 'list'
    else if (key.name === 'escape') Object.assign(choices, { mode: 'list', filter: '' })
    else if (key.name === 'backspace') choices.filter = [...choices.filter].slice(0, -1).join('')
    else if (/^[^\p{Cc}]+$/u.test(text)) choices.filter += text
    else if (this.#move(key)) return
    choices.first = 0
  }

  #killKey(text: string, key: Key): void {
    const choices = this.#choices
    const row = choices.selected
    const signal = killLetters[text]
    if (key.name !== 'escape' && !signal) return
    choices.mode = 'list'
    if (!row || !signal) return
    void this.#do(`${signal} sent to ${row.id}`, () => this.#machine.kill(row, signal))
  }

  #listKey(text: string, key: Key): void {
    const choices = this.#choices
    if (this.#move(key)) return
    const letter = sortLetters[text]
    if (letter) return this.#sortBy(letter)
    switch (
      key.name === 'return' || key.name === 'enter' ? 'enter' : key.name === 'escape' ? 'escape' : text
    ) {
      case 'q':
        return this.#end(0)
      case '?':
        choices.mode = 'help'
        return
      case '/':
        choices.mode = 'filter'
        return
      case 'r':
        choices.reversed = !choices.reversed
        return
      case '<':
      case '>': {
        const step = text === '>' ? 1 : sortKeys.length - 1
        return this.#sortBy(sortKeys[(sortKeys.indexOf(choices.sort) + step) % sortKeys.length] as SortKey)
      }
      case 'enter':
        choices.details = !choices.details
        choices.selected ??= this.#shown[0] ?? null
        if (choices.details && layOut(this.#screen.size.rows, true).details === 0) {
          choices.details = false
          this.#say('there is no room for details', true)
        }
        return
      case 'escape':
        if (choices.details) choices.details = false
        else if (choices.filter !== '') choices.filter = ''
        else choices.selected = null
        return
      case 'p':
      case ' ':
        return this.#pauseOrResume()
      case 'k':
        if (this.#needed()) choices.mode = 'kill'
        return
      case '+':
      case '-': {
        const factor = text === '+' ? 0.5 : 2
        choices.delayMs = Math.min(mostDelayMs, Math.max(leastDelayMs, choices.delayMs * factor))
        this.#say(`a look every ${choices.delayMs / 1000} s`)
        return this.#hurry()
      }
    }
  }

  #sortBy(key: SortKey): void {
    this.#choices.sort = key
    this.#choices.reversed = false
    this.#choices.first = 0
  }

  #move(key: Key): boolean {
    const page = Math.max(1, this.#bodyHeight() - 1)
    const steps: Record<string, number> = {
      up: -1,
      down: 1,
      pageup: -page,
      pagedown: page,
      home: -Infinity,
      end: Infinity,
    }
    const step = steps[key.name ?? '']
    if (step === undefined) return false
    const at = this.#choices.selected ? this.#shown.indexOf(this.#choices.selected) : step > 0 ? -1 : 1
    const to = Math.max(0, Math.min(this.#shown.length - 1, at + step))
    this.#choices.selected = this.#shown[to] ?? null
    return true
  }

  /** What a key acts on must have been chosen: with a list that sorts itself, nothing is that merely stands first. */
  #needed(): Row | null {
    if (!this.#choices.selected) this.#say('select a container first: ↑ ↓', true)
    return this.#choices.selected
  }

  #pauseOrResume(): void {
    const row = this.#needed()
    if (!row) return
    if (row.state === 'paused') void this.#do(`${row.id} runs on`, () => this.#machine.resume(row))
    else void this.#do(`${row.id} is paused`, () => this.#machine.pause(row))
  }

  async #do(done: string, work: () => Promise<void>): Promise<void> {
    try {
      await work()
      this.#say(done)
    } catch (error) {
      // A bug is not a message.
      if (codeOf(error) === undefined) throw error
      this.#say(describe(error).split('\n')[0] as string, true)
    }
    this.#hurry()
  }

  #suspend(): void {
    this.#screen.leave()
    // The whole group, npx among them, as the terminal does it.
    process.kill(0, 'SIGTSTP')
  }
}

export async function top(roots: readonly string[], options: TopOptions): Promise<number> {
  if (!(sortKeys as readonly string[]).includes(options.sort)) {
    throw new Failure('ERR_USAGE', `--sort takes one of ${sortKeys.join(', ')}`)
  }
  if (!process.stdin.isTTY || !process.stdout.isTTY) {
    throw new Failure('ERR_NOT_A_TERMINAL', 'top wants a terminal: `stats` is for scripts')
  }
  return new Top(roots, options).run()
}
