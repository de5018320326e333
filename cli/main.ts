// The command `libcontainer`: its words, and what its exit code says.
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { Command, CommanderError, InvalidArgumentError } from 'commander'
import type { ContainerState } from 'libcontainer'
import { events } from './events.js'
import { exec, exitExecFailure, failureCode, parseUser } from './exec.js'
import { complain, exitFailure, exitUsage, Failure } from './failure.js'
import { checkOutput } from './output.js'
import { ps } from './ps.js'
import { chooseRoots, defaultRoot } from './roots.js'
import { stats } from './stats.js'
import { top } from './top/top.js'

const states = ['created', 'running', 'paused', 'stopped'] as const

function collect(value: string, values: string[] = []): string[] {
  return [...values, value]
}

function parseStates(value: string, values: ContainerState[] = []): ContainerState[] {
  const named = value.split(',')
  for (const state of named) {
    if (!(states as readonly string[]).includes(state)) {
      throw new InvalidArgumentError(`one of ${states.join(', ')}.`)
    }
  }
  return [...values, ...(named as ContainerState[])]
}

/** Seconds on the command line, milliseconds inside. */
function parseSeconds(value: string): number {
  const seconds = Number(value)
  if (value.trim() === '' || !(seconds >= 0.1 && seconds <= 86_400)) {
    throw new InvalidArgumentError('0.1 to 86400 seconds.')
  }
  return seconds * 1000
}

function packageVersion(): string {
  const file = readFileSync(join(__dirname, '..', 'package.json'), 'utf8')
  return (JSON.parse(file) as { version: string }).version
}

/** Of exec everything but a process's own end is 125 to 127. */
let failed: (error: unknown) => number = () => exitFailure
let usage = exitUsage

const program = new Command('libcontainer')
program
  .description('Looks at the containers of this machine, and runs programs in them.')
  .version(packageVersion(), '-V, --version', 'print the version')
  .helpOption('-h, --help', 'print this help, or that of a command')
  .helpCommand('help [command]', 'print the help of a command')
  .configureOutput({
    outputError: (text, write) => write(`libcontainer: ERR_USAGE: ${text.replace(/^error: /, '')}`),
  })
  .enablePositionalOptions()
  .exitOverride()

const rootOption = [
  '-r, --root <directory>',
  'where containers are; may be given again (default: $LIBCONTAINER_ROOT, ' +
    `several with ':' between, else ${defaultRoot})`,
] as const
program.option(...rootOption, collect)

function command(words: string, description: string): Command {
  return program
    .command(words)
    .description(description)
    .option(...rootOption, collect)
    .showHelpAfterError(`(libcontainer ${words.split(' ')[0]} --help says more)`)
}

/** Those before the command and those after it. */
function rootsOf(options: { root?: string[] }): string[] {
  return chooseRoots([...(program.opts<{ root?: string[] }>().root ?? []), ...(options.root ?? [])])
}

let exitCode = 0

command('top', 'containers live: their load, in this terminal')
  .option('-d, --delay <seconds>', 'from one look to the next', parseSeconds, 1000)
  .option('-f, --filter <text>', 'only those with this in their id, labels or command')
  .option('-s, --sort <column>', 'cpu, memory, pids, pressure, oom, io, age, state or name', 'cpu')
  .addHelpText('after', '\nKeys: ? in it. NO_COLOR is honoured.')
  .action(async (options: { root?: string[]; delay: number; filter?: string; sort: string }) => {
    exitCode = await top(rootsOf(options), {
      delayMs: options.delay,
      filter: options.filter ?? '',
      sort: options.sort,
    })
  })

command('ps [container...]', 'what containers there are')
  .option('-p, --processes', 'a line for each process, those that have exited too')
  .option('-q, --quiet', 'ids alone')
  .option(
    '--state <state>',
    `only those that are ${states.join(', ')} (several with ',' between)`,
    parseStates,
  )
  .option('--json', 'one line: an array with an object for each container')
  .action(
    async (
      ids: string[],
      options: { root?: string[]; json?: true; quiet?: true; processes?: true; state?: ContainerState[] },
    ) => {
      exitCode = await ps(rootsOf(options), ids, {
        json: options.json ?? false,
        quiet: options.quiet ?? false,
        processes: options.processes ?? false,
        state: options.state ?? [],
      })
    },
  )

command('stats [container...]', 'what running containers use')
  .option('-i, --interval <seconds>', 'again and again', parseSeconds)
  .option('--json', 'a line for each look: an array with an object for each container, with all figures')
  .action(async (ids: string[], options: { root?: string[]; json?: true; interval?: number }) => {
    exitCode = await stats(rootsOf(options), ids, {
      json: options.json ?? false,
      interval: options.interval ?? null,
    })
  })

command('events [container...]', 'what happens to containers from now on')
  .option('--json', 'a line with an object for each event')
  .addHelpText('after', '\nEnds with Ctrl-C, or when all that were named are deleted.')
  .action(async (ids: string[], options: { root?: string[]; json?: true }) => {
    const ending = new AbortController()
    for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.once(signal, () => ending.abort())
    exitCode = await events(rootsOf(options), ids, { json: options.json ?? false, signal: ending.signal })
  })

command('exec <container> <command> [args...]', 'run a program in a container')
  .option('-i, --interactive', 'pass standard input on')
  .option('-t, --tty', 'a terminal of its own, of the size of this one')
  .option('-e, --env <name[=value]>', 'beside what the container has; a name alone: as it is here', collect)
  .option('-w, --workdir <directory>', 'in the container')
  .option('-u, --user <uid[:gid]>', 'numbers', parseUser)
  .option('--id <id>', "the process's name in the container, while it runs")
  .option('--json', 'one line in the end: an object with what it wrote and how it ended')
  .passThroughOptions()
  .addHelpText(
    'after',
    `
Exit code: the process's own, 128 + n when signal n ended it; 127 where there is no such program, 126 where it
cannot be executed, 125 when exec failed otherwise. SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGUSR1 and SIGUSR2 are passed on.`,
  )
  .exitOverride((error) => {
    usage = exitExecFailure
    failed = failureCode
    throw error
  })
  .action(
    async (
      container: string,
      word: string,
      args: string[],
      options: {
        root?: string[]
        interactive?: true
        tty?: true
        json?: true
        env?: string[]
        workdir?: string
        user?: { uid: number; gid: number }
        id?: string
      },
    ) => {
      failed = failureCode
      usage = exitExecFailure
      const { interactive = false, tty = false, json = false, env = [], workdir, user, id } = options
      exitCode = await exec(rootsOf(options), container, [word, ...args], {
        interactive,
        terminal: tty,
        json,
        env,
        workdir,
        user,
        id,
      })
    },
  )

program.addHelpText(
  'after',
  `
Exit code: 0; 1 when something failed, said on stderr with its code; 2 for wrong words. exec has its own: see its help.`,
)

/** Its help and its version are written by commander, whose failures come as an event. */
async function parse(): Promise<number> {
  try {
    await program.parseAsync()
    return exitCode
  } catch (error) {
    if (!(error instanceof CommanderError)) throw error
    if (error.exitCode !== 0) return usage
    await new Promise((resolve) => setImmediate(resolve))
    checkOutput()
    return 0
  }
}

async function main(): Promise<number> {
  try {
    return await parse()
  } catch (error) {
    complain(error)
    return error instanceof Failure && error.code === 'ERR_USAGE' ? usage : failed(error)
  }
}

// Standard input may be in the middle of a read, which would keep this program from ending.
void main().then((code) => process.exit(code))
