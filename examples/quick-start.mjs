// The README's quick start: a container, a process in it, its output and its exit code. Run it as root:
//
//   node examples/quick-start.mjs
import { Container } from 'libcontainer'
import { makeBundle, temporaryDirectory } from './bundle.mjs'

const bundle = makeBundle(temporaryDirectory('quick-start'), {
  process: { args: ['/bin/sh', '-c', 'echo hello; sleep 1000'] },
})

// Ephemeral: it never outlives this program. In TypeScript, and in a Node that knows `await using`, that one line
// replaces the try and finally below.
const container = await Container.create({
  root: '/run/libcontainer',
  id: `quick-start-${process.pid}`,
  bundle,
  ephemeral: true,
})
try {
  const init = await container.start({ stdout: 'pipe' })
  init.stdout.on('data', (chunk) => process.stdout.write(`init says: ${chunk}`))

  const job = await container.exec(
    'job-1',
    { args: ['/bin/sh', '-c', 'nproc'], cwd: '/' },
    { stdout: 'pipe' },
  )
  for await (const chunk of job.stdout) process.stdout.write(`processors: ${chunk}`)
  const { exitCode, signal } = await job.wait()
  console.log(`job-1 ended with exit code ${exitCode}, signal ${signal}`)
} finally {
  await container[Symbol.asyncDispose]()
}
