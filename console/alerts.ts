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

/** The newest first; those about old events only when `live_only` is false. */
export async function alertsOf(store: Pick<Store, 'database' | 'query'>, limit: number, { live_only = false } = {}): Promise<AlertRow[]> {
  const alerts = await store.query<Omit<AlertRow, 'response'>>(
    `SELECT alert_id, state, detector, entity, severity, title, summary, team_id, service, api_key_id, provider, spend_usd_per_minute, spend_usd,
       toUnixTimestamp64Milli(opened_at) AS opened_at, toUnixTimestamp64Milli(updated_at) AS updated_at, toUnixTimestamp64Milli(resolved_at) AS resolved_at, backfill, acked_by
     FROM (SELECT * FROM ${store.database}.alerts ${live_only ? 'WHERE NOT backfill' : ''} ORDER BY opened_at DESC LIMIT ${limit})`,
  )
  if (alerts.length === 0) return []
  const ids = alerts.map(({ alert_id }) => `'${alert_id.replace(/[^0-9a-f-]/g, '')}'`).join(', ')
  const responses = await store.query<ResponseRow>(
    `SELECT response_id, alert_id, state, action, target_kind, target_id, dry_run, policy, detail FROM ${store.database}.responses WHERE alert_id IN (${ids})`,
  )
  const by_alert = new Map(responses.map((response) => [response.alert_id, response]))
  // The inner ORDER BY does not bind the outer statement.
  return alerts.map((alert) => ({ ...alert, response: by_alert.get(alert.alert_id) ?? null })).sort((a, b) => Number(b.opened_at) - Number(a.opened_at))
}
