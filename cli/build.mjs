// Makes dist/cli.js of cli/: one file with the libraries it is written with, so that the package depends on none of them.
// Their licences go beside it, to dist/cli.licenses.txt.
import { chmodSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { build } from 'esbuild'

const packageRoot = join(dirname(fileURLToPath(import.meta.url)), '..')
const outfile = join(packageRoot, 'dist', 'cli.js')

const { metafile } = await build({
  absWorkingDir: packageRoot,
  entryPoints: ['cli/main.ts'],
  outfile,
  bundle: true,
  platform: 'node',
  target: 'node20',
  format: 'cjs',
  // The package itself, by its own name: what the command line uses is what everybody has.
  external: ['libcontainer'],
  tsconfigRaw: {},
  banner: {
    js: '#!/usr/bin/env node\n/*! Of libcontainer, Apache-2.0. What others wrote of it: see cli.licenses.txt. */',
  },
  legalComments: 'inline',
  metafile: true,
})
chmodSync(outfile, 0o755)

const bundled = new Set()
for (const input of Object.keys(metafile.inputs)) {
  const at = input.lastIndexOf('node_modules/')
  if (at < 0) continue
  const [first, second] = input.slice(at + 'node_modules/'.length).split('/')
  bundled.add(join(input.slice(0, at), 'node_modules', first.startsWith('@') ? `${first}/${second}` : first))
}
const texts = [...bundled].sort().map((directory) => {
  const { name, version } = JSON.parse(readFileSync(join(packageRoot, directory, 'package.json'), 'utf8'))
  const file = readdirSync(join(packageRoot, directory)).find((entry) => /^licen[cs]e(\.|$)/i.test(entry))
  if (file === undefined) throw new Error(`${name} is bundled and has no licence text`)
  return `${name} ${version}\n\n${readFileSync(join(packageRoot, directory, file), 'utf8').trim()}\n`
})
writeFileSync(
  join(packageRoot, 'dist', 'cli.licenses.txt'),
  `dist/cli.js holds code of these packages.\n\n${texts.join(`\n${'-'.repeat(72)}\n\n`)}`,
)
