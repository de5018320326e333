// The connection to a shim over a fake native module: order, loss, and who is told what.
import { describe, expect, it } from 'vitest'
import type { NativeBinding } from '../../lib/native/binding.js'
import { type Receiver, ShimBusy, type ShimLink, type ShimListener } from '../../lib/shim/link.js'
import { openLink } from '../../lib/shim/open.js'
import { oldestProtocolVersion, protocolVersion, type Request } from '../../lib/shim/protocol.js'
import { ContainerError, fromNodeError, toContainerError } from '../../lib/errors.js'
import { parseExact, toExactObject, toExactText } from '../../lib/oci/exact_json.js'
import { InheritedSpec } from '../../lib/oci/inherit.js'
import { type ProcessSpec, rootId } from '../../lib/oci/spec.js'

class FakeNative {
  readonly receivers = new Map<number, (text: string | null) => void>()
  refs = 0
  sent: { connection: number; request: Record<string, unknown>; body: string | null; fds: number[] }[] = []
  closed: number[] = []
  refuse: Error | null = null
  ref = (): void => void this.refs++
  unref = (): void => void this.refs--
  reader = (connection: number): number => connection
  receiver: Receiver = (fd, onMessage) => {
    this.receivers.set(fd, onMessage)
    return { close: () => void this.receivers.delete(fd) }
  }
  closeConnection = (connection: number): void => void this.closed.push(connection)
  send = (connection: number, request: string, body: string | null, fds: number[]): void => {
    if (this.refuse) throw this.refuse
    this.sent.push({ connection, request: JSON.parse(request) as Record<string, unknown>, body, fds })
  }
  say(connection: number, ...messages: (object | null)[]): void {
    for (const message of messages) this.receivers.get(connection)?.(message && JSON.stringify(message))
  }
}

function opened(native: FakeNative, connection: number, timeout: number): ReturnType<typeof openLink> {
  const parts = { native: native as unknown as NativeBinding, containerId: 'web', timeout }
  return openLink({ ...parts, receiver: native.receiver }, async () => connection)
}

const versions = Array.from(
  { length: protocolVersion - oldestProtocolVersion + 1 },
  (_, index) => oldestProtocolVersion + index,
)
const own: Request = { op: 'own' }
const ping: Request = { op: 'ping' }
const job: Request = { op: 'exec', process: 'job', stdio: [], timeoutMs: 1000, typed: [] }

async function open(native: FakeNative, connection = 1): Promise<{ link: ShimLink; log: string[] }> {
  const opening = opened(native, connection, 1000)
  await new Promise((resolve) => setImmediate(resolve))
  native.say(connection, { event: 'hello', pid: 1, processes: [{ id: 'init', pid: 2, starttime: 3 }] })
  const { link, processes } = await opening
  expect(processes).toEqual([{ id: 'init', pid: 2, starttime: 3 }])
  const log: string[] = []
  const listener: ShimListener = {
    onExit: ({ id }) => void log.push(`exit ${id}`),
    onWritten: (id) => void log.push(`written ${id}`),
    onCreated: (pid) => void log.push(`created ${pid}`),
    onRuntimeLog: () => undefined,
    onDeleted: () => void log.push('deleted'),
    onClosed: () => void log.push('closed'),
  }
  link.listen(listener)
  return { link, log }
}

const exit = { exitCode: 0, signal: 0, exitedAtMs: 0, oomKilled: false, known: true }

