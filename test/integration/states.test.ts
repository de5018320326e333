// Every method in every state: created, inside onCreated, running, paused by hand, stopped, deleted; and a closed handle.
import { describe, expect, test } from 'vitest'
import { Container, type ContainerErrorCode } from '../../lib/index.js'
import { freeze, type Ground, unfreeze, useContainers } from '../support/containers.js'
import { failure } from '../support/expect.js'
import { cannotRunContainers, runtimes } from '../support/machine.js'
import { eventually } from '../support/wait.js'

const skip = cannotRunContainers()

type State = 'created' | 'half-started' | 'running' | 'paused' | 'stopped' | 'deleted' | 'closed'

/** The kernel may count the threads of the runtime's init for a moment longer, since they are freed by RCU. */
async function running(ground: Ground): Promise<Container> {
  const container = await ground.running()
  await eventually('a count of 1', () => container.statsSync().pids.current === 1)
  return container
}

const states: Record<State, (ground: Ground, act: (container: Container) => Promise<void>) => Promise<void>> =
  {
    created: async (ground, act) => act(await ground.create()),
    // The runtime has made it, and the user's program does not run yet.
    'half-started': async (ground, act) => {
      const container = await ground.create()
      let acting: Promise<void> | undefined
      await container.start({ onCreated: () => (acting = act(container)) }).catch(() => undefined)
      await acting
    },
    running: async (ground, act) => act(await running(ground)),
    paused: async (ground, act) => {
      const container = await running(ground)
      await freeze(container.id)
      try {
        await act(container)
      } finally {
        unfreeze(container.id)
      }
    },
    stopped: async (ground, act) => {
      const container = await ground.running({ bundle: ground.bundleOf(['/bin/true']) })
      await container.processes.get('init')?.wait()
      await act(container)
    },
    deleted: async (ground, act) => {
      const container = await ground.running({ bundle: ground.bundleOf(['/bin/true']) })
      await container.processes.get('init')?.wait()
      await container.delete()
      await act(container)
    },
    closed: async (ground, act) => {
      const container = await running(ground)
      await container.close()
      await act(container)
    },
  }

type Outcome = ContainerErrorCode | { is: unknown } | 'done'
type Row = Record<State, Outcome>

