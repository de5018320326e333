// The cgroup half of the addon over trees of files: any text where the kernel's should be, files that vanish, are endless or
// no files at all, any resources; properties by fast-check.
import { execFileSync } from 'node:child_process'
import { mkdirSync, readFileSync, renameSync, rmSync, truncateSync, writeFileSync } from 'node:fs'
import fc from 'fast-check'
import { afterEach, describe, expect, it, onTestFinished } from 'vitest'
import { load } from '../../lib/native/load.js'
import type { NativeFailure } from '../../lib/errors.js'
import type { Stats } from '../../lib/index.js'
import { CgroupTree, v1Controllers } from '../support/cgroup_trees.js'

const { native } = load()
const options = { linearShares: true, pidsZeroIsOne: false }

let trees: CgroupTree[] = []
function tree(version: 1 | 2): CgroupTree {
  const made = new CgroupTree(version)
  trees.push(made)
  return made
}
afterEach(() => {
  for (const each of trees) each.remove()
  trees = []
})

function failureOf(call: () => unknown): NativeFailure {
  try {
    call()
  } catch (error) {
    return error as NativeFailure
  }
  throw new Error('it did not fail')
}

/** Figures are whole numbers from 0 on, but for three that are not. */
function expectSane(value: unknown, place = ''): void {
  if (typeof value === 'number') {
    const real = /\.psi\.\w+\.avg\d+$/.test(place)
    expect(Number.isFinite(value) && (real || Number.isInteger(value)), `${place}: ${value}`).toBe(true)
    if (!place.endsWith('sched_relax_domain_level')) expect(value, place).toBeGreaterThanOrEqual(0)
  } else if (typeof value === 'object' && value !== null) {
    for (const [key, item] of Object.entries(value)) expectSane(item, `${place}.${key}`)
  } else if (value !== null) {
    expect(typeof value, place).toBe('string')
  }
}

const v1Files = [
  ...['usage', 'stat', 'usage_percpu', 'usage_all'].map((name) => `cpuacct.${name}`),
  'cpu.stat',
  ...['cpus', 'mems', 'cpu_exclusive', 'memory_pressure', 'sched_relax_domain_level'].map(
    (n) => `cpuset.${n}`,
  ),
  'memory.stat',
  ...['memory', 'memory.memsw', 'memory.kmem', 'memory.kmem.tcp'].flatMap((name) =>
    ['usage_in_bytes', 'max_usage_in_bytes', 'failcnt', 'limit_in_bytes'].map((file) => `${name}.${file}`),
  ),
  'pids.current',
  'pids.max',
  ...['service_bytes', 'serviced'].map((name) => `blkio.throttle.io_${name}_recursive`),
  ...['usage_in_bytes', 'failcnt', 'max_usage_in_bytes'].map((name) => `hugetlb.2MB.${name}`),
  'rdma.current',
  'rdma.max',
]
const v2Files = [
  ...['stat', 'current', 'max', 'peak', 'swap.current', 'swap.max', 'pressure'].map(
    (name) => `memory.${name}`,
  ),
  ...['stat', 'pressure'].flatMap((name) => [`cpu.${name}`, `io.${name}`]),
  'pids.current',
  'pids.max',
  ...['current', 'max', 'events'].map((name) => `misc.${name}`),
  ...['current', 'max'].map((name) => `rdma.${name}`),
  'hugetlb.2MB.current',
  'hugetlb.2MB.events',
]

/** Texts that are almost what the kernel writes, and texts that are nothing of the kind. */
const kernelish = fc.oneof(
  fc.constant(''),
  fc.string({ unit: 'binary', maxLength: 60 }),
  fc
    .array(
      fc.constantFrom(
        '8:0',
        'max',
        '-1',
        '18446744073709551616',
        'Total',
        'rbytes=',
        '=',
        ' ',
        '\n',
        '\t',
        '.',
      ),
      {
        maxLength: 30,
      },
    )
    .map((parts) => parts.join('')),
  fc
    .array(
      fc.tuple(
        fc.constantFrom('anon', 'cache', 'user', 'usage_usec', '253:0 Read', 'some avg10'),
        fc.bigInt(),
      ),
    )
    .map((lines) => lines.map(([key, value]) => `${key} ${value}\n`).join('')),
  fc.bigInt({ min: -(2n ** 65n), max: 2n ** 65n }).map(String),
)

