// The code in README.md and docs/: taken out of the pages, compiled against the package as a user would, and run.
//
// A block is a module of its own. What it does not declare itself it may take from the ground that docs/README.md tells of:
// `root`, `bundle`, and `container`, which runs. `// => text` is a line that it prints. `<!-- not run: why -->` before the
// fence keeps a block from being run, not from being compiled.
import { mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { dirname, join, relative } from 'node:path'
import ts from 'typescript'
import { packageRoot } from '../support/machine.js'

/** A fenced block of TypeScript. */
export interface Block {
  page: string
  /** Of the page, from 1, where the code begins. */
  line: number
  code: string
  /** Why it is not run. */
  notRun: string | null
  /** Lines that it prints, in order; others may be between. */
  prints: string[]
  /** Where its compiled form lies. */
  module: string
}

/** Pages with code in them, relative to the package. */
export function pages(): string[] {
  const docs = readdirSync(join(packageRoot, 'docs')).filter((name) => name.endsWith('.md'))
  return ['README.md', ...docs.map((name) => join('docs', name))]
}

/** The links and pictures of a page that lead to files beside it, as written; those to the web are left out. */
export function linksOf(page: string): string[] {
  const links = readFileSync(join(packageRoot, page), 'utf8').matchAll(/\]\(([^)\s]+)\)/g)
  return [...links].map(([, link]) => link as string).filter((link) => !/^https?:/.test(link))
}

const fence = /^(?:<!-- not run: ([^\n]*?) -->\n+)?```(\w+)[^\n]*\n(.*?)^```$/gms

/** All blocks of a page; what is no TypeScript must not look like it. */
export function blocksOf(page: string, directory: string): Block[] {
  const text = readFileSync(join(packageRoot, page), 'utf8')
  const blocks: Block[] = []
  for (const match of text.matchAll(fence)) {
    const [whole, notRun, language, code] = match as unknown as [string, string | undefined, string, string]
    if (!['ts', 'js', 'mjs', 'javascript', 'typescript'].includes(language)) continue
    if (language !== 'ts') throw new Error(`${page}: a block of ${language}; examples are \`\`\`ts`)
    const start = match.index + whole.length - code.length - 3
    const line = text.slice(0, start).split('\n').length
    blocks.push({
      page,
      line,
      code,
      notRun: notRun ?? null,
      prints: [...code.matchAll(/\/\/ => (.*)$/gm)].map(([, said]) => said as string),
      module: join(directory, page.replace(/\.md$/, ''), `line-${line}.mts`),
    })
  }
  return blocks
}

const ground = `declare global {
  const root: string
  const bundle: string
  const container: import('libcontainer').Container
}
export {}
`

/** Container ids of the pages are short words; what runs beside this must not have them. */
function withOwnIds(code: string, suffix: string): string {
  return code
    .replaceAll(/\bid: '([\w-]+)'/g, (_, id: string) => `id: '${id}-${suffix}'`)
    .replaceAll(
      /\bContainer\.load\(root, '([\w-]+)'/g,
      (_, id: string) => `Container.load(root, '${id}-${suffix}'`,
    )
    .replaceAll(`'/srv/bundles/web'`, 'bundle')
    .replaceAll(`'/run/libcontainer'`, 'root')
}

/** Writes and compiles the blocks below `directory`, which lies in the package; throws what the compiler says. */
export function compile(blocks: Block[], directory: string, suffix: string): void {
  rmSync(directory, { recursive: true, force: true })
  mkdirSync(directory, { recursive: true })
  const files = blocks.map((block) => {
    mkdirSync(dirname(block.module), { recursive: true })
    // On the line that it has in its page, so that whoever complains names that one.
    writeFileSync(
      block.module,
      '\n'.repeat(block.line - 1) + withOwnIds(block.code, suffix) + '\nexport {}\n',
    )
    return block.module
  })
  writeFileSync(join(directory, 'ground.d.mts'), ground)
  const program = ts.createProgram([...files, join(directory, 'ground.d.mts')], {
    target: ts.ScriptTarget.ES2022,
    module: ts.ModuleKind.Node16,
    moduleResolution: ts.ModuleResolutionKind.Node16,
    lib: ['lib.es2023.d.ts', 'lib.esnext.disposable.d.ts'],
    types: ['node'],
    typeRoots: [join(packageRoot, 'node_modules/@types')],
    strict: true,
    skipLibCheck: false, // the declarations of the package are looked at, too
    inlineSourceMap: true,
    rootDir: directory,
  })
  const { diagnostics } = program.emit()
  const wrong = [...ts.getPreEmitDiagnostics(program), ...diagnostics].map((diagnostic) => {
    const message = ts.flattenDiagnosticMessageText(diagnostic.messageText, '\n')
    if (!diagnostic.file) return message
    const { line } = diagnostic.file.getLineAndCharacterOfPosition(diagnostic.start ?? 0)
    const page = dirname(relative(directory, diagnostic.file.fileName))
    return `${page}.md:${line + 1}: ${message}`
  })
  if (wrong.length > 0) throw new Error(`the pages' code does not compile:\n${wrong.join('\n')}`)
}