const methods: Record<string, [call: (container: Container, ground: Ground) => Promise<unknown>, row: Row]> =
  {
    state: [
      async (c) => c.state,
      {
        created: { is: 'created' },
        'half-started': { is: 'created' },
        running: { is: 'running' },
        paused: { is: 'running' }, // what the handle knows without asking
        stopped: { is: 'stopped' },
        deleted: { is: 'stopped' },
        closed: { is: 'running' },
      },
    ],
    'status()': [
      (c) => c.status(),
      {
        created: { is: 'created' },
        'half-started': { is: 'created' },
        running: { is: 'running' },
        paused: { is: 'paused' },
        stopped: { is: 'stopped' },
        deleted: 'ERR_CONTAINER_NOT_FOUND',
        closed: 'ERR_SHIM_EXITED',
      },
    ],
    'start()': [
      async (c) => (await c.start()).id,
      {
        created: { is: 'init' },
        'half-started': 'ERR_PROCESS_EXISTS',
        running: 'ERR_PROCESS_EXISTS',
        paused: 'ERR_PROCESS_EXISTS',
        stopped: 'ERR_CONTAINER_EXITED',
        deleted: 'ERR_CONTAINER_NOT_FOUND',
        closed: 'ERR_SHIM_EXITED',
      },
    ],
    'exec()': [
      async (c) =>
        (await (await c.exec('job', { args: ['/bin/busybox', 'sh', '-c', 'exit 5'] })).wait()).exitCode,
      {
        created: 'ERR_CONTAINER_NOT_STARTED',
        'half-started': { is: 5 }, // as runc exec allows it
        running: { is: 5 },
        paused: 'ERR_CONTAINER_PAUSED',
        stopped: 'ERR_CONTAINER_EXITED',
        deleted: 'ERR_CONTAINER_NOT_FOUND',
        closed: 'ERR_SHIM_EXITED',
      },
    ],
    'kill(0)': [
      (c) => c.kill(0),
      {
        created: 'ERR_CONTAINER_NOT_STARTED',
        'half-started': 'done',
        running: 'done',
        paused: 'done',
        stopped: 'ERR_CONTAINER_EXITED',
        deleted: 'ERR_CONTAINER_NOT_FOUND',
        closed: 'ERR_SHIM_EXITED',
      },
    ],
    'kill(0, { all })': [
      (c) => c.kill(0, { all: true }),
      {
        created: 'ERR_CONTAINER_NOT_STARTED',
        'half-started': 'done',
        running: 'done',
        paused: 'done',
        stopped: 'ERR_CONTAINER_EXITED',
        deleted: 'ERR_CONTAINER_NOT_FOUND',
        closed: 'ERR_SHIM_EXITED',
      },
    ],
    'pids()': [
      async (c) => (await c.pids()).length,
      {
        created: 'ERR_CONTAINER_NOT_STARTED',
        'half-started': { is: 1 },
        running: { is: 1 },
        paused: { is: 1 },
        stopped: 'ERR_CONTAINER_EXITED',
        deleted: 'ERR_CONTAINER_NOT_FOUND',
        closed: 'ERR_SHIM_EXITED',
      },
    ],
    'pidsSync()': [
      async (c) => c.pidsSync().length,
      {
        created: 'ERR_CONTAINER_NOT_STARTED',
        'half-started': { is: 1 },
        running: { is: 1 },
        paused: { is: 1 },
        stopped: 'ERR_CONTAINER_EXITED',
        deleted: 'ERR_CONTAINER_NOT_FOUND',
        closed: 'ERR_SHIM_EXITED',
      },
    ],
    'stats()': [
      async (c) => (await c.stats()).pids.current,
      {
        created: 'ERR_CONTAINER_NOT_STARTED',
        'half-started': { is: expect.any(Number) }, // runc's init has threads
        running: { is: 1 },
        paused: { is: 1 },
        stopped: 'ERR_CONTAINER_EXITED',
        deleted: 'ERR_CONTAINER_NOT_FOUND',
        closed: 'ERR_SHIM_EXITED',
      },
    ],
    'statsSync()': [
      async (c) => c.statsSync().pids.current,
      {
        created: 'ERR_CONTAINER_NOT_STARTED',
        'half-started': { is: expect.any(Number) },
        running: { is: 1 },
        paused: { is: 1 },
        stopped: 'ERR_CONTAINER_EXITED',
        deleted: 'ERR_CONTAINER_NOT_FOUND',
        closed: 'ERR_SHIM_EXITED',
      },
    ],
    'Container.stats()': [
      async (c) => {
        const [answer] = await Container.stats([c])
        if (answer instanceof Error) throw answer
        return answer?.pids.current
      },
      {
        created: 'ERR_CONTAINER_NOT_STARTED',
        'half-started': { is: expect.any(Number) },
        running: { is: 1 },
        paused: { is: 1 },
        stopped: 'ERR_CONTAINER_EXITED',
        deleted: 'ERR_CONTAINER_NOT_FOUND',
        closed: 'ERR_SHIM_EXITED',
      },
    ],
    'pause(), and resume()': [
      async (c) => {
        await c.pause()
        const { state } = c
        await c.resume()
        return [state, c.state]
      },
      {
        created: 'ERR_CONTAINER_NOT_STARTED',
        'half-started': { is: ['created', 'created'] },
        running: { is: ['paused', 'running'] },
        paused: { is: ['paused', 'running'] },
        stopped: 'ERR_CONTAINER_EXITED',
        deleted: 'ERR_CONTAINER_NOT_FOUND',
        closed: 'ERR_SHIM_EXITED',
      },
    ],
    'resume()': [
      (c) => c.resume(),
      {
        created: 'ERR_CONTAINER_NOT_STARTED',
        'half-started': 'done',
        running: 'done',
        paused: 'done',
        stopped: 'ERR_CONTAINER_EXITED',
        deleted: 'ERR_CONTAINER_NOT_FOUND',
        closed: 'ERR_SHIM_EXITED',
      },
    ],
    'updateResources()': [
      async (c) => {
        await c.updateResources({ pids: { limit: 1000 } })
        return c.statsSync().pids.limit
      },
      {
        created: 'ERR_CONTAINER_NOT_STARTED',
        'half-started': { is: 1000 },
        running: { is: 1000 },
        paused: { is: 1000 },
        stopped: 'ERR_CONTAINER_EXITED',
        deleted: 'ERR_CONTAINER_NOT_FOUND',
        closed: 'ERR_SHIM_EXITED',
      },
    ],
    'removeProcess() of none': [
      (c) => c.removeProcess('none'),
      {
        created: 'ERR_PROCESS_NOT_FOUND',
        'half-started': 'ERR_PROCESS_NOT_FOUND',
        running: 'ERR_PROCESS_NOT_FOUND',
        paused: 'ERR_PROCESS_NOT_FOUND',
        stopped: 'ERR_PROCESS_NOT_FOUND',
        deleted: 'ERR_CONTAINER_NOT_FOUND',
        closed: 'ERR_SHIM_EXITED',
      },
    ],
    'oom()': [
      async (c) => (await c.oom()).close(),
      {
        created: 'ERR_CONTAINER_NOT_STARTED',
        'half-started': 'done',
        running: 'done',
        paused: 'done',
        stopped: 'ERR_CONTAINER_EXITED',
        deleted: 'ERR_CONTAINER_NOT_FOUND',
        closed: 'ERR_SHIM_EXITED',
      },
    ],
    'checkpoints()': [
      (c) => c.checkpoints(),
      {
        created: { is: [] },
        'half-started': { is: [] },
        running: { is: [] },
        paused: { is: [] },
        stopped: { is: [] },
        deleted: 'ERR_CONTAINER_NOT_FOUND',
        closed: 'ERR_SHIM_EXITED',
      },
    ],
    'deleteCheckpoint() of none': [
      (c) => c.deleteCheckpoint('none'),
      {
        created: 'ERR_CHECKPOINT_NOT_FOUND',
        'half-started': 'ERR_CHECKPOINT_NOT_FOUND',
        running: 'ERR_CHECKPOINT_NOT_FOUND',
        paused: 'ERR_CHECKPOINT_NOT_FOUND',
        stopped: 'ERR_CHECKPOINT_NOT_FOUND',
        deleted: 'ERR_CONTAINER_NOT_FOUND',
        closed: 'ERR_SHIM_EXITED',
      },
    ],
    'events()': [
      async (c) => {
        const stream = c.events()
        await stream.close()
      },
      {
        created: 'done',
        'half-started': 'done',
        running: 'done',
        paused: 'done',
        stopped: 'done',
        deleted: 'done',
        closed: 'done',
      },
    ],
    'delete()': [
      (c) => c.delete(),
      {
        created: 'done',
        'half-started': 'ERR_CONTAINER_NOT_STOPPED',
        running: 'ERR_CONTAINER_NOT_STOPPED',
        paused: 'ERR_CONTAINER_NOT_STOPPED',
        stopped: 'done',
        deleted: 'ERR_CONTAINER_NOT_FOUND',
        closed: 'ERR_SHIM_EXITED',
      },
    ],
    'delete({ force })': [
      (c) => c.delete({ force: true }),
      {
        created: 'done',
        'half-started': 'done',
        running: 'done',
        paused: 'done',
        stopped: 'done',
        deleted: 'ERR_CONTAINER_NOT_FOUND',
        closed: 'ERR_SHIM_EXITED',
      },
    ],
    'load()': [
      async (c) => {
        const other = await Container.load(c.root, c.id)
        const { state } = other
        await other.close()
        return state
      },
      {
        created: { is: 'created' },
        'half-started': { is: 'created' },
        running: { is: 'running' },
        paused: { is: 'paused' },
        stopped: { is: 'stopped' },
        deleted: 'ERR_CONTAINER_NOT_FOUND',
        closed: { is: 'running' },
      },
    ],
    'list()': [
      async (c) => (await Container.list(c.root)).includes(c.id),
      {
        created: { is: true },
        'half-started': { is: true },
        running: { is: true },
        paused: { is: true },
        stopped: { is: true },
        deleted: { is: false },
        closed: { is: true },
      },
    ],
    'create() of the same id': [
      async (c, ground) => (await ground.create({ id: c.id })).state,
      {
        created: 'ERR_CONTAINER_EXISTS',
        'half-started': 'ERR_CONTAINER_EXISTS',
        running: 'ERR_CONTAINER_EXISTS',
        paused: 'ERR_CONTAINER_EXISTS',
        stopped: 'ERR_CONTAINER_EXISTS',
        deleted: { is: 'created' },
        closed: 'ERR_CONTAINER_EXISTS',
      },
    ],
    'close()': [
      (c) => c.close(),
      {
        created: 'done',
        'half-started': 'done',
        running: 'done',
        paused: 'done',
        stopped: 'done',
        deleted: 'done',
        closed: 'done',
      },
    ],
    'Symbol.asyncDispose': [
      (c) => c[Symbol.asyncDispose](),
      {
        created: 'done',
        'half-started': 'done',
        running: 'done',
        paused: 'done',
        stopped: 'done',
        deleted: 'done',
        closed: 'done',
      },
    ],
    'init.wait()': [
      async (c) => (await c.processes.get('init')?.wait({ signal: AbortSignal.timeout(50) }))?.exitCode,
      {
        created: { is: undefined },
        'half-started': { is: 'TimeoutError' },
        running: { is: 'TimeoutError' },
        paused: { is: 'TimeoutError' },
        stopped: { is: 0 },
        deleted: { is: 0 },
        closed: 'ERR_SHIM_EXITED',
      },
    ],
    'init.kill(0)': [
      async (c) => c.processes.get('init')?.kill(0),
      {
        created: 'done',
        'half-started': 'done',
        running: 'done',
        paused: 'done',
        stopped: 'ERR_PROCESS_EXITED',
        deleted: 'ERR_PROCESS_EXITED',
        closed: 'ERR_SHIM_EXITED',
      },
    ],
    'init.closeStdin()': [
      async (c) => c.processes.get('init')?.closeStdin(),
      {
        created: 'done',
        'half-started': 'done',
        running: 'done',
        paused: 'done',
        stopped: 'done',
        deleted: 'done',
        closed: 'ERR_SHIM_EXITED',
      },
    ],
    'init.resize()': [
      async (c) => c.processes.get('init')?.resize({ columns: 80, rows: 24 }),
      {
        created: 'done',
        'half-started': 'ERR_NOT_A_TERMINAL',
        running: 'ERR_NOT_A_TERMINAL',
        paused: 'ERR_NOT_A_TERMINAL',
        stopped: 'ERR_NOT_A_TERMINAL',
        deleted: 'ERR_NOT_A_TERMINAL',
        closed: 'ERR_NOT_A_TERMINAL',
      },
    ],
    'init.close()': [
      async (c) => c.processes.get('init')?.close(),
      {
        created: 'done',
        'half-started': 'done',
        running: 'done',
        paused: 'done',
        stopped: 'done',
        deleted: 'done',
        closed: 'done',
      },
    ],
  }

