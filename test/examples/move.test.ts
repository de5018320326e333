// A counter that moves from one container to another; where CRIU cannot work, that this is said.
import { describe, expect, it } from 'vitest'
import { criuWorks } from '../support/checkpoints.js'
import { cannotRunContainers } from '../support/machine.js'
import { examplesRoot, useExamples } from './run_example.js'

describe.skipIf(cannotRunContainers())('moving a container', () => {
  const examples = useExamples()

  it('goes on counting where it was, and prints the times; or says why it cannot', async () => {
    const program = examples.run(['node', 'examples/move.mjs'])
    const { code } = await program.ended
    if (criuWorks()) {
      expect(program.stderr).toBe('')
      expect(code).toBe(0)
      const [, from, to] = /move-from-\d+ counted (\d+) to \d+[^]*move-to-\d+ counted (\d+) to/.exec(
        program.stdout,
      ) as RegExpExecArray
      expect(Number(from)).toBe(1)
      expect(Number(to)).toBeGreaterThan(5)
      for (const step of ['start', 'pre-dump', 'checkpoint, container ends', 'delete', 'restore']) {
        expect(program.stdout).toMatch(new RegExp(`^${step} +\\d+ ms$`, 'm'))
      }
    } else {
      expect(program.stderr).toMatch(/^ERR_UNSUPPORTED: .*CRIU/)
      expect(code).toBe(1)
    }
    await examples.expectNothingLeft(`move-from-${program.pid}`, examplesRoot)
    await examples.expectNothingLeft(`move-to-${program.pid}`, examplesRoot)
  })
})
