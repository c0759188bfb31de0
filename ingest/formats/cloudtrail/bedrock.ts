/**
 * Bedrock: calls to a model are usage without tokens (the invocation log has those, under the same event id); who may call which
 * model, and whether calls are logged, are credential changes; looking around before a misuse is `listed`.
 */
import type { UsageOutcome } from '../../../schemas/event.ts'
import type { ParsedCredentialChange, ParsedUsage } from '../../format.ts'
import { bedrockEventId, bedrockModel } from '../../shapes/bedrock.ts'
import { asLabel } from '../../shapes/json.ts'
import { noCounts } from '../../shapes/usage-counts.ts'
import type { Call, Outcome } from './call.ts'
import { credentialChange } from './credential-change.ts'

const MODEL_CALLS: Record<string, { operation: string; stream: boolean }> = {
  InvokeModel: { operation: 'invoke_model', stream: false },
  InvokeModelWithResponseStream: { operation: 'invoke_model', stream: true },
  InvokeModelWithBidirectionalStream: { operation: 'invoke_model', stream: true },
  Converse: { operation: 'chat', stream: false },
  ConverseStream: { operation: 'chat', stream: true },
}

type Change = ParsedCredentialChange['event']['change']
const CHANGES: Record<string, { target_kind: string; change: Change }> = {
  PutFoundationModelEntitlement: { target_kind: 'model-access', change: 'created' },
  CreateFoundationModelAgreement: { target_kind: 'model-access', change: 'created' },
  DeleteFoundationModelAgreement: { target_kind: 'model-access', change: 'deleted' },
  PutUseCaseForModelAccess: { target_kind: 'model-access', change: 'updated' },
  GetUseCaseForModelAccess: { target_kind: 'model-access', change: 'listed' },
  GetFoundationModelAvailability: { target_kind: 'model-access', change: 'listed' },
  ListFoundationModelAgreementOffers: { target_kind: 'model-access', change: 'listed' },
  ListFoundationModels: { target_kind: 'model-access', change: 'listed' },
  GetFoundationModel: { target_kind: 'model-access', change: 'listed' },
  ListInferenceProfiles: { target_kind: 'model-access', change: 'listed' },
  CreateProvisionedModelThroughput: { target_kind: 'provisioned-throughput', change: 'created' },
  UpdateProvisionedModelThroughput: { target_kind: 'provisioned-throughput', change: 'updated' },
  DeleteProvisionedModelThroughput: { target_kind: 'provisioned-throughput', change: 'deleted' },
  PutModelInvocationLoggingConfiguration: { target_kind: 'logging', change: 'updated' },
  DeleteModelInvocationLoggingConfiguration: { target_kind: 'logging', change: 'deleted' },
  GetModelInvocationLoggingConfiguration: { target_kind: 'logging', change: 'listed' },
}

export function bedrockEvent(call: Call): Outcome {
  const model = Object.hasOwn(MODEL_CALLS, call.name) ? MODEL_CALLS[call.name] : undefined
  if (model !== undefined) return modelCall(call, model)
  const known = Object.hasOwn(CHANGES, call.name) ? CHANGES[call.name] : undefined
  if (known === undefined) return { kind: 'skip', why: 'not-watched' }
  const named = asLabel(call.parameters['modelId'] ?? call.parameters['provisionedModelId'] ?? call.parameters['modelIdentifier'], 512)
  return credentialChange(call, { ...known, target_id: named ?? `${known.target_kind}:${call.header.account_id ?? 'unknown'}` })
}

function modelCall(call: Call, { operation, stream }: { operation: string; stream: boolean }): Outcome {
  const { identity, header } = call
  const model = bedrockModel(call.parameters['modelId'])
  const isLongLived = identity.credential_id?.startsWith('AKIA') === true
  const event: ParsedUsage['event'] = {
    ...header,
    event_id: call.request_id === null ? header.event_id : bedrockEventId(call.request_id, call.name),
    // The role or user pays; a long-lived key, which can be shut, is kept apart in api_key_id.
    owner_ref: `role:${identity.actor_id}`,
    flags: call.outcome === 'success' ? [...header.flags, 'tokens-missing'] : header.flags,
    provider: 'aws.bedrock',
    operation,
    project_id: null,
    org_id: null,
    api_key_id: isLongLived ? identity.credential_id : null,
    user_id: identity.session_name ?? identity.actor_name,
    deployment: null,
    model,
    request_model: model,
    tier: 'default',
    stream,
    ...noCounts,
    images: null,
    requests: 1,
    usage_source: 'absent',
    status_code: null,
    outcome: usageOutcomeOf(call),
    error_type: null,
    error_code: call.error_code,
    duration_ms: null,
    request_id: call.request_id,
    response_id: null,
  }
  return { kind: 'event', event: { topic: 'usage.v1', event } }
}

function usageOutcomeOf({ outcome, error_code: code }: Call): UsageOutcome {
  if (outcome === 'success') return 'success'
  if (outcome === 'denied') return 'auth_failure'
  if (outcome === 'throttled') return 'rate_limited'
  if (code !== null && /QuotaExceeded/i.test(code)) return 'quota'
  return code !== null && /Internal|Unavailable|Timeout|ModelError|NotReady/i.test(code) ? 'server_error' : 'client_error'
}
