/** An OpenAI or Azure OpenAI error body as an outcome. Keyed on the code, not the status: model_not_found comes as 404 and as 400. */
import type { UsageOutcome } from '../../schemas/event.ts'
import { asLabel, objectAt } from './json.ts'
import type { Json } from './json.ts'

export interface CallError {
  outcome: UsageOutcome
  error_type: string | null
  error_code: string | null
  /** The status that the body itself names (Azure's content filter answers 200 with status 400 inside). */
  status: number | null
  flags: string[]
}

const BY_CODE: Record<string, UsageOutcome> = {
  content_filter: 'blocked',
  content_policy_violation: 'blocked',
  moderation_blocked: 'blocked',
  responsibleaipolicyviolation: 'blocked',
  insufficient_quota: 'quota',
  quota_exceeded: 'quota',
  quotaexceeded: 'quota',
  billing_hard_limit_reached: 'quota',
  billing_not_active: 'quota',
  rate_limit_exceeded: 'rate_limited',
  ratelimitreached: 'rate_limited',
  toomanyrequests: 'rate_limited',
  '429': 'rate_limited',
  invalid_api_key: 'auth_failure',
  incorrect_api_key: 'auth_failure',
  invalid_authentication: 'auth_failure',
  invalid_organization: 'auth_failure',
  mismatched_organization: 'auth_failure',
  mismatched_project: 'auth_failure',
  account_deactivated: 'auth_failure',
  ip_not_authorized: 'auth_failure',
  unsupported_country_region_territory: 'auth_failure',
  permissiondenied: 'auth_failure',
  authenticationtypedisabled: 'auth_failure',
  unauthorized: 'auth_failure',
  '401': 'auth_failure',
  '403': 'auth_failure',
  model_not_found: 'client_error',
  deploymentnotfound: 'client_error',
  context_length_exceeded: 'client_error',
  server_error: 'server_error',
  internal_error: 'server_error',
  internalservererror: 'server_error',
  '500': 'server_error',
  '503': 'server_error',
}

const BY_TYPE: Record<string, UsageOutcome> = {
  insufficient_quota: 'quota',
  tokens: 'rate_limited',
  requests: 'rate_limited',
  rate_limit_error: 'rate_limited',
  authentication_error: 'auth_failure',
  permission_error: 'auth_failure',
  request_forbidden: 'auth_failure',
  server_error: 'server_error',
  api_error: 'server_error',
}

/** `error` is the object under `error` (or `last_error`), null where a call failed without a readable body; then the status decides. */
export function readError(error: Json | null, httpStatus: number | null): CallError {
  const inner = error === null ? null : (objectAt(error, 'innererror') ?? objectAt(error, 'inner_error'))
  const code = error === null ? null : asLabel(error['code'], 128)
  const type = error === null ? null : asLabel(error['type'], 128)
  const innerCode = inner === null ? null : asLabel(inner['code'], 128)
  const bodyStatus = error !== null && typeof error['status'] === 'number' && Number.isInteger(error['status']) ? error['status'] : null
  const status = httpStatus !== null && httpStatus >= 400 ? httpStatus : (bodyStatus ?? httpStatus)
  const outcome = known(BY_CODE, innerCode) ?? known(BY_CODE, code) ?? known(BY_TYPE, type) ?? byStatus(status)
  const flags = code === 'unsupported_country_region_territory' ? ['country-refused'] : []
  return { outcome, error_type: type, error_code: code ?? innerCode, status: bodyStatus !== null && bodyStatus >= 100 && bodyStatus <= 599 ? bodyStatus : null, flags }
}

const DISTINCT = new Set([
  'insufficient_quota',
  'invalid_api_key',
  'model_not_found',
  'DeploymentNotFound',
  'context_length_exceeded',
  'billing_hard_limit_reached',
  'unsupported_country_region_territory',
])

/** Codes that hardly anybody else writes: enough to know an error body without its URL. */
export const isOpenAiCode = (code: unknown): boolean => typeof code === 'string' && DISTINCT.has(code)

function known(table: Record<string, UsageOutcome>, key: string | null): UsageOutcome | null {
  if (key === null) return null
  const lower = key.toLowerCase()
  return Object.hasOwn(table, lower) ? (table[lower] ?? null) : null
}

export function byStatus(status: number | null): UsageOutcome {
  if (status === 401 || status === 403) return 'auth_failure'
  if (status === 429) return 'rate_limited'
  if (status !== null && status >= 500) return 'server_error'
  return 'client_error'
}
