// The kernel side of a container: its cgroups and its init, as the native part keeps them open.
import { type NativeFailure, toContainerError } from '../errors.js'
import type { ContainerQuery, LiveContainer, NativeBinding } from '../native/binding.js'
import type { Process } from '../process/process.js'
import type { StateFile } from '../state/directory.js'

/** Asks the kernel about a container as it runs with a certain init. A refusal becomes a ContainerError. */
export class KernelSide {
  readonly #native: NativeBinding
  readonly #id: string
  readonly #file: StateFile
  #open: { init: Process; live: LiveContainer } | null = null

  constructor(native: NativeBinding, id: string, file: StateFile) {
    this.#native = native
    this.#id = id
    this.#file = file
  }

  of(init: Process): LiveContainer {
    if (this.#open?.init !== init) {
      this.release()
      this.#open = { init, live: this.#native.container(this.#query(init)) }
    }
    return this.#open.live
  }

  /** A cgroup of one process; `path` is relative to the container's. Its caller keeps it. */
  within(init: Process, path: string): LiveContainer {
    return this.#native.container({ ...this.#query(init), within: path })
  }

  #query({ pid, starttime }: Process): ContainerQuery {
    const { runtime, runtimeArgs } = this.#file
    return { id: this.#id, runtime, runtimeArgs, pid, starttime }
  }

  async ask<T>(init: Process, question: (live: LiveContainer) => Promise<T>): Promise<T> {
    try {
      return await question(this.of(init))
    } catch (error) {
      throw toContainerError(error as NativeFailure, { containerId: this.#id })
    }
  }

  /** As ask(), on this thread. */
  askSync<T>(init: Process, question: (live: LiveContainer) => T): T {
    try {
      return question(this.of(init))
    } catch (error) {
      throw toContainerError(error as NativeFailure, { containerId: this.#id })
    }
  }

  /** Closes what is kept open: not for the garbage collector to do some day. A later question may open it again. */
  release(): void {
    if (this.#open) this.#native.giveBack(this.#open.live)
  }
}
