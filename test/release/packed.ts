// The package as npm packs it, installed where there is a Node and what containers need, and nothing to compile with.
import { execFileSync, spawnSync } from 'node:child_process'
import { cpSync, existsSync, mkdirSync, mkdtempSync, realpathSync, rmSync, symlinkSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { packageRoot, which } from '../support/machine.js'
import { eventually } from '../support/wait.js'
import { cgroupsNamed } from '../support/traces.mjs'

const npm = join(dirname(realpathSync(which('npm') as string)), 'npm-cli.js')

/** Whatever PATH of a bare machine has: a shell, busybox and the runtimes. */
const programs = ['sh', 'busybox', 'runc', 'crun']
const absent = ['g++', 'gcc', 'cc', 'c++', 'clang', 'make', 'cmake', 'python3', 'python', 'node-gyp']

/** For scripts/prebuild.sh, unless `make test` has run it before. */
export const timeToCompile = 900_000

export interface Ended {
  code: number | null
  stdout: string
  stderr: string
}

export class Bare {
  readonly directory = mkdtempSync(join(tmpdir(), 'libcontainer-release-'))
  readonly app = join(this.directory, 'app')
  readonly #bin = join(this.directory, 'bin')

  /** `node`: what the programs are run with; a loader may stand before it. */
  constructor(readonly node: string[] = [process.execPath]) {
    mkdirSync(this.app)
    mkdirSync(this.#bin)
    for (const name of programs) {
      const path = which(name)
      if (path !== null) symlinkSync(path, join(this.#bin, name))
    }
    for (const name of absent)
      if (existsSync(join(this.#bin, name))) throw new Error(`${name} is in the bare PATH`)
  }

  run(command: string[]): Ended & { pid: number } {
    const { status, stdout, stderr, pid, error } = spawnSync(command[0] as string, command.slice(1), {
      cwd: this.app,
      encoding: 'utf8',
      timeout: 120_000,
      env: { PATH: this.#bin, HOME: this.directory, TMPDIR: this.directory, LANG: 'C' },
    })
    if (error) throw error
    return { code: status, stdout, stderr, pid }
  }

  /**
   * Installs the package by this machine's npm, with nothing else of this machine in PATH. Its dependencies come from
   * the checkout: a registry may be slow, away, or reached only with settings that a bare machine does not have.
   * `stderr` leaves out what npm says of itself, such as that there is a newer one.
   */
  install({ tarball, dependencies }: Packed): Ended {
    const options = ['--offline', '--foreground-scripts', '--no-audit', '--no-fund', '--no-update-notifier']
    const ended = this.run([process.execPath, npm, 'install', ...options, tarball, ...dependencies])
    return { ...ended, stderr: ended.stderr.replace(/^npm notice.*\n/gim, '') }
  }

  /** The quick start, as a module and as CommonJS; gives what went wrong, of each. */
  async quickStart(kind: 'esm' | 'cjs'): Promise<string[]> {
    for (const name of ['quick-start.mjs', 'bundle.mjs'])
      cpSync(join(packageRoot, 'examples', name), join(this.app, name))
    cpSync(join(packageRoot, 'test/release/programs/quick_start.cjs'), join(this.app, 'quick-start.cjs'))
    const { code, stdout, stderr, pid } = this.run([
      ...this.node,
      kind === 'esm' ? 'quick-start.mjs' : 'quick-start.cjs',
    ])
    const wrong = []
    if (code !== 0) wrong.push(`exit code ${code}`)
    if (stderr !== '') wrong.push(stderr)
    if (!/^processors: \d+$/m.test(stdout)) wrong.push(`wrote ${JSON.stringify(stdout)}`)
    if (!/^job-1 ended with exit code 0, signal null$/m.test(stdout)) wrong.push('no exit code of the job')
    const id = `quick-start-${pid}`
    const left = () => [join('/run/libcontainer', id), ...cgroupsNamed(id)].filter((path) => existsSync(path))
    await eventually('nothing left', () => left().length === 0).catch(() =>
      wrong.push(`left ${left().join(' ')}`),
    )
    return wrong
  }

  remove(): void {
    rmSync(this.directory, { recursive: true, force: true })
  }
}

export interface Packed {
  tarball: string
  files: string[]
  /** Tarballs of the packages that it depends on, as they are installed in the checkout. */
  dependencies: string[]
  remove(): void
}

function npmPack(directory: string, folder: string): { tarball: string; files: string[] } {
  const [packed] = JSON.parse(
    execFileSync(process.execPath, [npm, 'pack', '--json', `--pack-destination=${directory}`, folder], {
      cwd: packageRoot,
      encoding: 'utf8',
      stdio: ['ignore', 'pipe', 'ignore'],
    }),
  ) as { filename: string; files: { path: string }[] }[]
  if (packed === undefined) throw new Error(`npm packed nothing of ${folder}`)
  return { tarball: join(directory, packed.filename), files: packed.files.map(({ path }) => path).sort() }
}

/** Packs what is built. */
export function pack(): Packed {
  const directory = mkdtempSync(join(tmpdir(), 'libcontainer-pack-'))
  const dependencies = ['bindings', 'file-uri-to-path'].map((name) =>
    npmPack(directory, `./node_modules/${name}`),
  )
  return {
    ...npmPack(directory, '.'),
    dependencies: dependencies.map(({ tarball }) => tarball),
    remove: () => rmSync(directory, { recursive: true, force: true }),
  }
}
