// Many containers in little time: real cgroups in every hierarchy with a sleeping process in them, and beside them the
// records that a runtime and this library would have written, so that Container.load() takes them for what they are.
// Nothing but namespaces and a shim is missing, and neither has a part in cgroup calls.
import { existsSync, mkdirSync, readFileSync, rmdirSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { TimedProgram } from '../programs.mjs'

const stateOf = (root, id) => join(root, id, 'state.json')

/** The cgroups of a record of runc's, each once. */
function directoriesOf(record) {
  return [...new Set(Object.values(record.cgroup_paths))]
}

function startTime(pid) {
  const stat = readFileSync(`/proc/${pid}/stat`, 'utf8')
  return Number(stat.slice(stat.lastIndexOf(')') + 2).split(' ')[19])
}

/** A v1 cpuset takes no process before it has CPUs and memory nodes. */
function fillCpuset(directory) {
  for (const name of ['cpuset.cpus', 'cpuset.mems']) {
    if (!existsSync(join(directory, name))) return
    writeFileSync(join(directory, name), readFileSync(join(dirname(directory), name), 'utf8').trim())
  }
}

/**
 * Makes `count` of them after the model's image, a container of runc; resolves with their ids, once all processes are in
 * their place. `only`: with a cgroup of this controller alone.
 */
export async function makeCrowd({ count, name, model, root, runtimeRoot, sleepers, only, undo }) {
  const program = new TimedProgram(sleepers, [String(count)])
  undo.add('end the sleeping processes', () => program.stop())
  const pids = await program.ask('')
  const before = JSON.parse(readFileSync(stateOf(runtimeRoot, model.id), 'utf8'))
  if (only) before.cgroup_paths = { [only]: before.cgroup_paths[only] }
  const text = JSON.stringify(before)
  const made = []
  // Undone in reverse order: when the processes have ended.
  undo.add(`remove ${count} cgroups`, async () => {
    await program.stop()
    for (const directory of made.reverse()) rmdirSync(directory)
  })
  const ids = []
  for (const [index, pid] of pids.entries()) {
    const id = `${name}-${index}`
    const record = JSON.parse(text.replaceAll(model.id, id))
    record.init_process_pid = pid
    record.init_process_start = startTime(pid)
    for (const directory of directoriesOf(record)) {
      mkdirSync(directory)
      made.push(directory)
      fillCpuset(directory)
      writeFileSync(join(directory, 'cgroup.procs'), String(pid))
    }
    mkdirSync(join(runtimeRoot, id))
    writeFileSync(stateOf(runtimeRoot, id), JSON.stringify(record))
    const directory = join(root, id)
    mkdirSync(join(directory, 'init'), { recursive: true })
    const file = JSON.parse(readFileSync(stateOf(root, model.id), 'utf8'))
    writeFileSync(
      join(directory, 'state.json'),
      JSON.stringify({ ...file, ephemeral: false, owner: undefined }),
    )
    writeFileSync(
      join(directory, 'init/process.json'),
      readFileSync(join(root, model.id, 'init/process.json'), 'utf8'),
    )
    writeFileSync(join(directory, 'init/pid'), String(pid))
    writeFileSync(join(directory, 'init/starttime'), String(record.init_process_start))
    ids.push(id)
  }
  return { ids, cgroupsEach: directoriesOf(before).length }
}
