/** Alerts with what is proposed about them, for the page and the API. */
import type { Store } from '../store/store.ts'

export interface AlertRow {
  alert_id: string
  state: string
  detector: string
  entity: string
  severity: string
  title: string
  summary: string
  team_id: string | null
  service: string | null
  api_key_id: string | null
  provider: string | null
  /** USD as decimal strings. */
  spend_usd_per_minute: string | null
  spend_usd: string | null
  /** Epoch ms, as the engine quotes 64-bit integers. */
  opened_at: string
  updated_at: string
  resolved_at: string | null
  backfill: boolean
  acked_by: string | null
  response: ResponseRow | null
}

export interface ResponseRow {
  response_id: string
  alert_id: string
  state: string
  action: string
  target_kind: string
  target_id: string
  dry_run: boolean
  policy: string
  detail: string | null
}

/** One alert as its own page shows it. */
export interface AlertDetail extends AlertRow {
  reason: string
  owner_ref: string | null
  attack: string[]
  first_event_time: string
  last_event_time: string
  /** JSON as the detector wrote it. */
  evidence: string
}

const COLUMNS = `alert_id, state, detector, entity, severity, title, summary, team_id, service, api_key_id, provider, spend_usd_per_minute, spend_usd,
       toUnixTimestamp64Milli(opened_at) AS opened_at, toUnixTimestamp64Milli(updated_at) AS updated_at, toUnixTimestamp64Milli(resolved_at) AS resolved_at, backfill, acked_by`

/** The newest first; those about old events only when `live_only` is false. With `open_first` no open one gives way to newer ones that are over. */
export async function alertsOf(store: Pick<Store, 'database' | 'query'>, limit: number, { live_only = false, open_first = false } = {}): Promise<AlertRow[]> {
  const order = `ORDER BY ${open_first ? "state = 'resolved', " : ''}opened_at DESC`
  const alerts = await store.query<Omit<AlertRow, 'response'>>(
    `SELECT ${COLUMNS} FROM (SELECT * FROM ${store.database}.alerts ${live_only ? 'WHERE NOT backfill' : ''} ${order} LIMIT ${limit})`,
  )
  const by_alert = await responsesOf(
    store,
    alerts.map(({ alert_id }) => alert_id),
  )
  // The inner ORDER BY does not bind the outer statement.
  return alerts.map((alert) => ({ ...alert, response: by_alert.get(alert.alert_id) ?? null })).sort((a, b) => Number(b.opened_at) - Number(a.opened_at))
}

export interface OpenAlerts {
  alerts: string
  /** Sum of what is known, exact; null: nothing is. */
  spend_usd_per_minute: string | null
}

/** Every open alert about live events, however many are shown. */
export async function openAlerts(store: Pick<Store, 'database' | 'query'>): Promise<OpenAlerts> {
  const [row] = await store.query<OpenAlerts>(
    `SELECT count() AS alerts, sum(a.spend_usd_per_minute) AS spend_usd_per_minute FROM ${store.database}.alerts AS a WHERE state != 'resolved' AND NOT backfill`,
  )
  return row ?? { alerts: '0', spend_usd_per_minute: null }
}

/** undefined: there is none with this id. */
export async function alertOf(store: Pick<Store, 'database' | 'query'>, alert_id: string): Promise<AlertDetail | undefined> {
  const [alert] = await store.query<Omit<AlertDetail, 'response'>>(
    `SELECT ${COLUMNS}, reason, owner_ref, attack, toUnixTimestamp64Milli(first_event_time) AS first_event_time, toUnixTimestamp64Milli(last_event_time) AS last_event_time, evidence
     FROM (SELECT * FROM ${store.database}.alerts WHERE toString(alert_id) = {alert_id:String})`,
    { parameters: { alert_id } },
  )
  return alert && { ...alert, response: (await responsesOf(store, [alert_id])).get(alert_id) ?? null }
}

async function responsesOf(store: Pick<Store, 'database' | 'query'>, alert_ids: readonly string[]): Promise<Map<string, ResponseRow>> {
  if (alert_ids.length === 0) return new Map()
  const ids = alert_ids.map((id) => `'${id.replace(/[^0-9a-f-]/g, '')}'`).join(', ')
  const responses = await store.query<ResponseRow>(
    `SELECT response_id, alert_id, state, action, target_kind, target_id, dry_run, policy, detail FROM ${store.database}.responses WHERE alert_id IN (${ids}) ORDER BY updated_at`,
  )
  return new Map(responses.map((response) => [response.alert_id, response]))
}
