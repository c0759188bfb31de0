/** The stage of one rollup: several days are summed by one pass over the events, then swapped in day by day with REPLACE PARTITION. */
import { crashPoint } from '../runtime/crash.ts'
import { freshUuid } from '../runtime/ids.ts'
import type { Store } from '../store/store.ts'
import type { DayState, DirtyState } from './dirty-days.ts'
import { daysRangeSql, stage15mSql, stageDailySql } from './rollup-sql.ts'

export interface Stage {
  store: Store
  /** Days in portions that one pass can take, in their order. */
  portions(days: readonly DayState[]): Promise<DayState[][]>
  /** Rebuilds the days of one portion. `duration` in ms by the clock of the store, for all of them together. */
  rebuild(days: readonly DayState[], state: Pick<DirtyState, 'now_text'>): Promise<{ rows: number; duration: number }>
  drop(): Promise<void>
}

// A statement has a fixed price that a quiet day does not earn back, so quiet days share it; a busy day is a portion of its own.
const PORTION_EVENTS = 500_000
// One insert may fill at most 100 partitions (max_partitions_per_insert_block).
const PORTION_DAYS = 60
// A statement may have 256 kB (max_query_size), and each day without a neighbour takes 110 bytes of it.
const COUNTED_DAYS = 1_000

/** Tables of this run only: two rollups must not write into one stage. What a killed run left behind goes after an hour. */
export async function createStage(store: Store): Promise<Stage> {
  const { database } = store
  const suffix = freshUuid().slice(0, 8)
  const tables = { usage_15m: `${database}.usage_15m_stage_${suffix}`, usage_daily: `${database}.usage_daily_stage_${suffix}` }
  const left = await store.query<{ name: string }>(
    `SELECT name FROM system.tables WHERE database = '${database}' AND match(name, '^usage_(15m|daily)_stage_') AND metadata_modification_time < now() - INTERVAL 1 HOUR`,
  )
  for (const { name } of left) await store.command(`DROP TABLE IF EXISTS ${database}.${name}`)
  const swap = async (table: 'usage_15m' | 'usage_daily', day: string, filled: boolean) => {
    await store.command(`ALTER TABLE ${database}.${table} ${filled ? `REPLACE PARTITION '${day}' FROM ${tables[table]}` : `DROP PARTITION '${day}'`}`)
  }
  return {
    store,
    portions: async (days) => (days.length <= 1 ? days.map((day) => [day]) : inPortions(days, await countEvents(store, days))),
    async rebuild(days, { now_text: built_at }) {
      const from = await storeNow(store)
      for (const table of ['usage_15m', 'usage_daily'] as const) {
        await store.command(`CREATE TABLE IF NOT EXISTS ${tables[table]} AS ${database}.${table}`)
        await store.command(`TRUNCATE TABLE ${tables[table]}`)
      }
      await store.command(stage15mSql({ database, days, built_at, into: tables.usage_15m }))
      await store.command(stageDailySql(tables.usage_15m, tables.usage_daily))
      const counts = await store.query<{ d: string; n: string }>(`SELECT toString(toDate(bucket)) AS d, count() AS n FROM ${tables.usage_15m} GROUP BY d`)
      const rows = new Map(counts.map(({ d, n }) => [d, Number(n)]))
      // Day by day, so that the two tables differ for a moment only.
      for (const { day } of days) {
        crashPoint('rollup.after-stage')
        await swap('usage_15m', day, rows.has(day))
        crashPoint('rollup.after-replace')
        await swap('usage_daily', day, rows.has(day))
      }
      return { rows: [...rows.values()].reduce((sum, n) => sum + n, 0), duration: (await storeNow(store)) - from }
    },
    async drop() {
      for (const table of Object.values(tables)) await store.command(`DROP TABLE IF EXISTS ${table}`)
    },
  }
}

/** Copies included: what a pass has to read. */
async function countEvents(store: Store, days: readonly DayState[]): Promise<Map<string, number>> {
  const counts = new Map<string, number>()
  for (let from = 0; from < days.length; from += COUNTED_DAYS) {
    const range = daysRangeSql(
      'event_time',
      days.slice(from, from + COUNTED_DAYS).map(({ day }) => day),
    )
    const rows = await store.query<{ d: string; n: string }>(`SELECT toString(toDate(event_time)) AS d, count() AS n FROM ${store.database}.usage_events WHERE ${range} GROUP BY d`)
    for (const { d, n } of rows) counts.set(d, Number(n))
  }
  return counts
}

function inPortions(days: readonly DayState[], events: ReadonlyMap<string, number>): DayState[][] {
  const portions: DayState[][] = []
  let total = Infinity
  for (const day of days) {
    const more = events.get(day.day) ?? 0
    const last = portions.at(-1)
    if (last !== undefined && last.length < PORTION_DAYS && total + more <= PORTION_EVENTS) {
      last.push(day)
      total += more
    } else {
      portions.push([day])
      total = more
    }
  }
  return portions
}

async function storeNow(store: Store): Promise<number> {
  const [row] = await store.query<{ now: string }>(`SELECT toUnixTimestamp64Milli(now64(3, 'UTC')) AS now`)
  return Number(row?.now)
}