describe('statistics', () => {
  it.each([1, 2] as const)('of any texts (v%i): figures or none, never a crash and never NaN', (version) => {
    const fixture = tree(version)
    const names = version === 1 ? v1Files : v2Files
    fc.assert(
      fc.property(fc.dictionary(fc.constantFrom(...names), kernelish, { maxKeys: 8 }), (texts) => {
        for (const [name, text] of Object.entries(texts)) fixture.write(fixture.file(name), text)
        const box = fixture.box()
        // Twice: the second time by the descriptors that were kept.
        const stats = native.statsSync(box)
        expectSane(stats)
        expect(native.statsSync(box)).toEqual(stats)
      }),
      { numRuns: 300 },
    )
  })

  const figure = fc.bigInt({ min: 0n, max: 2n ** 53n }).map(Number)
  const device = fc.tuple(fc.nat(4095), fc.nat(1_048_575))

  it('of the kernel’s own texts (v1): every number comes out as it went in', () => {
    const fixture = tree(1)
    fc.assert(
      fc.property(
        fc.record({
          keys: fc.uniqueArray(fc.stringMatching(/^[a-z_]{1,20}$/), { maxLength: 40 }),
          values: fc.array(figure, { minLength: 40, maxLength: 40 }),
          percpu: fc.array(fc.nat(2 ** 31), { minLength: 1, maxLength: 64 }),
          blkio: fc.array(fc.tuple(device, fc.constantFrom('Read', 'Write', 'Sync', 'Discard'), figure), {
            minLength: 1,
          }),
          pids: fc.option(fc.nat(4_194_304)),
          ticks: fc.nat(2 ** 24),
        }),
        ({ keys, values, percpu, blkio, pids, ticks }) => {
          const raw = keys.map((key, index) => [key, values[index]] as const)
          fixture.write(fixture.file('memory.stat'), raw.map(([key, value]) => `${key} ${value}\n`).join(''))
          fixture.write(fixture.file('cpuacct.usage_percpu'), `${percpu.join(' ')} \n`)
          fixture.write(fixture.file('cpuacct.stat'), `user ${ticks}\nsystem ${ticks + 1}\n`)
          const lines = blkio.map(([[major, minor], op, value]) => `${major}:${minor} ${op} ${value}\n`)
          for (const name of ['service_bytes', 'serviced']) {
            const text = `${lines.join('')}Total 5\n`
            fixture.write(fixture.file(`blkio.throttle.io_${name}_recursive`), text)
          }
          fixture.write(fixture.file('pids.max'), `${pids ?? 'max'}\n`)
          const stats = native.statsSync(fixture.box()) as Stats
          expect(stats.memory.raw).toEqual(Object.fromEntries(raw))
          expect(stats.cpu.usage.percpu).toEqual(percpu)
          expect(stats.cpu.usage.total).toBe(percpu.reduce((sum, each) => sum + each, 0))
          expect(stats.cpu.usage).toMatchObject({ user: ticks * 1e7, kernel: (ticks + 1) * 1e7 })
          expect(stats.blkio.ioServicedRecursive).toEqual(
            blkio.map(([[major, minor], op, value]) => ({ major, minor, op, value })),
          )
          expect(stats.pids.limit).toBe(pids)
        },
      ),
    )
  })

  it('of the kernel’s own texts (v2): every number comes out as it went in', () => {
    const fixture = tree(2)
    fc.assert(
      fc.property(
        fc.record({
          usec: fc.nat(2 ** 31),
          current: fc.nat(2 ** 31),
          swap: fc.nat(2 ** 31),
          max: fc.option(fc.nat(2 ** 31)),
          swapMax: fc.option(fc.nat(2 ** 31)),
          io: fc.uniqueArray(fc.tuple(device, figure, figure), { selector: ([[a, b]]) => a * 2 ** 20 + b }),
          psi: fc.tuple(fc.nat(10_000), figure),
          misc: fc.dictionary(
            fc.oneof(fc.stringMatching(/^[a-z_]{1,12}$/), fc.constantFrom('__proto__', 'constructor')),
            fc.tuple(figure, fc.option(figure)),
          ),
        }),
        ({ usec, current, swap, max, swapMax, io, psi: [hundredths, total], misc }) => {
          const average = (hundredths / 100).toFixed(2)
          const put = (name: string, text: string): void => fixture.write(fixture.file(name), text)
          put('cpu.stat', `usage_usec ${usec}\nuser_usec ${usec}\nsystem_usec 0\nnice_usec 7\n`)
          put('cpu.pressure', `some avg10=${average} avg60=0.00 avg300=100.00 total=${total}\n`)
          put('memory.current', `${current}\n`)
          put('memory.max', `${max ?? 'max'}\n`)
          put('memory.swap.current', `${swap}\n`)
          put('memory.swap.max', `${swapMax ?? 'max'}\n`)
          put(
            'io.stat',
            io.map(([[a, b], r, w]) => `${a}:${b} rbytes=${r} wbytes=${w} rios=1 wios=2\n`).join(''),
          )
          put(
            'misc.current',
            Object.entries(misc)
              .map(([key, [value]]) => `${key} ${value}\n`)
              .join(''),
          )
          put(
            'misc.max',
            Object.entries(misc)
              .map(([key, [, most]]) => `${key} ${most ?? 'max'}\n`)
              .join(''),
          )
          const stats = native.statsSync(fixture.box()) as Stats
          expect(stats.cpu.usage).toEqual({ total: usec * 1000, user: usec * 1000, kernel: 0 })
          expect(stats.cpu.psi?.some).toEqual({ avg10: Number(average), avg60: 0, avg300: 100, total })
          expect(stats.memory.usage).toMatchObject({ usage: current, limit: max })
          expect(stats.memory.swap).toMatchObject({
            usage: current + swap,
            limit: max === null || swapMax === null ? null : max + swapMax,
          })
          expect(stats.blkio.ioServiceBytesRecursive).toEqual(
            io.flatMap(([[major, minor], read, write]) => [
              { major, minor, op: 'Read', value: read },
              { major, minor, op: 'Write', value: write },
            ]),
          )
          expect(stats.misc).toEqual(
            Object.fromEntries(Object.entries(misc).map(([key, [usage, limit]]) => [key, { usage, limit }])),
          )
        },
      ),
    )
  })

  it('files that are missing, empty, endless, directories or FIFOs: no figure, and no wait', () => {
    for (const version of [1, 2] as const) {
      const names = version === 1 ? v1Files : v2Files
      const makers: ((path: string) => void)[] = [
        () => undefined,
        (path) => writeFileSync(path, ''),
        (path) => (writeFileSync(path, ''), truncateSync(path, 100 * 1024 * 1024)),
        (path) => writeFileSync(path, Buffer.alloc(2 * 1024 * 1024, 'x 1\n')),
        (path) => mkdirSync(path),
        (path) => execFileSync('mkfifo', [path]),
      ]
      for (const make of makers) {
        const fixture = tree(version)
        for (const name of names) {
          mkdirSync(fixture.path(fixture.file('x', name.split('.')[0])).replace(/\/x$/, ''), {
            recursive: true,
          })
          make(fixture.path(fixture.file(name)))
        }
        const begin = process.memoryUsage.rss()
        const stats = native.statsSync(fixture.box()) as Stats
        expectSane(stats)
        expect(stats.memory.usage.usage).toBeUndefined()
        expect(stats.pids.current).toBeUndefined()
        expect(stats.memory.usage.limit).toBeUndefined()
        expect(process.memoryUsage.rss() - begin).toBeLessThan(64 * 1024 * 1024)
      }
    }
  })

  it('100 MB of figures in one file is no figure', () => {
    const fixture = tree(2)
    fixture.write(fixture.file('memory.stat'), Buffer.alloc(100 * 1024 * 1024, 'anon 12345\n'))
    fixture.write(fixture.file('memory.current'), '5\n')
    const stats = native.statsSync(fixture.box()) as Stats
    expect(stats.memory.raw).toBeUndefined()
    expect(stats.memory.usage.usage).toBe(5)
  })

  it.each([1, 2] as const)(
    'cgroups that vanish, are replaced, or go one by one (v%i): exited, never half',
    (version) => {
      const fixture = tree(version)
      fixture.write(fixture.file('pids.current'), '3\n')
      fixture.write(fixture.file('memory.stat'), 'anon 5\n')
      // Files of a disk, which could be read after their removal, as the kernel's cannot.
      native.limitDescriptors(0)
      onTestFinished(() => native.limitDescriptors(1000))
      const box = fixture.box()
      expect((native.statsSync(box) as Stats).pids.current).toBe(3)
      // As a runtime that deletes does it: one hierarchy after the other.
      const directories = version === 1 ? v1Controllers : ['']
      for (const [index, name] of directories.entries()) {
        rmSync(fixture.path(`cgroup/${name}`), { recursive: true })
        if (index === 0 && version === 1) {
          mkdirSync(fixture.path(`cgroup/${name}`)) // a namesake in its place
        }
        for (const call of [() => native.statsSync(box), () => native.statsSync(fixture.box())]) {
          let answer: Stats | NativeFailure
          try {
            answer = call()
          } catch (error) {
            answer = error as NativeFailure
          }
          // What is kept open knows that its own is gone; a new look may find the rest still there with its processes.
          if (answer instanceof Error) expect(answer).toMatchObject({ code: 'ERR_CONTAINER_EXITED' })
          else expectSane(answer)
        }
      }
      expect(failureOf(() => native.statsSync(box)).code).toBe('ERR_CONTAINER_EXITED')
      expect(failureOf(() => native.pidsSync(box)).code).toBe('ERR_CONTAINER_EXITED')
      expect(failureOf(() => native.statsSync(fixture.box())).code).toBe('ERR_CONTAINER_EXITED')
    },
  )
})

