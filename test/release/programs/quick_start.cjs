// The quick start as a CommonJS program, beside the example's bundle.mjs.
const { Container } = require('libcontainer')

async function main() {
  const { makeBundle, temporaryDirectory } = await import('./bundle.mjs')
  const bundle = makeBundle(temporaryDirectory('quick-start'), { process: { args: ['/bin/sleep', '1000'] } })
  const container = await Container.create({
    root: '/run/libcontainer',
    id: `quick-start-${process.pid}`,
    bundle,
    ephemeral: true,
  })
  try {
    await container.start()
    const job = await container.exec('job-1', { args: ['/bin/nproc'], cwd: '/' }, { stdout: 'pipe' })
    for await (const chunk of job.stdout) process.stdout.write(`processors: ${chunk}`)
    const { exitCode, signal } = await job.wait()
    console.log(`job-1 ended with exit code ${exitCode}, signal ${signal}`)
  } finally {
    await container[Symbol.asyncDispose]()
  }
}

main()
