/**
 * Tells new events from known ones: what the store holds for each UTC day that a run touches, before its first event of that
 * day is published and after the drain. Exact as long as nobody else adds events of the same days meanwhile.
 */
import type { Bus } from '../bus/bus.ts'
import type { TopicName, TopicValue } from '../schemas/topics.ts'
import type { Reader } from './reader.ts'

const DAY_MS = 86_400_000
const TABLES: Partial<Record<TopicName, string>> = { 'usage.v1': 'usage_events', 'secret-access.v1': 'secret_access_events', 'credential-change.v1': 'credential_change_events' }

export interface CountingBus {
  bus: Bus
  /** Distinct events that the store holds now and did not hold before. */
  newEvents(): Promise<number>
}

export function countingBus(bus: Bus, reader: Reader): CountingBus {
  const before = new Map<string, Map<number, number>>()
  /** One question for all days of a table: a run over months must not ask for each day. */
  const count = async (table: string, days: readonly number[]): Promise<Map<number, number>> => {
    const [from, until] = [Math.min(...days), Math.max(...days) + 1].map((day) => `fromUnixTimestamp64Milli(${day * DAY_MS}, 'UTC')`)
    const rows = await reader.rows<{ day: string; held: string }>(
      `SELECT intDiv(toUnixTimestamp64Milli(event_time), ${DAY_MS}) AS day, uniqExact(event_id) AS held FROM ${table}
       WHERE event_time >= ${from} AND event_time < ${until} AND day IN (${days.join(', ')}) GROUP BY day`,
    )
    const held = new Map(rows.map((row) => [Number(row.day), Number(row.held)]))
    return new Map(days.map((day) => [day, held.get(day) ?? 0]))
  }
  const publish = async <T extends TopicName>(topic: T, values: readonly TopicValue<T>[]): Promise<void> => {
    const table = TABLES[topic]
    if (table !== undefined) {
      const known = before.get(table) ?? new Map<number, number>()
      before.set(table, known)
      const days = new Set(values.map((value) => Math.floor(('event_time' in value ? value.event_time : 0) / DAY_MS)))
      const fresh = [...days].filter((day) => !known.has(day))
      if (fresh.length > 0) for (const [day, held] of await count(table, fresh)) if (!known.has(day)) known.set(day, held)
    }
    return bus.publish(topic, values)
  }
  return {
    // A bus may be a class instance: its methods must keep their own `this`.
    bus: new Proxy(bus, {
      get: (target, name) => {
        if (name === 'publish') return publish
        const member: unknown = Reflect.get(target, name)
        return typeof member === 'function' ? member.bind(target) : member
      },
    }),
    newEvents: async () => {
      let fresh = 0
      for (const [table, held] of before) for (const [day, now] of await count(table, [...held.keys()])) fresh += now - (held.get(day) ?? 0)
      return fresh
    },
  }
}
