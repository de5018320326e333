// A share of the containers, one step after the other: what is done to them, what a simple model says must come of it,
// and whether it has.
import { existsSync, readdirSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { Killed } from './host.mjs'
import { isAlive, shimIn } from '../support/processes.mjs'

const settleMs = 20_000

/** What must never be; the run ends with it. `kind`: one of the tally's. */
export class Violation extends Error {
  constructor(message, kind = 'wrong') {
    super(message)
    this.kind = kind
  }
}

/** Kills come at any moment of a call: a start and a delete take longer than the rest. */
const lengthMs = { start: 90, delete: 60 }

const SIGNALS = { SIGTERM: 15, SIGKILL: 9 }

export class Lane {
  #slots
  #host
  #random
  #ground
  #count
  #serial = 0
  #name
  #cut = false
  history = []

  constructor(name, { host, random, ground, count, size }) {
    this.#name = name
    this.#host = host
    this.#random = random
    this.#ground = ground
    this.#count = count
    this.#slots = Array.from({ length: size }, () => ({ state: 'absent', jobs: new Map() }))
  }

  get #root() {
    return this.#ground.root
  }

  /** One thing is done to one container, perhaps with a kill beside it, and then looked at. */
  async step() {
    const slot = this.#random.of(this.#slots)
    const action = this.#choose(slot)
    const kill = this.#random.chance(this.#ground.killRate) ? this.#random.of(['shim', 'program']) : null
    const delay = this.#random.next() * (lengthMs[action.verb] ?? 15)
    this.history.push(
      `${this.#name}: ${action.verb} ${JSON.stringify(action.request)} kill=${kill} +${delay.toFixed(1)}ms`,
    )
    if (this.history.length > 200) this.history.shift()
    const killsBefore = this.#host.kills
    const asking = this.#host.ask(action.verb, action.request).catch((error) => {
      if (error instanceof Killed) return { killed: true }
      throw error
    })
    asking.catch(() => undefined)
    let shimKilled = false
    if (kill) {
      await sleep(delay)
      if (kill === 'program') this.#host.kill()
      else shimKilled = this.#killShim(slot)
    }
    const answer = await asking
    ++this.#count.steps
    this.history.push(
      `${this.#name}:   -> ${answer.killed ? 'killed' : (answer.code ?? 'ok')}${shimKilled ? ', shim killed' : ''}`,
    )
    const disturbed = shimKilled || answer.killed === true
    if (
      answer.code &&
      !(shimKilled && answer.code === 'ERR_SHIM_EXITED') &&
      !action.mayFail?.includes(answer.code)
    ) {
      throw new Violation(`${action.verb}: ${answer.message}`)
    }
    this.#cut = this.#host.kills !== killsBefore
    await this.#settle(slot, action, { done: !answer.killed && !answer.code, disturbed, shimKilled })
  }

  #killShim(slot) {
    if (!slot.id) return false
    const pid = shimIn(join(this.#root, slot.id))
    if (pid === undefined) return false
    try {
      process.kill(pid, 'SIGKILL')
    } catch {
      return false
    }
    ++this.#count.shimKills
    return true
  }

  #choose(slot) {
    const random = this.#random
    if (slot.state === 'absent') {
      slot.id = `${this.#ground.unique}-${this.#name}-${++this.#serial}`
      slot.runtime = random.of(this.#ground.runtimes)
      slot.jobs = new Map()
      slot.mayStart = false
      const { bundle } = this.#ground
      return { verb: 'create', request: { id: slot.id, bundle, runtime: slot.runtime } }
    }
    const { id } = slot
    if (slot.state === 'created') {
      if (random.chance(0.1)) return { verb: 'delete', request: { id } }
      // One that a program asked for just before it was killed may be carried out at any time.
      return { verb: 'start', request: { id }, mayFail: slot.mayStart ? ['ERR_PROCESS_EXISTS'] : [] }
    }
    if (slot.state === 'stopped') return { verb: 'delete', request: { id } }
    const running = [...slot.jobs]
      .filter(([name, job]) => job.running && name !== 'init')
      .map(([name]) => name)
    const ended = [...slot.jobs].filter(([, job]) => job.exit).map(([name]) => name)
    if (slot.state === 'paused') {
      return random.chance(0.7) ? { verb: 'resume', request: { id } } : { verb: 'delete', request: { id } }
    }
    const dice = random.below(100)
    if (dice < 45) return this.#exec(slot)
    if (dice < 60 && running.length > 0) {
      const signal = random.of(['SIGTERM', 'SIGKILL'])
      return {
        verb: 'kill',
        request: { id, job: random.of(running), signal },
        mayFail: ['ERR_PROCESS_EXITED'],
      }
    }
    if (dice < 64) return { verb: 'kill', request: { id, job: 'init', signal: 'SIGKILL' } }
    if (dice < 74) return { verb: 'pause', request: { id } }
    if (dice < 82) return { verb: 'update', request: { id, limit: 100 + random.below(900) } }
    if (dice < 90 && ended.length > 0) {
      const job = random.of(ended)
      // A shim that was killed may have done it before.
      return { verb: 'remove', request: { id, job }, mayFail: ['ERR_PROCESS_NOT_FOUND'] }
    }
    if (dice < 94) return { verb: 'delete', request: { id } }
    return this.#exec(slot)
  }

  #exec(slot) {
    const random = this.#random
    const job = `job-${++this.#serial}`
    const dice = random.below(100)
    const request = { id: slot.id, job, keep: false }
    if (dice < 40) {
      request.args = ['/bin/sleep', '100000']
      return { verb: 'exec', request, job: { running: true } }
    }
    if (dice < 45) {
      request.args = ['/bin/tail', '/dev/zero']
      return { verb: 'exec', request, job: { exitCode: 137, signal: 'SIGKILL', oomKilled: true } }
    }
    const exitCode = random.below(256)
    request.keep = random.chance(0.5)
    request.args = [
      '/bin/sh',
      '-c',
      `echo said by ${job}; ${random.chance(0.3) ? 'sleep 0.02; ' : ''}exit ${exitCode}`,
    ]
    return {
      verb: 'exec',
      request,
      job: { exitCode, signal: null, said: request.keep ? `said by ${job}\n` : null },
    }
  }

  async #look(slot, read = null) {
    for (;;) {
      try {
        const answer = await this.#host.ask('look', { id: slot.id, read })
        if (!answer.code) return answer.value
        throw new Violation(`look at ${slot.id}: ${answer.message}`)
      } catch (error) {
        if (!(error instanceof Killed)) throw error
      }
    }
  }

  #unfinished(slot) {
    const directory = join(this.#root, slot.id)
    return existsSync(join(directory, 'init/starting')) || existsSync(join(directory, ':deleting'))
  }

  /**
   * Looks until `good` says that what it sees may stay so. After a kill of the program that takes two looks, of which the
   * second begins when the first is done: a shim may greet a new program before it reads what the last one had sent.
   */
  async #until(slot, what, good, read) {
    const end = Date.now() + settleMs
    let agreed = 0
    for (;;) {
      const seen = await this.#look(slot, read)
      const stale = seen && !existsSync(join(this.#root, slot.id))
      agreed = !stale && !this.#unfinished(slot) && good(seen) ? agreed + 1 : 0
      if (agreed > (this.#cut ? 1 : 0)) return seen
      if (Date.now() > end) throw new Violation(`${what}: ${slot.id} is ${JSON.stringify(seen)}`)
      await sleep(5)
    }
  }

  async #settle(slot, action, outcome) {
    const { done, disturbed } = outcome
    switch (action.verb) {
      case 'create': {
        const seen = await this.#until(slot, 'create', (it) => (it ? it.status === 'created' : !done))
        slot.state = seen ? 'created' : 'absent'
        return
      }
      case 'start': {
        const seen = await this.#until(
          slot,
          'start',
          (it) => it?.status === 'running' || (!done && it?.status === 'created'),
        )
        slot.state = seen.status
        slot.mayStart = true
        if (seen.status === 'running') slot.jobs.set('init', { running: true, pid: seen.processes.init.pid })
        return
      }
      case 'delete': {
        const before = slot.state
        const seen = await this.#until(
          slot,
          'delete',
          (it) => !it || (!done && (it.status === before || (before === 'created' && slot.mayStart))),
        )
        if (seen) return this.#compare(slot, seen, outcome)
        this.#expectGone(slot)
        slot.state = 'absent'
        return
      }
      case 'pause':
      case 'resume': {
        const after = action.verb === 'pause' ? 'paused' : 'running'
        const seen = await this.#until(
          slot,
          action.verb,
          (it) => it?.status === after || (!done && (it?.status === 'paused' || it?.status === 'running')),
        )
        slot.state = seen.status
        return this.#compare(slot, seen, outcome)
      }
      case 'kill':
        return this.#settleKill(slot, action.request, outcome)
      case 'exec':
        return this.#settleExec(slot, action, outcome)
      case 'remove': {
        const { job } = action.request
        const seen = await this.#until(slot, 'remove', (it) => it && (disturbed || !it.processes[job]))
        if (!seen.processes[job]) slot.jobs.delete(job)
        return this.#compare(slot, seen, outcome)
      }
      default: {
        const seen = await this.#until(slot, action.verb, (it) => it !== null)
        return this.#compare(slot, seen, outcome)
      }
    }
  }

  async #settleKill(slot, { job, signal }, outcome) {
    const { done, shimKilled } = outcome
    const known = slot.jobs.get(job)
    const before = known.pid
    // Asked for, or not any more: then it runs on.
    const seen = await this.#until(
      slot,
      `kill of ${job}`,
      (it) => it?.processes[job]?.exit || (!done && isAlive(before)),
    )
    if (!seen.processes[job].exit) return this.#compare(slot, seen, outcome)
    if (job !== 'init') {
      this.#expectExit(
        known,
        { exitCode: 128 + SIGNALS[signal], signal, lostAllowed: shimKilled },
        seen.processes[job].exit,
        job,
      )
      return this.#compare(slot, seen, outcome)
    }
    // With its pid namespace everything goes.
    const all = await this.#until(
      slot,
      'the end of init',
      (it) => it && Object.values(it.processes).every(({ exit }) => exit),
    )
    for (const [name, one] of slot.jobs) {
      if (one.running) {
        this.#expectExit(
          one,
          { exitCode: 137, signal: 'SIGKILL', lostAllowed: shimKilled },
          all.processes[name].exit,
          name,
        )
      }
    }
    slot.state = 'stopped'
  }

  async #settleExec(slot, action, outcome) {
    const { job: name } = action.request
    const { job } = action
    const { done, disturbed, shimKilled } = outcome
    const { said } = job
    const seen = await this.#until(
      slot,
      `exec of ${name}`,
      (it) => {
        const found = it?.processes[name]
        if (!found) return it && !done
        return job.running ? true : found.exit
      },
      said ? name : null,
    )
    const found = seen.processes[name]
    if (!found) {
      if (!disturbed) throw new Violation(`exec: ${name} of ${slot.id} is not there`)
      return this.#compare(slot, seen, outcome)
    }
    if (job.running && !found.exit) {
      slot.jobs.set(name, { running: true, pid: found.pid })
    } else {
      // One that never came to run may have been written down, as unknown.
      const expected = job.running
        ? { exitCode: -1, signal: null, lostAllowed: shimKilled }
        : { ...job, lostAllowed: shimKilled }
      const model = { running: true, pid: found.pid }
      this.#expectExit(model, expected, found.exit, name)
      slot.jobs.set(name, model)
      if (said && found.exit.known && !shimKilled && seen.said !== said) {
        throw new Violation(`kept of ${name}: ${JSON.stringify(seen.said)}`)
      }
    }
    return this.#compare(slot, seen, outcome)
  }

  #expectExit(model, { exitCode, signal, oomKilled, lostAllowed }, exit, name) {
    ++this.#count.exits
    model.running = false
    model.exit = exit
    if (!exit.known) {
      ++this.#count.unknown
      if (!lostAllowed || exit.exitCode !== 255 || exit.signal !== null) {
        throw new Violation(`exit status of ${name} is lost: ${JSON.stringify(exit)}`, 'exitsLost')
      }
      return
    }
    const sameOom = oomKilled === undefined || lostAllowed || exit.oomKilled === oomKilled
    if (exit.exitCode !== exitCode || exit.signal !== signal || !sameOom) {
      throw new Violation(
        `exit status of ${name} is wrong: ${JSON.stringify(exit)}, not ${exitCode} ${signal}`,
        'exitsWrong',
      )
    }
  }

  /** All that the model knows of the other processes still holds. */
  #compare(slot, seen, { disturbed }) {
    if (!seen) throw new Violation(`${slot.id} is gone`, 'containersLost')
    for (const [name, job] of slot.jobs) {
      const found = seen.processes[name]
      if (!found) throw new Violation(`${name} of ${slot.id} is lost`, 'containersLost')
      if (job.running && (found.exit || !isAlive(job.pid) || found.pid !== job.pid)) {
        throw new Violation(`${name} of ${slot.id} should run: ${JSON.stringify(found)}`, 'containersLost')
      }
      if (job.exit && JSON.stringify(found.exit) !== JSON.stringify(job.exit)) {
        throw new Violation(
          `exit of ${name} changed: ${JSON.stringify([job.exit, found.exit])}`,
          'exitsWrong',
        )
      }
    }
    for (const [name, found] of Object.entries(seen.processes)) {
      if (slot.jobs.has(name)) continue
      // Of an exec whose program was killed: the shim may have come to it late.
      if (!disturbed && !found.exit && !isAlive(found.pid))
        throw new Violation(`${name} of ${slot.id} is half there`)
      slot.jobs.set(name, found.exit ? { exit: found.exit } : { running: true, pid: found.pid })
    }
  }

  #expectGone(slot) {
    if (existsSync(join(this.#root, slot.id))) throw new Violation(`${slot.id} is still there`, 'left')
    for (const runtime of this.#ground.runtimes) {
      if (existsSync(`/run/${runtime}/${slot.id}`))
        throw new Violation(`${slot.id} is still the runtime's`, 'left')
    }
  }

  /** Nothing half done lies about in what is there. */
  inspect() {
    for (const { id, state } of this.#slots) {
      if (state === 'absent') continue
      const odd = readdirSync(join(this.#root, id)).filter((name) => name.includes('.tmp.'))
      if (odd.length > 0) throw new Violation(`${id} has ${odd.join(', ')}`, 'left')
    }
  }

  /**
   * Every container that runs, brought back to its init alone: no process, descriptor or file more than `reference`
   * has, which nothing ever happened to.
   */
  async bare(reference) {
    let looked = 0
    for (const slot of this.#slots) {
      if (slot.state === 'paused') {
        await this.#host.ask('resume', { id: slot.id })
        slot.state = 'running'
      }
      if (slot.state !== 'running') continue
      const { value: bare, message } = await this.#host.ask('bare', { id: slot.id })
      if (message) throw new Violation(`${slot.id}: ${message}`)
      ++looked
      const more = []
      const init = slot.jobs.get('init').pid
      if (bare.pids.join() !== String(init)) more.push(`processes ${bare.pids.join()}, not ${init}`)
      for (const name of bare.files) if (!reference.files.includes(name)) more.push(`file ${name}`)
      if (bare.descriptors.length > reference.descriptors.length)
        more.push(`descriptors ${bare.descriptors.join(', ')}; not ${reference.descriptors.join(', ')}`)
      if (more.length > 0) throw new Violation(`${slot.id} has ${more.join('; ')}`, 'left')
    }
    return looked
  }

  /** By force, whatever the model says: after a failure. */
  async scrape() {
    for (const { id, state } of this.#slots) {
      if (state !== 'absent') await this.#host.ask('delete', { id })
    }
  }

  /** Everything is deleted, undisturbed. */
  async clear() {
    await Promise.all(
      this.#slots.map(async (slot) => {
        if (slot.state === 'absent') return
        const answer = await this.#host.ask('delete', { id: slot.id })
        if (answer.code && answer.code !== 'ERR_CONTAINER_NOT_FOUND')
          throw new Violation(`delete: ${answer.message}`)
        this.#expectGone(slot)
        slot.state = 'absent'
      }),
    )
  }
}
