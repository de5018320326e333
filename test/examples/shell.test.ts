// The interactive shell, for real, under a terminal that script(1) makes.
import { execFileSync } from 'node:child_process'
import { readlinkSync, rmSync } from 'node:fs'
import { describe, expect, it } from 'vitest'
import { cannotRunContainers } from '../support/machine.js'
import { isAlive, pids, procStat, read } from '../support/processes.mjs'
import { eventually } from '../support/wait.js'
import { examplesRoot, type Running, useExamples } from './run_example.js'

/** The example's own process, below script(1). */
async function exampleBelow(script: number): Promise<number> {
  return eventually('the example', () =>
    pids().find((pid) => {
      const isExample = read(`/proc/${pid}/cmdline`)?.includes('\0examples/shell.mjs') ?? false
      return isExample && procStat(procStat(pid)?.parent ?? 0)?.parent === script
    }),
  )
}

describe.skipIf(cannotRunContainers())('the shell', () => {
  const examples = useExamples()

  /** In a terminal of 30 rows and 100 columns; says afterwards whether the terminal is as it was. */
  function open(): Running {
    const session =
      'stty rows 30 cols 100; before=$(stty -g); node examples/shell.mjs; code=$?; ' +
      '[ "$before" = "$(stty -g)" ] && echo terminal restored; exit $code'
    return examples.run(['script', '-qec', session, '/dev/null'])
  }

  it('has the size of the terminal, follows it, passes Ctrl-C and Ctrl-D on, and restores it', async () => {
    const script = open()
    await script.expect(/# /)
    const pid = await exampleBelow(script.pid)
    script.write('stty size\r')
    await script.expect(/^30 100\r*$/m)

    // As a window that is resized: the kernel sends SIGWINCH to who is in the foreground.
    execFileSync('stty', ['-F', readlinkSync(`/proc/${pid}/fd/0`), 'rows', '41', 'cols', '123'])
    await eventually('the new size', async () => {
      script.write('stty size\r')
      return /^41 123\r*$/m.test(await script.expect(/^\d+ \d+\r*$/m))
    })

    script.write('sleep 1000; echo sl""ept $?\r')
    await script.expect(/sleep 1000/)
    await eventually('sleep in the foreground', () =>
      pids().some(
        (one) => read(`/proc/${one}/cmdline`) === 'sleep\x001000\0' && isBelow(one, `shell-${pid}`),
      ),
    )
    script.write('\x03')
    script.write('echo st""ill here $?\r')
    await script.expect(/still here 130/)
    script.write('ho""stname; id -u\r')
    await script.expect(/^shell\r*\n0\r*$/m)

    script.write('\x04')
    const { code } = await script.ended
    expect(script.stdout).toContain('the shell ended with exit code 0')
    expect(script.stdout).toContain('terminal restored')
    expect(script.stdout).not.toContain('slept')
    expect(code).toBe(0)
    await examples.expectNothingLeft(`shell-${pid}`, examplesRoot)
  })

  it("ends with the shell's exit code", async () => {
    const script = open()
    await script.expect(/# /)
    const pid = await exampleBelow(script.pid)
    script.write('exit 3\r')
    expect((await script.ended).code).toBe(3)
    expect(script.stdout).toContain('terminal restored')
    await examples.expectNothingLeft(`shell-${pid}`, examplesRoot)
  })

  it('leaves nothing when its terminal is closed', async () => {
    const script = open()
    await script.expect(/# /)
    const pid = await exampleBelow(script.pid)
    script.child.kill('SIGKILL') // with it the terminal's other side
    await eventually('its end', () => !isAlive(pid))
    await examples.expectNothingLeft(`shell-${pid}`, examplesRoot)
  })

  it('leaves no container when it is killed', async () => {
    const script = open()
    await script.expect(/# /)
    const pid = await exampleBelow(script.pid)
    const directory = /^TMPDIR=(.*)$/m.exec(
      (read(`/proc/${pid}/environ`) ?? '').replaceAll('\0', '\n'),
    )?.[1] as string
    process.kill(pid, 'SIGKILL')
    expect((await script.ended).code).toBe(137)
    // The bundle is a plain directory, which nobody is left to remove.
    rmSync(directory, { recursive: true })
    execFileSync('mkdir', [directory])
    await examples.expectNothingLeft(`shell-${pid}`, examplesRoot)
  })

  it('wants a terminal', async () => {
    const program = examples.run(['node', 'examples/shell.mjs'])
    expect((await program.ended).code).toBe(2)
    expect(program.stderr).toBe('shell.mjs: run me in a terminal\n')
  })
})

function isBelow(pid: number, containerId: string): boolean {
  return read(`/proc/${pid}/cgroup`)?.includes(`/${containerId}\n`) ?? false
}
