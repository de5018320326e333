// What a container lends to its processes.
import { ContainerError, type FailureContext, type NativeFailure, toContainerError } from '../errors.js'
import type { LiveContainer, NativeBinding } from '../native/binding.js'
import { checkResources } from '../oci/resources.js'
import { conversionsFor } from '../oci/runtime.js'
import { type HandleTypes, noOwnCgroup, type Process, type ProcessHost } from '../process/process.js'
import type { ShimLink } from '../shim/link.js'
import type { StateFile } from '../state/directory.js'
import { maxTakeovers } from './connection.js'
import type { KernelSide } from './kernel_side.js'

/** What processes need of their container. */
export interface HostingContainer {
  readonly native: NativeBinding
  readonly id: string
  readonly timeout: number
  readonly file: StateFile
  readonly kernel: KernelSide
  readonly isClosed: boolean
  mustBeOpen(): void
  connect(): Promise<ShimLink>
  living(context: FailureContext): Promise<Process>
}

function isShimExited(error: unknown): boolean {
  return error instanceof ContainerError && error.code === 'ERR_SHIM_EXITED'
}

export function processHost(container: HandleTypes['container'], session: HostingContainer): ProcessHost {
  const { native, timeout, id: containerId } = session
  /** Kept as long as the process's handle. */
  const own = new WeakMap<Process, LiveContainer>()

  /** Asks the shim, and the next one if it ends meanwhile. */
  const insist = async <T>(ask: (link: ShimLink) => Promise<T>): Promise<T> => {
    for (let attempt = 0; ; ++attempt) {
      const link = await session.connect()
      try {
        return await ask(link)
      } catch (error) {
        // Its end may be seen by others before it is by the connection.
        if (!isShimExited(error) || session.isClosed || attempt >= maxTakeovers) throw error
        await link.ended()
      }
    }
  }

  const ownOf = async (process: Process, context: FailureContext): Promise<LiveContainer> => {
    if (process.cgroup === null) throw noOwnCgroup(context)
    let live = own.get(process)
    if (!live) {
      live = session.kernel.within(await session.living(context), process.cgroup)
      own.set(process, live)
    }
    return live
  }

  const askOwn = async <T>(process: Process, question: (own: LiveContainer) => Promise<T>): Promise<T> => {
    const context = { containerId, processId: process.id }
    const live = await ownOf(process, context)
    try {
      return await question(live)
    } catch (error) {
      const failure = toContainerError(error as NativeFailure, context)
      const isGone = failure instanceof ContainerError && failure.code === 'ERR_CONTAINER_EXITED'
      if (!isGone) throw failure
      const text = 'nothing is left in its own cgroup'
      throw toContainerError({ code: 'ERR_PROCESS_EXITED', text }, context)
    }
  }

  return {
    native: native,
    container,
    mustBeOpen: () => session.mustBeOpen(),
    timeout,
    request: async (request, context) => (await session.connect()).request(request, context).answer,
    watch: async () => {
      session.mustBeOpen()
      await session.connect()
    },
    follow: (request, context, fd) => insist((link) => link.request(request, context, { fds: [fd] }).answer),
    insist: (request, context, patience) =>
      insist((link) => link.request(request, context, { patience }).answer),
    askOwn,
    updateOwn: async (process, resources) => {
      checkResources(resources)
      const options = await conversionsFor(session.file.runtime, resources)
      await askOwn(process, (live) => native.update(live, JSON.stringify(resources), options))
    },
  }
}
