/** Secrets Manager, SSM parameters and KMS Decrypt as secret-access.v1. */
import type { ParsedSecretAccess } from '../../format.ts'
import { asLabel, asObject, objectAt } from '../../shapes/json.ts'
import type { Call, Outcome } from './call.ts'
import { labelsOf } from './call.ts'

type Action = ParsedSecretAccess['event']['action']
interface What {
  action: Action
  secret_id: string | null
  secret_ids?: string[]
  vault?: string | null
  flags?: string[]
}

const STORES: Record<string, string> = { 'secretsmanager.amazonaws.com': 'aws-secrets-manager', 'ssm.amazonaws.com': 'aws-ssm', 'kms.amazonaws.com': 'aws-kms' }

export function secretEvent(call: Call): Outcome {
  const what = call.source === 'kms.amazonaws.com' ? ofKms(call) : call.source === 'ssm.amazonaws.com' ? ofParameters(call) : ofSecrets(call)
  if (typeof what === 'string') return { kind: 'skip', why: what }
  const { header, identity, record, parameters } = call
  // The header is written out, not spread: that costs a tenth.
  const event: ParsedSecretAccess['event'] = {
    event_id: header.event_id,
    event_time: header.event_time,
    revision: header.revision,
    account_id: header.account_id,
    region: header.region,
    owner_ref: header.owner_ref,
    service: header.service,
    client_ip: header.client_ip,
    client_ip_prefix: header.client_ip_prefix,
    user_agent: header.user_agent,
    flags: what.flags === undefined ? header.flags : [...header.flags, ...what.flags],
    store: STORES[call.source] ?? call.source,
    vault: what.vault ?? null,
    secret_id: what.secret_id,
    secret_ids: what.secret_ids ?? [],
    secret_version: asLabel(parameters['versionId'], 128) ?? asLabel(parameters['versionStage'], 128),
    action: what.action,
    provider_operation: call.name,
    actor_type: identity.actor_type,
    actor_id: identity.actor_id,
    actor_name: identity.actor_name,
    session_name: identity.session_name,
    credential_id: identity.credential_id,
    mfa: identity.mfa,
    via_service: identity.invoked_by ?? call.client_service,
    is_child: call.is_child,
    outcome: call.outcome,
    status_code: null,
    error_code: call.error_code,
    client_service: call.client_service,
    tls_version: asLabel(objectAt(record, 'tlsDetails')?.['tlsVersion'], 32),
    vpc_endpoint_id: asLabel(record['vpcEndpointId'], 64),
    request_id: call.request_id,
    duration_ms: null,
  }
  return { kind: 'event', event: { topic: 'secret-access.v1', event } }
}

const SECRET_ACTIONS: Record<string, Action> = {
  GetSecretValue: 'read',
  BatchGetSecretValue: 'batch_read',
  ListSecrets: 'list',
  ListSecretVersionIds: 'list',
  DescribeSecret: 'list',
  GetResourcePolicy: 'list',
  PutSecretValue: 'write',
  CreateSecret: 'write',
  UpdateSecret: 'write',
  UpdateSecretVersionStage: 'write',
  PutResourcePolicy: 'write',
  ReplicateSecretToRegions: 'write',
  RotateSecret: 'rotate',
  CancelRotateSecret: 'rotate',
  RotationStarted: 'rotate',
  RotationSucceeded: 'rotate',
  RotationFailed: 'rotate',
  RotationAbandoned: 'rotate',
  DeleteSecret: 'delete',
  DeleteResourcePolicy: 'delete',
  StartSecretVersionDelete: 'delete',
  EndSecretVersionDelete: 'delete',
  CancelSecretVersionDelete: 'restore',
  RestoreSecret: 'restore',
}

