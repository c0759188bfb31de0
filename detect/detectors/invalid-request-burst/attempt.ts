/** One call, reduced to what this detector looks at. */
import { usdToPico } from '../../../pricing/money.ts'
import type { SecretAccessEvent } from '../../../schemas/secret-access.ts'
import type { UsageEvent } from '../../../schemas/usage.ts'

/** invalid: the caller asked for what it may not have or does not exist. limit, quota, server: not the caller's probing. */
export type Kind = 'ok' | 'invalid' | 'limit' | 'quota' | 'server'

export interface Attempt {
  at: number
  kind: Kind
  amount: number
  /** Outcome and code, as people know them: "client_error model_not_found". */
  code: string
  target: string
  model: string
  address: string | null
  asn: number | null
  as_name: string | null
  country: string | null
  key: string
  /** The key (or actor) itself was refused, not what it asked for. */
  key_refused: boolean
  pico: bigint
  owner: { team_id: string | null; service: string | null; owner_ref: string; api_key_id: string | null; provider: string | null }
}

export type BurstEvent = UsageEvent | SecretAccessEvent
export const isUsage = (event: BurstEvent): event is UsageEvent => 'requests' in event

const usageKinds: Record<UsageEvent['outcome'], Kind> = {
  success: 'ok',
  client_error: 'invalid',
  auth_failure: 'invalid',
  rate_limited: 'limit',
  quota: 'quota',
  blocked: 'ok', // a content filter answered: the call itself was valid
  server_error: 'server',
}
const accessKinds: Record<SecretAccessEvent['outcome'], Kind> = { success: 'ok', denied: 'invalid', not_found: 'invalid', throttled: 'limit', error: 'server' }

export function attemptOf(event: BurstEvent): Attempt {
  const place = { address: event.client_ip, asn: event.client_asn, as_name: event.client_as_name, country: event.client_country }
  const { team_id, service, owner_ref } = event
  const code = `${event.outcome} ${event.error_code ?? event.status_code ?? ''}`.trim()
  if (!isUsage(event)) {
    const model = event.secret_id ?? event.secret_ids[0] ?? event.vault ?? 'unknown'
    const target = `${model}|${event.region ?? ''}|${event.provider_operation}|${code}`
    const owner = { team_id, service, owner_ref, api_key_id: null, provider: event.store }
    return { at: event.event_time, kind: accessKinds[event.outcome], amount: 1, code, target, model, ...place, key: event.actor_id, key_refused: false, pico: 0n, owner }
  }
  const model = event.request_model ?? event.model ?? 'unknown'
  const target = `${model}|${event.region ?? ''}|${event.operation ?? ''}|${code}`
  const owner = { team_id, service, owner_ref, api_key_id: event.api_key_id, provider: event.provider }
  const pico = event.cost_usd === null ? 0n : usdToPico(event.cost_usd)
  return {
    at: event.event_time,
    kind: usageKinds[event.outcome],
    amount: event.requests,
    code,
    target,
    model,
    ...place,
    key: event.api_key_id ?? owner_ref,
    key_refused: event.outcome === 'auth_failure',
    pico,
    owner,
  }
}