describe('a connection', () => {
  it('gives each request its own answer, and holds the event loop only while one is awaited', async () => {
    const native = new FakeNative()
    const { link } = await open(native)
    expect(native.refs).toBe(0)
    const n = (result: object): unknown => (result as { n: number }).n
    const first = link.request(own, {}, { onResult: n, body: 'body', fds: [5] })
    const second = link.request(ping, {}, { onResult: n })
    expect(native.refs).toBe(2)
    expect(native.sent[0]).toMatchObject({ request: { op: 'own', seq: 1 }, body: 'body', fds: [5] })
    native.say(1, { seq: 2, result: { n: 2 } }, { seq: 1, result: { n: 1 } })
    expect(await first.answer).toBe(1)
    expect(await second.answer).toBe(2)
    expect(native.refs).toBe(0)
  })

  it('runs an answer before the events that come after it', async () => {
    const native = new FakeNative()
    const { link, log } = await open(native)
    const { answer } = link.request(job, {}, { onResult: () => void log.push('started') })
    native.say(1, { seq: 1, result: {} }, { event: 'exit', process: 'a', exit })
    expect(log).toEqual(['started', 'exit a'])
    await answer
  })

  it('turns errors into ContainerErrors with all that is known', async () => {
    const native = new FakeNative()
    const { link } = await open(native)
    const { answer } = link.request(own, { containerId: 'web', processId: 'p' })
    native.say(1, { seq: 1, error: { code: 'ERR_SYSCALL', errno: 2, syscall: 'execve', path: '/nope' } })
    await expect(answer).rejects.toMatchObject({
      name: 'ContainerError',
      code: 'ERR_SYSCALL',
      errno: 2,
      syscall: 'execve',
      path: '/nope',
      containerId: 'web',
      processId: 'p',
      message: "container 'web', process 'p': ENOENT: no such file or directory, execve '/nope'",
    })
  })

  it('that is lost rejects what is under way, once, and tells its container', async () => {
    const native = new FakeNative()
    const { link, log } = await open(native)
    const { answer } = link.request(own, {})
    native.say(1, null)
    await expect(answer).rejects.toMatchObject({ code: 'ERR_SHIM_EXITED' })
    await expect(link.request(own, {}).answer).rejects.toMatchObject({
      code: 'ERR_SHIM_EXITED',
    })
    expect(log).toEqual(['closed'])
    expect(native.refs).toBe(0)
    native.say(1, { seq: 1, result: {} })
  })

  it('whose send finds nobody says that the shim has ended', async () => {
    const native = new FakeNative()
    const { link } = await open(native)
    native.refuse = Object.assign(new Error('x'), { errno: 32, code: 'ERR_SYSCALL' })
    await expect(link.request(own, {}).answer).rejects.toMatchObject({
      code: 'ERR_SHIM_EXITED',
    })
    expect(native.refs).toBe(0)
  })

  it.each<[string, object | null, object]>([
    ['another shim serves', { event: 'busy' }, {}],
    [
      'the shim refuses',
      { event: 'failed', error: { code: 'ERR_STATE_CORRUPT', path: '/x' } },
      { code: 'ERR_STATE_CORRUPT' },
    ],
    ['the shim is none', null, { code: 'ERR_SHIM_EXITED' }],
  ])('is not made where %s', async (_name, said, error) => {
    const native = new FakeNative()
    const opening = opened(native, 1, 1000)
    opening.catch(() => undefined)
    await new Promise((resolve) => setImmediate(resolve))
    native.say(1, said)
    const failure: unknown = await opening.catch((reason: unknown) => reason)
    if ('code' in error) expect(failure).toMatchObject(error)
    else expect(failure).toBeInstanceOf(ShimBusy)
    expect(native.refs).toBe(0)
  })

  it.each([undefined, ...versions])('to a shim of version %s is made', async (version) => {
    const native = new FakeNative()
    const opening = opened(native, 1, 1000)
    await new Promise((resolve) => setImmediate(resolve))
    native.say(1, { event: 'hello', pid: 7, processes: [], ...(version !== undefined && { version }) })
    const { link } = await opening
    expect(link.closed).toBe(false)
  })

  it.each([oldestProtocolVersion - 1, protocolVersion + 1])(
    'to a shim of version %i is refused by the names of both versions',
    async (version) => {
      const native = new FakeNative()
      const opening = opened(native, 1, 1000)
      opening.catch(() => undefined)
      await new Promise((resolve) => setImmediate(resolve))
      native.say(1, { event: 'hello', pid: 7, processes: [], version })
      const error: unknown = await opening.catch((reason: unknown) => reason)
      expect(error).toMatchObject({ name: 'ContainerError', code: 'ERR_UNSUPPORTED', containerId: 'web' })
      const { message } = error as Error
      expect(message).toContain(`its shim, process 7, speaks version ${version} of the protocol`)
      expect(message).toContain(`versions ${oldestProtocolVersion} to ${protocolVersion}`)
      expect(native.closed).toEqual([1])
      expect(native.refs).toBe(0)
    },
  )

  it('to a shim that says nothing is given up after the timeout', async () => {
    const native = new FakeNative()
    await expect(opened(native, 1, 20)).rejects.toMatchObject({ code: 'ERR_START_TIMEOUT' })
    expect(native.closed).toEqual([1])
  })

  it('tells what came between the hello and the first listener', async () => {
    const native = new FakeNative()
    const opening = opened(native, 1, 1000)
    await new Promise((resolve) => setImmediate(resolve))
    // In one read of the socket.
    native.say(1, { event: 'hello', processes: [] }, { event: 'exit', process: 'a', exit })
    const { link } = await opening
    const told: string[] = []
    link.listen({
      onExit: ({ id }) => void told.push(id),
      onWritten: () => undefined,
      onRuntimeLog: () => undefined,
      onCreated: () => undefined,
      onDeleted: () => undefined,
      onClosed: () => undefined,
    })
    expect(told).toEqual(['a'])
  })

  it('asks for processes until it has all of them', async () => {
    const native = new FakeNative()
    const opening = opened(native, 1, 1000)
    const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve))
    const of = (id: string): object => ({ id, pid: 2, starttime: 3 })
    await turn()
    native.say(1, { event: 'hello', processes: [of('a')], more: true })
    await turn()
    expect(native.sent.map(({ request }) => request)).toEqual([{ op: 'list', after: 'a', seq: 1 }])
    native.say(1, { seq: 1, result: { processes: [of('b')], more: true } })
    await turn()
    expect(native.sent[1]?.request).toEqual({ op: 'list', after: 'b', seq: 2 })
    native.say(1, { seq: 2, result: { processes: [of('c')] } })
    expect((await opening).processes.map(({ id }) => id)).toEqual(['a', 'b', 'c'])
    expect(native.refs).toBe(0)
  })

  it('gives an answer up after its time, tells the shim, and hears nothing of it any more', async () => {
    const native = new FakeNative()
    const { link } = await open(native)
    let late = false
    const { seq, answer } = link.request(
      job,
      { containerId: 'web', processId: 'job' },
      { onResult: () => void (late = true), patience: { limitMs: 20 } },
    )
    const error: unknown = await answer.catch((reason: unknown) => reason)
    expect(error).toMatchObject({ code: 'ERR_START_TIMEOUT', containerId: 'web', processId: 'job' })
    expect((error as Error).message).toContain('its shim, process 1, has not answered for 20 ms')
    expect(native.sent.at(-1)?.request).toEqual({
      op: 'cancel',
      target: seq,
      undo: true,
      process: 'job',
      seq: 0,
    })
    expect(native.refs).toBe(0)
    expect(link.idle).toBe(true)
    native.say(1, { seq, result: {} })
    expect(late).toBe(false)
    expect(link.closed).toBe(false)
  })

  it('reads what came while this thread was busy before it gives anything up', async () => {
    const native = new FakeNative()
    const { link } = await open(native)
    const { answer } = link.request(own, {}, { onResult: () => 'in time', patience: { limitMs: 20 } })
    // The event loop runs its timers first, then it reads.
    setTimeout(() => setImmediate(() => native.say(1, { seq: 1, result: {} })), 0)
    const end = performance.now() + 60
    while (performance.now() < end);
    expect(await answer).toBe('in time')
  })

  it('rejects an aborted call though the shim says nothing', async () => {
    const native = new FakeNative()
    const { link } = await open(native)
    const { seq, answer } = link.request(job, {})
    const reason = new Error('enough')
    await expect(link.abortable(seq, answer, AbortSignal.abort(reason), { limitMs: 20 })).rejects.toBe(reason)
    expect(native.refs).toBe(0)
  })

  it('of one number does not hear what is said to another', async () => {
    const native = new FakeNative()
    const one = await open(native, 1)
    const two = await open(native, 2)
    native.say(2, { event: 'deleted' })
    expect(one.log).toEqual([])
    expect(two.log).toEqual(['deleted'])
  })
})