describe('pids', () => {
  it('every list of pids, each once; anything else is ERR_STATE_CORRUPT with its path', () => {
    const fixture = tree(1)
    const path = fixture.file('cgroup.procs', 'devices')
    fc.assert(
      fc.property(fc.array(fc.integer({ min: 1, max: 4_194_304 }), { maxLength: 2000 }), (pids) => {
        fixture.write(path, pids.map((pid) => `${pid}\n`).join(''))
        expect(native.pidsSync(fixture.box())).toEqual([...new Set(pids)])
      }),
    )
    fc.assert(
      fc.property(fc.string({ unit: 'binary' }), (text) => {
        fixture.write(path, text)
        try {
          for (const pid of native.pidsSync(fixture.box())) expect(pid).toBeGreaterThan(0)
          expect(text).toMatch(/^(\d+\n)*(\d+)?$/)
        } catch (error) {
          expect(error).toMatchObject({ code: 'ERR_STATE_CORRUPT', path: fixture.path(path) })
        }
      }),
    )
  })

  it('100 MB of zeros, and of pids, end soon', () => {
    const fixture = tree(2)
    const path = fixture.path(fixture.file('cgroup.procs'))
    truncateSync(path, 100 * 1024 * 1024)
    expect(failureOf(() => native.pidsSync(fixture.box()))).toMatchObject({ code: 'ERR_STATE_CORRUPT', path })
    writeFileSync(path, Buffer.alloc(100 * 1024 * 1024, '123456\n'))
    expect(failureOf(() => native.pidsSync(fixture.box()))).toMatchObject({ code: 'ERR_STATE_CORRUPT', path })
  })
})

