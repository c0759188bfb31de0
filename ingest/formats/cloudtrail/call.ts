/** What every CloudTrail record has, read once: who, when, from where, with what result. */
import { nameUuid, sha256Hex } from '../../../runtime/ids.ts'
import type { AccessOutcome } from '../../../schemas/event.ts'
import type { ParsedEvent, ParsedSecretAccess } from '../../format.ts'
import { addressOf } from '../../shapes/address.ts'
import type { Identity } from '../../shapes/cloudtrail-identity.ts'
import { readIdentity } from '../../shapes/cloudtrail-identity.ts'
import type { Json } from '../../shapes/json.ts'
import { asLabel, asObject, objectAt } from '../../shapes/json.ts'
import { instantOf, isPlausible } from '../../shapes/time.ts'

/** An event, or why there is none. A broken record of a service that is not watched is not ours and thus never a reject. */
export type Outcome = { kind: 'event'; event: ParsedEvent } | { kind: 'skip'; why: string } | { kind: 'reject'; why: string; detail: string }

type Header = Pick<
  ParsedSecretAccess['event'],
  'event_id' | 'event_time' | 'revision' | 'account_id' | 'region' | 'owner_ref' | 'service' | 'client_ip' | 'user_agent' | 'flags'
> & { client_ip_prefix: number | null }

export interface Call {
  name: string
  source: string
  identity: Identity
  header: Header
  /** Empty where the record has null: denied calls often do. */
  parameters: Json
  response: Json
  record: Json
  error_code: string | null
  outcome: AccessOutcome
  request_id: string | null
  client_service: string | null
  /** Made by a service for somebody else. */
  is_child: boolean
}

export function readCall(record: Json, now: number, occurrence: (key: string) => number): { kind: 'call'; call: Call } | (Outcome & { kind: 'reject' }) {
  const reject = (why: string, detail: string): Outcome & { kind: 'reject' } => ({ kind: 'reject', why, detail })
  const name = asLabel(record['eventName'], 128)
  if (typeof record['eventName'] !== 'string' || name === null) return reject('bad-shape', 'eventName is no text')
  for (const key of ['userIdentity', 'requestParameters', 'responseElements']) {
    if (record[key] !== undefined && record[key] !== null && asObject(record[key]) === null) return reject('bad-shape', `${key} is no object`)
  }
  const at = record['eventTime']
  if (at === undefined || at === null) return reject('no-time', 'eventTime is missing')
  const time = typeof at === 'string' ? instantOf(at) : null
  if (time === null) return reject('bad-time', 'eventTime is no ISO time')
  if (!isPlausible(time, now)) return reject('bad-time', 'eventTime is before 2015 or more than a day ahead of this machine')
  const identity = readIdentity(objectAt(record, 'userIdentity'))
  const address = addressOf(record['sourceIPAddress'])
  const service = address?.kind === 'name' ? (asLabel(address.name) ?? null) : null
  const flags: string[] = []
  if (address?.kind === 'bad') flags.push('bad-address')
  if (identity.actor_type === 'Root') flags.push('root')
  const errorCode = asLabel(record['errorCode'], 128)
  const call: Call = {
    name,
    source: String(record['eventSource']),
    identity,
    header: {
      event_id: eventId(record, occurrence),
      event_time: time,
      revision: 0,
      account_id: asLabel(record['recipientAccountId'], 32) ?? identity.account_id,
      region: asLabel(record['awsRegion'], 64),
      owner_ref: null,
      service: null,
      client_ip: address?.kind === 'address' ? address.ip : null,
      client_ip_prefix: address?.kind === 'address' ? address.prefix : null,
      user_agent: asLabel(record['userAgent'], 512),
      flags,
    },
    parameters: objectAt(record, 'requestParameters') ?? {},
    response: objectAt(record, 'responseElements') ?? {},
    record,
    error_code: errorCode,
    outcome: accessOutcomeOf(errorCode),
    request_id: asLabel(record['requestID'], 128),
    client_service: service,
    is_child: service !== null || identity.invoked_by !== null,
  }
  return { kind: 'call', call }
}

/** Two accounts see one shared event under two eventIDs and one sharedEventID. */
function eventId(record: Json, occurrence: (key: string) => number): string {
  const own = asLabel(record['sharedEventID'], 128) ?? asLabel(record['eventID'], 128)
  if (own !== null) return nameUuid('aws.cloudtrail', own)
  const key = sha256Hex(JSON.stringify(record))
  return nameUuid('aws.cloudtrail', 'record', key, occurrence(key))
}

function accessOutcomeOf(code: string | null): AccessOutcome {
  if (code === null) return 'success'
  if (/AccessDenied|Unauthorized|NotAuthorized|Forbidden|UnrecognizedClient|InvalidClientTokenId|ExpiredToken/i.test(code)) return 'denied'
  if (/NotFound|NoSuch|DoesNotExist/i.test(code)) return 'not_found'
  return /Throttl|TooManyRequests|RequestLimitExceeded|SlowDown/i.test(code) ? 'throttled' : 'error'
}

/** Ids that a call names, as texts made safe; at most `max`, because a batch may name many. */
export function labelsOf(value: unknown, max = 100): string[] {
  if (!Array.isArray(value)) return []
  const labels: string[] = []
  for (const item of value.slice(0, max)) {
    const label = asLabel(item, 512)
    if (label !== null) labels.push(label)
  }
  return labels
}
