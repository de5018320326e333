// A CI runner: the steps of a job, one after the other, in one container. The container outlives this program: killed in
// the middle of a step and started again for the same job, it goes on with that step. Run it as root:
//
//   node examples/ci.mjs DIRECTORY
//
// DIRECTORY holds job.json, { "steps": [{ "name": "test", "run": "SHELL CODE", "timeoutMs": 60000 }] }, and gets the
// directories `workspace`, which is the steps' /workspace, and `logs`.
import { chmodSync, existsSync, mkdirSync, readFileSync } from 'node:fs'
import { basename, join, resolve } from 'node:path'
import { Container, ContainerError } from 'libcontainer'
import { makeBundle } from './bundle.mjs'

const root = '/run/libcontainer'
const directory = resolve(process.argv[2] ?? '.')
const id = `ci-${basename(directory)}`
const { steps } = JSON.parse(readFileSync(join(directory, 'job.json'), 'utf8'))

function makeJobBundle() {
  const bundle = join(directory, 'bundle')
  const workspace = join(directory, 'workspace')
  if (existsSync(join(bundle, 'config.json'))) return bundle
  for (const name of ['workspace', 'logs']) mkdirSync(join(directory, name), { recursive: true })
  chmodSync(workspace, 0o777)
  const nobody = 65534
  return makeBundle(bundle, {
    hostname: 'ci',
    workspace,
    process: {
      // Process 1 waits for what the steps leave behind.
      args: ['/bin/sh', '-c', 'while :; do sleep 3600; done'],
      user: { uid: nobody, gid: nobody },
      cwd: '/workspace',
      capabilities: {},
    },
    resources: { memory: { limit: 512 * 1024 * 1024 }, pids: { limit: 256 } },
  })
}

/** The job's container: the one that an earlier run has left, else a new one. */
async function open() {
  try {
    const container = await Container.load(root, id)
    if ((await container.status()) !== 'created') return container
    await container.delete({ force: true }) // that run ended before it could start it
  } catch (error) {
    if (!(error instanceof ContainerError) || error.code !== 'ERR_CONTAINER_NOT_FOUND') throw error
  }
  const container = await Container.create({ root, id, bundle: makeJobBundle() })
  await container.start()
  return container
}

/** Runs a step, or waits for one that runs or has run already. Its log is written whatever becomes of this program. */
async function run(container, { name, run, timeoutMs = 60_000 }, index) {
  const log = join(directory, 'logs', `${index}.log`)
  const step =
    container.processes.get(`step-${index}`) ??
    (await container.exec(`step-${index}`, { args: ['/bin/sh', '-ec', run] }, { stdout: log, stderr: log }))
  let timedOut = false
  const timer = setTimeout(() => {
    timedOut = true
    step.kill('SIGKILL').catch(() => undefined) // it may have ended just now
  }, timeoutMs)
  const { exitCode, signal, oomKilled } = await step.wait()
  clearTimeout(timer)
  const how = timedOut ? 'timed out' : oomKilled ? 'out of memory' : (signal ?? `exit code ${exitCode}`)
  console.log(`${name}: ${how}\n${readFileSync(log, 'utf8').replaceAll(/^(?=.)/gm, '  ')}`)
  return exitCode === 0
}

const container = await open()
let passed = true
for (const [index, step] of steps.entries()) {
  passed = await run(container, step, index)
  if (!passed) break
}
await container.delete({ force: true })
console.log(passed ? 'passed' : 'failed')
process.exitCode = passed ? 0 : 1
