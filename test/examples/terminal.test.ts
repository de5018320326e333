// The shell in the browser, for real: the page's files, and a WebSocket that does what the page does.
import { once } from 'node:events'
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import WebSocket from 'ws'
import { cannotRunContainers } from '../support/machine.js'
import { eventually } from '../support/wait.js'
import { examplesRoot, type Running, useExamples } from './run_example.js'

describe.skipIf(cannotRunContainers())('the terminal in the browser', () => {
  const examples = useExamples()

  async function serve(): Promise<{ program: Running; address: URL }> {
    const program = examples.run(['node', 'examples/terminal.mjs', '0'])
    return { program, address: new URL(await program.expect(/http:.*/)) }
  }

  function connect(address: URL, origin = address.origin): WebSocket {
    return new WebSocket(address.href.replace(/^http/, 'ws'), { origin })
  }

  /** Why a connection is not made. */
  async function refusal(socket: WebSocket): Promise<string> {
    const [error] = (await once(socket, 'error')) as [Error]
    return error.message
  }

  /** Waits for something in what the terminal shows after what was found before. */
  function output(socket: WebSocket): (pattern: RegExp) => Promise<string> {
    let text = ''
    socket.on('message', (data: Buffer) => {
      text += data.toString()
    })
    return async (pattern) => {
      const match = await eventually(`${String(pattern)} in the terminal`, () => pattern.exec(text))
      text = text.slice(match.index + match[0].length)
      return match[0]
    }
  }

  async function end(program: Running, containers: number): Promise<void> {
    program.child.kill('SIGTERM')
    expect((await program.ended).code).toBe(143)
    expect(program.stderr).toBe('')
    for (let serial = 1; serial <= containers; ++serial) {
      await examples.expectNothingLeft(`terminal-${program.pid}-${serial}`, examplesRoot)
    }
  }

  it('gives the page, and a shell that follows its size and says how it ended', async () => {
    const { program, address } = await serve()
    const page = await (await fetch(address)).text()
    for (const [, file] of page.matchAll(/(?:src|href)="([^"]+)"/g)) {
      const response = await fetch(new URL(file as string, address))
      expect(response.status, file).toBe(200)
      expect((await response.text()).length).toBeGreaterThan(100)
    }
    expect((await fetch(new URL('/nothing', address))).status).toBe(404)

    const socket = connect(address)
    const shows = output(socket)
    const closed = once(socket, 'close')
    await once(socket, 'open')
    socket.send(JSON.stringify({ columns: 100, rows: 30 })) // at once, as the page does
    await shows(/\$ /)
    // A size and keys go to the terminal by two ways.
    const hasSize = (size: string): Promise<unknown> =>
      eventually(`size ${size}`, async () => {
        socket.send(Buffer.from('stty size\r'))
        return (await shows(/^\d+ \d+(?=\r)/m)) === size
      })
    await hasSize('30 100')
    socket.send(JSON.stringify({ columns: 123, rows: 41 }))
    await hasSize('41 123')
    socket.send(Buffer.from('id -u; echo $TERM\r'))
    await shows(/^65534\r\nxterm-256color\r$/m)
    socket.send(Buffer.from('echo be""gun; sleep 1000\r'))
    await shows(/begun/)
    socket.send(Buffer.from('\x03'))
    socket.send(Buffer.from('exit 7\r'))
    const [code, reason] = (await closed) as [number, Buffer]
    expect([code, reason.toString()]).toEqual([1000, 'the shell ended with exit code 7'])
    await end(program, 1)
  })

  it('ends the container with its page, however much the shell has to say', async () => {
    const { program, address } = await serve()
    const socket = connect(address)
    const shows = output(socket)
    await once(socket, 'open')
    await shows(/\$ /)
    socket.send(Buffer.from('yes\r'))
    await shows(/y\r\ny\r\n/)
    const directory = join(examplesRoot, `terminal-${program.pid}-1`)
    expect(existsSync(directory)).toBe(true)
    socket.terminate()
    await eventually('its end', () => !existsSync(directory))
    await end(program, 1)
  })

  it('turns away whoever has no token or comes from another site', async () => {
    const { program, address } = await serve()
    expect(await refusal(connect(new URL(address.origin)))).toContain('403')
    expect(await refusal(connect(new URL(`${address.href.slice(0, -1)}x`)))).toContain('403')
    expect(await refusal(connect(address, 'http://evil.example'))).toContain('403')
    const socket = connect(address)
    await once(socket, 'open')
    socket.send('no JSON')
    const [code] = (await once(socket, 'close')) as [number]
    expect(code).toBe(1003)
    await end(program, 1)
  })
})
