// Checks who imports whom, in TypeScript and in C++; a part of `make check`. CONTRIBUTING.md draws the same order.
//   node scripts/check-imports.mjs [FOLDER]   the package in FOLDER; default: this one
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { join, parse, resolve } from 'node:path'
import { cruise } from 'dependency-cruiser'

/** A folder or file of lib/ imports those to the right of it. */
const typescript = 'index container events process shim state oci native validate errors'.split(' ')

/** A folder of native/ includes those of the rows above it, and none of its own row. */
const cpp = [
  ['core'],
  ['oci'],
  ['state', 'cgroup', 'seccomp'],
  ['container', 'nsexec', 'client', 'events'],
  ['addon', 'shim'],
]

function filesIn(root, folder, ending) {
  const names = readdirSync(join(root, folder), { recursive: true }).filter((name) => ending.test(name))
  return names.sort().map((name) => `${folder}/${name}`)
}

/** `lib/shim/link.ts` is part of `shim`, `lib/errors.ts` is `errors`. */
const nameOf = (file) => parse(file.split('/')[1]).name

const withoutPlace = (files, known) =>
  files
    .filter((file) => !known.includes(nameOf(file)))
    .map((file) => `${file} has no place in the order of imports`)

const partOf = (names) => `^lib/(${names.join('|')})(/|\\.m?ts$)`

const rules = [
  { name: 'circle', comment: 'closes a circle', from: {}, to: { circular: true } },
  { name: 'missing', comment: 'is not found', from: { path: '^lib/' }, to: { couldNotResolve: true } },
  {
    name: 'outside',
    comment: 'lies outside lib/',
    from: { path: '^lib/' },
    to: { pathNot: '^lib/', dependencyTypes: ['local'] },
  },
  {
    name: 'cli',
    comment: 'is not public: the command line uses the package by its name',
    from: { path: '^cli/' },
    to: { path: '^lib/' },
  },
  ...typescript.slice(1).map((name, i) => ({
    name: `above-${name}`,
    comment: 'lies above it',
    from: { path: partOf([name]) },
    to: { path: partOf(typescript.slice(0, i + 1)) },
  })),
].map((rule) => ({ ...rule, severity: 'error' }))

async function checkTypescript(root) {
  const { output } = await cruise(
    ['lib', 'cli'].filter((folder) => existsSync(join(root, folder))),
    {
      baseDir: root,
      // Types count too.
      tsPreCompilationDeps: true,
      doNotFollow: { path: 'node_modules' },
      validate: true,
      ruleSet: { forbidden: rules },
    },
  )
  const found = output.summary.violations.map(({ from, to, rule, cycle }) => {
    const { comment } = rules.find(({ name }) => name === rule.name)
    const path = cycle ? ` (${[from, ...cycle.map(({ name }) => name)].join(' -> ')})` : ''
    return `${from} imports ${to}, which ${comment}${path}`
  })
  return [...withoutPlace(filesIn(root, 'lib', /\.m?ts$/), typescript), ...found]
}

/** Each circle once, as the files on the way round. */
function circlesOf(graph) {
  const circles = []
  const done = new Set()
  const path = []
  const visit = (file) => {
    const start = path.indexOf(file)
    if (start >= 0) circles.push([...path.slice(start), file])
    if (start >= 0 || done.has(file)) return
    path.push(file)
    for (const next of graph.get(file) ?? []) visit(next)
    path.pop()
    done.add(file)
  }
  for (const file of graph.keys()) visit(file)
  return circles
}

function checkInclude(root, file, included) {
  const [folder, target] = [file, included].map(nameOf)
  const [row, targetRow] = [folder, target].map((name) => cpp.findIndex((names) => names.includes(name)))
  if (!existsSync(join(root, included))) return 'is not found'
  if (targetRow < 0) return 'has no place in the order of imports'
  if (targetRow > row) return 'lies above it'
  if (targetRow === row && folder !== target) return 'lies beside it'
  return null
}

function checkCpp(root) {
  const files = filesIn(root, 'native', /\.(cc|h)$/).filter((file) => !file.startsWith('native/test/'))
  const found = withoutPlace(files, cpp.flat())
  const graph = new Map()
  for (const file of files) {
    const text = readFileSync(join(root, file), 'utf8')
    if (/^\s*#\s*include\s*[<"](napi|node_api)\.h[>"]/m.test(text) && !file.startsWith('native/addon/'))
      found.push(`${file} includes Node-API, which belongs to native/addon alone`)
    const includes = [...text.matchAll(/^\s*#\s*include\s*"([^"]+)"/gm)]
      .map(([, name]) => `native/${name}`)
      .filter((name) => name !== 'native/napi.h')
    graph.set(file, includes)
    for (const included of includes) {
      const fault = checkInclude(root, file, included)
      if (fault) found.push(`${file} includes ${included}, which ${fault}`)
    }
  }
  for (const circle of circlesOf(graph))
    found.push(`${circle[0]} includes ${circle[1]}, which closes a circle (${circle.join(' -> ')})`)
  return found
}

const root = resolve(process.argv[2] ?? join(import.meta.dirname, '..'))
const found = [...(await checkTypescript(root)), ...checkCpp(root)]
for (const fault of found) console.error(fault)
process.exitCode = found.length > 0 ? 1 : 0
