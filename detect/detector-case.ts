/** Cases of detectors: a few events that say what a detector is for. Each detectors/<id>/cases.ts has some; the contract test runs them. */
import { nameUuid } from '../runtime/ids.ts'
import type { SecretAccessEvent } from '../schemas/secret-access.ts'
import type { UsageEvent } from '../schemas/usage.ts'

export interface DetectorCase {
  name: string
  events: (UsageEvent | SecretAccessEvent)[]
  /** Final findings: one per entity and reason, with the highest severity. */
  expect: { entity: string; reason: string; severity: string }[]
}

/** A Monday, midnight UTC. */
export const CASE_START = Date.UTC(2026, 8, 7)
export const CASE_DAY = 86_400_000
export const CASE_MINUTE = 60_000

const header = (at: number, n: string) => ({
  event_id: nameUuid('case', at, n),
  event_time: at,
  observed_time: at,
  delivered_time: null,
  source: 'case',
  source_stream: 'case',
  format: 'case',
  run_id: null,
  revision: 0,
  account_id: null,
  region: 'eu-west-1',
  team_id: 'search',
  service: 'ranking',
  client_ip: '198.51.100.7',
  client_ip_prefix: 32,
  client_country: 'US',
  client_asn: 16509,
  client_as_name: 'AMAZON-02',
  user_agent: 'openai-python/1.40.0',
  flags: [],
})

/** 1,000 tokens for a cent; `n` tells calls of one instant apart. */
export const usageSample = (at: number, change: Partial<UsageEvent> = {}, n = 0): UsageEvent => ({
  ...header(at, `${change.api_key_id ?? 'fp_case'} ${n}`),
  owner_ref: 'key:fp_case',
  provider: 'openai',
  operation: 'chat',
  project_id: null,
  org_id: null,
  api_key_id: 'fp_case',
  user_id: null,
  deployment: null,
  model: 'gpt-4o-2024-08-06',
  request_model: 'gpt-4o',
  tier: 'default',
  ctx: 'std',
  stream: false,
  input_tokens: 800,
  cache_read_input_tokens: 0,
  cache_write_input_tokens: 0,
  audio_input_tokens: null,
  image_input_tokens: null,
  output_tokens: 200,
  reasoning_output_tokens: null,
  audio_output_tokens: null,
  image_output_tokens: null,
  images: null,
  audio_duration_ms: null,
  requests: 1,
  usage_source: 'provider',
  cost_usd: '0.01',
  list_cost_usd: '0.01',
  cost_source: 'priced',
  price_version: 'case',
  status_code: 200,
  outcome: 'success',
  error_type: null,
  error_code: null,
  duration_ms: 700,
  request_id: null,
  response_id: null,
  ...change,
})

export const failedSample = (at: number, error_code: string, change: Partial<UsageEvent> = {}, n = 0): UsageEvent =>
  usageSample(
    at,
    {
      model: null,
      input_tokens: null,
      output_tokens: null,
      cost_usd: null,
      list_cost_usd: null,
      usage_source: 'absent',
      cost_source: 'none',
      outcome: 'client_error',
      status_code: 400,
      error_code,
      ...change,
    },
    n,
  )

export const accessSample = (at: number, change: Partial<SecretAccessEvent> = {}, n = 0): SecretAccessEvent => ({
  ...header(at, `${change.actor_id ?? 'role/app'} ${n}`),
  owner_ref: 'role:app',
  store: 'aws-secrets-manager',
  vault: null,
  secret_id: 'prod/llm-key',
  secret_ids: [],
  secret_version: null,
  action: 'read',
  provider_operation: 'GetSecretValue',
  actor_type: 'role',
  actor_id: 'role/app',
  actor_name: null,
  session_name: null,
  credential_id: null,
  mfa: null,
  via_service: null,
  is_child: false,
  outcome: 'success',
  status_code: 200,
  error_code: null,
  client_service: null,
  tls_version: null,
  vpc_endpoint_id: null,
  request_id: null,
  duration_ms: null,
  ...change,
})

/** A call every `every` ms for `days` days from CASE_START: the quiet past of a case. */
export const past = <E>(days: number, every: number, event: (at: number, index: number) => E): E[] =>
  Array.from({ length: Math.floor((days * CASE_DAY) / every) }, (_, index) => event(CASE_START + index * every, index))
