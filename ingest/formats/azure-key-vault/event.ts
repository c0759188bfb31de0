/** One audit event of a vault as secret-access.v1. */
import { nameUuid } from '../../../runtime/ids.ts'
import type { AccessOutcome } from '../../../schemas/event.ts'
import type { ParsedSecretAccess } from '../../format.ts'
import { addressOf } from '../../shapes/address.ts'
import { asLabel } from '../../shapes/json.ts'
import { instantOf, isPlausible } from '../../shapes/time.ts'
import { actionOf } from './operations.ts'
import type { Audit, Claims } from './shapes.ts'

export type Outcome = { kind: 'event'; event: ParsedSecretAccess } | { kind: 'skip'; why: string } | { kind: 'reject'; why: string; detail: string }

export function eventOf(audit: Audit, now: number): Outcome {
  const operation = asLabel(audit.operation, 128)
  if (typeof audit.operation !== 'string' || operation === null) return { kind: 'reject', why: 'bad-shape', detail: 'the name of the operation is no text' }
  const action = actionOf(operation)
  if (typeof action !== 'string') return { kind: 'skip', why: action.why }
  if (audit.time === undefined || audit.time === null || audit.time === '') return { kind: 'reject', why: 'no-time', detail: 'time or TimeGenerated is missing' }
  const time = typeof audit.time === 'string' ? instantOf(audit.time) : null
  if (time === null) return { kind: 'reject', why: 'bad-time', detail: 'the time is no ISO time' }
  if (!isPlausible(time, now)) return { kind: 'reject', why: 'bad-time', detail: 'the time is before 2015 or more than a day ahead of this machine' }
  return { kind: 'event', event: { topic: 'secret-access.v1', event: accessOf(audit, operation, action, time) } }
}

function accessOf(audit: Audit, operation: string, action: ParsedSecretAccess['event']['action'], time: number): ParsedSecretAccess['event'] {
  const { claims } = audit
  const address = addressOf(audit.address)
  const ip = address?.kind === 'address' ? address.ip : null
  const status = wholeOf(audit.status, 999)
  const outcome = outcomeOf(status, audit)
  const object = objectOf(audit.object_id) ?? objectOf(audit.request_uri)
  return {
    event_id: eventId(audit, operation, time, ip),
    event_time: time,
    revision: 0,
    account_id: /\/subscriptions\/([^/]+)/i.exec(audit.resource ?? '')?.[1]?.toLowerCase() ?? null,
    region: null,
    owner_ref: null,
    service: null,
    client_ip: ip,
    client_ip_prefix: address?.kind === 'address' ? address.prefix : null,
    user_agent: audit.client,
    flags: flagsOf(audit, action, outcome, address?.kind === 'bad'),
    store: 'azure-key-vault',
    vault: /\/([^/]+)\/?$/.exec(audit.resource ?? '')?.[1]?.toLowerCase() ?? null,
    secret_id: object?.id ?? null,
    secret_ids: [],
    secret_version: object?.version ?? null,
    action,
    provider_operation: operation,
    actor_type: actorType(claims),
    actor_id: claims.oid ?? claims.appid ?? claims.upn ?? 'unknown',
    actor_name: claims.upn ?? (claims.managed_identity === null ? null : claims.managed_identity.slice(claims.managed_identity.lastIndexOf('/') + 1) || null),
    session_name: null,
    // No key is named; the application is what can be shut.
    credential_id: claims.appid,
    mfa: mfaOf(claims.amr),
    via_service: audit.trusted_service,
    // Getting a token is no access: its first 401 belongs to every call of a client that has none yet.
    is_child: action === 'auth',
    outcome,
    status_code: status,
    error_code: outcome === 'success' ? null : (audit.signature ?? audit.result_type),
    client_service: null,
    tls_version: audit.tls,
    vpc_endpoint_id: audit.subnet,
    request_id: audit.correlation_id,
    duration_ms: wholeOf(audit.duration, Number.MAX_SAFE_INTEGER),
  }
}

