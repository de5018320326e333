// State directories as the addon reads them: ours, containerd 0.2's, and rubbish of every kind.
import { execFileSync } from 'node:child_process'
import { randomUUID } from 'node:crypto'
import { subscribe, unsubscribe } from 'node:diagnostics_channel'
import { mkdirSync, mkdtempSync, readFileSync, rmSync, truncateSync, writeFileSync } from 'node:fs'
import { constants, tmpdir } from 'node:os'
import { join } from 'node:path'
import { Worker } from 'node:worker_threads'
import { afterEach, beforeEach, expect, it } from 'vitest'
import { load } from '../../lib/native/load.js'
import type { NativeBinding } from '../../lib/native/binding.js'
import { listIds, type ProcessFile, readRecords, readState } from '../../lib/state/records.js'
import { createDirectory, processFile } from '../../lib/state/directory.js'
import { stateFile as file } from '../support/state_file.js'

const { native } = load()

let root: string
beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), 'lc-state-'))
})
afterEach(() => {
  rmSync(root, { recursive: true, force: true })
})

async function processesOf(id: string): Promise<ProcessFile[]> {
  return (await readRecords(native, root, id)).processes
}

it('a container is read as it was created, and listed', async () => {
  await createDirectory(root, 'web', file)
  expect(await readState(native, root, 'web')).toEqual(file)
  expect(await listIds(native, root)).toEqual(['web'])
  expect(await readRecords(native, root, 'web')).toEqual({
    unfinished: false,
    earlierBoot: false,
    processes: [],
  })
})

it('of one that is not there everything says so, and no root holds none', async () => {
  const none = { code: 'ERR_CONTAINER_NOT_FOUND', containerId: 'web' }
  await expect(readState(native, root, 'web')).rejects.toMatchObject(none)
  await expect(readRecords(native, root, 'web')).rejects.toMatchObject(none)
  expect(await listIds(native, join(root, 'none'))).toEqual([])
})

it('all that are asked for in one turn of the event loop are read in one pass', async () => {
  const ids = Array.from({ length: 50 }, (_, n) => `web-${n + 10}`)
  for (const id of ids) await createDirectory(root, id, file)
  const passes: number[] = []
  const counting: NativeBinding = {
    ...native,
    readTexts: (paths) => (passes.push(paths.length), native.readTexts(paths)),
    readDirectories: (paths) => (passes.push(paths.length), native.readDirectories(paths)),
  }
  expect(await listIds(counting, root)).toEqual(ids)
  await Promise.all(ids.map((id) => readState(counting, root, id)))
  const records = await Promise.allSettled([...ids, 'none'].map((id) => readRecords(counting, root, id)))
  expect(passes).toEqual([50, 50, 51])
  expect(records.map(({ status }) => status)).toEqual([...ids.map(() => 'fulfilled'), 'rejected'])
})

it('a machine that is short of something does not make containers go away', async () => {
  await createDirectory(root, 'web', file)
  const failure = Object.assign(new Error('x'), {
    code: 'ERR_SYSCALL',
    errno: constants.errno.EMFILE,
    syscall: 'open',
    shortage: true,
  })
  const short: NativeBinding = {
    ...native,
    readTexts: async (paths) => paths.map(() => failure),
    readDirectories: async (paths) => paths.map(() => failure),
  }
  const told = { code: 'ERR_SYSCALL', errno: constants.errno.EMFILE, containerId: 'web' }
  await expect(listIds(short, root)).rejects.toMatchObject(told)
  await expect(readState(short, root, 'web')).rejects.toMatchObject(told)
  await expect(readRecords(short, root, 'web')).rejects.toMatchObject(told)
})

it.each(['init/starting', 'init/dumping', ':deleting', ':record'])(
  'what %s marks is unfinished',
  async (mark) => {
    await createDirectory(root, 'web', file)
    mkdirSync(join(root, 'web', 'init'))
    writeFileSync(join(root, 'web', mark), '')
    expect(await readRecords(native, root, 'web')).toMatchObject({ unfinished: true, earlierBoot: false })
  },
)

it.each([
  [randomUUID(), true],
  [readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim(), false],
  ['', false],
])('of a boot of the id %j', async (boot, earlierBoot) => {
  await createDirectory(root, 'web', file)
  mkdirSync(join(root, 'web', 'init'))
  writeFileSync(join(root, 'web', 'init', 'bootId'), `${boot}\n`)
  expect(await readRecords(native, root, 'web')).toMatchObject({ earlierBoot, unfinished: false })
})

it.each(['', '{', 'null', '[]', '"x"', '{}', '{"bundle": 1}', '{"bundle": ""}', '{"bundle": "/b"'])(
  'state.json %j is corrupt, with its path, and not listed',
  async (text) => {
    mkdirSync(join(root, 'web'))
    writeFileSync(join(root, 'web', 'state.json'), text)
    await expect(readState(native, root, 'web')).rejects.toMatchObject({
      code: 'ERR_STATE_CORRUPT',
      path: join(root, 'web', 'state.json'),
    })
    expect(await listIds(native, root)).toEqual([])
  },
)

it('a FIFO, a directory or what has no end in the place of state.json holds nobody up', async () => {
  mkdirSync(join(root, 'a'))
  execFileSync('mkfifo', [join(root, 'a', 'state.json')])
  mkdirSync(join(root, 'b', 'state.json'), { recursive: true })
  mkdirSync(join(root, 'c'))
  writeFileSync(join(root, 'c', 'state.json'), '{')
  truncateSync(join(root, 'c', 'state.json'), 64 * 1024 * 1024)
  await expect(readState(native, root, 'a')).rejects.toMatchObject({ code: 'ERR_STATE_CORRUPT' })
  await expect(readState(native, root, 'b')).rejects.toMatchObject({ code: 'ERR_STATE_CORRUPT' })
  await expect(readState(native, root, 'c')).rejects.toMatchObject({ code: 'ERR_STATE_CORRUPT' })
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
  expect(await readState(native, root, 'redis')).toMatchObject({
    bundle: '/containers/redis',
    labels: [],
    runtimeArgs: [],
    shim: '',
  })
  const [init] = await processesOf('redis')
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
    expect((await processesOf('web')).map(({ id }) => id)).toEqual(['good'])
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
  const [init] = await processesOf('web')
  expect(init?.exit).toMatchObject({ exitCode: 255, known: false })
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
      for (const { pid, starttime, spec, exit } of await processesOf('web')) {
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
