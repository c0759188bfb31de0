/** Valid usage events in quantity: 200 keys of 20 teams, eight models, one in fifty refused. Deterministic by index. */
import { nameUuid } from '../runtime/ids.ts'
import { seededRandom } from '../runtime/random.ts'
import type { UsageEvent } from '../schemas/usage.ts'

const MODELS = [
  'gpt-4o-2024-08-06',
  'gpt-4o-mini-2024-07-18',
  'gpt-4.1-2025-04-14',
  'gpt-4.1-mini-2025-04-14',
  'o3-2025-04-16',
  'o4-mini-2025-04-16',
  'gpt-5-2025-08-07',
  'text-embedding-3-large',
]
const random = seededRandom(7)

/** `event_time` walks from `from` by `step_ms` an event. */
export function usageEventAt(index: number, from: number, step_ms: number): UsageEvent {
  const key = Math.floor(random() ** 2 * 200)
  const refused = index % 50 === 49
  const input_tokens = 200 + Math.floor(random() * 4000)
  const output_tokens = 20 + Math.floor(random() * 600)
  const event_time = Math.floor(from + index * step_ms)
  return {
    event_id: nameUuid('bench', index, from),
    event_time,
    observed_time: event_time + 900,
    delivered_time: event_time + 400,
    source: 'file',
    source_stream: `app-${key % 12}`,
    format: 'openai-http',
    run_id: null,
    revision: 0,
    account_id: null,
    region: null,
    owner_ref: `key:fp_${String(key).padStart(32, '0')}`,
    team_id: `team-${key % 20}`,
    service: `service-${key % 60}`,
    client_ip: `52.29.${key % 200}.${key % 7}`,
    client_ip_prefix: 32,
    client_country: 'DE',
    client_asn: 16509,
    client_as_name: 'AMAZON-02',
    user_agent: 'OpenAI/Python 1.99.0',
    flags: [],
    provider: 'openai',
    operation: 'chat',
    project_id: `proj_${key % 20}`,
    org_id: 'org-made-up',
    api_key_id: `fp_${String(key).padStart(32, '0')}`,
    user_id: null,
    deployment: null,
    model: MODELS[key % MODELS.length] ?? null,
    request_model: MODELS[key % MODELS.length] ?? null,
    tier: 'default',
    ctx: 'std',
    stream: false,
    input_tokens: refused ? null : input_tokens,
    cache_read_input_tokens: refused ? null : Math.floor(input_tokens / 3),
    cache_write_input_tokens: null,
    audio_input_tokens: refused ? null : 0,
    image_input_tokens: null,
    output_tokens: refused ? null : output_tokens,
    reasoning_output_tokens: refused ? null : Math.floor(output_tokens / 4),
    audio_output_tokens: refused ? null : 0,
    image_output_tokens: null,
    images: null,
    audio_duration_ms: null,
    requests: 1,
    usage_source: refused ? 'absent' : 'provider',
    cost_usd: refused ? null : '0.004212500000',
    list_cost_usd: refused ? null : '0.004212500000',
    cost_source: refused ? 'none' : 'priced',
    price_version: '2026-11-22',
    status_code: refused ? 400 : 200,
    outcome: refused ? 'client_error' : 'success',
    error_type: refused ? 'invalid_request_error' : null,
    error_code: refused ? 'unsupported_value' : null,
    duration_ms: 300 + (index % 900),
    request_id: `req_${index.toString(16).padStart(24, '0')}`,
    response_id: refused ? null : `chatcmpl-${index.toString(36).padStart(24, '0')}`,
  }
}