/**
 * The same for all three shapes, hence lower case (one writes ids in capitals) and no more of the time than all of them have.
 * Never the correlation id: the client may send any.
 */
function eventId({ resource, request_uri, claims }: Audit, operation: string, time: number, ip: string | null): string {
  const lower = (text: string | null): string | null => text?.toLowerCase() ?? null
  return nameUuid('azure.key-vault', lower(resource), time, operation, lower(claims.oid ?? claims.appid), lower(request_uri), ip)
}

/** A status says it; resultType alone does not (a refused call can be a "Success" of the service). */
function outcomeOf(status: number | null, { signature, result_type }: Audit): AccessOutcome {
  if (status !== null && status >= 100) {
    if (status < 400) return 'success'
    if (status === 401 || status === 403) return 'denied'
    return status === 404 ? 'not_found' : status === 429 ? 'throttled' : 'error'
  }
  const said = signature ?? result_type ?? ''
  if (/unauthori[sz]ed|forbidden|denied/i.test(said)) return 'denied'
  if (/not ?found/i.test(said)) return 'not_found'
  if (/too ?many|throttl/i.test(said)) return 'throttled'
  return /^(?:ok|success|succeeded|accepted|created|no ?content)?$/i.test(said) ? 'success' : 'error'
}

/** Why it was refused, as far as the vault tells. */
function flagsOf(audit: Audit, action: string, outcome: AccessOutcome, bad_address: boolean): string[] {
  const flags: string[] = []
  if (bad_address) flags.push('bad-address')
  if (action === 'auth') flags.push('token-request')
  if (outcome !== 'denied') return flags
  if (isFalse(audit.address_authorized)) flags.push('network-refused')
  if (isFalse(audit.access_policy) || isFalse(audit.rbac)) flags.push('permission-refused')
  return flags
}

const OBJECTS = /^https:\/\/([^/]+)\/(?:deleted)?(secrets|keys|certificates)\/([^/?#]+)(?:\/([^/?#]+))?/i
/** What stands behind a name in a path when it is no version. */
const SUBPATHS = new Set(['versions', 'backup', 'recover', 'restore', 'pending', 'policy', 'decrypt', 'unwrapkey', 'rotate', 'rotationpolicy', 'release'])

/** The object without its version, whichever of the two URIs names it; null for a list or a vault. */
function objectOf(uri: string | null): { id: string; version: string | null } | null {
  const [, host = '', kind = '', name = '', last] = OBJECTS.exec(uri ?? '') ?? []
  if (name === '' || (name.toLowerCase() === 'restore' && last === undefined)) return null
  const version = last === undefined || SUBPATHS.has(last.toLowerCase()) ? null : last.slice(0, 128)
  return { id: `https://${host.toLowerCase()}/${kind.toLowerCase()}/${name}`, version }
}

function actorType({ idtyp, managed_identity, upn, appid, oid }: Claims): string {
  if (managed_identity !== null) return 'ManagedIdentity'
  if (idtyp === 'app') return 'Application'
  if (idtyp === 'user' || upn !== null) return 'User'
  return appid !== null ? 'Application' : oid !== null ? 'Principal' : 'Unknown'
}

/** A list of methods, or its text; null where the token does not tell. */
function mfaOf(amr: unknown): boolean | null {
  const text = Array.isArray(amr) ? amr.slice(0, 20).map(String).join(' ') : typeof amr === 'string' ? amr.slice(0, 512) : ''
  return text === '' ? null : /\bmfa\b/.test(text)
}

/** A number, or the text of one ("200.0", "78"): each shape writes it in its own way. */
function wholeOf(value: unknown, most: number): number | null {
  const number = typeof value === 'number' ? value : typeof value === 'string' && /^\d{1,15}(?:\.\d+)?$/.test(value) ? Number(value) : NaN
  const whole = Math.round(number)
  return Number.isSafeInteger(whole) && whole >= 0 && whole <= most ? whole : null
}

const isFalse = (value: unknown): boolean => value === false || (typeof value === 'string' && value.toLowerCase() === 'false')
