// What every part of the bench has: its options, a ground to stand on, containers, a report, and an end after which nothing
// is left, also after a failure or Ctrl-C.
import { readFileSync } from 'node:fs'
import { basename, join, relative } from 'node:path'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { Container } from '../dist/index.mjs'
import {
  compile,
  describeMachine,
  isInstalled,
  makeBundles,
  makeDirectory,
  makeRunDirectory,
  mountHugetlb,
  Undo,
} from './ground.mjs'
import { startDocker } from './peers/docker.mjs'
import { buildGo } from './peers/go.mjs'
import { TimedProgram } from './programs.mjs'
import { Report, say } from './report.mjs'
import { makeRandom } from './rounds.mjs'

const optionalPeers = ['crun', 'go', 'docker']

/** One program of the bench. */
export class Part {
  undo = new Undo()
  report = new Report()
  /** What is used beside the library, by name: its version, or why it is not there. */
  peers = {}
  #name
  #directory
  #run
  #bundles

  /**
   * `sections` names its sections in their order, each with what it does: an async function without arguments. `options`
   * has beside the default of each option what it is for.
   */
  constructor(name, sections, options) {
    this.#name = name
    this.sections = sections
    const described = {
      only: [Object.keys(sections).join(','), 'sections, comma-separated'],
      ...options,
      seed: ['1', 'of the order within the rounds'],
      without: ['', `peers that are left out, of: ${optionalPeers.join(', ')}`],
    }
    const { values } = parseArgs({
      options: {
        ...Object.fromEntries(
          Object.entries(described).map(([key, [value]]) => [key, { type: 'string', default: value }]),
        ),
        check: { type: 'boolean', default: false },
        help: { type: 'boolean', default: false },
      },
    })
    this.values = values
    this.random = makeRandom(Number(values.seed))
    this.chosen = values.only.split(',')
    this.without = values.without.split(',').filter(Boolean)
    this.usage = [
      `usage: node ${relative('', process.argv[1])} [options]`,
      ...Object.entries(described).map(
        ([key, [value, what]]) =>
          `  --${key}=${key.toUpperCase()}`.padEnd(22) + `${what}; ${value || 'none'}`,
      ),
      `  --check`.padEnd(22) + 'exit with 1 when a figure is not reached',
    ].join('\n')
  }

  number(option) {
    const value = Number(this.values[option])
    if (!(value > 0)) throw new Error(`--${option} wants a positive number\n${this.usage}`)
    return value
  }

  has(section) {
    return this.chosen.includes(section)
  }

  get directory() {
    return (this.#directory ??= makeDirectory(this.undo))
  }

  /** A tmpfs, for the records of library and peers. */
  get runDirectory() {
    return (this.#run ??= makeRunDirectory(this.directory, this.undo))
  }

  get bundles() {
    return (this.#bundles ??= makeBundles(this.directory))
  }

  /** The library's own records. */
  get root() {
    return join(this.runDirectory, 'state')
  }

  /** A runtime's records, so that nothing of this bench is among the machine's containers. */
  recordsOf(runtime) {
    return join(this.runDirectory, runtime)
  }

  id(name) {
    return `bench-${process.pid}-${name}`
  }

  compile(source) {
    return compile(source, join(this.directory, basename(fileURLToPath(source), '.c')))
  }

  async makeContainer(name, { runtime = 'runc', bundle = this.bundles.idle } = {}) {
    const container = await Container.create({
      root: this.root,
      id: this.id(name),
      bundle,
      runtime,
      runtimeArgs: [`--root=${this.recordsOf(runtime)}`],
      ephemeral: true, // gone with this program, even if that is killed
    })
    this.undo.add(`delete container ${container.id}`, () => container[Symbol.asyncDispose]())
    await container.start()
    return container
  }

  /** Whether crun is there to be compared with; its mount is made then. */
  withCrun() {
    if (this.peers.crun === undefined) {
      if (this.without.includes('crun')) this.peers.crun = 'left out'
      else if (!isInstalled('crun')) this.peers.crun = 'not installed'
      else {
        mountHugetlb(this.undo)
        this.peers.crun = describeMachine().crun
      }
      if (!this.peers.crun.startsWith('crun')) say(`without crun: ${this.peers.crun}`)
    }
    return this.peers.crun.startsWith('crun')
  }

  /** Go's libcontainer over the records of runc, or null where it cannot be had. */
  startGo() {
    const peer = this.without.includes('go') ? { missing: 'left out' } : buildGo(this.directory)
    this.peers.go = peer.missing ?? `runc's libcontainer ${peer.version} in ${peer.go}`
    if (peer.missing) {
      say(`without Go's libcontainer: ${peer.missing}`)
      return null
    }
    const program = new TimedProgram(peer.binary, [this.recordsOf('runc')])
    this.undo.add('stop the Go program', () => program.stop())
    return program
  }

  /** A dockerd of this bench's own, or null where it cannot be had. */
  async startDocker() {
    const docker = this.without.includes('docker')
      ? { missing: 'left out' }
      : await startDocker({
          directory: join(this.runDirectory, 'docker'),
          rootfs: join(this.bundles.idle, 'rootfs'),
          undo: this.undo,
        })
    this.peers.docker = docker.missing ?? docker.version
    if (docker.missing) {
      say(`without dockerd: ${docker.missing}`)
      return null
    }
    return docker
  }

  /** Takes the sections that were asked for, in their order, and cleans up whatever happens. */
  async run() {
    this.undo.onSignals()
    try {
      if (this.values.help) return say(this.usage)
      for (const name of this.chosen) {
        if (!(name in this.sections)) throw new Error(`no section '${name}'\n${this.usage}`)
      }
      const machine = describeMachine()
      say(`${machine.cpu}, ${machine.cores} cores, Linux ${machine.kernel}, cgroup ${machine.cgroups}`)
      say(`Node ${machine.node}, ${machine.runc}, ${machine.crun}; load ${machine.loadAverage[0].toFixed(2)}`)
      for (const [name, section] of Object.entries(this.sections)) if (this.has(name)) await section()
      const missed = this.report.finish(this.#name, machine, { ...this.values, peers: this.peers })
      if (this.values.check && missed.length > 0) process.exitCode = 1
    } catch (error) {
      // After Ctrl-C everything that was under way fails; the handler says so and ends the program.
      if (!this.undo.interrupted) {
        process.exitCode = 1
        process.stderr.write(`bench: ${error.stack}\n`)
      }
    } finally {
      await this.undo.run()
    }
  }
}

/** The soft limit on open files of this program. */
export function openFilesLimit() {
  const [, soft] = /^Max open files +(\w+)/m.exec(readFileSync('/proc/self/limits', 'utf8'))
  return soft === 'unlimited' ? Infinity : Number(soft)
}
