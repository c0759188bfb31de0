/** Completeness, amplification and latency in numbers, on the model. */
import { describe, expect, it } from 'vitest'
import { seededRandom } from '../../../runtime/random.ts'
import { Collected, GROUP, HOUR, MINUTE, NOON, SECOND } from './collect.ts'

const share = (values: readonly number[], p: number): number => [...values].sort((a, b) => a - b)[Math.ceil(values.length * p) - 1] ?? Number.NaN

/** 80 % are visible within 2 s, 15 % within 30 s, 5 % within 2 min. */
function lateness(random: () => number): number {
  const kind = random()
  const [low, high] = kind < 0.8 ? [0, 2] : kind < 0.95 ? [2, 30] : [30, 120]
  return Math.floor((low + random() * (high - low)) * SECOND)
}

/** Visible to published, ms, of each event once; event times are different. */
function waits(world: Collected, groups: readonly string[]): number[] {
  const visible = new Map(groups.flatMap((group) => world.model.events(group).map(({ timestamp, visible_at }) => [timestamp, visible_at] as const)))
  const first = new Map<number, number>()
  for (const { event_time, observed_time } of world.bus.of('usage.v1')) if (!first.has(event_time)) first.set(event_time, observed_time)
  return [...first].map(([time, at]) => at - (visible.get(time) ?? Number.NaN))
}

describe('late visibility', () => {
  it('80 % within 2 s, 15 % within 30 s, 5 % within 2 min: all of it, once, within 30 s of being visible', async () => {
    const world = new Collected({ config: { reconcile: true } })
    const random = seededRandom(7)
    world.put(Array.from({ length: 9_000 }, (_, index) => ({ time: NOON + index * 200, late: lateness(random) })))
    // The day behind it has a cold and a deep scan: they must not publish again what is there.
    await world.run(25 * HOUR)
    const { distinct, amplification } = world.published
    expect(distinct).toBe(9_000)
    expect(amplification).toBeLessThanOrEqual(1.05)
    const wait = share(waits(world, [GROUP]), 0.95)
    expect(wait).toBeLessThanOrEqual(30 * SECOND)
    const said = world.bus.of('progress.v1').flatMap(({ completeness }) => completeness ?? [])
    expect(said.length).toBeGreaterThan(1_000)
    expect(new Set(said)).toEqual(new Set([1]))
    console.log(`late stand-in: ${distinct} of 9000 collected, published ${amplification.toFixed(3)} times, visible to bus p95 ${(wait / SECOND).toFixed(1)} s`)
  })

  it('45 groups of one region within the quota: visible to bus p95 within 30 s', async () => {
    const groups = Array.from({ length: 45 }, (_, index) => `/app/group-${index}`)
    const world = new Collected({ groups })
    const random = seededRandom(9)
    for (const group of groups)
      world.put(
        Array.from({ length: 60 }, (_, index) => ({ time: NOON + index * 10 * SECOND, late: lateness(random) })),
        group,
      )
    await world.run(15 * MINUTE)
    expect(world.published).toMatchObject({ distinct: 2_700, total: 2_700 })
    const wait = share(waits(world, groups), 0.95)
    expect(wait).toBeLessThanOrEqual(30 * SECOND)
    expect(world.model.stats.busiest_ten_seconds).toBeLessThanOrEqual(31)
    expect(world.model.stats.throttled).toBe(0)
    console.log(`45 groups: visible to bus p95 ${(wait / SECOND).toFixed(1)} s, at most ${world.model.stats.busiest_ten_seconds} requests in ten seconds`)
  })
})

describe('reconciliation', () => {
  it('an event that only a cold scan could see is missed by the metric first, then found by a rescan of its own', async () => {
    const world = new Collected({ config: { reconcile: true, start: '6h' } })
    world.put(Array.from({ length: 120 }, (_, index) => ({ time: NOON + index * 30 * SECOND })))
    // Three hours late: behind the warm scan; the next cold scan would be hours away.
    world.put([{ time: NOON - 2.5 * HOUR, late: 3 * HOUR }])
    await world.run(70 * MINUTE)
    expect(world.published).toMatchObject({ distinct: 121, total: 121 })
    const said = world.bus.of('progress.v1').map(({ completeness }) => completeness)
    expect(said.at(0)).toBe(null)
    expect(said.some((completeness) => completeness !== null && completeness < 1)).toBe(true)
    expect(said.at(-1)).toBe(1)
  })

  it('when the metric has agreed to the last event for a day, nobody reads the day again; without it, four times a day', async () => {
    const pages = async (reconcile: boolean): Promise<number> => {
      const world = new Collected({ config: { reconcile, hot: { every: '5m' }, deep: { overlap: '26h' } } })
      world.put(Array.from({ length: 80 * 20 }, (_, index) => ({ time: NOON + index * 3 * MINUTE, late: 500 })))
      await world.run(27 * HOUR)
      world.model.stats.events = 0
      await world.run(48 * HOUR)
      expect(world.published.distinct).toBeGreaterThanOrEqual(75 * 20 - 2)
      return world.model.stats.events
    }
    const [compared, blindly] = [await pages(true), await pages(false)]
    expect(compared).toBeLessThan(blindly * 0.7)
  })

  it('an event that CloudWatch counted days before it showed it is found, though the metric agrees ever since', async () => {
    const world = new Collected({ config: { reconcile: true, hot: { every: '5m' } } })
    world.put(Array.from({ length: 24 * 90 }, (_, index) => ({ time: NOON + index * 2 * MINUTE })))
    const time = NOON + 2 * HOUR
    world.model.put(GROUP, [{ timestamp: time, ingested_at: time + SECOND, visible_at: time + 60 * HOUR, message: JSON.stringify({ call: 'late', time, tokens: 7 }) }])
    for (let day = 0; day < 4; day++) await world.run(23 * HOUR)
    expect(world.bus.of('usage.v1').some(({ event_time }) => event_time === time)).toBe(true)
    expect(new Set(world.bus.of('usage.v1').map(({ event_id }) => event_id)).size).toBe(24 * 90 + 1)
  })

  it('without the permission completeness is unknown, is asked for once an hour, and nothing else stops', async () => {
    const world = new Collected({ config: { reconcile: true }, faults: { metrics_denied: true } })
    world.put(Array.from({ length: 60 }, (_, index) => ({ time: NOON + index * 30 * SECOND })))
    await world.run(2 * HOUR)
    expect(world.published.distinct).toBe(60)
    expect(world.bus.of('progress.v1').every(({ completeness, blind }) => completeness === null && !blind)).toBe(true)
    expect(world.model.stats.calls.GetMetricData).toBeLessThanOrEqual(3)
  })

  it('what was never visible is said: completeness stays below 1', async () => {
    const world = new Collected({ config: { reconcile: true } })
    world.put(Array.from({ length: 99 }, (_, index) => ({ time: NOON + index * 30 * SECOND })))
    const time = NOON + 10 * MINUTE
    world.model.put(GROUP, [{ timestamp: time, ingested_at: time, visible_at: time + 14 * 24 * HOUR, message: '{}' }])
    await world.run(2 * HOUR)
    expect(world.published.distinct).toBe(99)
    const completeness = world.bus.of('progress.v1').at(-1)?.completeness
    expect(completeness).toBeLessThan(1)
    expect(completeness).toBeGreaterThan(0.98)
  })
})
