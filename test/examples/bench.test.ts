// The benchmarks in their smallest form: that every part runs to its end against whatever peers there are on the machine,
// that what it writes is whole, and that it leaves nothing behind. No figure is judged.
import { execFileSync } from 'node:child_process'
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { useExamples } from './run_example.js'

interface Results {
  validity: { doubts: string[]; failed: string[] }
  comparison: { name: string; ways: Record<string, { medianUs: number; p99Us: number; ratio: number }> }[]
  figures: { part: string; what: string; measured: number; target: string; met: boolean }[]
  parts: Record<string, unknown>
}

describe('make bench', () => {
  const examples = useExamples()
  let output = ''

  beforeEach(() => {
    output = mkdtempSync(join(tmpdir(), 'libcontainer-bench-test-'))
  })
  afterEach(() => rmSync(output, { recursive: true }))

  it('measures every part beside floors, runc and crun, and writes table and plots', async () => {
    const written = [`--output=${output}`, `--figures=${output}`]
    const bench = examples.run([
      process.execPath,
      'bench/run.mjs',
      '--size=smallest',
      '--without=go,docker',
      ...written,
    ])
    const { code } = await bench.ended
    expect(code, bench.stdout + bench.stderr).toBe(0)

    const results = JSON.parse(readFileSync(join(output, 'latest.json'), 'utf8')) as Results
    expect(results.validity.failed).toEqual([])
    expect(results.validity.doubts).toContain('too few samples (smallest)')
    expect(Object.keys(results.parts).sort()).toEqual(
      ['cgroups', 'confined', 'events', 'exec', 'memory', 'start'].sort(),
    )
    expect(results.comparison).toHaveLength(9)
    for (const { name, ways } of results.comparison) {
      expect(Object.keys(ways), name).toContain('runc')
      for (const [way, { medianUs, p99Us, ratio }] of Object.entries(ways)) {
        expect([medianUs > 0, p99Us >= medianUs, ratio > 0], `${name} by ${way}`).toEqual([true, true, true])
      }
      expect(ways['libcontainer']?.ratio).toBe(1)
      expect(bench.stdout).toContain(name)
    }
    for (const { part, what, measured } of results.figures) {
      expect(measured, `${part}: ${what}`).toBeTypeOf('number')
      expect(bench.stdout).toContain(`${part}: ${what}`)
    }

    const plots = readdirSync(output).filter((name) => name.endsWith('.svg'))
    expect(plots.sort()).toEqual(['exec.svg', 'overview.svg', 'start.svg', 'stats.svg'])
    for (const name of plots) {
      const parsed = execFileSync(
        'python3',
        [
          '-c',
          'import sys, xml.etree.ElementTree as t; print(t.parse(sys.argv[1]).getroot().tag)',
          join(output, name),
        ],
        { encoding: 'utf8' },
      )
      expect(parsed).toContain('svg')
      const content = readFileSync(join(output, name), 'utf8')
      expect(content).not.toMatch(/NaN|undefined|Infinity/)
      expect(content).toContain('node bench/run.mjs --size=smallest')
    }
    await examples.expectNothingLeft(`bench-${bench.pid}`)
  }, 300_000)
})
