// Programs that the bench drives while it measures: some that take times of their own, and Node programs that use the
// library.
import { fork, spawn } from 'node:child_process'
import { once } from 'node:events'
import { basename } from 'node:path'

/** A program that answers every line with one line of numbers: the nanoseconds of what it did, each. */
export class TimedProgram {
  #child
  #name
  #text = ''
  #waiting = null
  #error = null

  constructor(binary, args = []) {
    this.#name = basename(binary)
    this.#child = spawn(binary, args, { stdio: ['pipe', 'pipe', 'inherit'] })
    this.#child.stdout.setEncoding('utf8').on('data', (text) => {
      this.#text += text
      if (!this.#text.endsWith('\n')) return
      const samples = this.#text.trim().split(' ').map(Number)
      this.#text = ''
      this.#waiting?.resolve(samples)
      this.#waiting = null
    })
    this.#child.once('close', (code, signal) => {
      this.#error = new Error(`the ${this.#name} program ended with ${code ?? signal}`)
      this.#waiting?.reject(this.#error)
    })
  }

  get pid() {
    return this.#child.pid
  }

  ask(line) {
    return new Promise((resolve, reject) => {
      if (this.#error) return reject(this.#error)
      this.#waiting = { resolve, reject }
      this.#child.stdin.write(`${line}\n`)
    })
  }

  /** A line that is not answered. */
  note(line) {
    this.#child.stdin.write(`${line}\n`)
  }

  async stop() {
    if (this.#error) return
    this.#child.stdin.end()
    await once(this.#child, 'close')
  }
}

/** A persistent copy of exec/floor.c in one container. */
export class Floor extends TimedProgram {
  constructor(binary, initPid, cgroupProcs, program) {
    super(binary, [String(initPid), ...cgroupProcs, '--', ...program])
  }

  /** Nanoseconds of each of `count` runs, one after the other. */
  run(count) {
    return this.ask(`run ${count}`)
  }
}

/** A Node program of its own with containers loaded: `module` is the URL of a host.mjs. */
export class Host {
  #child
  #waiting = null
  #error = null

  /** `flags` are Node's own; `environment` comes on top of this program's. */
  constructor(module, flags, settings, environment = {}) {
    const env = { ...process.env, ...environment }
    this.#child = fork(module, [JSON.stringify(settings)], { execArgv: flags, env })
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
