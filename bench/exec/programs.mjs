// Programs that the bench drives while it measures: copies of the C floor, and Node programs that use the library.
import { fork, spawn } from 'node:child_process'
import { once } from 'node:events'

/** A persistent copy of floor.c in one container. */
export class Floor {
  #child
  #text = ''
  #waiting = null
  #error = null

  constructor(binary, initPid, cgroupProcs, program) {
    this.#child = spawn(binary, [String(initPid), ...cgroupProcs, '--', ...program], {
      stdio: ['pipe', 'pipe', 'inherit'],
    })
    this.#child.stdout.setEncoding('utf8').on('data', (text) => {
      this.#text += text
      if (!this.#text.endsWith('\n')) return
      const samples = this.#text.trim().split(' ').map(Number)
      this.#text = ''
      this.#waiting?.resolve(samples)
      this.#waiting = null
    })
    this.#child.once('close', (code, signal) => {
      this.#error = new Error(`the floor program ended with ${code ?? signal}`)
      this.#waiting?.reject(this.#error)
    })
  }

  /** Nanoseconds of each of `count` runs, one after the other. */
  run(count) {
    return new Promise((resolve, reject) => {
      if (this.#error) return reject(this.#error)
      this.#waiting = { resolve, reject }
      this.#child.stdin.write(`run ${count}\n`)
    })
  }

  async stop() {
    if (this.#error) return
    this.#child.stdin.end()
    await once(this.#child, 'close')
  }
}

/** A Node program of its own (host.mjs) with the container loaded. */
export class Host {
  #child
  #waiting = null
  #error = null

  /** `flags` are Node's own. */
  constructor(flags, settings) {
    this.#child = fork(new URL('host.mjs', import.meta.url), [JSON.stringify(settings)], { execArgv: flags })
    this.#child.on('message', ({ error, value }) => {
      const waiting = this.#waiting
      this.#waiting = null
      if (error === undefined) waiting?.resolve(value)
      else waiting?.reject(new Error(error))
    })
    this.#child.once('exit', (code, signal) => {
      this.#error = new Error(`the host program ended with ${code ?? signal}`)
      this.#waiting?.reject(this.#error)
    })
  }

  get pid() {
    return this.#child.pid
  }

  ask(op, rest = {}) {
    return new Promise((resolve, reject) => {
      if (this.#error) return reject(this.#error)
      this.#waiting = { resolve, reject }
      this.#child.send({ op, ...rest })
    })
  }

  async stop() {
    if (this.#error) return
    const ended = once(this.#child, 'exit')
    this.#child.disconnect()
    await ended
  }
}
