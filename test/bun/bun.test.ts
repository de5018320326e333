// What is special in Bun: that these tests run in it at all, each start's output, and an end without close().
import { describe, expect, test } from 'vitest'
import { useContainers } from '../support/containers.js'
import { cannotRunContainers, runtimes } from '../support/machine.js'
import { runProgram } from '../support/programs.js'

test('this is Bun', () => {
  expect(process.versions['bun']).toBeDefined()
})

describe.skipIf(cannotRunContainers()).each(runtimes)('%s', (runtime) => {
  const ground = useContainers(runtime)

  test('the whole output of sixty starts is there before wait() resolves', async () => {
    for (let n = 0; n < 60; ++n) {
      const container = await ground.create({ bundle: ground.bundleOf(['/bin/echo', `first words ${n}`]) })
      const init = await container.start({ stdout: 'pipe' })
      let out = ''
      init.stdout.setEncoding('utf8').on('data', (text: string) => (out += text))
      await init.wait()
      expect(out).toBe(`first words ${n}\n`)
      await container.delete()
    }
  })

  test('what is written to a full pipe arrives whole, in order', async () => {
    const container = await ground.running()
    const job = await container.exec(
      'job',
      { args: ['/bin/sh', '-c', 'sleep 0.3; cat'] },
      { stdin: 'pipe', stdout: 'pipe' },
    )
    const sent = Buffer.alloc(1_000_000, '0123456789abcdef\n')
    job.stdin.end(sent)
    const got: Buffer[] = []
    for await (const chunk of job.stdout) got.push(chunk as Buffer)
    expect(Buffer.concat(got).equals(sent)).toBe(true)
    expect((await job.wait()).exitCode).toBe(0)
  })

  test('an open connection keeps no program from ending', async () => {
    const container = await ground.running()
    const said = await runProgram(
      `const container = await Container.load(args.root, args.id)
       const job = await container.exec('job', { args: ['/bin/echo', 'done'] }, { stdout: 'pipe' })
       let out = ''
       job.stdout.on('data', (chunk) => (out += chunk))
       say([process.versions.bun !== undefined, (await job.wait()).exitCode, out])`,
      { root: ground.root, id: container.id },
    )
    expect(said).toEqual([[true, 0, 'done\n']])
  })
})
