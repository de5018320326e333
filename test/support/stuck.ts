// A process that neither a freezer nor a signal reaches: it waits for the lock of a file, whose holder waits for a page
// that only a userfaultfd handler could bring.
import { type ChildProcess, spawn } from 'node:child_process'
import { procStat } from './processes.mjs'
import { eventually } from './wait.js'

const source = `
import ctypes, fcntl, mmap, os, struct, sys, time
libc = ctypes.CDLL(None, use_errno=True)
path = sys.argv[1]
open(path, 'w').close()

def hold():
    number = {'x86_64': 323, 'aarch64': 282}[os.uname().machine]
    fault = libc.syscall(number, 0)
    if fault < 0: sys.exit('userfaultfd: ' + os.strerror(ctypes.get_errno()))
    fcntl.ioctl(fault, 0xc018aa3f, struct.pack('QQQ', 0xaa, 0, 0))  # UFFDIO_API
    page = mmap.mmap(-1, 4096, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    address = ctypes.addressof(ctypes.c_char.from_buffer(page))
    fcntl.ioctl(fault, 0xc020aa00, struct.pack('QQQQ', address, 4096, 1, 0))  # UFFDIO_REGISTER
    libc.write(os.open(path, os.O_WRONLY), ctypes.c_void_p(address), 1)

holder = os.fork()
if holder == 0:
    hold()
    os._exit(0)
writer = os.fork()
if writer == 0:
    sys.stdin.readline()
    os.write(os.open(path, os.O_WRONLY), b'x')
    os._exit(0)
# The holder waits for its page in handle_userfault(), by which time it has the lock.
while not open('/proc/%d/wchan' % holder).read().startswith('handle_userfault'):
    if os.waitpid(holder, os.WNOHANG)[0]: sys.exit('nothing holds the lock')
    time.sleep(0.01)
print(writer, flush=True)
time.sleep(100000)
`

export interface Stuck {
  readonly pid: number
  /** Lets go of everything, and waits until it is gone. */
  end(): Promise<void>
}

/** `move` is given the pid while it still runs: the moment to put it into a cgroup. Needs python3, as node-gyp does. */
export async function makeStuck(file: string, move: (pid: number) => void): Promise<Stuck> {
  const parent: ChildProcess = spawn('python3', ['-c', source, file], {
    stdio: ['pipe', 'pipe', 'inherit'],
    detached: true,
  })
  const line = await new Promise<string>((resolve, reject) => {
    parent.stdout?.once('data', (chunk: Buffer) => resolve(chunk.toString()))
    parent.once('error', reject)
    parent.once('close', (code) => reject(new Error(`python3 exited with ${code}`)))
  })
  const pid = Number(line)
  const end = async (): Promise<void> => {
    // The holder of the lock is one that a signal reaches; the whole group goes.
    process.kill(-(parent.pid as number), 'SIGKILL')
    await eventually('the stuck process is gone', () => (procStat(pid)?.state ?? 'Z') === 'Z')
  }
  try {
    move(pid)
    parent.stdin?.write('\n')
    await eventually('a process in uninterruptible sleep', () => procStat(pid)?.state === 'D')
  } catch (error) {
    await end()
    throw error
  }
  return { pid, end }
}
