// `make demo`: one real container through its whole life by this library, with runc's own times beside it. Ends with 0
// only if everything was as it should be, and leaves nothing behind, also after a failure or Ctrl-C.
import { execFileSync, spawn } from 'node:child_process'
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { constants, tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { Container } from 'libcontainer'
import { findBusybox, makeBundle } from './bundle.mjs'

const id = `demo-${process.pid}`

// The container's first program: says something now and then, and ends with 7 when it is asked to.
const firstProgram = `
trap 'echo "asked to end: good bye"; exit 7' TERM
for i in 1 2 3 4; do echo "line $i from process $$ on $(hostname)"; sleep 0.3; done
while :; do sleep 1000 & wait; done
`

const commands = [
  ['true'],
  ['echo', 'hello'],
  ['hostname'],
  ['id', '-u'],
  ['pwd'],
  ['uname', '-s'],
  ['cat', '/proc/1/comm'],
  ['ls', '/'],
  ['sh', '-c', 'echo $((6 * 7))'],
  ['ip', '-o', 'link'],
].map(([name, ...args]) => [`/bin/${name}`, ...args])

const interrupted = new AbortController()
const signal = interrupted.signal
let interruptedBy = null
let wrong = 0

function title(text) {
  console.log(`\n${process.stdout.isTTY ? `\x1b[1m${text}\x1b[0m` : text}`)
}

/** Says what was found, and remembers when it is not what it should be. */
function check(good, text) {
  if (!good) ++wrong
  console.log(`  ${good ? 'ok ' : 'NOT AS IT SHOULD BE:'} ${text}`)
}

function ask(program, args) {
  return execFileSync(program, args, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'] }).trim()
}

/** What this needs, in words; nothing when all is there. */
function missing() {
  const out = []
  if (process.getuid() !== 0) out.push('root: containers are made with every privilege (sudo make demo)')
  try {
    ask('runc', ['--version'])
  } catch {
    out.push('runc: apt-get install runc')
  }
  try {
    findBusybox()
  } catch (error) {
    out.push(error.message)
  }
  return out
}

async function text(stream) {
  const chunks = []
  for await (const chunk of stream) chunks.push(chunk)
  return Buffer.concat(chunks).toString()
}

async function byLibrary(container, name, args) {
  const before = performance.now()
  const job = await container.exec(name, { args }, { stdout: 'pipe', signal })
  const [output, { exitCode }] = await Promise.all([text(job.stdout), job.wait({ signal })])
  return { output, exitCode, ms: performance.now() - before }
}

async function byRunc(args) {
  const before = performance.now()
  const child = spawn('runc', ['exec', id, ...args], { stdio: ['ignore', 'pipe', 'inherit'], signal })
  const ended = new Promise((resolve, reject) => {
    child.once('error', reject)
    child.once('close', resolve)
  })
  const [output, exitCode] = await Promise.all([text(child.stdout), ended])
  return { output, exitCode, ms: performance.now() - before }
}

async function start(container) {
  title('1. Start it, and read what its first program writes, as it comes')
  const before = performance.now()
  const init = await container.start({ stdout: 'pipe', signal })
  const ms = () => `${(performance.now() - before).toFixed(0).padStart(5)} ms`
  console.log(`  ${ms()}  started: process ${init.pid} on the host, process 1 to itself`)
  const lines = []
  const firstLines = new Promise((resolve) => {
    init.stdout.setEncoding('utf8').on('data', (chunk) => {
      for (const line of chunk.trimEnd().split('\n')) {
        lines.push(line)
        console.log(`  ${ms()}  ${line}`)
      }
      if (lines.length >= 4) resolve()
    })
  })
  await Promise.race([firstLines, sleep(10000, null, { signal, ref: false })])
  check(lines.length === 4 && lines[0] === 'line 1 from process 1 on demo', 'all four lines came')
  check((await container.status()) === 'running', "the container's status is 'running'")
  return init
}

async function compare(container) {
  title('2. Run ten commands in it: by the library, and the same ten by `runc exec`')
  console.log(
    `  ${'command'.padEnd(30)} ${'output'.padEnd(26)} ${'libcontainer'.padStart(12)} ${'runc exec'.padStart(12)}`,
  )
  let [native, runc, same] = [0, 0, 0]
  for (const [index, args] of commands.entries()) {
    const ours = await byLibrary(container, `job-${index + 1}`, args)
    const theirs = await byRunc(args)
    native += ours.ms
    runc += theirs.ms
    if (ours.output === theirs.output && ours.exitCode === 0 && theirs.exitCode === 0) ++same
    const shown = ours.output.trim().replaceAll('\n', ' ').slice(0, 26)
    const [a, b] = [ours.ms, theirs.ms].map((ms) => `${ms.toFixed(1)} ms`.padStart(12))
    console.log(`  ${args.join(' ').padEnd(30)} ${shown.padEnd(26)} ${a} ${b}`)
  }
  const [a, b] = [native, runc].map((ms) => `${ms.toFixed(1)} ms`.padStart(12))
  console.log(`  ${'all ten'.padEnd(57)} ${a} ${b}   ${(runc / native).toFixed(1)} times as fast`)
  console.log('  (the first one pays for what Node and the library load on first use)')
  check(same === commands.length, `${same} of ${commands.length} commands gave the same output both ways`)
}

async function endings(container) {
  title('3. How a program ends')
  const failing = await container.exec('failing', { args: ['/bin/sh', '-c', 'exit 42'] }, { signal })
  const failed = await failing.wait({ signal })
  check(failed.exitCode === 42 && failed.signal === null, `\`exit 42\` gives exit code ${failed.exitCode}`)

  const endless = await container.exec('endless', { args: ['/bin/sleep', '1000000'] }, { signal })
  await endless.kill('SIGTERM')
  const killed = await endless.wait({ signal })
  check(
    killed.signal === 'SIGTERM' && killed.exitCode === 143,
    `a program killed by us gives signal ${killed.signal}, exit code ${killed.exitCode}`,
  )

  const error = await container.exec('absent', { args: ['/bin/no-such-program'] }, { signal }).then(
    () => ({ code: 'nothing at all' }),
    (error) => error,
  )
  signal.throwIfAborted()
  check(
    error.code === 'ERR_SYSCALL' && error.path === '/bin/no-such-program',
    `a program that is not there gives an error: ${error.code}, ${error.message}`,
  )
}

async function finish(container, init) {
  title('4. End it and delete it')
  await init.kill('SIGTERM')
  const { exitCode } = await init.wait({ signal })
  check(exitCode === 7, `asked by SIGTERM, its first program ended with exit code ${exitCode}`)
  check((await container.status()) === 'stopped', "the container's status is 'stopped'")
  await container.delete()
}

/** Of the container: its own processes and its shim. */
function processesOf(directory) {
  return readdirSync('/proc').filter((pid) => {
    try {
      if (!/^\d+$/.test(pid) || Number(pid) === process.pid) return false
      const hasDirectory = readFileSync(`/proc/${pid}/cmdline`, 'utf8').includes(directory)
      return hasDirectory || readFileSync(`/proc/${pid}/cgroup`, 'utf8').includes(`/${id}\n`)
    } catch {
      return false // it ended while we looked
    }
  })
}

function cgroupsOf(parent) {
  try {
    return readdirSync(parent, { withFileTypes: true })
      .filter((entry) => entry.isDirectory())
      .flatMap(({ name }) => (name === id ? [join(parent, name)] : cgroupsOf(join(parent, name))))
  } catch {
    return [] // somebody else's, removed while we looked
  }
}

function isKnownToRunc() {
  try {
    ask('runc', ['state', id])
    return true
  } catch {
    return false
  }
}

async function lookAround(directory) {
  title('5. Nothing is left')
  const look = () => ({
    'its record with runc': isKnownToRunc() ? [id] : [],
    'its processes and its shim': processesOf(directory),
    'its cgroups': cgroupsOf('/sys/fs/cgroup'),
    'its files': existsSync(directory) ? [directory] : [],
  })
  // The shim leaves by itself, in a moment.
  for (let i = 0; i < 100 && Object.values(look()).flat().length > 0; ++i) await sleep(20)
  for (const [what, left] of Object.entries(look())) {
    check(left.length === 0, `${what}: ${left.length === 0 ? 'nothing' : left.join(', ')}`)
  }
}

async function main() {
  const lacks = missing()
  if (lacks.length > 0) throw new Error(`this demo needs\n  ${lacks.join('\n  ')}`)
  for (const name of ['SIGINT', 'SIGTERM', 'SIGHUP']) {
    process.on(name, () => {
      interruptedBy ??= name
      interrupted.abort()
    })
  }

  const directory = mkdtempSync(join(tmpdir(), 'libcontainer-demo-'))
  let container = null
  try {
    console.log(
      `A container of ${ask('runc', ['--version']).split('\n')[0]} with the system's busybox in it,`,
    )
    console.log(`held by libcontainer in Node ${process.version}; its bundle is in ${directory}.`)
    container = await Container.create({
      root: join(directory, 'state'),
      id,
      bundle: makeBundle(join(directory, 'bundle'), {
        hostname: 'demo',
        process: { args: ['/bin/sh', '-c', firstProgram] },
      }),
      ephemeral: true, // should this program be killed, its container ends with it
    })
    const init = await start(container)
    await compare(container)
    await endings(container)
    await finish(container, init)
  } finally {
    await container?.[Symbol.asyncDispose]()
    rmSync(directory, { recursive: true, force: true })
  }
  await lookAround(directory)
  console.log(
    wrong === 0 ? '\nEverything was as it should be.' : `\n${wrong} things were not as they should be.`,
  )
}

try {
  await main()
  process.exitCode = wrong === 0 ? 0 : 1
} catch (error) {
  if (interruptedBy) console.error(`\ndemo: ${interruptedBy}, everything is undone`)
  else console.error(`\ndemo: ${error.message}`)
  process.exitCode = interruptedBy ? 128 + constants.signals[interruptedBy] : 1
}
