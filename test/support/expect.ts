// What tests say again and again.
import type { Readable } from 'node:stream'
import { expect } from 'vitest'
import type { Container, ContainerErrorCode, ExitStatus, ProcessSpec } from '../../lib/index.js'

/** The error that a promise rejects with; fails when it does not. */
// eslint-disable-next-line @typescript-eslint/no-explicit-any
export async function failure(promise: Promise<unknown>): Promise<any> {
  let value: unknown
  try {
    value = await promise
  } catch (error) {
    return error
  }
  throw new Error(`expected a rejection, got ${JSON.stringify(value)}`)
}

/** Rejects with a ContainerError of that code; gives it for a closer look. */
export async function expectCode(
  promise: Promise<unknown>,
  code: ContainerErrorCode,
  // eslint-disable-next-line @typescript-eslint/no-explicit-any
): Promise<any> {
  const error = await failure(promise)
  expect(error, String(error)).toMatchObject({ name: 'ContainerError', code })
  return error
}

export async function text(stream: Readable | null): Promise<string> {
  if (!stream) throw new Error('no stream')
  const chunks: Buffer[] = []
  for await (const chunk of stream) chunks.push(chunk as Buffer)
  return Buffer.concat(chunks).toString()
}

/** What a stream has given so far, for whoever looks before its end. */
export function collect(stream: Readable | null): () => string {
  const chunks: Buffer[] = []
  stream?.on('data', (chunk: Buffer) => chunks.push(chunk))
  return () => Buffer.concat(chunks).toString()
}

let serial = 0

/** Runs a program in the container to its end. */
export async function run(
  container: Container,
  args: string[] | string,
  spec: Partial<ProcessSpec> = {},
): Promise<{ stdout: string; stderr: string; status: ExitStatus }> {
  const words = typeof args === 'string' ? ['/bin/sh', '-c', args] : args
  const process = await container.exec(
    `run-${++serial}`,
    { ...spec, args: words },
    { stdout: 'pipe', stderr: 'pipe' },
  )
  const [stdout, stderr, status] = await Promise.all([
    text(process.stdout),
    text(process.stderr),
    process.wait(),
  ])
  return { stdout, stderr, status }
}