describe('the freezer', () => {
  it('any text: a state, or ERR_STATE_CORRUPT; nothing hangs', async () => {
    for (const version of [1, 2] as const) {
      const fixture = tree(version)
      const files =
        version === 1 ? ['freezer.state', 'freezer.self_freezing'] : ['cgroup.freeze', 'cgroup.events']
      const word = fc.constantFrom(
        'FROZEN\n',
        'THAWED\n',
        'FREEZING',
        '0\n',
        '1\n',
        'frozen 1\n',
        'frozen 2\n',
        '',
        '\0',
      )
      await fc.assert(
        fc.asyncProperty(word, word, async (one, two) => {
          fixture.write(fixture.file(files[0] as string, 'freezer'), one)
          fixture.write(fixture.file(files[1] as string, 'freezer'), two)
          // What the freezer does not say, status() does not guess: then the container runs, as far as anyone knows.
          expect(['running', 'paused']).toContain(await native.status(fixture.box()))
          const paused: unknown = await native.pause(fixture.box(), 5).catch((error: unknown) => error)
          if (paused !== undefined) {
            expect(paused).toMatchObject({ code: expect.stringMatching(/^ERR_(STATE_CORRUPT|SYSCALL)$/) })
          }
        }),
        { numRuns: 40 },
      )
    }
  })

  it('no freezer at all: ERR_UNSUPPORTED', async () => {
    const fixture = tree(2)
    await expect(native.pause(fixture.box(), 50)).rejects.toMatchObject({ code: 'ERR_UNSUPPORTED' })
    await expect(native.resume(fixture.box())).rejects.toMatchObject({ code: 'ERR_UNSUPPORTED' })
  })
})

