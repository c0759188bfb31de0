/**
 * Which requests the store holds already. A half that is read again long after its request was told (an export of one table, a log
 * that is read anew) must not take the place of the whole: same id, same revision, and the newer row would win.
 */
import type { ParsedEvent } from './format.ts'

/** Of these events, the ids that the store has in any form. */
export type Held = (events: readonly ParsedEvent['event'][]) => Promise<ReadonlySet<string>>

const AT_ONCE = 500

/** `rows` runs a statement of ours on the store. */
export function heldIn(rows: (sql: string) => Promise<readonly { event_id: string }[]>): Held {
  return async (events) => {
    const held = new Set<string>()
    // By time, because the table is sorted by it.
    const sorted = [...events].sort((a, b) => a.event_time - b.event_time)
    for (let from = 0; from < sorted.length; from += AT_ONCE) {
      const part = sorted.slice(from, from + AT_ONCE)
      const times = `event_time BETWEEN fromUnixTimestamp64Milli(${part[0]?.event_time ?? 0}, 'UTC') - INTERVAL 1 HOUR AND fromUnixTimestamp64Milli(${part.at(-1)?.event_time ?? 0}, 'UTC') + INTERVAL 1 HOUR`
      const ids = part.map(({ event_id }) => `'${event_id}'`).join(',')
      for (const { event_id } of await rows(`SELECT DISTINCT toString(event_id) AS event_id FROM usage_events WHERE ${times} AND event_id IN (${ids})`)) held.add(event_id)
    }
    return held
  }
}
