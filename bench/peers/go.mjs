// Builds the Go program of go/ from Debian's Go packages, without network and outside of any module.
import { execFileSync } from 'node:child_process'
import { existsSync } from 'node:fs'
import { join } from 'node:path'

export const goPackages = ['golang-go', 'golang-github-opencontainers-runc-dev']
const gopath = '/usr/share/gocode'
const cache = new URL('../../build/go-cache', import.meta.url).pathname

/** Path of the binary and the versions, or why there is none. */
export function buildGo(directory) {
  const binary = join(directory, 'go-libcontainer')
  try {
    if (!existsSync(join(gopath, 'src/github.com/opencontainers/runc/libcontainer'))) {
      throw new Error(`${goPackages[1]} is not installed`)
    }
    const env = {
      ...process.env,
      CGO_ENABLED: '1', // nsenter, which joins namespaces before Go has threads, is C
      GO111MODULE: 'off',
      GOCACHE: cache,
      GOFLAGS: '',
      GOPATH: gopath,
      GOPROXY: 'off',
    }
    execFileSync('go', ['build', '-o', binary, '.'], {
      cwd: new URL('go/', import.meta.url),
      env,
      stdio: ['ignore', 'inherit', 'inherit'],
    })
    const query = ['-W', '-f', '${Version}', goPackages[1]]
    return {
      binary,
      version: execFileSync('dpkg-query', query, { encoding: 'utf8' }),
      go: execFileSync('go', ['env', 'GOVERSION'], { encoding: 'utf8', env }).trim(),
    }
  } catch (error) {
    const reason = error.code === 'ENOENT' ? `${goPackages[0]} is not installed` : error.message
    return { missing: reason }
  }
}