/** Resources that a container may be given on v1 and on v2, and each file that they touch there. */
const resources = fc.record(
  {
    memory: fc.record(
      { limit: fc.integer({ min: 1 }), swap: fc.constant(-1), reservation: fc.integer({ min: -1 }) },
      { requiredKeys: [] },
    ),
    cpu: fc.record(
      {
        quota: fc.integer(),
        period: fc.nat(),
        burst: fc.nat(),
        cpus: fc.constantFrom('0', '0-3,7', ''),
        mems: fc.constantFrom('0', '0-1'),
      },
      { requiredKeys: [] },
    ),
    pids: fc.record({ limit: fc.integer() }),
    hugepageLimits: fc.array(fc.record({ pageSize: fc.constantFrom('2MB', '1GB'), limit: fc.nat() }), {
      maxLength: 3,
    }),
    rdma: fc.dictionary(
      fc.constantFrom('mlx4_0', 'mlx5_1'),
      fc.record({ hcaHandles: fc.nat(), hcaObjects: fc.nat() }),
    ),
  },
  { requiredKeys: [] },
)

const updated = {
  1: [
    'memory.limit_in_bytes',
    'memory.memsw.limit_in_bytes',
    'memory.soft_limit_in_bytes',
    'cpu.cfs_quota_us',
    'cpu.cfs_period_us',
    'cpu.cfs_burst_us',
    'cpuset.cpus',
    'cpuset.mems',
    'pids.max',
    'hugetlb.2MB.limit_in_bytes',
    'hugetlb.1GB.limit_in_bytes',
    'rdma.max',
  ],
  2: [
    'memory.max',
    'memory.swap.max',
    'memory.low',
    'cpu.max',
    'cpu.max.burst',
    'cpuset.cpus',
    'cpuset.mems',
    'pids.max',
    'hugetlb.2MB.max',
    'hugetlb.1GB.max',
    'rdma.max',
  ],
} as const

