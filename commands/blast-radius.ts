/** Who else a shutdown would hit: shown in the proposal before anybody approves it. */
import type { Clock } from '../runtime/clock.ts'
import type { Response, Target } from '../schemas/responses.ts'
import type { Store } from '../store/store.ts'

const DAY_MS = 86_400_000

interface Row {
  callers: string
  services: string[]
  teams: string[]
  spend_usd: string | null
}

/** Usage of the target in the last 24 hours; null when the store cannot say (the proposal is made all the same). */
export const blastRadius =
  (store: Store, clock: Clock) =>
  async (target: Target): Promise<Response['blast_radius']> => {
    const [row] = await store.query<Row>(
      `SELECT uniqExact(client_ip) AS callers, groupUniqArray(20)(ifNull(service, '')) AS services, groupUniqArray(20)(ifNull(team_id, 'unattributed')) AS teams, sum(cost_usd) AS spend_usd
       FROM ${store.database}.usage_events FINAL
       WHERE event_time >= fromUnixTimestamp64Milli({from:Int64}, 'UTC') AND (api_key_id = {id:String} OR owner_ref = {id:String})`,
      { parameters: { from: clock.now() - DAY_MS, id: target.id } },
    )
    if (!row) return null
    return { callers: Number(row.callers), services: row.services.filter((name) => name !== ''), teams: row.teams, spend_usd_24h: row.spend_usd }
  }