describe('errors', () => {
  it('of arguments that only the shim can judge are TypeErrors too', () => {
    const error = toContainerError({ code: 'ERR_INVALID_ARG_VALUE', text: 'process.user.uid is ...' })
    expect(error).toBeInstanceOf(TypeError)
    expect(error).toMatchObject({ code: 'ERR_INVALID_ARG_VALUE' })
  })

  it('have no property that is not known', () => {
    expect(Object.keys(new ContainerError('ERR_RUNTIME', 'x')).sort()).toEqual(['code', 'name'])
  })

  it.each([
    [2, "ENOENT: no such file or directory, execve '/x'"],
    [8, "ENOEXEC: exec format error, execve '/x'"],
    [122, "EDQUOT, execve '/x'"],
    [4000, "errno 4000, execve '/x'"],
  ])('say errno %i by its name', (errno, message) => {
    expect(toContainerError({ errno, syscall: 'execve', path: '/x' }).message).toBe(message)
  })

  it('of Node keep errno, call and path; others are passed on', () => {
    const error = Object.assign(new Error('x'), { errno: -13, syscall: 'open', path: '/x', code: 'EACCES' })
    expect(fromNodeError(error)).toMatchObject({
      code: 'ERR_SYSCALL',
      errno: 13,
      syscall: 'open',
      path: '/x',
    })
    const other = new Error('y')
    expect(fromNodeError(other)).toBe(other)
  })
})

