// The sandbox, for real: each limit holds, and it says which one was broken.
import { describe, expect, it } from 'vitest'
import { cannotRunContainers } from '../support/machine.js'
import { examplesRoot, useExamples } from './run_example.js'

interface Result {
  ended: string
  exitCode: number
  signal: string | null
  stdout: string
  stderr: string
}

describe.skipIf(cannotRunContainers())('the sandbox', () => {
  const examples = useExamples()

  async function run(code: string): Promise<Result> {
    const program = examples.run(['node', 'examples/sandbox.mjs', code])
    const ended = await program.ended
    expect(program.stderr).toBe('')
    expect(ended.code).toBe(0)
    await examples.expectNothingLeft(`sandbox-${program.pid}-1`, examplesRoot)
    return JSON.parse(program.stdout) as Result
  }

  it('gives output and exit code of what behaves', async () => {
    expect(await run('echo out; echo err >&2; exit 7')).toEqual({
      ended: 'exited',
      exitCode: 7,
      signal: null,
      stdout: 'out\n',
      stderr: 'err\n',
    })
  })

  it('ends what takes too long, with all that it has started', async () => {
    const result = await run('sleep 1000 & echo working; while :; do :; done')
    expect(result).toMatchObject({
      ended: 'timed out',
      exitCode: 137,
      signal: 'SIGKILL',
      stdout: 'working\n',
    })
  })

  it('tells a program that took too much memory from one that was killed', async () => {
    const hog = `exec awk 'BEGIN { s = "x"; while (1) s = s s }'`
    expect(await run(hog)).toMatchObject({ ended: 'out of memory', signal: 'SIGKILL' })
  })

  it('ends what writes too much, and keeps no more than the limit', async () => {
    const result = await run('yes')
    expect(result).toMatchObject({ ended: 'too much output', signal: 'SIGKILL' })
    expect(result.stdout).toHaveLength(64 * 1024)
  })

  it('lets nobody fork without end', async () => {
    const result = await run('i=0; while [ $i -lt 40 ]; do sleep 1000 & i=$((i+1)); done; echo all started')
    expect(result.stdout).not.toContain('all started')
    expect(result.stderr).toContain("can't fork")
  })

  it('gives neither privileges nor a network nor a place to write but its own /tmp', async () => {
    const result = await run(
      'id -u; grep -E "^(Cap(Eff|Prm|Bnd)|NoNewPrivs)" /proc/self/status; ls /sys/class/net; ' +
        'echo x > /bin/sh; echo x > /tmp/mine && cat /tmp/mine',
    )
    expect(result.stdout.replaceAll('\t', ' ').split('\n')).toEqual([
      '65534',
      'CapPrm: 0000000000000000',
      'CapEff: 0000000000000000',
      'CapBnd: 0000000000000000',
      'NoNewPrivs: 1',
      'lo',
      'x',
      '',
    ])
    expect(result.stderr).toContain('Read-only file system')
  })

  it('shows its samples when it is given nothing to run', async () => {
    const program = examples.run(['node', 'examples/sandbox.mjs'])
    expect((await program.ended).code).toBe(0)
    expect(program.stderr).toBe('')
    expect(program.stdout.match(/^ {2}ended {3}.*$/gm)).toEqual([
      '  ended   exited, exit code 7',
      '  ended   timed out, SIGKILL',
      '  ended   out of memory, SIGKILL',
      '  ended   too much output, SIGKILL',
      expect.stringMatching(/exited, exit code 2|timed out/) as string,
      '  ended   exited, exit code 1',
    ])
    for (let run = 1; run <= 6; ++run) {
      await examples.expectNothingLeft(`sandbox-${program.pid}-${run}`, examplesRoot)
    }
  })

  it('leaves nothing when it is interrupted or killed in the middle', async () => {
    for (const signal of ['SIGINT', 'SIGTERM'] as const) {
      const program = examples.run(['node', 'examples/sandbox.mjs'])
      await program.expect(/exit code 7/)
      program.child.kill(signal)
      expect((await program.ended).code).toBe(signal === 'SIGINT' ? 130 : 143)
      await examples.expectNothingLeft(`sandbox-${program.pid}-2`, examplesRoot)
    }
  })
})
