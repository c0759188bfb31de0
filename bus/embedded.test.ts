import { spawn } from 'node:child_process'
import { mkdtempSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { describe, expect, it, onTestFinished } from 'vitest'
import { systemClock } from '../runtime/clock.ts'
import { createLogger, silentLogger } from '../runtime/log.ts'
import { seededRandom } from '../runtime/random.ts'
import { usageOf, usageSeries } from '../test/contract/bus-events.ts'
import { openEmbeddedBus } from './embedded.ts'
import { openGroups } from './embedded-group.ts'
import { openLogFile } from './embedded-log.ts'

const KEYS = Array.from({ length: 24 }, (_, n) => `fp_${n}`)

function temporary(): string {
  const directory = mkdtempSync(join(tmpdir(), 'tokenwatch-embedded-'))
  onTestFinished(() => rmSync(directory, { recursive: true, force: true }))
  return directory
}

function open(directory: string, lines: string[] = []) {
  const bus = openEmbeddedBus({ directory }, { clock: systemClock, log: createLogger({ write: (line) => void lines.push(line) }) })
  onTestFinished(() => bus.close())
  return bus
}

describe('the file of the embedded bus', () => {
  it('is in WAL, shrinks after deletions, and is readable for its owner only', async () => {
    const directory = temporary()
    const bus = openEmbeddedBus({ directory, retention: { 'usage.v1': 0 } }, { clock: systemClock, log: silentLogger })
    const random = seededRandom(1)
    const noise = () => Array.from({ length: 60 }, () => random().toString(36).slice(2)).join('') // it cannot be made small
    for (let n = 0; n < 20; n++)
      await bus.publish(
        'usage.v1',
        usageSeries([`k${n}`], 1_000).map((event) => ({ ...event, user_agent: noise() })),
      )
    await systemClock.sleep(5)
    await bus.sweep()
    await bus.close()
    const db = new DatabaseSync(join(directory, 'bus.sqlite'))
    const pragma = (name: string) => db.prepare(`pragma ${name}`).get()?.[name]
    expect([pragma('journal_mode'), pragma('auto_vacuum'), pragma('quick_check')]).toEqual(['wal', 2, 'ok'])
    db.close()
    expect(statSync(join(directory, 'bus.sqlite')).size).toBeLessThan(5_000_000) // 20,000 events were 10 MB
    expect(statSync(directory).mode & 0o077).toBe(0)
  })

  it('says what to do when it is from a newer version, or no database', () => {
    const directory = temporary()
    openLogFile(directory).close()
    const db = new DatabaseSync(join(directory, 'bus.sqlite'))
    db.exec('pragma user_version = 99')
    db.close()
    expect(() => openLogFile(directory)).toThrow('newer version')
    const broken = temporary()
    writeFileSync(join(broken, 'bus.sqlite'), 'this is not a database, but it is long enough to look like a file of some kind'.repeat(100))
    expect(() => openLogFile(broken)).toThrow('cannot be opened')
  })

  it('is created by several processes at once', async () => {
    const directory = temporary()
    const code = `import { openLogFile } from ${JSON.stringify(join(import.meta.dirname, 'embedded-log.ts'))}; const f = openLogFile(${JSON.stringify(directory)}); f.append([{ id: 1, key: null, value: '{}' }], 1); f.close()`
    const children = Array.from({ length: 4 }, () => spawn(process.execPath, ['--input-type=module', '-e', code], { stdio: 'ignore' }))
    const codes = await Promise.all(children.map((child) => new Promise((resolve) => child.on('exit', resolve))))
    expect(codes).toEqual([0, 0, 0, 0])
    const file = openLogFile(directory)
    expect(file.ends().get(1)).toBe(4)
    file.close()
  })

  it('loses nothing that was acknowledged when the process is killed', async () => {
    const directory = temporary()
    const code = `import { openLogFile } from ${JSON.stringify(join(import.meta.dirname, 'embedded-log.ts'))}; const f = openLogFile(${JSON.stringify(directory)}); for (let n = 1; ; n++) { f.append([{ id: 1, key: null, value: String(n) }, { id: 2, key: null, value: String(n) }], 1); process.stdout.write(n + '\\n') }`
    const child = spawn(process.execPath, ['--input-type=module', '-e', code], { stdio: ['ignore', 'pipe', 'ignore'] })
    let said = ''
    child.stdout.on('data', (chunk: Buffer) => (said += chunk.toString()))
    while (said.length < 2_000) await systemClock.sleep(20)
    child.kill('SIGKILL')
    await new Promise((resolve) => child.on('close', resolve))
    const acknowledged = Number(said.trim().split('\n').at(-1))
    const file = openLogFile(directory)
    const end = file.ends().get(1) ?? 0
    expect(end).toBeGreaterThanOrEqual(acknowledged)
    expect(file.ends().get(2)).toBe(end) // a transaction is whole
    expect(file.read(1, 0, 1_000_000, 1e9).map(({ value }) => Number(value))).toEqual(Array.from({ length: end }, (_, n) => n + 1))
    file.close()
  })
})

describe('groups in the file', () => {
  it('refuse a commit with a claim that changed hands', () => {
    const file = openLogFile(temporary())
    const groups = openGroups(file)
    const none = new Map<number, number>()
    groups.renew('g', 'a', ['alerts.v1'], 1_000)
    const [mine] = groups.divide('g', 'a', none, 1_000).gained
    expect(mine?.committed).toBeNull()
    const claim = mine ?? { id: 0, generation: 0 }
    expect(groups.commit('g', 'a', claim, 5)).toBe(true)
    // a falls silent; b finds it dead after its lease and takes over.
    groups.renew('g', 'b', ['alerts.v1'], 5_000)
    expect(groups.divide('g', 'b', none, 5_000).gained).toEqual([])
    const [taken] = groups.divide('g', 'b', none, 11_001).gained
    expect(taken).toEqual({ id: claim.id, generation: claim.generation + 1, committed: 5 })
    expect(groups.commit('g', 'a', claim, 9)).toBe(false)
    expect(groups.commit('g', 'b', taken ?? claim, 6)).toBe(true)
    // a comes back: what it thought to hold is lost, and the older of the two gets it when b gives it up.
    expect(groups.renew('g', 'a', ['alerts.v1'], 11_100)).toBe(false)
    expect(groups.divide('g', 'a', new Map([[claim.id, claim.generation]]), 11_100)).toEqual({ gained: [], surplus: [], lost: [claim.id] })
    expect(groups.divide('g', 'b', new Map([[claim.id, claim.generation + 1]]), 11_100).surplus).toEqual([claim.id])
    groups.release('g', 'b', [claim.id])
    expect(groups.divide('g', 'a', none, 11_200).gained).toEqual([{ id: claim.id, generation: claim.generation + 2, committed: 6 }])
    expect(groups.members('g', 11_200)).toBe(2)
    file.close()
  })

  it('a member that died before the clock was set back does not keep its partitions', () => {
    const file = openLogFile(temporary())
    onTestFinished(() => file.close())
    const groups = openGroups(file)
    const HOUR = 3_600_000
    const now = systemClock.now()
    groups.renew('g', 'dead', ['usage.v1'], now)
    expect(groups.divide('g', 'dead', new Map(), now).gained.length).toBeGreaterThan(0)
    const earlier = now - HOUR
    expect(groups.members('g', earlier)).toBe(0)
    groups.renew('g', 'fresh', ['usage.v1'], earlier)
    const { gained } = groups.divide('g', 'fresh', new Map(), earlier)
    expect(gained.length).toBe(file.partitions.filter(({ topic }) => topic === 'usage.v1').length)
    // Had it lived after all, its commit would be refused, and it comes back without partitions.
    const [claim] = gained
    expect(groups.commit('g', 'dead', { id: claim?.id ?? 0, generation: (claim?.generation ?? 0) - 1 }, 5)).toBe(false)
    expect(groups.renew('g', 'dead', ['usage.v1'], earlier)).toBe(false)
  })

  it('divide evenly, whatever the members want to read', () => {
    const file = openLogFile(temporary())
    const groups = openGroups(file)
    for (const member of ['a', 'b', 'c', 'd']) groups.renew('g', member, ['usage.v1', 'findings.v1'], 0)
    const sizes = ['a', 'b', 'c', 'd'].map((member) => groups.divide('g', member, new Map(), 0).gained.length)
    expect(sizes.reduce((sum, size) => sum + size, 0)).toBe(9)
    expect(Math.max(...sizes) - Math.min(...sizes)).toBeLessThanOrEqual(1)
    file.close()
  })
})

describe('the embedded bus', () => {
  it('says when retention has deleted what a group had not read, and only then', async () => {
    const directory = temporary()
    const lines: string[] = []
    const lost = () => lines.map((line) => JSON.parse(line) as Record<string, unknown>).filter(({ message }) => String(message).startsWith('retention has deleted'))
    const run = async (wanted: number): Promise<number> => {
      const bus = open(directory, lines)
      const read: unknown[] = []
      const stop = new AbortController()
      const running = bus.consume(['usage.v1'], 'late', { handle: async ({ records }) => void read.push(...records) }, stop.signal)
      while (read.length < wanted) await systemClock.sleep(10)
      while (!(await bus.lag('late')).every(({ committed, end }) => committed === end || end === 0n)) await systemClock.sleep(10)
      stop.abort()
      await running
      await bus.close()
      return read.length
    }
    const bus = openEmbeddedBus({ directory, retention: { 'usage.v1': 0 } }, { clock: systemClock, log: silentLogger })
    await bus.publish('usage.v1', usageSeries(['fp_0'], 10))
    await systemClock.sleep(5)
    await bus.sweep()
    await bus.publish('usage.v1', usageSeries(['fp_0'], 3))
    expect(await run(3)).toBe(3)
    expect(lost(), 'a group that begins has lost nothing').toEqual([])
    await bus.publish('usage.v1', usageSeries(['fp_0'], 7))
    await systemClock.sleep(5)
    await bus.sweep()
    await bus.publish('usage.v1', usageSeries(['fp_0'], 2))
    expect(await run(2)).toBe(2)
    await bus.close()
    expect(lost()).toMatchObject([{ level: 'error', group: 'late', topic: 'usage.v1', records: 7 }])
  })

  it('hands a record to a waiting consumer at once, and costs next to nothing while idle', async () => {
    const bus = open(temporary())
    const stop = new AbortController()
    const delays: number[] = []
    let sent = 0
    const running = bus.consume(['usage.v1'], 'fast', { handle: async () => void delays.push(performance.now() - sent) }, stop.signal)
    await systemClock.sleep(300)
    for (let n = 0; n < 20; n++) {
      sent = performance.now()
      await bus.publish('usage.v1', [usageOf('a', n)])
      await systemClock.sleep(10)
    }
    expect(delays).toHaveLength(20)
    expect(delays.sort((a, b) => a - b)[10]).toBeLessThan(40) // measured 1 ms; polling alone would be 50
    const before = process.cpuUsage()
    await systemClock.sleep(2_000)
    const { user, system } = process.cpuUsage(before)
    expect((user + system) / 2_000_000).toBeLessThan(0.05) // measured 0.75 %
    stop.abort()
    await running
  })

  it('sets aside single records of a row, and goes on in the middle of it', async () => {
    const directory = temporary()
    const bus = open(directory)
    const file = openLogFile(directory)
    const home = file.partitions.find(({ topic, partition }) => topic === 'usage.v1' && partition === 2)?.id ?? 0
    const bad = new Map([
      [0, '{'],
      [61, JSON.stringify({ ...usageOf('a', 61), requests: -1 })],
      [62, '[]'],
    ])
    // One append, one row: 80 records of 1.3 kB.
    file.append(
      Array.from({ length: 80 }, (_, n) => ({ id: home, key: null, value: bad.get(n) ?? JSON.stringify(usageOf('a', n)) })),
      systemClock.now(),
    )
    expect(file.side.prepare('select records, typeof(value) as type from batches').all()).toEqual([{ records: 80, type: 'blob' }])
    file.close()
    const good = Array.from({ length: 80 }, (_, n) => n).filter((n) => !bad.has(n))
    for (const [group, from] of [
      ['whole', 0],
      ['later', 62],
    ] as const) {
      const stop = new AbortController()
      const seen: number[] = []
      const spans: [bigint, bigint][] = []
      const running = bus.consume(
        ['usage.v1'],
        group,
        {
          assigned: async (partitions) => partitions.filter(({ partition }) => partition === 2).map((at) => ({ ...at, offset: BigInt(from) })),
          handle: async ({ first, last, records }) => {
            spans.push([first, last])
            seen.push(...records.map(({ input_tokens }) => input_tokens ?? -1))
          },
        },
        stop.signal,
        { max_records: 30 },
      )
      while ((await bus.lag(group)).every(({ partition, committed }) => partition !== 2 || committed !== 80n)) await systemClock.sleep(10)
      stop.abort()
      await running
      expect(seen).toEqual(good.filter((n) => n >= from))
      expect(spans).toEqual(
        from === 0
          ? [
              [0n, 29n],
              [30n, 59n],
              [60n, 79n],
            ]
          : [[62n, 79n]],
      )
    }
    const details: string[] = []
    await bus.replay('rejects.v1', ({ records }) => void details.push(...records.map(({ detail }) => detail ?? '')), new AbortController().signal)
    expect(details.map((detail) => /\(offset (\d+)\)/.exec(detail)?.[1])).toEqual(['0', '61', '62', '62'])
  })

  it('appends concurrent publishes together and in order', async () => {
    const bus = open(temporary())
    await Promise.all(Array.from({ length: 300 }, (_, n) => bus.publish('usage.v1', [usageOf('a', n)])))
    const order: (number | null)[] = []
    await bus.replay('usage.v1', ({ records }) => void order.push(...records.map(({ input_tokens }) => input_tokens)), new AbortController().signal)
    expect(order).toEqual(Array.from({ length: 300 }, (_, n) => n))
  })

  it('lets other work run while it appends and hands over a lot', async () => {
    const bus = open(temporary())
    const stop = new AbortController()
    let longest = 0
    let ticks = 0
    const ticking = (async () => {
      for (let last = performance.now(); !stop.signal.aborted; last = performance.now()) {
        await systemClock.sleep(1)
        longest = Math.max(longest, performance.now() - last)
        ticks += 1
      }
    })()
    await bus.publish('usage.v1', usageSeries(KEYS, 400))
    let count = 0
    await bus.consume(['usage.v1'], 'much', { handle: async ({ records }) => void ((count += records.length) === 9_600 && stop.abort()) }, stop.signal)
    await ticking
    expect(ticks).toBeGreaterThan(15)
    expect(longest).toBeLessThan(1_000)
  })
})
