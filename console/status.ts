/** What the status page shows, gathered at most once every second and a half, however many people look. */
import type { Clock } from '../runtime/clock.ts'
import { messageOf } from '../runtime/errors.ts'
import type { Store } from '../store/store.ts'
import { type AlertRow, alertsOf, type OpenAlerts, openAlerts } from './alerts.ts'
import { type SpendHour, type SpendMonth, type SpendTeam, spendByHour, spendByTeam, spendOfMonth } from './spend.ts'

export interface CollectorRow {
  source: string
  source_stream: string
  updated_at: string
  /** Seconds; null for a stream that was read to its end, or not known yet. */
  lag_seconds: number | null
  last_event_time: string | null
  completeness: number | null
  blind: boolean
  reason: string | null
  done: boolean
  records: string
  accepted: string
  skipped: string
  rejected: string
  late: string
  /** What the cloud took and what we took, for 95 of 100 of the newest records; null: the cloud does not say. */
  cloud_delay_seconds: number | null
  own_delay_seconds: number | null
}

/** A part that cannot be read now is null and named in `problems`. */
export interface Status {
  now: number
  started_at: number
  roles: readonly string[]
  problems: string[]
  hours: SpendHour[] | null
  teams: SpendTeam[] | null
  month: SpendMonth[] | null
  alerts: AlertRow[] | null
  /** All open alerts; `alerts` holds the newest only. */
  open: OpenAlerts | null
  collectors: CollectorRow[] | null
}

interface StatusContext {
  store: Pick<Store, 'database' | 'query'>
  clock: Clock
  roles: readonly string[]
}

const FRESH_MS = 1_500
// Sums change with the rollup, not with every event.
const SPEND_FRESH_MS = 5_000
const SHOWN_ALERTS = 25

export function createStatus({ store, clock, roles }: StatusContext): () => Promise<Status> {
  const started_at = clock.now()
  let gathered_at = -Infinity
  let spent_at = -Infinity
  let spend: Pick<Status, 'hours' | 'teams' | 'month'> | undefined
  let current: Promise<Status> | undefined
  // The sums are kept for a while, and so is what was wrong with them: a page that is green every other second says nothing.
  let spend_problems: string[] = []
  const gather = async (now: number): Promise<Status> => {
    let problems: string[] = []
    const part = async <T>(name: string, read: () => Promise<T>): Promise<T | null> => {
      try {
        return await read()
      } catch (error) {
        problems.push(`${name}: ${messageOf(error).slice(0, 300)}`)
        return null
      }
    }
    // One after the other: the page may wait, the pipeline beside it should not.
    const alerts = await part('alerts', () => alertsOf(store, SHOWN_ALERTS, { live_only: true, open_first: true }))
    const open = await part('open alerts', () => openAlerts(store))
    const collectors = await part('collectors', () => collectorsOf(store))
    if (spend === undefined || now - spent_at >= SPEND_FRESH_MS) {
      const before = problems
      problems = spend_problems = []
      spent_at = now
      spend = {
        hours: await part('spend by hour', () => spendByHour(store, now)),
        teams: await part('spend by team', () => spendByTeam(store, now)),
        month: await part('spend of the month', () => spendOfMonth(store, now)),
      }
      problems = before
    }
    return { now, started_at, roles, problems: [...problems, ...spend_problems], ...spend, alerts, open, collectors }
  }
  return () => {
    const now = clock.now()
    if (current === undefined || now - gathered_at >= FRESH_MS) {
      gathered_at = now
      current = gather(now)
    }
    return current
  }
}

const collectorsOf = (store: Pick<Store, 'database' | 'query'>): Promise<CollectorRow[]> =>
  store.query(
    `SELECT source, source_stream, toUnixTimestamp64Milli(updated_at) AS updated_at, lag_seconds, toUnixTimestamp64Milli(last_event_time) AS last_event_time, completeness, blind, reason, done,
       records, accepted, skipped, rejected, late, cloud_delay_seconds, own_delay_seconds
     FROM (SELECT * FROM ${store.database}.collector_status ORDER BY source, source_stream LIMIT 200)`,
  )
