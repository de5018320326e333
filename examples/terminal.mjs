// A shell in the browser: a page with xterm.js, a WebSocket, and a terminal in a container that lives as long as the page
// is open. Run it as root (npm install ws @xterm/xterm), then open the address that it prints:
//
//   node examples/terminal.mjs [PORT]
//
// Whoever has the address has a shell: it holds a token, the server listens on this machine alone, and pages of other
// sites are turned away by their origin.
import { randomBytes, timingSafeEqual } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { createServer } from 'node:http'
import { createRequire } from 'node:module'
import { Container } from 'libcontainer'
import { WebSocketServer } from 'ws'
import { makeBundle, temporaryDirectory } from './bundle.mjs'

const port = Number(process.argv[2] ?? 8080)
const token = randomBytes(24).toString('hex')
const bundle = makeBundle(temporaryDirectory('terminal'), {
  hostname: 'browser',
  process: { args: ['/bin/sh', '-c', 'while :; do sleep 3600; done'], user: { uid: 65534, gid: 65534 } },
  resources: { memory: { limit: 64 * 1024 * 1024 }, pids: { limit: 32 } },
})

const page = `<!doctype html><title>shell</title><link rel="stylesheet" href="xterm.css">
<body style="margin:0; background:#000"><div id="terminal"></div>
<script src="xterm.js"></script>
<script src="page.js"></script>`

const script = `
const terminal = new Terminal()
terminal.open(document.getElementById('terminal'))
const socket = new WebSocket(location.href.replace(/^http/, 'ws'))
socket.binaryType = 'arraybuffer'
const size = ({ cols, rows }) => socket.send(JSON.stringify({ columns: cols, rows }))
const fit = () => {
  const cell = document.querySelector('.xterm-screen').getBoundingClientRect()
  const columns = Math.floor(innerWidth / (cell.width / terminal.cols))
  const rows = Math.floor(innerHeight / (cell.height / terminal.rows))
  terminal.resize(Math.max(columns, 2), Math.max(rows, 1))
}
socket.onopen = () => {
  terminal.onResize(size)
  terminal.onData((keys) => socket.send(new TextEncoder().encode(keys)))
  addEventListener('resize', fit)
  size(terminal)
  fit()
  terminal.focus()
}
socket.onmessage = ({ data }) => terminal.write(new Uint8Array(data))
socket.onclose = ({ reason }) => terminal.write('\\r\\n[' + (reason || 'connection lost') + ']')
`

const installed = (path) => readFileSync(createRequire(import.meta.url).resolve(`@xterm/xterm/${path}`))
const files = {
  '/': ['text/html; charset=utf-8', page],
  '/page.js': ['text/javascript', script],
  '/xterm.js': ['text/javascript', installed('lib/xterm.js')],
  '/xterm.css': ['text/css', installed('css/xterm.css')],
}

const server = createServer((request, response) => {
  const [type, body] = files[new URL(request.url, 'http://localhost').pathname] ?? []
  if (body === undefined) return response.writeHead(404).end()
  response.setHeader('content-type', type)
  // The address holds the token: no other site is to learn it.
  response.setHeader('referrer-policy', 'no-referrer')
  response.end(body)
})

function isAllowed(request) {
  const given = Buffer.from(new URL(request.url, 'http://localhost').searchParams.get('token') ?? '')
  const ours = Buffer.from(token)
  if (given.length !== ours.length || !timingSafeEqual(given, ours)) return false
  return request.headers.origin === `http://${request.headers.host}`
}

const sockets = new WebSocketServer({ noServer: true, maxPayload: 64 * 1024 })
server.on('upgrade', (request, socket, head) => {
  if (!isAllowed(request)) return socket.end('HTTP/1.1 403 Forbidden\r\nconnection: close\r\n\r\n')
  sockets.handleUpgrade(request, socket, head, (websocket) => {
    serve(websocket).catch((error) => {
      console.error(error.message)
      websocket.close(1011, 'the shell could not be started')
    })
  })
})

let serial = 0

/** One connection, one container, one shell. */
async function serve(socket) {
  const id = `terminal-${process.pid}-${++serial}`
  const closed = new Promise((resolve) => socket.once('close', resolve))
  socket.pause() // until there is a shell to hear what is said
  const container = await Container.create({ root: '/run/libcontainer', id, bundle, ephemeral: true })
  try {
    await container.start()
    const shell = await container.exec(
      'shell',
      { args: ['/bin/sh', '-i'], env: ['PATH=/bin', 'TERM=xterm-256color'], cwd: '/tmp', terminal: true },
      { stdin: 'pipe', stdout: 'pipe' },
    )
    shell.stdin.on('error', () => undefined) // a key pressed while the shell was leaving
    socket.on('message', (data, isBinary) => {
      if (!isBinary) return resize(socket, shell, data)
      if (shell.stdin.write(data)) return
      socket.pause()
      shell.stdin.once('drain', () => socket.resume())
    })
    socket.resume()
    // A browser that cannot keep up holds the shell's output up, not this program's memory.
    const copied = (async () => {
      for await (const chunk of shell.stdout) await new Promise((resolve) => socket.send(chunk, resolve))
    })()
    const { exitCode, signal } = await Promise.race([shell.wait(), closed.then(() => ({}))])
    if (exitCode === undefined) return
    await Promise.race([copied, closed])
    socket.close(1000, `the shell ended with ${signal ?? `exit code ${exitCode}`}`)
  } finally {
    await container[Symbol.asyncDispose]()
  }
}

function resize(socket, shell, text) {
  try {
    shell.resize(JSON.parse(text)).catch(() => undefined) // it may have exited
  } catch {
    socket.close(1003, 'not a size')
  }
}

server.listen(port, '127.0.0.1', () => {
  console.log(`http://127.0.0.1:${server.address().port}/?token=${token}`)
})
