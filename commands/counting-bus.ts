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
  const before = new Map<string, { table: string; day: number; held: number }>()
  const count = async (table: string, day: number): Promise<number> => {
    const range = `event_time >= fromUnixTimestamp64Milli(${day * DAY_MS}, 'UTC') AND event_time < fromUnixTimestamp64Milli(${(day + 1) * DAY_MS}, 'UTC')`
    const [row] = await reader.rows<{ held: string }>(`SELECT uniqExact(event_id) AS held FROM ${table} WHERE ${range}`)
    return Number(row?.held ?? 0)
  }
  const publish = async <T extends TopicName>(topic: T, values: readonly TopicValue<T>[]): Promise<void> => {
    const table = TABLES[topic]
    if (table !== undefined) {
      for (const value of values) {
        const day = Math.floor(('event_time' in value ? value.event_time : 0) / DAY_MS)
        const key = `${table} ${day}`
        if (!before.has(key)) before.set(key, { table, day, held: await count(table, day) })
      }
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
      for (const { table, day, held } of before.values()) fresh += (await count(table, day)) - held
      return fresh
    },
  }
}
