// The state directory over fixtures: ours, containerd 0.2's, and rubbish of every kind.
import { mkdirSync, mkdtempSync, readdirSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { execFileSync } from 'node:child_process'
import { subscribe, unsubscribe } from 'node:diagnostics_channel'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Worker } from 'node:worker_threads'
import { afterEach, beforeEach, expect, it } from 'vitest'
import {
  createDirectory,
  listIds,
  processFile,
  readBundle,
  readProcesses,
  readState,
  removeDirectory,
  type StateFile,
} from '../../lib/state.js'

let root: string
beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), 'lc-state-'))
})
afterEach(() => {
  rmSync(root, { recursive: true, force: true })
})

const file: StateFile = {
  bundle: '/b',
  labels: ['a'],
  runtime: 'crun',
  runtimeArgs: ['--root=/x'],
  shim: '',
  noPivotRoot: true,
  ephemeral: false,
  timeout: 1000,
}

it('a container comes back as it was created, and is listed', async () => {
  await createDirectory(join(root, 'deep', 'root'), 'web', file)
  expect(await readState(join(root, 'deep', 'root'), 'web')).toEqual(file)
  expect(await listIds(join(root, 'deep', 'root'))).toEqual(['web'])
  expect(statSync(join(root, 'deep', 'root', 'web')).mode & 0o777).toBe(0o711)
  expect(statSync(join(root, 'deep', 'root', 'web', 'state.json')).mode & 0o777).toBe(0o600)
})

it('of many that race for an id one wins, and nothing else is left', async () => {
  const results = await Promise.allSettled(
    Array.from({ length: 20 }, () => createDirectory(root, 'web', file)),
  )
  expect(results.filter((result) => result.status === 'fulfilled')).toHaveLength(1)
  for (const result of results) {
    if (result.status === 'rejected') expect(result.reason).toMatchObject({ code: 'ERR_CONTAINER_EXISTS' })
  }
  expect(readdirSync(root)).toEqual(['web'])
})

it('a removed one is gone at once; again is no error', async () => {
  await createDirectory(root, 'web', file)
  await removeDirectory(root, 'web')
  await removeDirectory(root, 'web')
  expect(readdirSync(root)).toEqual([])
  await expect(readState(root, 'web')).rejects.toMatchObject({
    code: 'ERR_CONTAINER_NOT_FOUND',
    containerId: 'web',
  })
})

it.each(['', '{', 'null', '[]', '"x"', '{}', '{"bundle": 1}', '{"bundle": ""}', '{"bundle": "/b"'])(
  'state.json %j is corrupt, with its path, and not listed',
  async (text) => {
    mkdirSync(join(root, 'web'))
    writeFileSync(join(root, 'web', 'state.json'), text)
    await expect(readState(root, 'web')).rejects.toMatchObject({
      code: 'ERR_STATE_CORRUPT',
      path: join(root, 'web', 'state.json'),
    })
    expect(await listIds(root)).toEqual([])
  },
)

it('a FIFO or a directory in the place of state.json holds nobody up', async () => {
  mkdirSync(join(root, 'a'))
  execFileSync('mkfifo', [join(root, 'a', 'state.json')])
  mkdirSync(join(root, 'b', 'state.json'), { recursive: true })
  await expect(readState(root, 'a')).rejects.toMatchObject({ code: 'ERR_STATE_CORRUPT' })
  await expect(readState(root, 'b')).rejects.toMatchObject({ code: 'ERR_STATE_CORRUPT' })
})

it('what containerd 0.2 wrote loads: its shim is not ours, its exit is the number and the time of the file', async () => {
  const directory = join(root, 'redis')
  mkdirSync(join(directory, 'init'), { recursive: true })
  writeFileSync(
    join(directory, 'state.json'),
    JSON.stringify({
      bundle: '/containers/redis',
      labels: null,
      runtime: 'docker-runc',
      runtimeArgs: null,
      shim: 'docker-containerd-shim',
      noPivotRoot: false,
    }),
  )
  writeFileSync(
    join(directory, 'init', 'process.json'),
    JSON.stringify({
      terminal: false,
      user: { uid: 0, gid: 0 },
      args: ['redis-server'],
      env: ['PATH=/bin'],
      cwd: '/data',
      exec: false,
      containerdStdin: '/tmp/in',
      containerdStdout: '/tmp/out',
      containerdStderr: '',
      runtimeArgs: null,
      noPivotRoot: false,
      checkpoint: '',
      rootUID: 0,
      rootGID: 0,
    }),
  )
  writeFileSync(join(directory, 'init', 'pid'), '4711')
  writeFileSync(join(directory, 'init', 'starttime'), '12345')
  writeFileSync(join(directory, 'init', 'exitStatus'), '137')
  expect(await readState(root, 'redis')).toMatchObject({
    bundle: '/containers/redis',
    labels: [],
    runtimeArgs: [],
    shim: '',
  })
  const [init] = await readProcesses(root, 'redis')
  expect(init).toMatchObject({
    id: 'init',
    pid: 4711,
    starttime: 12345,
    spec: { args: ['redis-server'], cwd: '/data', env: ['PATH=/bin'] },
    stdio: { stdin: '/tmp/in', stdout: '/tmp/out', stderr: '/dev/null' },
    exit: { exitCode: 137, known: true },
  })
  expect(init?.spec).not.toHaveProperty('containerdStdin')
  expect(init?.exit?.exitedAtMs).toBeGreaterThan(0)
})

