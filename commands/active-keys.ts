/** How many keys were in use in the last 24 hours: what responses.limits.share_of_active_keys is a share of. */
import type { Clock } from '../runtime/clock.ts'
import type { Store } from '../store/store.ts'

const DAY_MS = 86_400_000

export const activeKeys = (store: Store, clock: Clock) => async (): Promise<number | null> => {
  const [row] = await store.query<{ active: string }>(
    `SELECT uniqExact(ifNull(api_key_id, owner_ref)) AS active FROM ${store.database}.usage_events WHERE event_time >= fromUnixTimestamp64Milli({from:Int64}, 'UTC')`,
    { parameters: { from: clock.now() - DAY_MS } },
  )
  return row === undefined ? null : Number(row.active)
}
