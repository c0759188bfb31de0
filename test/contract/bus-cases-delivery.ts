/** Handing over, again if need be, and committing. */
import { expect, it } from 'vitest'
import { systemClock } from '../../runtime/clock.ts'
import type { PartitionOffset } from '../../bus/bus.ts'
import type { Reject } from '../../schemas/rejects.ts'
import type { MakeHarness } from './bus.ts'
import { usageOf, usageSeries } from './bus-events.ts'
import { consuming, harnessFor, KEYS, until, upTo, type UsageBatch } from './bus-tools.ts'

const never = new AbortController().signal

export function deliveryCases(makeHarness: MakeHarness): void {
  it('hands a batch over again, from the same offset, when the handler throws', async () => {
    const bus = await (await harnessFor(makeHarness)).open()
    await bus.publish('usage.v1', usageSeries(['a'], 10))
    const firsts: bigint[] = []
    const running = consuming(bus, 'again', {
      handle: async ({ first }) => {
        firsts.push(first)
        if (firsts.length < 3) throw new Error('not now')
      },
    })
    await until('the third try', () => running.records().length === 10)
    expect(firsts.slice(0, 3)).toEqual([0n, 0n, 0n])
    expect(running.orders().get('a')).toEqual(upTo(10))
  })

  it('does not commit past a gap, and other partitions go on', async () => {
    const bus = await (await harnessFor(makeHarness)).open()
    await bus.publish('usage.v1', usageSeries(KEYS, 5))
    const tried: UsageBatch[] = []
    const running = consuming(
      bus,
      'gap',
      {
        handle: async (batch) => {
          if (batch.partition !== 2) return
          tried.push(batch)
          throw new Error('this partition fails')
        },
      },
      { max_records: 4 },
    )
    const elsewhere = new Set(usageSeries(KEYS, 5).map(({ event_id }) => event_id))
    await until('a second try', () => tried.length >= 2)
    for (const { records } of tried) for (const { event_id } of records) elsewhere.delete(event_id)
    await until('every other partition is read to its end', async () => {
      const lag = await bus.lag('gap')
      return lag.filter(({ partition }) => partition !== 2).length === 5 && lag.every(({ partition, committed, end }) => partition === 2 || committed === end)
    })
    expect(tried.every(({ first, last }) => first === 0n && last <= 3n)).toBe(true)
    await running.stop()
    expect((await bus.lag('gap')).find(({ partition }) => partition === 2)?.committed ?? 0n).toBe(0n)
    const after = consuming(bus, 'gap')
    await until('the failed partition comes again', () => after.batches.some(({ partition, first }) => partition === 2 && first === 0n))
  })

  it('backs off when a handler always throws', async () => {
    const bus = await (await harnessFor(makeHarness)).open()
    await bus.publish('usage.v1', usageSeries(['a'], 3))
    let tries = 0
    const running = consuming(bus, 'storm', { handle: () => Promise.reject(new Error(`try ${(tries += 1)}`)) })
    await until('a first try', () => tries > 0)
    await systemClock.sleep(2_000)
    const early = tries
    expect(early).toBeLessThan(40)
    await running.stop()
    await systemClock.sleep(300)
    expect(tries).toBeLessThanOrEqual(early + 1)
  })

  it('sets aside what is not JSON or does not fit, and goes on', async () => {
    const harness = await harnessFor(makeHarness)
    const bus = await harness.open()
    const good = [usageOf('a', 1), usageOf('a', 2)]
    const bad = ['{"secret":"sk-not-to-be-copied"', '"just a text"', JSON.stringify({ ...usageOf('a', 3), requests: -1 }), '[]']
    await harness.writeRaw('usage.v1', 1, [bad[0] ?? '', JSON.stringify(good[0]), bad[1] ?? '', bad[2] ?? '', JSON.stringify(good[1]), bad[3] ?? ''])
    const running = consuming(bus, 'poison')
    await until('the good records', () => running.records().length === 2)
    expect(running.records()).toEqual(good)
    await until('the offset moved on', async () => (await bus.lag('poison')).some(({ partition, committed }) => partition === 1 && committed === 6n))
    const rejects: Reject[] = []
    await bus.replay('rejects.v1', ({ records }) => void rejects.push(...records), never)
    expect(rejects.map(({ reason }) => reason).sort()).toEqual(['invalid-json', 'schema-mismatch', 'schema-mismatch', 'schema-mismatch'])
    expect(rejects.map(({ size_bytes }) => size_bytes).sort((a, b) => a - b)).toEqual(bad.map((text) => text.length).sort((a, b) => a - b))
    expect(rejects.every(({ stage, topic, payload }) => stage === 'bus' && topic === 'usage.v1' && payload === null)).toBe(true)
    expect(JSON.stringify(rejects)).not.toContain('sk-not')
    expect(rejects.find(({ reason, size_bytes }) => reason === 'schema-mismatch' && size_bytes === bad[2]?.length)?.detail).toContain('requests')
  })

  it('moves on over a batch in which nothing is good, and counts a re-read once', async () => {
    const harness = await harnessFor(makeHarness)
    const bus = await harness.open()
    await harness.writeRaw('usage.v1', 0, ['nonsense', '{}', '7'])
    const skipped: PartitionOffset[] = []
    const first = consuming(bus, 'all-bad', { handle: () => expect.unreachable(), skipped: async (to) => void skipped.push(to) })
    await until('the offset moved on', async () => (await bus.lag('all-bad')).some(({ partition, committed }) => partition === 0 && committed === 3n))
    await first.stop()
    expect(skipped.at(-1)).toEqual({ topic: 'usage.v1', partition: 0, offset: 3n })
    const second = consuming(bus, 'all-bad-too')
    await until('the offset moved on', async () => (await bus.lag('all-bad-too')).some(({ partition, committed }) => partition === 0 && committed === 3n))
    expect(second.batches).toEqual([])
    const ids: string[] = []
    await bus.replay('rejects.v1', ({ records }) => void ids.push(...records.map(({ reject_id }) => reject_id)), never)
    expect(ids).toHaveLength(6)
    expect(new Set(ids).size).toBe(3)
  })

  it('does not breed rejects of rejects', async () => {
    const harness = await harnessFor(makeHarness)
    const bus = await harness.open()
    await harness.writeRaw('rejects.v1', 0, ['broken'])
    await bus.replay('rejects.v1', () => expect.unreachable(), never)
    await systemClock.sleep(200)
    expect((await bus.end_offsets(['rejects.v1']))[0]?.offset).toBe(1n)
  })

  it('has one batch in flight per partition, however slow the handler', async () => {
    const bus = await (await harnessFor(makeHarness)).open()
    await bus.publish('usage.v1', usageSeries(KEYS, 100))
    const inFlight = new Map<number, number>()
    let most = 0
    let concurrent = 0
    const running = consuming(
      bus,
      'slow',
      {
        handle: async ({ partition, records }) => {
          expect(records.length).toBeLessThanOrEqual(50)
          inFlight.set(partition, (inFlight.get(partition) ?? 0) + 1)
          most = Math.max(most, ...inFlight.values())
          concurrent = Math.max(concurrent, [...inFlight.values()].filter((count) => count > 0).length)
          await systemClock.sleep(20)
          inFlight.set(partition, (inFlight.get(partition) ?? 0) - 1)
        },
      },
      { max_records: 50 },
    )
    await until('all records', () => running.records().length === KEYS.length * 100)
    expect(most).toBe(1)
    expect(concurrent).toBeGreaterThan(1)
    for (const [, order] of running.orders()) expect(order).toEqual(upTo(100))
  })

  it('drains on abort: waits for the handler, commits nothing of what it still does', async () => {
    const bus = await (await harnessFor(makeHarness)).open()
    await bus.publish('usage.v1', usageSeries(['a'], 5))
    let started = false
    let finished = false
    const running = consuming(bus, 'drain', {
      handle: async (_, signal) => {
        started = true
        await new Promise((resolve) => signal.addEventListener('abort', resolve))
        await systemClock.sleep(200)
        finished = true
      },
    })
    await until('the handler works', () => started)
    await running.stop()
    expect(finished).toBe(true)
    expect(running.revoked).toHaveLength(6)
    expect((await bus.lag('drain')).every(({ committed }) => committed === null || committed === 0n)).toBe(true)
    const again = consuming(bus, 'drain')
    await until('the records come again', () => again.records().length === 5)
  })

  it('closes while it consumes', async () => {
    const harness = await harnessFor(makeHarness)
    const bus = await harness.open()
    await bus.publish('usage.v1', usageSeries(KEYS, 20))
    const running = consuming(bus, 'closing', { handle: () => systemClock.sleep(30) }, { max_records: 5 })
    await until('some batches', () => running.batches.length > 3)
    await bus.close()
    await running.ended
    const rest = consuming(await harness.open(), 'closing')
    await until('another handle finishes', async () => {
      const ids = new Set([...running.records(), ...rest.records()].map(({ event_id }) => event_id))
      return ids.size === KEYS.length * 20
    })
  })
}
