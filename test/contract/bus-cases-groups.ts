/** Groups: who reads what, from where, and what happens when members come, go and die. */
import { expect, it } from 'vitest'
import { systemClock } from '../../runtime/clock.ts'
import type { MakeHarness } from './bus.ts'
import { usageOf, usageSeries } from './bus-events.ts'
import { consuming, harnessFor, KEYS, startChild, until, upTo } from './bus-tools.ts'

const idsOf = (lines: readonly Record<string, unknown>[]): string[] => lines.flatMap(({ ids }) => (Array.isArray(ids) ? (ids as string[]) : []))

export function groupCases(makeHarness: MakeHarness): void {
  it('starts a new group at the beginning, each group for itself', async () => {
    const bus = await (await harnessFor(makeHarness)).open()
    await bus.publish('usage.v1', usageSeries(KEYS, 10))
    const one = consuming(bus, 'one')
    const two = consuming(bus, 'two')
    await until('both groups read everything', () => one.records().length === KEYS.length * 10 && two.records().length === KEYS.length * 10)
  })

  it('resumes at the committed offset', async () => {
    const harness = await harnessFor(makeHarness)
    const bus = await harness.open()
    await bus.publish('usage.v1', usageSeries(KEYS, 10))
    const before = consuming(bus, 'resume')
    await until('all records', () => before.records().length === KEYS.length * 10)
    await before.stop()
    await bus.close()
    const later = await harness.open()
    await later.publish('usage.v1', [usageOf('fp_0', 10), usageOf('fp_1', 10)])
    const after = consuming(later, 'resume')
    await until('the new records', () => after.records().length === 2)
    await systemClock.sleep(300)
    expect(after.records().map(({ input_tokens }) => input_tokens)).toEqual([10, 10])
  })

  it('may be several members in one process: each record once, in order, and committed', async () => {
    const bus = await (await harnessFor(makeHarness)).open()
    await bus.publish('usage.v1', usageSeries(KEYS, 20))
    const several = consuming(bus, 'several', { handle: () => systemClock.sleep(20) }, { members: 2, max_records: 5 })
    await until('all records', () => several.records().length >= KEYS.length * 20)
    await bus.publish('usage.v1', usageSeries(KEYS, 20))
    await until('the later ones', () => several.records().length >= KEYS.length * 40)
    await until('all is committed', async () => (await bus.lag('several')).every(({ committed, end }) => committed === end))
    expect(several.records()).toHaveLength(KEYS.length * 40)
    for (const key of KEYS) expect(several.orders().get(key)).toEqual([...upTo(20), ...upTo(20)])
    await several.stop()
    expect(await bus.members('several')).toBe(0)
  })

  it('tells the lag', async () => {
    const bus = await (await harnessFor(makeHarness)).open()
    expect(await bus.lag('lagging')).toEqual([])
    await bus.publish('usage.v1', usageSeries(KEYS, 10))
    const running = consuming(bus, 'lagging')
    await until('no lag', async () => {
      const lag = await bus.lag('lagging')
      return lag.length === 6 && lag.every(({ committed, end }) => committed === end)
    })
    await running.stop()
    await bus.publish('usage.v1', usageSeries(KEYS, 10))
    const lag = await bus.lag('lagging')
    expect(lag.map(({ partition }) => partition)).toEqual(upTo(6))
    expect(lag.reduce((sum, { committed, end }) => sum + end - (committed ?? 0n), 0n)).toBe(BigInt(KEYS.length * 10))
  })

  it('starts where assigned() says, whatever was committed', async () => {
    const bus = await (await harnessFor(makeHarness)).open()
    await bus.publish('usage.v1', usageSeries(['a'], 20))
    const before = consuming(bus, 'seek')
    await until('all records', () => before.records().length === 20)
    await before.stop()
    const home = before.batches[0]?.partition ?? 0
    for (const offset of [0, 7, 19]) {
      const running = consuming(bus, 'seek', { assigned: async () => [{ topic: 'usage.v1', partition: home, offset: BigInt(offset) }] })
      await until(`everything from ${offset}`, () => running.records().length === 20 - offset)
      expect(running.orders().get('a')).toEqual(upTo(20).slice(offset))
      expect(running.batches[0]?.first).toBe(BigInt(offset))
      await running.stop()
    }
    const end = consuming(bus, 'seek', { assigned: async () => [{ topic: 'usage.v1', partition: home, offset: 20n }] })
    await until('assigned', () => end.assigned.length === 6)
    await bus.publish('usage.v1', [usageOf('a', 20)])
    await until('the new record', () => end.records().length === 1)
    expect(end.orders().get('a')).toEqual([20])
  })

  it('starts at the beginning when the wished offset lies behind the end', async () => {
    const bus = await (await harnessFor(makeHarness)).open()
    await bus.publish('usage.v1', usageSeries(['a'], 5))
    const running = consuming(bus, 'beyond', { assigned: async (partitions) => partitions.map((at) => ({ ...at, offset: 1_000n })) })
    await until('everything', () => running.records().length === 5)
  })

  it('asks for the start positions before the first batch, and again after a failure', async () => {
    const bus = await (await harnessFor(makeHarness)).open()
    await bus.publish('usage.v1', usageSeries(KEYS, 3))
    let asked = 0
    let ready = false
    const running = consuming(bus, 'ask', {
      assigned: async () => {
        asked += 1
        if (asked === 1) throw new Error('the state is not there yet')
        await systemClock.sleep(200)
        ready = true
      },
      handle: async () => expect(ready).toBe(true),
    })
    await until('all records', () => running.records().length === KEYS.length * 3)
    expect(asked).toBe(2)
    await running.stop()
    expect(new Set(running.revoked.map(({ partition }) => partition))).toEqual(new Set(upTo(6)))
  })

  it('tells a consumer of its partitions even if there is nothing to read', async () => {
    const bus = await (await harnessFor(makeHarness)).open()
    const running = consuming(bus, 'idle')
    await until('assigned', () => running.assigned.length === 6)
    expect(running.batches).toEqual([])
  })

  it('shares the partitions between two consumers', async () => {
    const harness = await harnessFor(makeHarness)
    const [one, two] = [await harness.open(), await harness.open()]
    const first = consuming(one, 'shared')
    await until('the first has all', () => first.assigned.length === 6)
    const second = consuming(two, 'shared')
    await until('the second has its share', () => second.assigned.length >= 3 && first.revoked.length >= 3)
    await systemClock.sleep(500)
    await one.publish('usage.v1', usageSeries(KEYS, 10))
    await until('all records', () => first.records().length + second.records().length >= KEYS.length * 10)
    const partitions = (running: typeof first) => new Set(running.batches.map(({ partition }) => partition))
    expect(partitions(first).size).toBe(3)
    expect(partitions(second).size).toBe(3)
    expect([...partitions(first)].filter((partition) => partitions(second).has(partition))).toEqual([])
    expect(await one.members('shared')).toBe(2)
    await second.stop()
    expect(await one.members('shared')).toBe(1)
    expect(await one.members('nobody')).toBe(0)
    await one.publish('usage.v1', usageSeries(['late-1', 'late-2', 'late-3', 'late-4', 'late-5', 'late-6'], 1))
    await until('the first has everything again', () => first.records().filter(({ api_key_id }) => api_key_id?.startsWith('late')).length === 6)
  })

  it('does not commit a batch whose partition moved away in the middle', async () => {
    const harness = await harnessFor(makeHarness)
    const [one, two] = [await harness.open(), await harness.open()]
    await one.publish('usage.v1', usageSeries(KEYS, 4))
    const working = new Set<number>()
    const aborted = new Set<number>()
    const first = consuming(one, 'moving', {
      handle: async ({ partition }, signal) => {
        working.add(partition)
        await new Promise((resolve) => signal.addEventListener('abort', resolve))
        aborted.add(partition)
      },
    })
    // More than half of them, so that one that works is among those that move.
    await until('the first works', () => working.size >= 4)
    const second = consuming(two, 'moving')
    await until('partitions moved', () => second.assigned.length >= 3)
    await until('the second reads what it got from the beginning', () => second.batches.length >= 3)
    for (const { partition, first: offset } of second.batches.slice(0, 3)) expect({ partition, offset }).toEqual({ partition, offset: 0n })
    expect(aborted.size).toBeGreaterThan(0)
    await first.stop()
    await until('the second reads the rest', () => second.records().length >= KEYS.length * 4)
    expect(new Set(second.records().map(({ event_id }) => event_id)).size).toBe(KEYS.length * 4)
  })

  it('survives kill -9 of another process in the group', async () => {
    const harness = await harnessFor(makeHarness)
    const bus = await harness.open()
    const victim = startChild(harness, { consume: { group: 'killed', pause_ms: 30, max_records: 10 } })
    const keeper = startChild(harness, { consume: { group: 'killed', pause_ms: 30, max_records: 10 } })
    await until('both processes have partitions', () => [victim, keeper].every(({ lines }) => lines.some(({ assigned }) => Array.isArray(assigned))))
    const events = usageSeries(KEYS, 100)
    await bus.publish('usage.v1', events)
    await until('both work', () => idsOf(victim.lines).length > 20 && idsOf(keeper.lines).length > 20)
    victim.process.kill('SIGKILL')
    await victim.exited
    await until('the other does the rest', () => new Set([...idsOf(victim.lines), ...idsOf(keeper.lines)]).size === events.length, 40_000)
    const wanted = new Set(events.map(({ event_id }) => event_id))
    expect(new Set([...idsOf(victim.lines), ...idsOf(keeper.lines)])).toEqual(wanted)
    await until('everything is committed', async () => (await bus.lag('killed')).every(({ committed, end }) => committed === end || end === 0n))
    keeper.process.kill('SIGTERM')
    expect(await keeper.exited).toBe(0)
  }, 90_000)

  it('lets a process go that leaves in good order, at once', async () => {
    const harness = await harnessFor(makeHarness)
    const bus = await harness.open()
    await bus.publish('usage.v1', usageSeries(KEYS, 2))
    const other = startChild(harness, { consume: { group: 'leaving', pause_ms: 0, max_records: 100 } })
    await until('the other process works', () => idsOf(other.lines).length === KEYS.length * 2)
    other.process.kill('SIGTERM')
    expect(await other.exited).toBe(0)
    const running = consuming(bus, 'leaving')
    await until('its partitions are free', () => running.assigned.length === 6, 5_000)
    await systemClock.sleep(200)
    expect(running.batches).toEqual([])
  })
}