/** What it gave, or the code of its error, which must say whose it is. */
async function outcome(promise: Promise<unknown>, containerId: string): Promise<unknown> {
  try {
    return { is: await promise }
  } catch (error) {
    const { name, code, message } = error as Error & { code?: unknown }
    if (name !== 'ContainerError') return { is: name, error }
    expect(error).toMatchObject({ containerId })
    expect(message).toContain(`'${containerId}'`)
    return code
  }
}

describe.skipIf(skip).each(runtimes)('every method in every state, %s', (runtime) => {
  const ground = useContainers(runtime)

  for (const [state, enter] of Object.entries(states) as [State, (typeof states)[State]][]) {
    test.each(Object.entries(methods))(`${state}: %s`, async (_, [call, row]) => {
      let seen: unknown
      await enter(ground, async (container) => {
        seen = await outcome(call(container, ground), container.id)
      })
      const expected = row[state]
      if (expected === 'done') expect(seen).toEqual({ is: undefined })
      else if (typeof expected === 'string') expect(seen).toBe(expected)
      else expect(seen).toMatchObject(expected)
    })
  }

  test('the state after a refused call is the state before', async () => {
    const container = await ground.running()
    await freeze(container.id)
    await failure(container.exec('job', { args: ['/bin/true'] }))
    expect([...container.processes.keys()]).toEqual(['init'])
    unfreeze(container.id)
    expect(await (await container.exec('job', { args: ['/bin/true'] })).wait()).toMatchObject({ exitCode: 0 })
  })
})