describe('what an exec inherits', () => {
  it('is what it leaves out, but the terminal', () => {
    const own = {
      args: ['init'],
      terminal: true,
      user: { uid: 5 },
      env: ['A=1'],
      cwd: '/x',
      noNewPrivileges: true,
    }
    const inherited = new InheritedSpec(own)
    const texts = (spec: ProcessSpec): unknown => {
      const { exec: _, ...rest } = JSON.parse(inherited.text(spec, { exec: true })) as Record<string, unknown>
      return rest
    }
    const spec = { args: ['a'], env: ['B=1'] }
    const whole = { args: ['a'], env: ['B=1'], user: { uid: 5 }, cwd: '/x', noNewPrivileges: true }
    expect(inherited.whole(spec)).toEqual(whole)
    expect(texts(spec)).toEqual(whole)
    expect(texts({ args: ['a'], noNewPrivileges: false })).toMatchObject({
      noNewPrivileges: false,
      env: ['A=1'],
    })
    expect(texts({ args: ['a'], env: undefined })).toMatchObject({ env: ['A=1'] })
  })

  it('null is as left out, and what is not known here is kept', () => {
    const inherited = new InheritedSpec({ args: ['init'], user: { uid: 5 } })
    const texts = (spec: unknown, from = inherited): unknown =>
      JSON.parse(from.text(spec as ProcessSpec, { exec: true }))
    expect(texts({ args: ['a'], user: null })).toEqual({ args: ['a'], user: { uid: 5 }, exec: true })
    // One of each: of two the first would count.
    expect(inherited.text({ args: ['a'], user: null, exec: 1, x: 2 } as never, { exec: true })).toBe(
      '{"args":["a"],"x":2,"user":{"uid":5},"exec":true}',
    )
    expect(inherited.typed({ args: ['a'], user: null, env: [], rlimits: [] } as never)).toEqual(['env'])
    expect(inherited.whole({ args: ['a'], user: null } as never)).toEqual({ args: ['a'], user: { uid: 5 } })
    expect(inherited.whole({ args: ['a'], x: 1 } as never)).toEqual({ args: ['a'], x: 1, user: { uid: 5 } })
    const confined = {
      args: ['init'],
      rlimits: [{ type: 'RLIMIT_CORE', soft: 0, hard: 0 }],
      apparmorProfile: 'profile',
      selinuxLabel: 'label',
    }
    const unsaid = { args: ['init'], rlimits: [], apparmorProfile: '', selinuxLabel: '' }
    expect(new InheritedSpec(confined).whole(unsaid)).toEqual(confined)
    expect(texts(unsaid, new InheritedSpec(confined))).toEqual({ ...confined, exec: true })
  })

  it('has the numbers of its file, and no half of a surrogate pair', () => {
    const text =
      '{"rlimits":[{"type":"RLIMIT_FSIZE","soft":9007199254740993,"hard":18446744073709551615},{"hard":-1}],' +
      '"env":["A=9007199254740993","B=\\"9007199254740993","C=\\\\","D=\\ud800x","E=\\ud83d\\ude00"],"oomScoreAdj":12}'
    const own = parseExact(text) as ProcessSpec
    expect(own.env).toEqual(['A=9007199254740993', 'B="9007199254740993', 'C=\\', 'D=\ufffdx', 'E=😀'])
    const texts = [
      new InheritedSpec(own).text({ args: ['a'] }, { x: 1 }),
      toExactObject({ ...own, args: ['a'], x: 1 }),
    ]
    for (const said of texts) {
      expect(said).toContain('"soft":9007199254740993,"hard":18446744073709551615}')
      expect(JSON.parse(said)).toEqual({ ...own, args: ['a'], x: 1 })
    }
    expect(toExactText({ a: 1 })).toBe('{"a":1}')
    expect(toExactObject({ a: undefined, b: () => 1, c: null })).toBe('{"c":null}')
  })

  it('the host id of root', () => {
    expect(rootId(undefined)).toBe(0)
    expect(rootId([{ containerID: 0, hostID: 100000, size: 65536 }])).toBe(100000)
  })
})
