// A terminal of tmux's, with what a user would see of it.
import { execFileSync } from 'node:child_process'
import { eventually } from './wait.js'

export class Terminal {
  readonly #socket: string

  /** A shell in it; `socket` is a path that nobody else uses. */
  constructor(socket: string, size: { columns: number; rows: number }, env: Record<string, string> = {}) {
    this.#socket = socket
    const settings = Object.entries(env).flatMap(([name, value]) => ['-e', `${name}=${value}`])
    this.#tmux(
      '-f',
      '/dev/null',
      '-u',
      'new-session',
      '-d',
      ...settings,
      '-x',
      String(size.columns),
      '-y',
      String(size.rows),
      'sh',
    )
  }

  #tmux(...words: string[]): string {
    const env: NodeJS.ProcessEnv = { ...process.env, LC_ALL: 'C.UTF-8' }
    delete env['TMUX']
    return execFileSync('tmux', ['-S', this.#socket, ...words], { env, encoding: 'utf8' })
  }

  /** As tmux names them: `Down`, `C-c`, `Enter`, or a character. */
  keys(...names: string[]): void {
    this.#tmux('send-keys', ...names)
  }

  /** A command line, as it would be typed. */
  type(text: string): void {
    this.#tmux('send-keys', '-l', text)
    this.keys('Enter')
  }

  resize(columns: number, rows: number): void {
    this.#tmux('resize-window', '-x', String(columns), '-y', String(rows))
  }

  /** Lines as they are seen; with `styled` the escape sequences of colours and attributes too. */
  screen(options: { styled?: boolean } = {}): string {
    return this.#tmux('capture-pane', '-p', ...(options.styled ? ['-e'] : []))
  }

  /** What tmux says of the pane, such as `#{alternate_on}`. */
  say(format: string): string {
    return this.#tmux('display-message', '-p', format).trim()
  }

  /** The screen, once it is like that. */
  async shows(what: string | RegExp | ((screen: string) => boolean)): Promise<string> {
    const looksSo =
      typeof what === 'function'
        ? what
        : typeof what === 'string'
          ? (screen: string) => screen.includes(what)
          : (screen: string) => what.test(screen)
    let last = ''
    try {
      return await eventually(`a screen with ${String(what)}`, () => {
        last = this.screen()
        return looksSo(last) ? last : null
      })
    } catch (error) {
      throw new Error(`${(error as Error).message}; it was\n${last}`)
    }
  }

  close(): void {
    try {
      this.#tmux('kill-server')
    } catch {
      // its shell has ended, and with it the server
    }
  }
}
