// What a container lends to its processes.
import { ContainerError } from '../errors.js'
import type { NativeBinding } from '../native/binding.js'
import type { HandleTypes, ProcessHost } from '../process/process.js'
import type { ShimLink } from '../shim/link.js'
import { maxTakeovers } from './connection.js'

/** What processes need of the session that they belong to. */
export interface Lender {
  readonly native: NativeBinding
  readonly isClosed: boolean
  mustBeOpen(): void
  connect(): Promise<ShimLink>
}

export function processHost(container: HandleTypes['container'], lender: Lender): ProcessHost {
  return {
    native: lender.native,
    container,
    mustBeOpen: () => lender.mustBeOpen(),
    request: async (request, context) => (await lender.connect()).request(request, context).answer,
    watch: async () => {
      lender.mustBeOpen()
      await lender.connect()
    },
    follow: async (request, context, fd) => {
      for (let attempt = 0; ; ++attempt) {
        const link = await lender.connect()
        try {
          return await link.request(request, context, { fds: [fd] }).answer
        } catch (error) {
          // Its end may be seen by the stream before it is by the connection.
          const ended = error instanceof ContainerError && error.code === 'ERR_SHIM_EXITED'
          if (!ended || lender.isClosed || attempt >= maxTakeovers) throw error
          await link.ended()
        }
      }
    },
  }
}
