// The program under test, as its parent sees it: asked, killed, and begun anew.
import { fork } from 'node:child_process'
import { once } from 'node:events'
import { fileURLToPath } from 'node:url'

/** An answer never came: the program was killed. */
export class Killed extends Error {}

const patienceMs = 40_000

export class Host {
  #root
  #child = null
  #ready = null
  #pending = new Map()
  #seq = 0
  kills = 0

  constructor(root) {
    this.#root = root
  }

  #begin() {
    const child = fork(fileURLToPath(new URL('program.mjs', import.meta.url)), [this.#root], {
      stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
    })
    this.#child = child
    child.on('message', (message) => {
      if (message === 'ready') return
      const pending = this.#pending.get(message.seq)
      this.#pending.delete(message.seq)
      pending?.resolve(message)
    })
    child.on('exit', (code, signal) => {
      if (this.#child === child) this.#child = this.#ready = null
      for (const [seq, pending] of this.#pending) {
        if (pending.child !== child) continue
        this.#pending.delete(seq)
        if (signal === 'SIGKILL') pending.reject(new Killed())
        else pending.reject(new Error(`the program ended by itself: ${code ?? signal}`))
      }
    })
    this.#ready = Promise.race([once(child, 'message'), once(child, 'exit')])
  }

  /** `{ value }` or `{ code, message }`; Killed when the program is killed before it answers. */
  async ask(verb, request) {
    if (!this.#child) this.#begin()
    const child = this.#child
    await this.#ready
    if (this.#child !== child) throw new Killed()
    const seq = ++this.#seq
    let timer
    const answer = new Promise((resolve, reject) => {
      this.#pending.set(seq, { child, resolve, reject })
      timer = setTimeout(
        () => reject(new Error(`no answer to ${verb} ${JSON.stringify(request)} in ${patienceMs} ms`)),
        patienceMs,
      )
      child.send({ seq, verb, ...request }, () => undefined)
    })
    return answer.finally(() => clearTimeout(timer))
  }

  kill() {
    if (!this.#child) return
    ++this.kills
    this.#child.kill('SIGKILL')
  }

  async end() {
    if (!this.#child) return
    const child = this.#child
    child.disconnect()
    await once(child, 'exit')
  }

  get pid() {
    return this.#child?.pid
  }
}
