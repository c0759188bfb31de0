/** A real embedded store with all migrations, and usage events for it. */
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Rater } from '../../pricing/rate.ts'
import { systemClock } from '../../runtime/clock.ts'
import { nameUuid } from '../../runtime/ids.ts'
import { silentLogger } from '../../runtime/log.ts'
import type { UsageEvent } from '../../schemas/usage.ts'
import { openEmbeddedStore } from '../../store/embedded.ts'
import { migrate } from '../../store/migrate.ts'
import type { Store } from '../../store/store.ts'
import { storedTables } from '../../store/tables.ts'

const deps = { clock: systemClock, log: silentLogger }

/** `directory` reopens an existing store; it is then kept on close. */
export async function openLedgerStore(directory?: string): Promise<{ store: Store; directory: string; close: () => Promise<void> }> {
  const folder = directory ?? mkdtempSync(join(tmpdir(), 'tokenwatch-ledger-'))
  const store = await openEmbeddedStore({ directory: folder }, deps)
  await migrate(store, {}, deps)
  return {
    store,
    directory: folder,
    async close() {
      await store.close()
      if (directory === undefined) rmSync(folder, { recursive: true, force: true })
    },
  }
}

/** One usage event; the id is the hash of `id`. Rated if a rater is given. */
export function usage(id: string | number, fields: Partial<UsageEvent> = {}, rater?: Rater): UsageEvent {
  const event: UsageEvent = {
    event_id: nameUuid('test', id),
    event_time: Date.UTC(2026, 9, 5, 12),
    observed_time: Date.UTC(2026, 9, 5, 12),
    delivered_time: null,
    source: 'test',
    source_stream: 'test',
    format: 'test',
    run_id: null,
    revision: 0,
    account_id: null,
    region: null,
    owner_ref: 'key:fp_1',
    team_id: null,
    service: null,
    client_ip: null,
    client_ip_prefix: null,
    client_country: null,
    client_asn: null,
    client_as_name: null,
    user_agent: null,
    flags: [],
    provider: 'openai',
    operation: 'chat',
    project_id: null,
    org_id: null,
    api_key_id: 'fp_1',
    user_id: null,
    deployment: null,
    model: 'gpt-4o-2024-08-06',
    request_model: 'gpt-4o',
    tier: 'default',
    ctx: 'std',
    stream: false,
    input_tokens: null,
    cache_read_input_tokens: null,
    cache_write_input_tokens: null,
    audio_input_tokens: null,
    image_input_tokens: null,
    output_tokens: null,
    reasoning_output_tokens: null,
    audio_output_tokens: null,
    image_output_tokens: null,
    images: null,
    audio_duration_ms: null,
    requests: 1,
    usage_source: 'provider',
    cost_usd: null,
    list_cost_usd: null,
    cost_source: 'none',
    price_version: null,
    status_code: 200,
    outcome: 'success',
    error_type: null,
    error_code: null,
    duration_ms: null,
    request_id: null,
    response_id: null,
    ...fields,
  }
  if (rater === undefined) return event
  const rating = rater.rate(event)
  return {
    ...event,
    ctx: rating.ctx,
    cost_usd: rating.cost_usd,
    list_cost_usd: rating.list_cost_usd,
    cost_source: rating.cost_usd === null ? 'none' : 'priced',
    price_version: rating.price_version,
  }
}

const { table, columns, toRow } = storedTables['usage.v1']

export const insertUsage = (store: Store, events: readonly UsageEvent[]): Promise<void> => store.insert(table, columns, events.map(toRow))
