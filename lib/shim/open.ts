// Makes a connection to a shim: until it has said hello, with all processes that it knows.
import { constants } from 'node:os'
import type { NativeFailure } from '../errors.js'
import { type LinkParts, ShimLink } from './link.js'
import { after, noAnswer } from './patience.js'
import type { HelloEvent, ProcessEntry, ProcessPage } from './protocol.js'

const { EAGAIN } = constants.errno

interface Opening {
  link: ShimLink | null
  over: boolean
}

/**
 * `connect` gives the connection's number. Resolves once the shim has said hello, with the processes it knows.
 * ERR_START_TIMEOUT when it does not say hello in `timeout` milliseconds; ERR_SHIM_EXITED when it ends before;
 * ERR_SYSCALL with EMFILE when it has no descriptor for another connection; ERR_UNSUPPORTED for a shim of a version or a
 * pid namespace that this program cannot work with; ShimBusy when another one serves the container.
 */
export async function openLink(
  parts: LinkParts,
  connect: () => Promise<number>,
): Promise<{ link: ShimLink; processes: ProcessEntry[] }> {
  const { native, containerId, timeout } = parts
  native.ref()
  const opening: Opening = { link: null, over: false }
  let stop = (): void => undefined
  try {
    const silent = new Promise<never>((_, reject) => {
      stop = after(timeout, () => {
        opening.over = true
        reject(noAnswer(containerId, { containerId }, null, timeout))
        opening.link?.close()
      })
    })
    const greeted = greet(parts, connect, opening)
    greeted.catch(() => undefined)
    const { link, hello } = await Promise.race([greeted, silent])
    stop()
    return { link, processes: await allProcesses(link, hello, containerId) }
  } finally {
    stop()
    native.unref()
  }
}

async function greet(
  parts: LinkParts,
  connect: () => Promise<number>,
  opening: Opening,
): Promise<{ link: ShimLink; hello: HelloEvent }> {
  const { native, containerId, timeout } = parts
  let connection: number | null = null
  while (connection === null) {
    try {
      connection = await connect()
    } catch (error) {
      // More wait to be accepted than the kernel lets wait. Of other calls, such as clone(2), it is another shortage.
      const { errno, syscall } = error as NativeFailure
      if (errno !== EAGAIN || syscall !== 'connect' || opening.over) throw error
      await new Promise((resolve) => setTimeout(resolve, 10))
    }
  }
  let link: ShimLink
  try {
    if (opening.over) throw noAnswer(containerId, { containerId }, null, timeout)
    link = new ShimLink(parts, connection)
  } catch (error) {
    native.closeConnection(connection)
    throw error
  }
  opening.link = link
  return { link, hello: await link.hello }
}

/** A shim tells of as many at a time as fit into a message of moderate size. */
async function allProcesses(link: ShimLink, hello: HelloEvent, containerId: string): Promise<ProcessEntry[]> {
  const processes = [...hello.processes]
  let page: ProcessPage = hello
  try {
    while (page.more) {
      const last = processes.at(-1)?.id ?? ''
      page = await link.request({ op: 'list', after: last }, { containerId }).answer
      for (const process of page.processes) processes.push(process)
    }
  } catch (error) {
    link.close()
    throw error
  }
  return processes
}
