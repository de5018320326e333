// What a container lends to its processes.
import { ContainerError } from '../errors.js'
import type { NativeBinding } from '../native/binding.js'
import type { HandleTypes, ProcessHost } from '../process/process.js'
import { type Connection, maxTakeovers } from './connection.js'

export function processHost(
  container: HandleTypes['container'],
  native: NativeBinding,
  connection: Connection,
  isClosed: () => boolean,
): ProcessHost {
  return {
    native,
    container,
    request: async (request, context) => (await connection.connect()).request(request, context).answer,
    watch: async () => {
      await connection.connect()
    },
    follow: async (request, context, fd) => {
      for (let attempt = 0; ; ++attempt) {
        const link = await connection.connect()
        try {
          return await link.request(request, context, { fds: [fd] }).answer
        } catch (error) {
          // Its end may be seen by the stream before it is by the connection.
          const ended = error instanceof ContainerError && error.code === 'ERR_SHIM_EXITED'
          if (!ended || isClosed() || attempt >= maxTakeovers) throw error
          await link.ended()
        }
      }
    },
  }
}
