// The CI runner, for real: steps, logs, a failure, a timeout, and a runner that is killed in the middle.
import { mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { Container } from '../../lib/index.js'
import { cannotRunContainers } from '../support/machine.js'
import { eventually } from '../support/wait.js'
import { examplesRoot, useExamples } from './run_example.js'

describe.skipIf(cannotRunContainers())('the CI runner', () => {
  const examples = useExamples()

  function job(steps: { name: string; run: string; timeoutMs?: number }[]): {
    directory: string
    id: string
  } {
    const name = `job-${process.pid}-${Math.random().toString(36).slice(2, 8)}`
    const directory = join(examples.temporary(), name)
    mkdirSync(directory)
    writeFileSync(join(directory, 'job.json'), JSON.stringify({ steps }))
    return { directory, id: `ci-${name}` }
  }

  async function expectNothingLeft({ directory, id }: { directory: string; id: string }): Promise<void> {
    rmSync(directory, { recursive: true })
    await examples.expectNothingLeft(id, examplesRoot)
  }

  it('runs the steps in one workspace, with their logs, until one fails', async () => {
    const mine = job([
      { name: 'build', run: 'echo building; echo artifact > out' },
      { name: 'test', run: 'cat out; touch /outside || id -u; false; echo not here' },
      { name: 'deploy', run: 'echo never' },
    ])
    const program = examples.run(['node', 'examples/ci.mjs', mine.directory])
    expect((await program.ended).code).toBe(1)
    expect(program.stderr).toBe('')
    expect(program.stdout).toBe(
      'build: exit code 0\n  building\n\n' +
        'test: exit code 1\n  artifact\n  touch: /outside: Read-only file system\n  65534\n\nfailed\n',
    )
    expect(readFileSync(join(mine.directory, 'workspace/out'), 'utf8')).toBe('artifact\n')
    await expectNothingLeft(mine)
  })

  it('ends a step that takes too long, with the job', async () => {
    const mine = job([{ name: 'hang', run: 'echo begun; sleep 1000', timeoutMs: 300 }])
    const program = examples.run(['node', 'examples/ci.mjs', mine.directory])
    expect((await program.ended).code).toBe(1)
    expect(program.stdout).toMatch(/^hang: timed out\n( {2}begun\n)?\nfailed\n$/)
    await expectNothingLeft(mine)
  })

  it('killed in the middle of a step, goes on with it when started again', async () => {
    const mine = job([
      { name: 'first', run: 'echo once >> ran' },
      { name: 'second', run: 'echo begun; while [ ! -e go ]; do sleep 0.02; done; echo ended' },
      { name: 'third', run: 'cat ran' },
    ])
    const runner = examples.run(['node', 'examples/ci.mjs', mine.directory])
    const log = join(mine.directory, 'logs/1.log')
    await eventually('the second step', () => {
      try {
        return readFileSync(log, 'utf8') === 'begun\n'
      } catch {
        return false
      }
    })
    runner.child.kill('SIGKILL')
    await runner.ended

    writeFileSync(join(mine.directory, 'workspace/go'), '')
    await eventually('its end, with nobody there', () => readFileSync(log, 'utf8') === 'begun\nended\n')
    const again = examples.run(['node', 'examples/ci.mjs', mine.directory])
    expect((await again.ended).code).toBe(0)
    expect(again.stderr).toBe('')
    expect(again.stdout).toBe(
      'first: exit code 0\n\nsecond: exit code 0\n  begun\n  ended\n\nthird: exit code 0\n  once\n\npassed\n',
    )
    expect(await Container.list(examplesRoot)).not.toContain(mine.id)
    await expectNothingLeft(mine)
  })
})
