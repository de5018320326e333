// A container's state.json, for tests that need any.
import type { StateFile } from '../../lib/state/directory.js'

export const stateFile: StateFile = {
  bundle: '/b',
  labels: ['a'],
  runtime: 'crun',
  runtimeArgs: ['--root=/x'],
  shim: '',
  noPivotRoot: true,
  ephemeral: false,
  timeout: 1000,
  subgroups: false,
}
