// A monitoring agent: the figures of every container below a root, for Prometheus, by one native pass over all of them
// and without running anything. The containers may be other programs'. Run it as root:
//
//   node examples/monitor.mjs [ROOT [PORT]]      then look at http://127.0.0.1:PORT/metrics
import { createServer } from 'node:http'
import { Container } from 'libcontainer'

const [root = '/run/libcontainer', port = '9323'] = process.argv.slice(2)

/** Handles by id, each with what its events have told. */
const known = new Map()

/** Counts OOM kills and exits of a container until it is deleted. */
async function follow(container, counts) {
  for await (const event of container.events()) {
    if (event.type === 'oom') counts.oomKills += event.count
    if (event.type === 'exited') counts.exits += 1
  }
  known.delete(container.id)
  await container.close()
}

/** Takes up containers that came since the last look. */
async function discover() {
  for (const id of await Container.list(root)) {
    if (known.has(id)) continue
    const container = await Container.load(root, id).catch(() => null) // deleted meanwhile, or not to be read
    if (!container) continue
    const counts = { oomKills: 0, exits: 0 }
    known.set(id, { container, counts })
    follow(container, counts).catch((error) => console.error(`${id}: ${error.message}`))
  }
}

const gauges = [
  ['cpu_seconds_total', 'counter', ({ cpu }) => cpu.usage.total / 1e9],
  ['cpu_throttled_seconds_total', 'counter', ({ cpu }) => cpu.throttling.throttledTime / 1e9],
  ['memory_bytes', 'gauge', ({ memory }) => memory.usage.usage],
  ['memory_limit_bytes', 'gauge', ({ memory }) => memory.usage.limit ?? undefined],
  ['memory_pressure_seconds_total', 'counter', ({ memory }) => memory.psi?.some?.total / 1e6],
  ['tasks', 'gauge', ({ pids }) => pids.current],
  ['oom_kills_total', 'counter', (_stats, { oomKills }) => oomKills],
  ['exits_total', 'counter', (_stats, { exits }) => exits],
]

async function metrics() {
  await discover()
  const entries = [...known.values()]
  const figures = await Container.stats(entries.map(({ container }) => container))
  const lines = []
  for (const [name, type, read] of gauges) {
    lines.push(`# TYPE container_${name} ${type}`)
    entries.forEach(({ container, counts }, index) => {
      const stats = figures[index]
      if (stats instanceof Error) return // it does not run: it has no figures
      const value = read(stats, counts)
      // What the kernel does not give is left out: 0 would be a figure.
      if (Number.isFinite(value)) lines.push(`container_${name}{id="${container.id}"} ${value}`)
    })
  }
  return `${lines.join('\n')}\n`
}

const server = createServer((request, response) => {
  if (request.url !== '/metrics') return response.writeHead(404).end()
  metrics().then(
    (text) => response.setHeader('content-type', 'text/plain; version=0.0.4').end(text),
    (error) => response.writeHead(500).end(`${error.message}\n`),
  )
})
server.listen(Number(port), '127.0.0.1', () => {
  console.log(`http://127.0.0.1:${server.address().port}/metrics`)
})
