/** A CloudTrail call as credential-change.v1. */
import type { ParsedCredentialChange } from '../../format.ts'
import type { Call, Outcome } from './call.ts'

type Change = ParsedCredentialChange['event']['change']

export function credentialChange(call: Call, what: { target_kind: string; target_id: string; change: Change; flags?: string[] }): Outcome {
  const { identity } = call
  const event: ParsedCredentialChange['event'] = {
    ...call.header,
    flags: [...call.header.flags, ...(what.flags ?? [])],
    target_kind: what.target_kind,
    target_id: what.target_id,
    change: what.change,
    provider_operation: call.name,
    actor_type: identity.actor_type,
    actor_id: identity.actor_id,
    actor_name: identity.actor_name,
    session_name: identity.session_name,
    credential_id: identity.credential_id,
    is_child: call.is_child,
    client_service: call.client_service,
    outcome: call.outcome,
    error_code: call.error_code,
    request_id: call.request_id,
  }
  return { kind: 'event', event: { topic: 'credential-change.v1', event } }
}
