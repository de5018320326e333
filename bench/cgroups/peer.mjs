// Builds the Go program of peer/ from Debian's Go packages, without network and outside of any module.
import { execFileSync } from 'node:child_process'
import { existsSync } from 'node:fs'
import { join } from 'node:path'

export const goPackages = ['golang-go', 'golang-github-opencontainers-runc-dev']
const gopath = '/usr/share/gocode'

/** Path of the binary and version of Go, or why there is none. */
export function buildPeer(directory, cache) {
  const binary = join(directory, 'go-libcontainer')
  try {
    if (!existsSync(join(gopath, 'src/github.com/opencontainers/runc/libcontainer'))) {
      throw new Error(`${goPackages[1]} is not installed`)
    }
    const env = {
      ...process.env,
      CGO_ENABLED: '0',
      GO111MODULE: 'off',
      GOCACHE: cache,
      GOFLAGS: '',
      GOPATH: gopath,
      GOPROXY: 'off',
    }
    execFileSync('go', ['build', '-o', binary, '.'], {
      cwd: new URL('peer/', import.meta.url),
      env,
      stdio: ['ignore', 'inherit', 'inherit'],
    })
    return { binary, go: execFileSync('go', ['version'], { encoding: 'utf8', env }).trim() }
  } catch (error) {
    const reason = error.code === 'ENOENT' ? `${goPackages[0]} is not installed` : error.message
    return { missing: reason }
  }
}
