// `make demo`'s program, for real: what it shows, what it exits with, and that nothing is left, also when interrupted.
import { describe, expect, it } from 'vitest'
import { cannotRunContainers } from '../support/machine.js'
import { useExamples } from './run_example.js'

describe.skipIf(cannotRunContainers())('the demo', () => {
  const examples = useExamples()
  const demo = ['node', 'examples/demo.mjs']

  it('takes a container through its life, shows both times, and exits with 0', async () => {
    const program = examples.run(demo)
    const { code } = await program.ended
    expect(program.stderr).toBe('')
    expect(code, program.stdout).toBe(0)
    const output = program.stdout
    expect(output).not.toContain('NOT AS IT SHOULD BE')
    for (let line = 1; line <= 4; ++line) {
      expect(output).toMatch(new RegExp(`ms {2}line ${line} from process 1 on demo`))
    }
    const rows = output.match(/^ {2}\/bin\/.* [\d.]+ ms +[\d.]+ ms$/gm)
    expect(rows).toHaveLength(10)
    expect(output).toMatch(/all ten +[\d.]+ ms +[\d.]+ ms +[\d.]+ times as fast/)
    expect(output).toContain('10 of 10 commands gave the same output both ways')
    expect(output).toContain('`exit 42` gives exit code 42')
    expect(output).toContain('gives signal SIGTERM, exit code 143')
    expect(output).toMatch(/is not there gives an error: ERR_SYSCALL, .*ENOENT/)
    expect(output).toContain('its first program ended with exit code 7')
    expect(output.match(/: nothing$/gm)).toHaveLength(4)
    expect(output).toMatch(/Everything was as it should be\.\n$/)
    await examples.expectNothingLeft(`demo-${program.pid}`)
  })

  it.each(['SIGINT', 'SIGTERM', 'SIGHUP'] as const)('undoes everything on %s', async (signal) => {
    const program = examples.run(demo)
    await program.expect(/line 2 from process 1/)
    program.child.kill(signal)
    const { code } = await program.ended
    expect(code).toBe({ SIGINT: 130, SIGTERM: 143, SIGHUP: 129 }[signal])
    expect(program.stderr).toContain(`${signal}, everything is undone`)
    await examples.expectNothingLeft(`demo-${program.pid}`)
  })

  it('is undone in the middle of an exec, too', async () => {
    const program = examples.run(demo)
    await program.expect(/\/bin\/hostname/)
    program.child.kill('SIGINT')
    expect((await program.ended).code).toBe(130)
    await examples.expectNothingLeft(`demo-${program.pid}`)
  })

  it('says what it lacks, and exits with 1', async () => {
    const program = examples.run(['env', 'PATH=/nowhere', process.execPath, 'examples/demo.mjs'])
    expect((await program.ended).code).toBe(1)
    expect(program.stderr).toContain('this demo needs')
    expect(program.stderr).toContain('runc: apt-get install runc')
    await examples.expectNothingLeft(`demo-${program.pid}`)
  })
})
