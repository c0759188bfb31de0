/** Where the CPU of lane A goes: each step alone, in this process, on the same events. Microseconds per event. */
import { decodeBatch, encode } from '../bus/decode.ts'
import { configSchema } from '../config.ts'
import { configuredDetectors } from '../detect/index.ts'
import { loadPriceBook } from '../pricing/price-book.ts'
import { createRater } from '../pricing/rate.ts'
import { systemClock } from '../runtime/clock.ts'
import type { UsageEvent } from '../schemas/usage.ts'
import { storedTables } from '../store/tables.ts'
import { usageEventAt } from './usage-events.ts'

const EVENTS = 40_000
const ROUNDS = 3

export async function steps() {
  const events = Array.from({ length: EVENTS }, (_, index) => usageEventAt(index, systemClock.now() - 3_600_000, 50))
  const stored = events.map((event, index) => ({ offset: BigInt(index), value: Buffer.from(encode('usage.v1', event)) }))
  const rater = createRater(loadPriceBook())
  return {
    bytes_per_event: Math.round(stored.reduce((sum, { value }) => sum + value.length, 0) / EVENTS),
    'JSON.parse alone': await cost(() => stored.forEach(({ value }) => JSON.parse(value.toString('utf8')))),
    'decode: parse and validate': await cost(async () => void (await decodeBatch('usage.v1', 0, stored, systemClock.now()))),
    'row: meters and text for ClickHouse': await cost(() => events.forEach((event) => storedTables['usage.v1'].toRow(event))),
    'encode for the bus': await cost(() => events.forEach((event) => encode('usage.v1', event))),
    'rate: exact price': await cost(() => events.forEach((event) => rater.rate(event))),
    ...(await detectorCosts(events)),
  }
}

/** Each fold alone, with a state of its own per key. */
async function detectorCosts(events: readonly UsageEvent[]): Promise<Record<string, number>> {
  const costs: Record<string, number> = {}
  for (const { spec, config } of configuredDetectors(configSchema.parse({}).detectors)) {
    costs[`detect: ${spec.id}`] = await cost(() => {
      const states = new Map<string, unknown>()
      for (const event of events) {
        for (const key of spec.keys(event)) states.set(key, spec.step(states.get(key), { event }, key, { config, now: event.event_time - 60_000, late: 0, gaps: [] }).state)
      }
    })
  }
  return costs
}

/** The best of a few rounds: the others were disturbed, or compiled. */
async function cost(work: () => void | Promise<void>): Promise<number> {
  let best = Infinity
  for (let round = 0; round < ROUNDS; round++) {
    const before = process.cpuUsage()
    await work()
    const { user, system } = process.cpuUsage(before)
    best = Math.min(best, (user + system) / EVENTS)
  }
  return Math.round(best * 100) / 100
}
