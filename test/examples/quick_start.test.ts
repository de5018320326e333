// The README's quick start, for real.
import { describe, expect, it } from 'vitest'
import { cannotRunContainers } from '../support/machine.js'
import { examplesRoot, useExamples } from './run_example.js'

describe.skipIf(cannotRunContainers())('the quick start', () => {
  const examples = useExamples()

  it('shows the output and the exit code of a process in a container', async () => {
    const program = examples.run(['node', 'examples/quick-start.mjs'])
    const { code } = await program.ended
    expect(program.stderr).toBe('')
    expect(code).toBe(0)
    expect(program.stdout).toContain('init says: hello\n')
    expect(program.stdout).toMatch(/^processors: \d+$/m)
    expect(program.stdout).toMatch(/^job-1 ended with exit code 0, signal null$/m)
    await examples.expectNothingLeft(`quick-start-${program.pid}`, examplesRoot)
  })
})
