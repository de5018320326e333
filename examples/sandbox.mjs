// Runs code that nobody trusts: no network, no privileges, a read-only root, and limits on time, memory, processes and
// output; says how it ended. Run it as root:
//
//   node examples/sandbox.mjs                 samples, good and bad
//   node examples/sandbox.mjs 'SHELL CODE'    yours, as JSON
import { rmSync } from 'node:fs'
import { join } from 'node:path'
import { Container } from 'libcontainer'
import { makeBundle, temporaryDirectory } from './bundle.mjs'

const limits = {
  timeMs: 2000,
  memoryBytes: 32 * 1024 * 1024,
  processes: 16,
  outputBytes: 64 * 1024,
}

const directory = temporaryDirectory('sandbox')
let serial = 0

/**
 * Runs `code` in a container of its own. Resolves to how it ended (`'exited'`, `'timed out'`, `'out of memory'`,
 * `'too much output'`, `'killed'`), its exit code or signal, and what it wrote.
 */
export async function runUntrusted(code) {
  const id = `sandbox-${process.pid}-${++serial}`
  const nobody = 65534
  const bundle = makeBundle(join(directory, id), {
    hostname: 'sandbox',
    process: {
      args: ['/bin/sh', '-c', code],
      user: { uid: nobody, gid: nobody },
      cwd: '/tmp',
      capabilities: {},
      noNewPrivileges: true,
    },
    // Set by the runtime before the program's first instruction.
    resources: {
      memory: { limit: limits.memoryBytes, swap: limits.memoryBytes },
      pids: { limit: limits.processes },
    },
  })
  const container = await Container.create({ root: '/run/libcontainer', id, bundle, ephemeral: true })
  try {
    return await observe(container)
  } finally {
    await container[Symbol.asyncDispose]()
    rmSync(bundle, { recursive: true })
  }
}

async function observe(container) {
  let broke = null // the first limit that was broken, of those that are watched from here
  // With init every process of the container's pid namespace ends.
  const stop = (why) => {
    broke ??= why
    container.kill('SIGKILL').catch(() => undefined) // it may have ended by itself meanwhile
  }

  const program = await container.start({ stdout: 'pipe', stderr: 'pipe' })
  const timer = setTimeout(() => stop('timed out'), limits.timeMs)

  let room = limits.outputBytes
  const collect = (stream) => {
    const chunks = []
    stream.on('data', (chunk) => {
      chunks.push(chunk.subarray(0, room))
      room -= Math.min(room, chunk.length)
      if (room === 0) stop('too much output')
    })
    return () => Buffer.concat(chunks).toString()
  }
  const stdout = collect(program.stdout)
  const stderr = collect(program.stderr)

  const { exitCode, signal, oomKilled } = await program.wait()
  clearTimeout(timer)
  const ended = broke ?? (oomKilled ? 'out of memory' : signal ? 'killed' : 'exited')
  return { ended, exitCode, signal, stdout: stdout(), stderr: stderr() }
}

const samples = {
  'says who it is': 'id; echo "host $(hostname), $(ls /proc | grep -c "^[0-9]") processes in sight"; exit 7',
  'never ends': 'echo working; while :; do :; done',
  'wants all memory': 'exec awk \'BEGIN { s = "x"; while (1) s = s s }\'',
  'writes without end': 'yes',
  'forks without end': 'f() { f & f; }; f 2>/dev/null; sleep 100',
  'writes where it must not': 'echo gotcha > /bin/sh',
}

async function main() {
  const code = process.argv[2]
  if (code !== undefined) {
    console.log(JSON.stringify(await runUntrusted(code), null, 2))
    return
  }
  for (const [what, sample] of Object.entries(samples)) {
    const { ended, exitCode, signal, stdout, stderr } = await runUntrusted(sample)
    console.log(`${what}\n  code    ${sample}\n  ended   ${ended}, ${signal ?? `exit code ${exitCode}`}`)
    for (const [name, text] of Object.entries({ stdout, stderr })) {
      if (text.length > 400) console.log(`  ${name}  ${text.length} bytes`)
      else if (text) console.log(`  ${name}  ${text.trimEnd().replaceAll('\n', '\n          ')}`)
    }
  }
}

await main()
