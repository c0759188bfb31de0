/** What people query: every view that is promised, with the columns that must exist, each with a comment. */
import { mkdtempSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { describe, expect, it } from 'vitest'
import { systemClock } from '../../runtime/clock.ts'
import { silentLogger } from '../../runtime/log.ts'
import { openStore } from '../../store/index.ts'
import { storeConfig } from '../../store/config.ts'

const SPEND = 'team_id service api_key_id provider model requests failed_requests input_tokens output_tokens cost_usd list_cost_usd unpriced_tokens unmetered_requests'
const VIEWS: Record<string, string> = {
  usage:
    'event_id event_time provider account_id project_id api_key_id user_id owner_ref team_id service model request_model tier input_tokens output_tokens cache_read_input_tokens cache_write_input_tokens reasoning_output_tokens cost_usd status_code outcome error_code duration_ms client_ip client_country client_asn source',
  secret_access:
    'event_id event_time store secret_id action provider_operation actor_id actor_type credential_id outcome error_code client_ip client_service client_country client_asn user_agent is_child source',
  credential_changes: 'event_id event_time target_id change actor_id client_ip source',
  spend_hourly: `hour ${SPEND}`,
  spend_daily: `day ${SPEND}`,
  unattributed_spend: 'day',
  unpriced_usage: 'day model',
  alerts: 'alert_id finding_ids state severity reason evidence',
  findings: 'finding_id alert_id state severity reason evidence',
  deliveries: 'alert_id notification_id sink state severity reason evidence',
  responses: 'response_id alert_id command_id state severity reason evidence action',
  keys: 'fingerprint owner_ref team_id created_at last_used_at rotated_at environments',
  rejects: 'reason source size_bytes sha256 received_at detail',
  collector_status: 'source_stream lag_seconds last_event_time completeness blind late late_histogram cloud_delay_seconds own_delay_seconds',
}

describe('the views of the store', () => {
  it('exist with their columns, each with a comment', async () => {
    const store = await openStore(storeConfig.parse(undefined), { data_dir: mkdtempSync(path.join(tmpdir(), 'tokenwatch-views-')), clock: systemClock, log: silentLogger })
    try {
      const rows = await store.query<{ table: string; name: string; comment: string }>(`SELECT table, name, comment FROM system.columns WHERE database = '${store.database}'`)
      const missing = Object.entries(VIEWS).flatMap(([view, columns]) =>
        columns
          .split(' ')
          .filter((column) => !rows.some(({ table, name, comment }) => table === view && name === column && comment !== ''))
          .map((column) => `${view}.${column}`),
      )
      expect(missing).toEqual([])
    } finally {
      await store.close()
    }
  })
})
