// What goes to stdout. Whoever reads it may leave early (`| head`), which is no error.
let over = false

process.stdout.on('error', (error: NodeJS.ErrnoException) => {
  if (error.code !== 'EPIPE') throw error
  over = true
})

/** Nobody reads any more. */
export function outputIsOver(): boolean {
  return over
}

/** Resolves when it is on its way, so that a slow reader holds this program back and fills no memory. */
export async function writeOut(data: string | Buffer): Promise<void> {
  if (over || data.length === 0) return
  await new Promise<void>((resolve) => {
    process.stdout.write(data, () => resolve())
  })
}

/** One value, one line. */
export function writeJson(value: unknown): Promise<void> {
  return writeOut(`${JSON.stringify(value)}\n`)
}
