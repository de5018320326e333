// What TypeScript knows of a process's streams: `npm run typecheck` is the test, nothing here is run.
import type { Readable, Writable } from 'node:stream'
import { expectTypeOf, it } from 'vitest'
import type {
  Container,
  ExecOptions,
  Process,
  ProcessSpec,
  StartOptions,
  Stdio,
  StdioOptions,
} from '../../lib/index.js'

it('streams are there, or not, by the options', () => {
  const types = async (
    container: Container,
    dynamic: Stdio,
    path: string,
    all: StdioOptions,
  ): Promise<void> => {
    const spec = { args: ['x'] }
    const piped = await container.exec('a', spec, { stdin: 'pipe', stdout: 'pipe', stderr: { keep: 100 } })
    expectTypeOf(piped.stdin).toEqualTypeOf<Writable>()
    expectTypeOf(piped.stdout).toEqualTypeOf<Readable>()
    expectTypeOf(piped.stderr).toEqualTypeOf<Readable>()
    expectTypeOf(piped).toExtend<Process>()

    const other = await container.exec('b', spec, { stdin: 'ignore', stdout: '/log', stderr: 2 })
    expectTypeOf(other.stdin).toEqualTypeOf<Writable | null>()
    expectTypeOf(other.stdout).toEqualTypeOf<Readable | null>()
    expectTypeOf(other.stderr).toEqualTypeOf<Readable | null>()

    const unknown = await container.exec('c', spec, { stdout: dynamic, stderr: path })
    expectTypeOf(unknown.stdin).toEqualTypeOf<Writable | null>()
    expectTypeOf(unknown.stdout).toEqualTypeOf<Readable | null>()
    expectTypeOf(unknown.stderr).toEqualTypeOf<Readable | null>()

    const init = await container.start()
    expectTypeOf(init.stdout).toEqualTypeOf<Readable | null>()
    const kept = await container.start({ stdout: 'keep', signal: new AbortController().signal })
    expectTypeOf(kept.stdout).toEqualTypeOf<Readable>()
    const general = await container.start(all)
    expectTypeOf(general.stdout).toEqualTypeOf<Readable | null>()
    const restored: Process = await container.start({ checkpoint: 'x', onCreated: ({ pid }) => void pid })
    expectTypeOf(restored).toEqualTypeOf<Process>()

    // Code for a process of any kind.
    for (const process of [piped, other, unknown, init]) process.stderr?.resume()
    other.stdin?.end()
    const either = Math.random() < 0.5 ? piped : other
    expectTypeOf(either.stdout).toEqualTypeOf<Readable | null>()
    expectTypeOf(container.start).toExtend<(options?: StartOptions) => Promise<Process>>()
    type Exec = (id: string, spec: ProcessSpec, options?: ExecOptions) => Promise<Process>
    expectTypeOf(container.exec).toExtend<Exec>()
    type Anonymous = (spec: ProcessSpec | string[], options?: ExecOptions) => Promise<Process>
    expectTypeOf(container.exec).toExtend<Anonymous>()
    const standIn: Pick<Container, 'exec'> = { exec: container.exec.bind(container) }
    void standIn
    const anonymous = await container.exec(['/bin/true'], { stdout: 'pipe' })
    expectTypeOf(anonymous.stdout).toEqualTypeOf<Readable>()

    const text = await container.run(['/bin/true'], { timeout: 5 })
    expectTypeOf(text.stdout).toEqualTypeOf<string>()
    const bytes = await container.run({ args: ['/bin/true'] }, { encoding: 'buffer' })
    expectTypeOf(bytes.stderr).toEqualTypeOf<Buffer>()
    // @ts-expect-error misspelt
    await container.run(['/bin/true'], { timeuot: 5 })

    // @ts-expect-error a word that is none is a path, a boolean is nothing
    await container.exec('d', spec, { stdout: true })
    // @ts-expect-error misspelt
    await container.exec('e', spec, { stdout: 'pipe', sdterr: 'pipe' })
    // @ts-expect-error misspelt
    await container.start({ stdout: 'pipe', oncreated: () => undefined })
  }
  expectTypeOf(types).toBeFunction()
})
