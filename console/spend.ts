/** Money for the page and the API. Sums are made in the store; decimals stay strings. */
import { isoTime } from '../runtime/clock.ts'
import type { Store } from '../store/store.ts'

type Reads = Pick<Store, 'database' | 'query'>

const HOUR_MS = 3_600_000
const DAY_MS = 24 * HOUR_MS

export interface SpendHour {
  /** Epoch seconds of the start. */
  at: string | number
  cost_usd: string | null
  requests: string
}

export interface SpendTeam {
  team_id: string
  cost_usd: string | null
  requests: string
}

export interface SpendMonth extends SpendTeam {
  today_usd: string | null
  tokens: string
  unpriced_tokens: string
  unmetered_requests: string
}

export interface SpendDay extends SpendTeam {
  day: string
  failed_requests: string
  input_tokens: string
  output_tokens: string
  unpriced_tokens: string
  unmetered_requests: string
}

/** The last 24 full hours and the running one. */
export function spendByHour(store: Reads, now: number): Promise<SpendHour[]> {
  return store.query(
    `SELECT toUnixTimestamp(hour) AS at, sum(spend_hourly.cost_usd) AS cost_usd, sum(spend_hourly.requests) AS requests
     FROM ${store.database}.spend_hourly WHERE hour >= toDateTime(${hourOf(now) - 86_400}, 'UTC') GROUP BY hour ORDER BY hour`,
  )
}

/** The same span by team, most expensive first. */
export function spendByTeam(store: Reads, now: number): Promise<SpendTeam[]> {
  return store.query(
    `SELECT team_id, sum(spend_hourly.cost_usd) AS cost_usd, sum(spend_hourly.requests) AS requests
     FROM ${store.database}.spend_hourly WHERE hour >= toDateTime(${hourOf(now) - 86_400}, 'UTC') GROUP BY team_id`,
  )
}

/** The calendar month (UTC) by team, with today and what is not in the money. */
export function spendOfMonth(store: Reads, now: number): Promise<SpendMonth[]> {
  const today = dayOf(now)
  return store.query(
    `SELECT team_id, sum(spend_daily.cost_usd) AS cost_usd, sum(spend_daily.requests) AS requests, sumIf(spend_daily.cost_usd, day = toDate('${today}')) AS today_usd,
       sum(spend_daily.input_tokens) + sum(spend_daily.output_tokens) AS tokens, sum(spend_daily.unpriced_tokens) AS unpriced_tokens, sum(spend_daily.unmetered_requests) AS unmetered_requests
     FROM ${store.database}.spend_daily WHERE day >= toDate('${today.slice(0, 8)}01') GROUP BY team_id`,
  )
}

/** One row a UTC day and team, newest day first. */
export function spendByDay(store: Reads, now: number, days: number): Promise<SpendDay[]> {
  return store.query(
    `SELECT toString(day) AS day, team_id, sum(spend_daily.cost_usd) AS cost_usd, sum(spend_daily.requests) AS requests, sum(spend_daily.failed_requests) AS failed_requests,
       sum(spend_daily.input_tokens) AS input_tokens, sum(spend_daily.output_tokens) AS output_tokens, sum(spend_daily.unpriced_tokens) AS unpriced_tokens,
       sum(spend_daily.unmetered_requests) AS unmetered_requests
     FROM ${store.database}.spend_daily WHERE spend_daily.day > toDate('${dayOf(now - days * DAY_MS)}') GROUP BY spend_daily.day, team_id ORDER BY spend_daily.day DESC, team_id`,
  )
}

const dayOf = (at: number): string => isoTime(at).slice(0, 10)
const hourOf = (at: number): number => (Math.floor(at / HOUR_MS) * HOUR_MS) / 1000
