// The ids in one root, looked at again only when something came or went there.
import { type FSWatcher, watch } from 'node:fs'
import { Container } from 'libcontainer'

/** A watch may miss what happens on some file systems: after so many looks one is made anyhow. */
const looksWithoutChange = 15

export class Listing {
  readonly root: string
  #watcher: FSWatcher | null = null
  #changed = true
  #looks = 0

  constructor(root: string) {
    this.root = root
  }

  /** All ids, or null where nothing has changed since the last call. */
  async look(): Promise<string[] | null> {
    if (!this.#watcher) this.#watch()
    if (this.#watcher && !this.#changed && ++this.#looks < looksWithoutChange) return null
    this.#changed = false
    this.#looks = 0
    return Container.list(this.root)
  }

  close(): void {
    this.#watcher?.close()
    this.#watcher = null
  }

  #watch(): void {
    try {
      const watcher = watch(this.root, { persistent: false })
      watcher.on('change', (_, name) => {
        this.#changed = true
        // The root itself was removed; a new one under its name is another directory.
        if (name === this.root.slice(this.root.lastIndexOf('/') + 1)) this.close()
      })
      watcher.on('error', () => this.close())
      this.#watcher = watcher
      this.#changed = true
    } catch {
      // Not there yet, or no watches left: then every call looks.
    }
  }
}