describe('updates', () => {
  it.each([1, 2] as const)(
    'of any resources (v%i): all of it, or all as before and the file named',
    async (version) => {
      await fc.assert(
        fc.asyncProperty(
          resources,
          fc.option(fc.constantFrom(...updated[version])),
          async (asked, broken) => {
            const fixture = tree(version)
            for (const name of updated[version]) fixture.write(fixture.file(name), `9${name.length}\n`)
            if (broken !== null) {
              rmSync(fixture.path(fixture.file(broken)))
              mkdirSync(fixture.path(fixture.file(broken)))
            }
            const before = fixture.contents()
            const record = readFileSync(fixture.recordPath, 'utf8')
            const error: unknown = await native
              .update(fixture.box(), JSON.stringify(asked), options)
              .then(() => null)
              .catch((reason: unknown) => reason)
            const after = fixture.contents()
            if (error === null) {
              if (asked.pids && asked.pids.limit !== 0) {
                const { limit } = asked.pids
                expect(after[fixture.path(fixture.file('pids.max'))]).toBe(limit < 0 ? 'max' : String(limit))
                expect(JSON.parse(readFileSync(fixture.recordPath, 'utf8')).config.cgroups.pids_limit).toBe(
                  limit,
                )
              }
              if (asked.cpu?.cpus)
                expect(after[fixture.path(fixture.file('cpuset.cpus'))]).toBe(asked.cpu.cpus)
              if (asked.memory?.limit) {
                const file = version === 1 ? 'memory.limit_in_bytes' : 'memory.max'
                expect(after[fixture.path(fixture.file(file))]).toBe(String(asked.memory.limit))
              }
            } else {
              expect(broken).not.toBeNull()
              expect(error).toMatchObject({
                path: fixture.path(fixture.file(broken as string)),
                syscall: 'open',
              })
              const trim = (all: Record<string, string>): Record<string, string> =>
                Object.fromEntries(Object.entries(all).map(([path, text]) => [path, text.trimEnd()]))
              expect(trim(after)).toEqual(trim(before))
              expect(readFileSync(fixture.recordPath, 'utf8')).toBe(record)
            }
            fixture.remove()
          },
        ),
        { numRuns: 150 },
      )
    },
  )

  it('any JSON, and what is none: refused by field, with nothing touched', async () => {
    const fixture = tree(1)
    for (const name of updated[1]) fixture.write(fixture.file(name), '1\n')
    const before = fixture.contents()
    const key = fc.constantFrom(
      'memory',
      'cpu',
      'pids',
      'limit',
      'blockIO',
      'unified',
      'rdma',
      'x',
      '__proto__',
      '',
    )
    const junk = fc.object({
      key,
      maxDepth: 3,
      withBigInt: false,
      values: [fc.string(), fc.double(), fc.boolean()],
    })
    await fc.assert(
      fc.asyncProperty(
        fc.oneof(
          junk.map((value) => JSON.stringify(value)),
          fc.string(),
        ),
        async (text) => {
          const error: unknown = await native
            .update(fixture.box(), text, options)
            .catch((reason: unknown) => reason)
          if (error === undefined) return // by chance something that asks for nothing, or for what a file can hold
          expect(error).toMatchObject({ code: expect.stringMatching(/^ERR_(INVALID_ARG_|UNSUPPORTED)/) })
          expect(fixture.contents()).toEqual(before)
        },
      ),
      { numRuns: 300 },
    )
  })

  it('a unified key is a file name and nothing else', async () => {
    const fixture = tree(2)
    fixture.write('outside', 'x')
    fixture.write(fixture.file('memory.high'), 'max\n')
    const before = fixture.contents()
    const evil = fc.oneof(
      fc.constantFrom(
        '../outside',
        '..',
        '.',
        '',
        '/etc/passwd',
        'memory/../../outside',
        'a..b',
        'memory',
        'a\nb.c',
      ),
      fc.string().filter((key) => key.includes('/') || key.includes('..')),
    )
    await fc.assert(
      fc.asyncProperty(evil, async (key) => {
        const asked = { unified: { 'memory.high': '5', [key]: '6' } }
        await expect(native.update(fixture.box(), JSON.stringify(asked), options)).rejects.toMatchObject({
          code: 'ERR_INVALID_ARG_VALUE',
        })
        expect(fixture.contents()).toEqual(before)
      }),
    )
    expect(readFileSync(fixture.path('outside'), 'utf8')).toBe('x')
  })

  it('a record that is cut off anywhere: ERR_STATE_CORRUPT with its path, and nothing written', async () => {
    const fixture = tree(2)
    fixture.write(fixture.file('pids.max'), '5\n')
    const whole = readFileSync(fixture.recordPath, 'utf8')
    const box = fixture.box()
    await native.update(box, '{"pids":{"limit":6}}', options)
    fixture.writeRecord(whole)
    await fc.assert(
      fc.asyncProperty(fc.nat(whole.length - 1), fc.string({ unit: 'binary' }), async (length, tail) => {
        const text = whole.slice(0, length) + (tail.startsWith(whole[length] as string) ? '' : tail)
        fixture.writeRecord(text)
        for (const each of [box, fixture.box()]) {
          await expect(native.update(each, '{"pids":{"limit":7}}', options)).rejects.toMatchObject({
            code: 'ERR_STATE_CORRUPT',
            path: fixture.recordPath,
          })
        }
        expect(readFileSync(fixture.recordPath)).toEqual(Buffer.from(text))
        expect(readFileSync(fixture.path(fixture.file('pids.max')), 'utf8')).toBe('6')
      }),
    )
    fixture.writeRecord(whole)
    await native.update(box, '{"pids":{"limit":8}}', options)
    expect(JSON.parse(readFileSync(fixture.recordPath, 'utf8')).config.cgroups.pids_limit).toBe(8)
  })

  it('a record that is endless, missing, a later container’s, or no file', async () => {
    const fixture = tree(2)
    fixture.write(fixture.file('pids.max'), '5\n')
    const whole = readFileSync(fixture.recordPath, 'utf8')
    const update = (): Promise<void> => native.update(fixture.box(), '{"pids":{"limit":7}}', options)
    truncateSync(fixture.recordPath, 100 * 1024 * 1024)
    await expect(update()).rejects.toMatchObject({ path: fixture.recordPath, errno: 27 })
    rmSync(fixture.recordPath)
    await expect(update()).rejects.toMatchObject({ code: 'ERR_CONTAINER_EXITED' })
    execFileSync('mkfifo', [fixture.recordPath])
    await expect(update()).rejects.toMatchObject({ path: fixture.recordPath })
    rmSync(fixture.recordPath)
    mkdirSync(fixture.recordPath)
    await expect(update()).rejects.toMatchObject({ path: fixture.recordPath })
    rmSync(fixture.recordPath, { recursive: true })
    fixture.writeRecord(whole.replace(`"init_process_pid":${process.pid}`, '"init_process_pid":1'))
    await expect(update()).rejects.toMatchObject({ code: 'ERR_CONTAINER_EXITED' })
    expect(readFileSync(fixture.path(fixture.file('pids.max')), 'utf8')).toBe('5\n')
    fixture.writeRecord(whole)
    await update()
    renameSync(fixture.path('records'), fixture.path('elsewhere'))
    await expect(update()).rejects.toMatchObject({ code: 'ERR_CONTAINER_EXITED' })
  })

  // What the runtime's delete does under an update: the record goes first, its directory a moment later.
  it('a record that goes away from the directory that was kept: no wait for itself', async () => {
    const fixture = tree(2)
    fixture.write(fixture.file('pids.max'), '5\n')
    const whole = readFileSync(fixture.recordPath, 'utf8')
    const box = fixture.box()
    await native.update(box, '{"pids":{"limit":6}}', options)
    rmSync(fixture.recordPath)
    await expect(native.update(box, '{"pids":{"limit":7}}', options)).rejects.toBeInstanceOf(Error)
    fixture.writeRecord(whole)
    await native.update(box, '{"pids":{"limit":8}}', options)
    expect(readFileSync(fixture.path(fixture.file('pids.max')), 'utf8')).toBe('8')
  })

  it('a controller that is not there: ERR_UNSUPPORTED by its name', async () => {
    const fixture = tree(1)
    const record = JSON.parse(readFileSync(fixture.recordPath, 'utf8'))
    fixture.write(fixture.file('pids.max'), '5\n')
    for (const [controller, asked] of Object.entries({
      memory: { memory: { limit: 5 } },
      cpu: { cpu: { shares: 5 } },
      cpuset: { cpu: { cpus: '0' } },
      blkio: { blockIO: { weight: 500 } },
      hugetlb: { hugepageLimits: [{ pageSize: '2MB', limit: 5 }] },
      rdma: { rdma: { a: { hcaHandles: 1 } } },
    })) {
      const paths = { ...record.cgroup_paths }
      delete paths[controller]
      fixture.writeRecord(JSON.stringify({ ...record, cgroup_paths: paths }))
      const error: unknown = await native
        .update(fixture.box(), JSON.stringify({ pids: { limit: 9 }, ...asked }), options)
        .catch((reason: unknown) => reason)
      expect(error).toMatchObject({ code: 'ERR_UNSUPPORTED', text: expect.stringContaining(controller) })
      const stats = native.statsSync(fixture.box()) as Stats
      if (controller === 'memory') expect(stats.memory.usage.usage).toBeUndefined()
      expect(readFileSync(fixture.path(fixture.file('pids.max')), 'utf8')).toBe('5\n')
    }
  })
})
