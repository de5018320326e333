// Takes the last whole run into README.md and docs/: what stands there between the two marks, and the plots.
//   node bench/publish.mjs [--anyway]       refuses a run that says itself that it is not to be believed
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { parseArgs } from 'node:util'
import { comparisonTable, figureTable, markdownTable } from './comparison.mjs'
import { draw, originOf } from './plot.mjs'

const begin = '<!-- figures: written by bench/publish.mjs -->'
const end = '<!-- end of figures -->'
const { values } = parseArgs({ options: { anyway: { type: 'boolean', default: false } } })
const repository = new URL('../', import.meta.url)
const results = JSON.parse(readFileSync(new URL('bench/results/latest.json', repository), 'utf8'))
const { doubts, failed } = results.validity
const against = [...doubts, ...failed.map((name) => `${name} failed`)]
if (against.length > 0 && !values.anyway) {
  process.stderr.write(`not published: ${against.join('; ')}\n`)
  process.exit(1)
}

function replace(file, content) {
  const path = new URL(file, repository)
  const text = readFileSync(path, 'utf8')
  const [from, to] = [text.indexOf(begin), text.indexOf(end)]
  if (from < 0 || to < from) throw new Error(`${file} has no place for figures: ${begin} ... ${end}`)
  writeFileSync(path, `${text.slice(0, from)}${begin}\n\n${content.join('\n\n')}\n\n${text.slice(to)}`)
}

const { head, rows } = comparisonTable(results.comparison)
const origin = `One run of \`${results.command}\`: ${originOf(results).slice(1).join('; ')}.`
const what =
  'Median and p99 of libcontainer in microseconds; under the others how many times that median theirs is.'
const reached = results.figures.filter(({ met }) => met).length
const aims = figureTable(results.figures)

replace('README.md', [
  '![What a call takes, and what else does the same](docs/figures/overview.svg)',
  `${what} ${origin}`,
  markdownTable(head, rows),
])
replace('docs/performance.md', [
  origin,
  what,
  markdownTable(head, rows),
  ...Object.keys(draw(results)).map((name) => `![${name.replace('.svg', '')}](figures/${name})`),
  `${reached} of ${results.figures.length} aims are reached:`,
  markdownTable(aims.head, aims.rows),
])
const figures = new URL('docs/figures/', repository)
mkdirSync(figures, { recursive: true })
for (const [name, content] of Object.entries(draw(results))) writeFileSync(new URL(name, figures), content)
