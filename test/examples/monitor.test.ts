// The monitoring agent, for real, beside the program whose containers it looks at.
import { describe, expect, it } from 'vitest'
import { cannotRunContainers } from '../support/machine.js'
import { useContainers } from '../support/containers.js'
import { eventually } from '../support/wait.js'
import { useExamples } from './run_example.js'

describe.skipIf(cannotRunContainers())('the monitoring agent', () => {
  const examples = useExamples()
  const ground = useContainers('runc')

  it('gives the figures of containers that come and go, and counts what happens to them', async () => {
    const first = await ground.running({
      bundle: ground.bundle((config) => {
        config.linux.resources.memory = { limit: 16 * 1024 * 1024, swap: 16 * 1024 * 1024 }
        config.process.args = ['/bin/sh', '-c', 'while :; do sleep 1; done']
      }),
    })
    await ground.create() // has no figures before it is started
    const agent = examples.run(['node', 'examples/monitor.mjs', ground.root, '0'])
    const url = await agent.expect(/http:.*/)
    const metric = async (name: string, id: string): Promise<number | undefined> => {
      const response = await fetch(url)
      expect(response.status).toBe(200)
      const line = new RegExp(`^container_${name}\\{id="${id}"\\} (\\S+)$`, 'm').exec(await response.text())
      return line ? Number(line[1]) : undefined
    }
    expect(await metric('tasks', first.id)).toBeGreaterThanOrEqual(1)
    expect(await metric('memory_limit_bytes', first.id)).toBe(16 * 1024 * 1024)
    expect(await metric('memory_bytes', first.id)).toBeGreaterThan(4096)
    expect(await metric('cpu_seconds_total', first.id)).toBeGreaterThan(0)
    expect(await metric('oom_kills_total', first.id)).toBe(0)

    const second = await ground.running()
    expect(await metric('tasks', second.id)).toBeGreaterThanOrEqual(1)
    expect(await metric('memory_limit_bytes', second.id)).toBeUndefined()

    const hog = await first.exec('hog', {
      args: ['/bin/awk', 'BEGIN { s = "x"; while (1) s = s s }'],
    })
    expect(await hog.wait()).toMatchObject({ signal: 'SIGKILL', oomKilled: true })
    await eventually('the OOM kill', async () => (await metric('oom_kills_total', first.id)) === 1)

    await first.delete({ force: true })
    await eventually('its end', async () => (await metric('tasks', first.id)) === undefined)
    expect(await metric('tasks', second.id)).toBeGreaterThanOrEqual(1)
    expect((await fetch(url.replace('/metrics', '/'))).status).toBe(404)
    expect(agent.stderr).toBe('')
  })
})