function ofSecrets(call: Call): What | string {
  const action = Object.hasOwn(SECRET_ACTIONS, call.name) ? SECRET_ACTIONS[call.name] : undefined
  if (action === undefined) return 'not-watched'
  const { parameters, response, record } = call
  if (action === 'batch_read') return ofBatch(call)
  const service = objectAt(record, 'additionalEventData') ?? objectAt(record, 'serviceEventDetails')
  const secret =
    asLabel(parameters['secretId'], 512) ??
    // DeleteSecret writes the ARN as `aRN`.
    asLabel(response['arn'] ?? response['aRN'] ?? response['ARN'], 512) ??
    asLabel(parameters['name'], 512) ??
    (service === null ? null : asLabel(service['SecretId'] ?? service['secretId'], 512))
  return { action, secret_id: secret, flags: parameters['forceDeleteWithoutRecovery'] === true ? ['no-recovery'] : [] }
}

/** A filter is the intent: `!` before a value, or no filter at all, asks for everything. */
function ofBatch({ parameters }: Call): What {
  const ids = labelsOf(parameters['secretIdList'])
  const filters = Array.isArray(parameters['filters']) ? parameters['filters'].slice(0, 20) : []
  let catchesAll = ids.length === 0 && filters.length === 0
  for (const item of filters) {
    const filter = asObject(item)
    if (filter === null) continue
    for (const value of labelsOf(filter['values'], 20)) {
      catchesAll ||= value.startsWith('!')
      if (ids.length < 100) ids.push(`filter:${asLabel(filter['key'], 64) ?? ''}=${value}`.slice(0, 512))
    }
  }
  const flags = filters.length > 0 ? ['filter-read'] : []
  return { action: 'batch_read', secret_id: null, secret_ids: ids, flags: catchesAll ? [...flags, 'catch-all-filter'] : flags }
}

/** Plain parameters are settings, not secrets: only what asks for decryption counts as a read. */
function ofParameters({ name, parameters }: Call): What | string {
  const single = asLabel(parameters['name'], 512)
  switch (name) {
    case 'GetParameter':
    case 'GetParameterHistory':
      return isDecrypted(parameters) ? { action: 'read', secret_id: single } : 'plain-parameter'
    case 'GetParameters': {
      if (!isDecrypted(parameters)) return 'plain-parameter'
      const names = labelsOf(parameters['names'])
      return names.length === 1 ? { action: 'read', secret_id: names[0] ?? null } : { action: 'read', secret_id: null, secret_ids: names }
    }
    case 'GetParametersByPath': {
      const path = asLabel(parameters['path'], 512)
      return isDecrypted(parameters) ? { action: 'read', secret_id: null, secret_ids: path === null ? [] : [`path:${path}`], vault: path } : 'plain-parameter'
    }
    case 'DescribeParameters':
      return { action: 'list', secret_id: null }
    case 'PutParameter':
      return parameters['type'] === 'String' || parameters['type'] === 'StringList' ? 'plain-parameter' : { action: 'write', secret_id: single }
    case 'DeleteParameter':
      return { action: 'delete', secret_id: single }
    case 'DeleteParameters':
      return { action: 'delete', secret_id: null, secret_ids: labelsOf(parameters['names']) }
    default:
      return 'not-watched'
  }
}

const isDecrypted = (parameters: Record<string, unknown>): boolean => parameters['withDecryption'] === true || parameters['withDecryption'] === 'true'

/** Every disk and bucket decrypts all day through KMS: of the services' own calls only those for a secret are kept. */
function ofKms(call: Call): What | string {
  if (call.name !== 'Decrypt') return 'not-watched'
  const encryption = objectAt(call.parameters, 'encryptionContext')
  const secret = encryption === null ? null : asLabel(encryption['SecretARN'] ?? encryption['PARAMETER_ARN'], 512)
  if (secret === null && call.is_child) return 'not-watched'
  const resources = call.record['resources']
  const key = Array.isArray(resources) ? asObject(resources[0]) : null
  return { action: 'decrypt', secret_id: secret, vault: key === null ? asLabel(call.parameters['keyId'], 512) : asLabel(key['ARN'], 512) }
}
