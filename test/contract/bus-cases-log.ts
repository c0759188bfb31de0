/** Publishing, reading back, keeping and forgetting. */
import { expect, it } from 'vitest'
import type { MakeHarness } from './bus.ts'
import { progressOf, usageOf, usageSeries } from './bus-events.ts'
import { consuming, harnessFor, KEYS, startChild, until, upTo } from './bus-tools.ts'

const never = new AbortController().signal

export function logCases(makeHarness: MakeHarness): void {
  it('keeps the order of each key', async () => {
    const bus = await (await harnessFor(makeHarness)).open()
    const events = usageSeries(KEYS, 50)
    for (let from = 0; from < events.length; from += 100) await bus.publish('usage.v1', events.slice(from, from + 100))
    const running = consuming(bus, 'order')
    await until('all records', () => running.records().length === events.length)
    for (const [, order] of running.orders()) expect(order).toEqual(upTo(50))
    expect(running.orders().size).toBe(KEYS.length)
  })

  it('puts all records of a key into one partition and uses all partitions', async () => {
    const bus = await (await harnessFor(makeHarness)).open()
    await bus.publish('usage.v1', usageSeries(KEYS, 3))
    const homes = new Map<string, Set<number>>()
    await bus.replay(
      'usage.v1',
      ({ partition, records }) => {
        for (const { api_key_id } of records) homes.set(api_key_id ?? '', (homes.get(api_key_id ?? '') ?? new Set()).add(partition))
      },
      never,
    )
    expect([...homes.values()].every((partitions) => partitions.size === 1)).toBe(true)
    expect(new Set([...homes.values()].flatMap((partitions) => [...partitions])).size).toBe(6)
  })

  it('takes an empty list', async () => {
    const bus = await (await harnessFor(makeHarness)).open()
    await bus.publish('usage.v1', [])
    expect((await bus.end_offsets(['usage.v1'])).every(({ offset }) => offset === 0n)).toBe(true)
  })

  it('carries a record of 900 kB', async () => {
    const bus = await (await harnessFor(makeHarness)).open()
    const label = 'a\u00e9'.repeat(300)
    const large = usageOf('large', 1, { flags: [], user_agent: label })
    const progress = { ...progressOf('large', 1), reason: null, stream: 'x' }
    const rows = Object.fromEntries(upTo(900).map((n) => [`row-${n}`, 'x'.repeat(980)]))
    await bus.publish('usage.v1', [large])
    await bus.publish('fragments.v1', [{ correlation_id: 'c', part: 'llm', format: 'f', event_time: 1, observed_time: 1, run_id: null, fields: rows }])
    await bus.publish('progress.v1', [progress])
    const seen: number[] = []
    await bus.replay('fragments.v1', ({ records }) => void seen.push(...records.map((record) => JSON.stringify(record.fields).length)), never)
    expect(seen).toHaveLength(1)
    expect(seen[0]).toBeGreaterThan(890_000)
  })

  it('carries any text unharmed', async () => {
    const bus = await (await harnessFor(makeHarness)).open()
    const texts = ['Zürich', '東京', '👩‍👩‍👧‍👦 🏴‍☠️', 'a\u0000b', '"\\\n\r\t', '\u2028\u2029', 'ﷺ'.repeat(50), 'ключ']
    await bus.publish(
      'usage.v1',
      texts.map((text, n) => usageOf(text, n, { user_agent: text })),
    )
    const seen: (string | null)[] = []
    await bus.replay('usage.v1', ({ records }) => void seen.push(...records.map(({ user_agent }) => user_agent)), never)
    expect(seen).toHaveLength(texts.length)
    expect(new Set(seen)).toEqual(new Set(texts))
  })

  it('tells the end of each partition', async () => {
    const bus = await (await harnessFor(makeHarness)).open()
    await bus.publish('usage.v1', usageSeries(KEYS, 5))
    const ends = await bus.end_offsets(['usage.v1', 'alerts.v1'])
    const usage = ends.filter(({ topic }) => topic === 'usage.v1')
    expect(usage.map(({ partition }) => partition)).toEqual(upTo(6))
    expect(usage.reduce((sum, { offset }) => sum + offset, 0n)).toBe(BigInt(KEYS.length * 5))
    expect(ends.filter(({ topic }) => topic === 'alerts.v1')).toEqual([{ topic: 'alerts.v1', partition: 0, offset: 0n }])
  })

  it('replays from the beginning to the end of the moment, partition after partition, and commits nothing', async () => {
    const bus = await (await harnessFor(makeHarness)).open()
    await bus.publish('usage.v1', usageSeries(KEYS, 40))
    const partitions: number[] = []
    let count = 0
    await bus.replay(
      'usage.v1',
      async ({ partition, records }) => {
        partitions.push(partition)
        count += records.length
        // What comes while it reads is not part of it.
        if (count === records.length) await bus.publish('usage.v1', usageSeries(KEYS, 10))
      },
      never,
    )
    expect(count).toBe(KEYS.length * 40)
    expect(partitions).toEqual([...partitions].sort((a, b) => a - b))
    const running = consuming(bus, 'after-replay')
    await until('the group reads everything', () => running.records().length === KEYS.length * 50)
  })

  it('replays an empty topic, and rejects with what the visitor throws', async () => {
    const bus = await (await harnessFor(makeHarness)).open()
    await bus.replay('alerts.v1', () => expect.unreachable(), never)
    await bus.publish('usage.v1', [usageOf('a', 1)])
    await expect(bus.replay('usage.v1', () => Promise.reject(new Error('enough')), never)).rejects.toThrow('enough')
  })

  it('deletes records after their time', async () => {
    const harness = await harnessFor(makeHarness, { retention: { 'usage.v1': 500 } })
    const bus = await harness.open()
    await bus.publish('usage.v1', usageSeries(['old'], 2_500))
    await bus.publish('credential-change.v1', [])
    const count = async () => {
      let found = 0
      await bus.replay('usage.v1', ({ records }) => void (found += records.length), never)
      return found
    }
    await until('the old records are gone', async () => {
      await harness.sweep('usage.v1')
      return (await count()) === 0
    })
    // Who keeps positions of his own must hear that there is nothing to wait for.
    const skipped = new Map<number, bigint>()
    const own = consuming(bus, 'own-positions', {
      assigned: async (partitions) => partitions.map((at) => ({ topic: at.topic, partition: at.partition, offset: 0n })),
      skipped: async ({ partition, offset }) => void skipped.set(partition, offset),
    })
    await until('the emptied partitions are skipped', () => [...skipped.values()].reduce((sum, offset) => sum + offset, 0n) === 2_500n)
    await own.stop()
    await bus.publish('usage.v1', [usageOf('new', 1)])
    const running = consuming(bus, 'late')
    await until('the group starts at what is left', () => running.records().length === 1)
    // Offsets are never used twice.
    expect((await bus.end_offsets(['usage.v1'])).reduce((sum, { offset }) => sum + offset, 0n)).toBe(2_501n)
  }, 60_000)

  it('keeps the last record of each key of a compacted topic', async () => {
    const harness = await harnessFor(makeHarness)
    const bus = await harness.open()
    await bus.publish(
      'progress.v1',
      upTo(1_200).flatMap((n) => [progressOf('a', n), progressOf('b', n)]),
    )
    const kept: { stream: string; records: number }[] = []
    await until('only the last records are left', async () => {
      await harness.sweep('progress.v1')
      // Kafka closes a segment, and looks at it, only when something new comes.
      await bus.publish('progress.v1', [progressOf('c', 1)])
      kept.length = 0
      await bus.replay('progress.v1', ({ records }) => void kept.push(...records.filter(({ stream }) => stream !== 'c')), never)
      return kept.length <= 2
    })
    expect(Object.fromEntries(kept.map(({ stream, records }) => [stream, records]))).toEqual({ a: 1_199, b: 1_199 })
  }, 60_000)

  it('is fed by another process', async () => {
    const harness = await harnessFor(makeHarness)
    const running = consuming(await harness.open(), 'fed')
    const child = startChild(harness, { publish: { keys: KEYS, count: 20 } })
    expect(await child.exited).toBe(0)
    await until('the records of the other process', () => running.records().length === KEYS.length * 20)
    for (const [, order] of running.orders()) expect(order).toEqual(upTo(20))
  })

  it('is prepared twice, and by two at once, without harm', async () => {
    const harness = await harnessFor(makeHarness)
    const [one, two] = [await harness.open(), await harness.open()]
    await Promise.all([one.prepare(never), two.prepare(never), one.prepare(never)])
    await one.publish('usage.v1', [usageOf('a', 1)])
    await two.prepare(never)
    expect((await two.end_offsets(['usage.v1'])).reduce((sum, { offset }) => sum + offset, 0n)).toBe(1n)
  })

  it('answers a ping, and says that it is closed after close()', async () => {
    const bus = await (await harnessFor(makeHarness)).open()
    await bus.ping(never)
    await bus.close()
    await bus.close()
    await expect(bus.publish('usage.v1', [usageOf('a', 1)])).rejects.toThrow('closed')
    await expect(bus.ping(never)).rejects.toThrow('closed')
  })
}
