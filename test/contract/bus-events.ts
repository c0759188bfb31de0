/** Values for the bus tests. */
import { nameUuid } from '../../runtime/ids.ts'
import type { Progress } from '../../schemas/progress.ts'
import type { UsageEvent } from '../../schemas/usage.ts'

const none = {
  delivered_time: null,
  run_id: null,
  account_id: null,
  region: null,
  team_id: null,
  client_ip: null,
  client_ip_prefix: null,
  client_country: null,
  client_asn: null,
  client_as_name: null,
  project_id: null,
  org_id: null,
  user_id: null,
  deployment: null,
  request_model: null,
  stream: null,
  cache_read_input_tokens: null,
  cache_write_input_tokens: null,
  audio_input_tokens: null,
  image_input_tokens: null,
  reasoning_output_tokens: null,
  audio_output_tokens: null,
  image_output_tokens: null,
  images: null,
  audio_duration_ms: null,
  list_cost_usd: null,
  price_version: null,
  error_type: null,
  error_code: null,
  duration_ms: null,
  response_id: null,
} as const

/** The `n`-th call of a key. `input_tokens` carries n, so that order can be checked. */
export const usageOf = (key: string, n: number, over: Partial<UsageEvent> = {}): UsageEvent => ({
  ...none,
  event_id: nameUuid('usage', key, n),
  event_time: 1_760_000_000_000 + n,
  observed_time: 1_760_000_001_000 + n,
  source: 'file',
  source_stream: 'test.jsonl',
  format: 'openai-http',
  revision: 0,
  owner_ref: `key:${key}`,
  service: null,
  user_agent: 'test/1.0',
  flags: [],
  provider: 'openai',
  operation: 'chat',
  api_key_id: key,
  model: 'gpt-4o-2024-08-06',
  tier: 'default',
  ctx: 'std',
  input_tokens: n,
  output_tokens: 1,
  requests: 1,
  usage_source: 'provider',
  cost_usd: '0.000001',
  cost_source: 'priced',
  status_code: 200,
  outcome: 'success',
  request_id: null,
  ...over,
})

/** `count` calls of each key, the keys taking turns. */
export const usageSeries = (keys: readonly string[], count: number): UsageEvent[] =>
  Array.from({ length: count }, (_, n) => keys.map((key) => usageOf(key, n))).flat()

export const progressOf = (stream: string, records: number): Progress => ({
  stream,
  source: 'file',
  source_stream: stream,
  run_id: null,
  at: 1_760_000_000_000 + records,
  scanned_to: null,
  last_event_time: null,
  completeness: null,
  blind: false,
  reason: null,
  done: false,
  records,
  accepted: records,
  skipped: 0,
  rejected: 0,
  late: 0,
})
