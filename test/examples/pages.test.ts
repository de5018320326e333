// Every example in README.md and docs/ compiles and does what the page says.
import { existsSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { cannotRunContainers, packageRoot } from '../support/machine.js'
import { shimsBelow } from '../support/processes.mjs'
import { eventually } from '../support/wait.js'
import { blocksOf, compile, linksOf, pages } from './pages.js'
import { useExamples } from './run_example.js'

// In the package, so that 'libcontainer' is found by its name; ignored by git as all of build-*.
const directory = join(packageRoot, `build-pages-${process.pid}`)
const suffix = `page-${process.pid}`

describe.skipIf(cannotRunContainers())('the examples in the pages', () => {
  const examples = useExamples()
  const blocks = pages().flatMap((page) => blocksOf(page, directory))
  beforeAll(() => compile(blocks, directory, suffix))
  // Not among the temporary files, which go as soon as a host that hangs is killed: its shims still need their state.
  const root = join(tmpdir(), `libcontainer-${suffix}`)
  afterAll(async () => {
    rmSync(directory, { recursive: true, force: true })
    await eventually('the end of all shims', () => shimsBelow(root).length === 0)
    rmSync(root, { recursive: true, force: true })
  })

  it('do what the pages say, and leave nothing', async () => {
    const run = blocks.filter(({ notRun }) => notRun === null)
    expect(new Set(run.map(({ page }) => page))).toContain('README.md')
    const modules = run.map(({ module }) => module.replace(/\.mts$/, '.mjs'))
    const host = ['node', '--enable-source-maps', 'test/examples/page_host.mjs']
    const program = examples.run([...host, root, ...modules])
    const { code } = await program.ended
    expect(program.stderr).toBe('')
    expect(code).toBe(0)

    const said = program.stdout
      .replaceAll('\r', '')
      .split(/^=== .*\n/m)
      .slice(1)
    expect(said).toHaveLength(run.length)
    run.forEach(({ page, line, prints }, index) => {
      const lines = (said[index] as string).split('\n')
      let from = 0
      for (const wanted of prints) {
        const at = lines.indexOf(wanted, from)
        expect(at, `${page}:${line} prints '${wanted}', in ${JSON.stringify(said[index])}`).not.toBe(-1)
        from = at + 1
      }
    })
    await examples.expectNothingLeft(suffix)
  })

  it('that are not run say why', () => {
    for (const { page, line, notRun } of blocks) {
      if (notRun !== null) expect(notRun, `${page}:${line}`).toMatch(/\w+ \w+ \w+/)
    }
  })
})

describe('the links of the pages', () => {
  it('lead to files and headings that are there', () => {
    const anchors = (path: string): Set<string> =>
      new Set(
        [...readFileSync(path, 'utf8').matchAll(/^#+ (.*)$/gm)].map(([, heading]) =>
          (heading as string)
            .toLowerCase()
            .replaceAll(/[^\w\- ]/g, '')
            .replaceAll(' ', '-'),
        ),
      )
    const beside = ['CONTRIBUTING.md', 'CHANGELOG.md', 'SECURITY.md', 'examples/README.md', 'bench/README.md']
    for (const page of [...pages(), ...beside]) {
      const path = join(packageRoot, page)
      for (const link of linksOf(page)) {
        const [file, anchor] = link.split('#') as [string, string?]
        const to = file === '' ? path : join(dirname(path), file)
        expect(existsSync(to), `${page}: ${link}`).toBe(true)
        if (anchor !== undefined) expect(anchors(to), `${page}: ${link}`).toContain(anchor)
      }
    }
  })
})

describe('the page of errors', () => {
  it('has every code', () => {
    const read = (path: string): string => readFileSync(join(packageRoot, path), 'utf8')
    const find = (path: string, pattern: RegExp): Set<unknown> =>
      new Set([...read(path).matchAll(pattern)].map(([, code]) => code))
    const codes = find('lib/errors.ts', /^ {2}\| '(ERR_\w+)'$/gm)
    expect(codes.size).toBeGreaterThan(10)
    expect(find('docs/errors.md', /^\| `(ERR_\w+)` \|/gm)).toEqual(codes)

    // And no other one is spoken of anywhere.
    const sources = readdirSync(join(packageRoot, 'lib'), { recursive: true, encoding: 'utf8' })
      .filter((name) => name.endsWith('.ts'))
      .map((name) => join('lib', name))
    for (const path of [...pages(), ...sources]) {
      for (const code of find(path, /\b(ERR_\w+)/g)) {
        if (code !== 'ERR_INVALID_ARG_TYPE' && code !== 'ERR_INVALID_ARG_VALUE') {
          expect(codes, `${path}: ${String(code)}`).toContain(code)
        }
      }
    }
  })
})
