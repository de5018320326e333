// The real addon without a container: pipes, signals, threads, exits and garbage collection with calls in flight.
import { spawn, spawnSync } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { afterAll, describe, expect, it } from 'vitest'
import { load } from '../../lib/native/load.js'

const { native, shim } = load()
const addon = resolve(shim, '..', 'libcontainer.node')
const directory = mkdtempSync(join(tmpdir(), 'lc-addon-'))
afterAll(() => rmSync(directory, { recursive: true, force: true }))

function run(source: string, ...flags: string[]): { status: number | null; stdout: string; stderr: string } {
  return spawnSync(process.execPath, [...flags, '-e', source], {
    env: { ...process.env, ADDON: addon, SHIM: shim, DIRECTORY: directory },
    encoding: 'utf8',
    timeout: 30000,
  })
}

describe('descriptors', () => {
  it('a pipe carries bytes that can be counted', async () => {
    const [reader, writer] = native.pipe()
    const { writeSync } = await import('node:fs')
    expect(native.pendingBytes(reader)).toBe(0)
    writeSync(writer, 'hello')
    expect(native.pendingBytes(reader)).toBe(5)
    native.closeFd(reader)
    native.closeFd(writer)
    expect(() => native.pendingBytes(reader)).toThrow(
      expect.objectContaining({ errno: 9, syscall: 'FIONREAD' }),
    )
  })
})

describe('processes', () => {
  it('are signalled by who they are', async () => {
    const child = spawn('sleep', ['100'])
    const pid = child.pid as number
    const starttime = native.startTime(pid) as number
    expect(starttime).toBeGreaterThan(0)
    expect(() => native.signalProcess(pid, starttime + 1, 9)).toThrow(expect.objectContaining({ errno: 3 }))
    native.signalProcess(pid, starttime, 15)
    const signal = await new Promise((done) => child.once('exit', (_code, name) => done(name)))
    expect(signal).toBe('SIGTERM')
    expect(native.startTime(pid)).toBeNull()
    expect(() => native.signalProcess(pid, starttime, 0)).toThrow(expect.objectContaining({ errno: 3 }))
  })
})

describe('shims', () => {
  it('that are not there: ENOENT; that are no programs: the path', async () => {
    await expect(native.connectShim(directory)).rejects.toMatchObject({ errno: 2 })
    await expect(native.connectShim(join(directory, 'none'))).rejects.toMatchObject({ errno: 2 })
    await expect(native.spawnShim('/does/not/exist', directory)).rejects.toMatchObject({
      errno: 2,
      path: '/does/not/exist',
    })
    await expect(native.spawnShim('/etc/passwd', directory)).rejects.toMatchObject({ errno: 13 })
  })

  it('a send over a connection that was never there is refused', () => {
    expect(() => native.send(4711, '{}', null, [])).toThrow(expect.objectContaining({ errno: 107 }))
    native.closeConnection(4711)
  })

  it('the shim by hand tells what it is', () => {
    const { status, stderr } = spawnSync(shim, [], { encoding: 'utf8' })
    expect(status).toBe(64)
    expect(stderr).toContain('started by libcontainer')
  })
})

describe('environments', () => {
  it('a program that only listens ends; one that awaits an answer does not', () => {
    expect(run(`require(process.env.ADDON).listenToWatches(() => {})`)).toMatchObject({ status: 0 })
    expect(
      run(`const native = require(process.env.ADDON); native.listenToWatches(() => {}); native.ref()
           setTimeout(() => { console.log('held'); native.unref() }, 200).unref()`),
    ).toMatchObject({ status: 0, stdout: 'held\n' })
  })

  it('worker threads have their own, load it again and again, and end with calls in flight', () => {
    const result = run(`
      const { Worker } = require('node:worker_threads')
      const source = \`
        const native = require(process.env.ADDON)
        for (let i = 0; i < 20; i++) native.connectShim(process.env.DIRECTORY).catch(() => {})
        for (let i = 0; i < 5; i++) native.spawnShim(process.env.SHIM, process.env.DIRECTORY).catch(() => {})
        require('node:worker_threads').parentPort.postMessage('up')
        setInterval(() => {}, 1000)\`
      let left = 12
      const next = () => {
        if (left-- === 0) return console.log('done')
        const worker = new Worker(source, { eval: true })
        worker.once('message', () => worker.terminate().then(next))
      }
      next()`)
    expect(result.stderr).toBe('')
    expect(result).toMatchObject({ status: 0, stdout: 'done\n' })
  })

  it('process.exit and garbage collection with calls in flight do no harm', () => {
    const result = run(
      `const native = require(process.env.ADDON)
       for (let i = 0; i < 50; i++) {
         native.connectShim(process.env.DIRECTORY).catch(() => {})
         native.container({ id: 'x', runtime: 'runc', runtimeArgs: [], pid: 1, starttime: 1 })
         const box = native.container({ id: 'x', runtime: 'runc', runtimeArgs: [], pid: process.pid,
           starttime: native.startTime(process.pid) })
         native.status(box).catch(() => {}); native.stats(box).catch(() => {}); native.pids(box).catch(() => {})
         global.gc()
       }
       setImmediate(() => process.exit(7))`,
      '--expose-gc',
    )
    expect(result.stderr).toBe('')
    expect(result.status).toBe(7)
  })
})
