/** Which days the rollup must rebuild: the marks of writes against the marks that each partition says it was built from. */
import type { Store } from '../store/store.ts'
import { pricedNameSql } from './rollup-sql.ts'

/** All that these questions need; the HTTP front of another process can answer them as well. */
export type Queries = Pick<Store, 'query' | 'database'>

export interface DayState {
  /** YYYY-MM-DD */
  day: string
  /** Inserts that touched the day, as text: equal or not is all that matters. */
  marks: string
  /** Last of them, epoch ms by the clock of the store. */
  at: number
  /** Every table holds what the marks say. */
  built: boolean
  /** Start of the oldest build among the tables, epoch ms by the clock of the store; null: none. */
  built_at: number | null
}

export interface DirtyState {
  /** The clock of the store: epoch ms, and as text for SQL. */
  now: number
  now_text: string
  days: DayState[]
}

/** The state of the days that `wanted` lets through (all by default). Cost: one row per day, and one column of those days' partitions. */
export async function readDays(store: Queries, wanted: (day: { day: string; marks: string; at: number }, now: number) => boolean = () => true): Promise<DirtyState> {
  const { database } = store
  const [clock] = await store.query<{ now: string; now_text: string }>(`SELECT toUnixTimestamp64Milli(now64(3, 'UTC')) AS now, toString(now64(3, 'UTC')) AS now_text`)
  const now = Number(clock?.now)
  const rows = await store.query<{ d: string; m: string; a: string }>(
    `SELECT toString(day) AS d, sum(marks) AS m, toUnixTimestamp64Milli(max(at)) AS a FROM ${database}.dirty_days GROUP BY day ORDER BY day DESC`,
  )
  const marked = rows.map((row) => ({ day: row.d, marks: row.m, at: Number(row.a) })).filter((day) => wanted(day, now))
  const list = marked.map(({ day }) => `'${day}'`).join(', ')
  const built = async (table: string, day: string) =>
    marked.length === 0
      ? new Map<string, Built>()
      : new Map(
          (
            await store.query<{ d: string; m: string; b: string }>(
              `SELECT toString(${day}) AS d, any(built_marks) AS m, toUnixTimestamp64Milli(any(built_at)) AS b FROM ${database}.${table} WHERE ${day} IN (${list}) GROUP BY d`,
            )
          ).map((row) => [row.d, { marks: row.m, at: Number(row.b) }]),
        )
  const daily = await built('usage_daily', 'day')
  const quarter = await built('usage_15m', 'toDate(bucket)')
  const absent = marked.filter(({ day }) => !daily.has(day) && !quarter.has(day))
  const empty = new Set(
    await daysWithoutEvents(
      store,
      absent.map(({ day }) => day),
    ),
  )
  const days = marked.map(({ day, marks, at }): DayState => {
    const first = quarter.get(day)
    const second = daily.get(day)
    if (empty.has(day)) return { day, marks, at, built: true, built_at: now }
    return { day, marks, at, built: first?.marks === marks && second?.marks === marks, built_at: first && second ? Math.min(first.at, second.at) : null }
  })
  return { now, now_text: clock?.now_text ?? '', days }
}

interface Built {
  marks: string
  at: number
}

/** A day whose events were all erased has no partition, and that is right. */
async function daysWithoutEvents(store: Queries, days: readonly string[]): Promise<string[]> {
  if (days.length === 0) return []
  const rows = await store.query<{ d: string }>(
    `SELECT DISTINCT toString(toDate(event_time)) AS d FROM ${store.database}.usage_events WHERE toDate(event_time) IN (${days.map((day) => `'${day}'`).join(', ')})`,
  )
  const present = new Set(rows.map((row) => row.d))
  return days.filter((day) => !present.has(day))
}

/** Marks days (YYYY-MM-DD) for a rebuild, for changes that are no inserts: deletions, repairs. */
export async function markDirty(store: Store, days: readonly string[]): Promise<void> {
  if (days.length === 0) return
  const [clock] = await store.query<{ now: string }>(`SELECT toString(now64(3, 'UTC')) AS now`)
  await store.insert(
    'dirty_days',
    ['day', 'marks', 'at'],
    days.map((day) => JSON.stringify([day, 1, clock?.now])),
  )
}

/** Versions of the prices: stored, and worked off. */
export async function priceProgress(store: Queries): Promise<{ stored: bigint; done: bigint }> {
  const [row] = await store.query<{ stored: string; done: string }>(
    `SELECT (SELECT max(version) FROM ${store.database}.prices) AS stored, (SELECT max(value) FROM ${store.database}.ledger_progress WHERE name = 'prices') AS done`,
  )
  return { stored: BigInt(row?.stored ?? '0'), done: BigInt(row?.done ?? '0') }
}

/**
 * Marks every built day that a price change since the last call touches, and every day that is not built: another process may be
 * building it now, with the prices of before. Marks first, progress second: a crash between the two repeats the marks, which costs one rebuild.
 */
export async function markRepricedDays(store: Store): Promise<void> {
  const { stored, done } = await priceProgress(store)
  if (stored <= done) return
  const db = store.database
  await store.command(`INSERT INTO ${db}.dirty_days (day, marks, at)
SELECT u.day, toUInt64(1), now64(3, 'UTC')
FROM (SELECT DISTINCT day, toString(provider) AS provider, ${pricedNameSql('toString(model)')} AS name, toString(tier) AS tier, toString(ctx) AS ctx FROM ${db}.usage_daily) AS u
INNER JOIN (SELECT toString(provider) AS provider, toString(model) AS name, toString(tier) AS tier, toString(ctx) AS ctx, min(changed_from) AS since, max(changed_last) AS last FROM ${db}.prices WHERE version > ${done} GROUP BY provider, name, tier, ctx) AS p
    ON u.provider = p.provider AND u.name = p.name AND u.tier = p.tier AND u.ctx = p.ctx
WHERE u.day BETWEEN p.since AND p.last
GROUP BY u.day
UNION DISTINCT
SELECT d.day, toUInt64(1), now64(3, 'UTC')
FROM (SELECT day, sum(marks) AS marked FROM ${db}.dirty_days GROUP BY day) AS d
LEFT JOIN (SELECT day, any(built_marks) AS built FROM ${db}.usage_daily GROUP BY day) AS u ON d.day = u.day
WHERE u.built != d.marked`)
  await store.insert('ledger_progress', ['name', 'value'], [JSON.stringify(['prices', stored.toString()])])
}
