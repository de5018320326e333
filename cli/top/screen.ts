// The terminal as a whole screen: taken, drawn on line by line, and given back however this program ends.
import { writeSync } from 'node:fs'
import type { ReadStream, WriteStream } from 'node:tty'

/** Alternate screen, no cursor, no wrap at the right edge. */
const take = '\x1b[?1049h\x1b[?25l\x1b[?7l\x1b[2J'
const giveBack = '\x1b[0m\x1b[?7h\x1b[?25h\x1b[?1049l'
const stdoutFd = 1
/** Terminals that know it show a frame as a whole. */
const beginFrame = '\x1b[?2026h'
const endFrame = '\x1b[?2026l'

export class Screen {
  readonly #input: ReadStream
  readonly #output: WriteStream
  #taken = false
  #lines: string[] = []
  readonly #atExit = (): void => this.leave()

  constructor(input: ReadStream, output: WriteStream) {
    this.#input = input
    this.#output = output
  }

  get size(): { columns: number; rows: number } {
    const { columns, rows } = this.#output
    return { columns: columns > 0 ? columns : 80, rows: rows > 0 ? rows : 24 }
  }

  enter(): void {
    if (this.#taken) return
    this.#taken = true
    this.#lines = []
    this.#input.setRawMode(true)
    process.on('exit', this.#atExit)
    this.#write(take)
  }

  leave(): void {
    if (!this.#taken) return
    this.#taken = false
    process.off('exit', this.#atExit)
    this.#write(giveBack)
    try {
      this.#input.setRawMode(false)
    } catch {
      // The terminal is gone.
    }
  }

  /** The next frame is drawn in full: its size is another, or something else wrote on the screen. */
  forget(): void {
    this.#lines = []
  }

  /** Whole lines, each of the screen's width; only those that differ are sent. */
  draw(lines: readonly string[]): void {
    if (!this.#taken) return
    let out = this.#lines.length === 0 ? '\x1b[0m\x1b[2J' : ''
    lines.forEach((line, at) => {
      if (line !== this.#lines[at]) out += `\x1b[${at + 1};1H${line}`
    })
    for (let at = lines.length; at < this.#lines.length; ++at) out += `\x1b[${at + 1};1H\x1b[0m\x1b[2K`
    this.#lines = [...lines]
    if (out !== '') this.#write(beginFrame + out + endFrame)
  }

  /** Also in an exit handler, where nothing that takes time is done any more. */
  #write(text: string): void {
    let rest = Buffer.from(text)
    while (rest.length > 0) {
      try {
        rest = rest.subarray(writeSync(stdoutFd, rest))
      } catch (error) {
        // A terminal that is stopped or slow takes it later; one that is gone never.
        if ((error as NodeJS.ErrnoException).code !== 'EAGAIN') return
      }
    }
  }
}
