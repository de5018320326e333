// Why a call is refused by the state that its container or its handle is in.
import { ContainerError, type FailureContext } from '../errors.js'

export function notStarted(id: string, context: FailureContext): ContainerError {
  const message = `container '${id}' is not started; call start() first`
  return new ContainerError('ERR_CONTAINER_NOT_STARTED', message, context)
}

export function hasExited(id: string, context: FailureContext): ContainerError {
  return new ContainerError('ERR_CONTAINER_EXITED', `container '${id}' has exited`, context)
}

export function isDeleted(id: string, context: FailureContext): ContainerError {
  return new ContainerError('ERR_CONTAINER_NOT_FOUND', `container '${id}' is deleted`, context)
}

export function handleClosed(id: string): ContainerError {
  const message = `the handle of container '${id}' is closed; Container.load() gives another one`
  return new ContainerError('ERR_SHIM_EXITED', message, { containerId: id })
}