it('a process directory that cannot be read is skipped and said', async () => {
  await createDirectory(root, 'web', file)
  const whole = processFile(
    { args: ['x'] },
    {
      exec: true,
      stdio: { stdin: '/dev/null', stdout: 'pipe', stderr: 'pipe' },
      runtimeArgs: [],
      noPivotRoot: false,
      rootUID: 0,
      rootGID: 0,
    },
    null,
  )
  for (const [id, text, pid] of [
    ['good', whole, '1'],
    ['half', whole.slice(0, 20), '1'],
    ['empty', '', '1'],
    ['nopid', whole, null],
    ['badpid', whole, 'x'],
  ] as const) {
    mkdirSync(join(root, 'web', id))
    writeFileSync(join(root, 'web', id, 'process.json'), text)
    if (pid !== null) writeFileSync(join(root, 'web', id, 'pid'), pid)
  }
  const said: string[] = []
  const listener = (message: unknown): void => void said.push((message as { path: string }).path)
  subscribe('libcontainer:skipped', listener)
  try {
    expect((await readProcesses(root, 'web')).map(({ id }) => id)).toEqual(['good'])
  } finally {
    unsubscribe('libcontainer:skipped', listener)
  }
  expect(said.sort()).toEqual(['badpid', 'empty', 'half', 'nopid'].map((id) => join(root, 'web', id)))
})

it('an exit status that cannot be read is an exit that is not known', async () => {
  await createDirectory(root, 'web', file)
  mkdirSync(join(root, 'web', 'init'))
  writeFileSync(join(root, 'web', 'init', 'process.json'), '{"args":["x"]}')
  writeFileSync(join(root, 'web', 'init', 'pid'), '1')
  writeFileSync(join(root, 'web', 'init', 'exitStatus'), 'rubbish')
  const [init] = await readProcesses(root, 'web')
  expect(init?.exit).toMatchObject({ exitCode: 255, known: false })
})

it.each<[string | null, string]>([
  [null, 'ERR_SYSCALL'],
  ['', 'ERR_STATE_CORRUPT'],
  ['{"process": {', 'ERR_STATE_CORRUPT'],
  ['[]', 'ERR_STATE_CORRUPT'],
  ['{"process": []}', 'ERR_STATE_CORRUPT'],
  ['{"linux": "x"}', 'ERR_STATE_CORRUPT'],
])('a bundle with config.json %j', async (text, code) => {
  if (text !== null) writeFileSync(join(root, 'config.json'), text)
  await expect(readBundle(root, 'web')).rejects.toMatchObject({ code, path: join(root, 'config.json') })
})

// What the shim does with the files of a process that is removed: the next one's.
it('a process is never read from the files of two', async () => {
  await createDirectory(root, 'web', file)
  const shim = new Worker(
    `const { mkdirSync, renameSync, rmSync, writeFileSync } = require('node:fs')
     const at = (name) => require('node:path').join(require('node:worker_threads').workerData, name)
     mkdirSync(at('init/execs/1'), { recursive: true })
     const pause = new Int32Array(new SharedArrayBuffer(4))
     for (let n = 1; ; ++n) {
       writeFileSync(at('init/execs/1/process.json'), JSON.stringify({ args: [String(n)] }))
       writeFileSync(at('init/execs/1/pid'), String(n))
       writeFileSync(at('init/execs/1/starttime'), String(n))
       rmSync(at('init/execs/1/exitStatus'), { force: true })
       writeFileSync(at('init/execs/1/next'), String(n % 256))
       renameSync(at('init/execs/1'), at('job'))
       if (n % 4 === 0) Atomics.wait(pause, 0, 0, 2)
       renameSync(at('job/next'), at('job/exitStatus'))
       if (n % 3 === 0) Atomics.wait(pause, 0, 0, 2)
       renameSync(at('job'), at('init/execs/1'))
     }`,
    { eval: true, workerData: join(root, 'web') },
  )
  try {
    let seen = 0
    for (const end = Date.now() + 1000; Date.now() < end;) {
      for (const { pid, starttime, spec, exit } of await readProcesses(root, 'web')) {
        expect([pid, starttime], 'of one process').toEqual([Number(spec.args[0]), pid])
        if (exit) expect(exit.exitCode, 'of that process').toBe(pid % 256)
        ++seen
      }
    }
    expect(seen).toBeGreaterThan(0)
  } finally {
    await shim.terminate()
  }
})
