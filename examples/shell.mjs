// An interactive shell in a container, in the terminal that this is run from. Run it as root:
//
//   node examples/shell.mjs            a busybox container made for the occasion
//   node examples/shell.mjs BUNDLE     an OCI bundle of your own, with /bin/sh in it
import { resolve } from 'node:path'
import { Container } from 'libcontainer'
import { makeBundle, temporaryDirectory } from './bundle.mjs'

const { stdin, stdout } = process
if (!stdin.isTTY || !stdout.isTTY) {
  console.error('shell.mjs: run me in a terminal')
  process.exit(2)
}

const bundle = process.argv[2]
  ? resolve(process.argv[2])
  : makeBundle(temporaryDirectory('shell'), {
      hostname: 'shell',
      process: { args: ['/bin/sleep', '1000000'] },
    })

const container = await Container.create({
  root: '/run/libcontainer',
  id: `shell-${process.pid}`,
  bundle,
  ephemeral: true, // also when this program is killed
})

/** This terminal's size, in the words of the API. */
const size = () => ({ columns: stdout.columns, rows: stdout.rows })

async function runShell() {
  await container.start()
  const shell = await container.exec(
    'shell',
    {
      args: ['/bin/sh', '-i'],
      env: [
        'PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin',
        `TERM=${process.env.TERM ?? 'xterm'}`,
      ],
      terminal: true,
      consoleSize: { columns: stdout.columns, rows: stdout.rows },
    },
    { stdin: 'pipe', stdout: 'pipe' },
  )

  // Every key goes to the container's own terminal, which makes a signal of Ctrl-C and an end of file of Ctrl-D.
  stdin.setRawMode(true)
  stdin.pipe(shell.stdin)
  shell.stdin.on('error', () => undefined) // a key pressed while the shell was leaving
  shell.stdout.pipe(stdout, { end: false })
  const onResize = () => shell.resize(size()).catch(() => undefined)
  process.on('SIGWINCH', onResize)
  try {
    return await shell.wait()
  } finally {
    process.off('SIGWINCH', onResize)
    stdin.unpipe(shell.stdin)
    stdin.setRawMode(false)
    stdin.pause() // a terminal that is read keeps Node from ending
  }
}

try {
  const { exitCode, signal } = await runShell()
  console.log(`the shell ended with ${signal ?? `exit code ${exitCode}`}`)
  process.exitCode = exitCode
} finally {
  await container[Symbol.asyncDispose]()
}
