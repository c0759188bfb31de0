/**
 * What a format gave → the event that goes on the bus: fingerprint, redact, enrich, attribute, rate, check. One literal per topic,
 * its fields in the order of the schema: what a literal does not name does not survive, and the schema is asked about the rest.
 */
import { type Shape, shapeOf } from '../bus/shape.ts'
import type { Rater } from '../pricing/rate.ts'
import { type CredentialChangeEvent, credentialChangeEvent } from '../schemas/credential-change.ts'
import { type SecretAccessEvent, secretAccessEvent } from '../schemas/secret-access.ts'
import type { TopicValue } from '../schemas/topics.ts'
import { type UsageEvent, usageEvent } from '../schemas/usage.ts'
import { type Attribution, ownerRef } from './attribution.ts'
import type { Geo } from './enrich.ts'
import { fingerprint, pseudonym } from './fingerprint.ts'
import type { ParsedCredentialChange, ParsedEvent, ParsedSecretAccess, ParsedUsage } from './format.ts'
import { createLocator, type Locator } from './locate.ts'
import { createRecent, type Recent } from './recent.ts'
import { type Cleaner, redactText } from './redact.ts'
import type { RawRecord } from './source.ts'

export type EventTopic = ParsedEvent['topic']
export type PipelineEvent = { [T in EventTopic]: { topic: T; event: TopicValue<T> } }[EventTopic]

export interface Privacy {
  truncate_ip: 'none' | '/24+/48'
  user_ids: 'keep' | 'hash'
}

export interface CompleteOptions {
  cleaner: Cleaner
  geo: Geo
  attribution: Attribution
  rater: Pick<Rater, 'rate'>
  privacy: Privacy
  hash_key: string
}

/** What the record and the moment of reading say, the same for every event of it. */
interface Stamp {
  observed_time: number
  run_id: string | null
  format: string
  origin: RawRecord['origin']
  delivered_time: number | null
  /** Clean. */
  source_stream: string
}

/** `problem` names fields and kinds of what does not fit, never a value. */
export type Completed = PipelineEvent | { problem: string }

/** Throws only if an IP database is broken. */
export type Complete = (record: RawRecord, context: { now: number; run_id: string | null }, format: string, parsed: ParsedEvent) => Completed

export function createComplete(options: CompleteOptions): Complete {
  const tools: Tools = { ...options, locate: createLocator(options.geo, options.privacy.truncate_ip), known_ids: createRecent(8192) }
  let stream: string | undefined
  let clean_stream = ''
  return (record, { now, run_id }, format, parsed) => {
    if (record.origin.stream !== stream) clean_stream = tools.cleaner.clean((stream = record.origin.stream), 'id')
    const stamp: Stamp = { observed_time: now, run_id, format, origin: record.origin, delivered_time: record.ingested_at, source_stream: clean_stream }
    return checked(parsed.topic, eventOf(parsed, stamp, tools))
  }
}

interface Tools extends CompleteOptions {
  locate: Locator
  /** Ids of keys in which no key is. */
  known_ids: Recent<string, true>
}

/** The order matters: a raw key is a fingerprint before anything else looks, text is clean before it becomes an owner, the cost comes last. */
function eventOf(parsed: ParsedEvent, stamp: Stamp, tools: Tools): PipelineEvent['event'] {
  const flags = [...parsed.event.flags]
  const event =
    parsed.topic === 'usage.v1'
      ? usageOf(parsed.event, flags, stamp, tools)
      : parsed.topic === 'secret-access.v1'
        ? secretAccessOf(parsed.event, flags, stamp, tools)
        : credentialChangeOf(parsed.event, flags, stamp, tools)
  stampOwner(event, parsed.event.owner_ref, stamp, tools)
  if (parsed.topic === 'usage.v1') stampCost(event as UsageEvent, flags, tools.rater)
  if (flags.length > 0) event.flags = cleanFlags(flags, tools.cleaner)
  return event
}

function usageOf(given: ParsedUsage['event'], flags: string[], stamp: Stamp, tools: Tools): UsageEvent {
  const { cleaner } = tools
  const { place, ip } = tools.locate(given.client_ip, given.client_ip_prefix ?? null, flags)
  return {
    event_id: given.event_id,
    event_time: given.event_time,
    observed_time: stamp.observed_time,
    delivered_time: stamp.delivered_time,
    source: stamp.origin.source,
    source_stream: stamp.source_stream,
    format: stamp.format,
    run_id: stamp.run_id,
    revision: given.revision,
    account_id: cleaner.id(given.account_id),
    region: cleaner.free(given.region),
    owner_ref: '',
    team_id: null,
    service: cleaner.free(given.service) ?? null,
    client_ip: ip?.text ?? null,
    client_ip_prefix: ip?.prefix ?? null,
    client_country: place?.country ?? null,
    client_asn: place?.asn ?? null,
    client_as_name: place?.as_name ?? null,
    user_agent: cleaner.free(given.user_agent),
    flags: [],
    provider: cleaner.free(given.provider),
    operation: cleaner.free(given.operation),
    project_id: cleaner.id(given.project_id),
    org_id: cleaner.free(given.org_id),
    api_key_id: cleaner.id(keyId(given.api_key_id, given.api_key, tools)),
    user_id: cleaner.free(userId(given.user_id, tools)),
    deployment: cleaner.free(given.deployment),
    model: cleaner.free(given.model),
    request_model: cleaner.free(given.request_model),
    tier: typeof given.tier === 'string' ? cleaner.clean(given.tier, 'free', 32) : given.tier,
    ctx: 'std',
    stream: given.stream,
    input_tokens: given.input_tokens,
    cache_read_input_tokens: given.cache_read_input_tokens,
    cache_write_input_tokens: given.cache_write_input_tokens,
    audio_input_tokens: given.audio_input_tokens,
    image_input_tokens: given.image_input_tokens,
    output_tokens: given.output_tokens,
    reasoning_output_tokens: given.reasoning_output_tokens,
    audio_output_tokens: given.audio_output_tokens,
    image_output_tokens: given.image_output_tokens,
    images: given.images,
    audio_duration_ms: given.audio_duration_ms,
    requests: given.requests,
    usage_source: given.usage_source,
    cost_usd: null,
    list_cost_usd: null,
    cost_source: 'none',
    price_version: null,
    status_code: given.status_code,
    outcome: given.outcome,
    error_type: cleaner.free(given.error_type),
    error_code: cleaner.free(given.error_code),
    duration_ms: given.duration_ms,
    request_id: cleaner.unique(given.request_id),
    response_id: cleaner.unique(given.response_id),
  }
}

function secretAccessOf(given: ParsedSecretAccess['event'], flags: string[], stamp: Stamp, tools: Tools): SecretAccessEvent {
  const { cleaner } = tools
  const { place, ip } = tools.locate(given.client_ip, given.client_ip_prefix ?? null, flags)
  return {
    event_id: given.event_id,
    event_time: given.event_time,
    observed_time: stamp.observed_time,
    delivered_time: stamp.delivered_time,
    source: stamp.origin.source,
    source_stream: stamp.source_stream,
    format: stamp.format,
    run_id: stamp.run_id,
    revision: given.revision,
    account_id: cleaner.id(given.account_id),
    region: cleaner.free(given.region),
    owner_ref: '',
    team_id: null,
    service: cleaner.free(given.service) ?? null,
    client_ip: ip?.text ?? null,
    client_ip_prefix: ip?.prefix ?? null,
    client_country: place?.country ?? null,
    client_asn: place?.asn ?? null,
    client_as_name: place?.as_name ?? null,
    user_agent: cleaner.free(given.user_agent),
    flags: [],
    store: cleaner.free(given.store),
    vault: cleaner.id(given.vault),
    secret_id: cleaner.id(given.secret_id),
    secret_ids: Array.isArray(given.secret_ids) && given.secret_ids.length > 0 ? given.secret_ids.map((id) => cleaner.id(id)) : given.secret_ids,
    secret_version: cleaner.free(given.secret_version),
    action: given.action,
    provider_operation: cleaner.free(given.provider_operation),
    actor_type: cleaner.free(given.actor_type),
    actor_id: cleaner.id(given.actor_id),
    actor_name: cleaner.id(given.actor_name),
    session_name: cleaner.id(given.session_name),
    credential_id: cleaner.id(given.credential_id),
    mfa: given.mfa,
    via_service: cleaner.free(given.via_service),
    is_child: given.is_child,
    outcome: given.outcome,
    status_code: given.status_code,
    error_code: cleaner.free(given.error_code),
    client_service: cleaner.free(given.client_service),
    tls_version: cleaner.free(given.tls_version),
    vpc_endpoint_id: cleaner.free(given.vpc_endpoint_id),
    request_id: cleaner.unique(given.request_id),
    duration_ms: given.duration_ms,
  }
}

function credentialChangeOf(given: ParsedCredentialChange['event'], flags: string[], stamp: Stamp, tools: Tools): CredentialChangeEvent {
  const { cleaner } = tools
  const { place, ip } = tools.locate(given.client_ip, given.client_ip_prefix ?? null, flags)
  return {
    event_id: given.event_id,
    event_time: given.event_time,
    observed_time: stamp.observed_time,
    delivered_time: stamp.delivered_time,
    source: stamp.origin.source,
    source_stream: stamp.source_stream,
    format: stamp.format,
    run_id: stamp.run_id,
    revision: given.revision,
    account_id: cleaner.id(given.account_id),
    region: cleaner.free(given.region),
    owner_ref: '',
    team_id: null,
    service: cleaner.free(given.service) ?? null,
    client_ip: ip?.text ?? null,
    client_ip_prefix: ip?.prefix ?? null,
    client_country: place?.country ?? null,
    client_asn: place?.asn ?? null,
    client_as_name: place?.as_name ?? null,
    user_agent: cleaner.free(given.user_agent),
    flags: [],
    target_kind: cleaner.free(given.target_kind),
    target_id: cleaner.id(given.target_id),
    change: given.change,
    provider_operation: cleaner.free(given.provider_operation),
    actor_type: cleaner.free(given.actor_type),
    actor_id: cleaner.id(given.actor_id),
    actor_name: cleaner.id(given.actor_name),
    session_name: cleaner.id(given.session_name),
    credential_id: cleaner.id(given.credential_id),
    is_child: given.is_child,
    client_service: cleaner.free(given.client_service),
    outcome: given.outcome,
    error_code: cleaner.free(given.error_code),
    request_id: cleaner.unique(given.request_id),
  }
}

function stampOwner(event: PipelineEvent['event'], given: string | null, stamp: Stamp, { cleaner, attribution }: Tools): void {
  const owner_ref = cleaner.id(given) ?? cleaner.clean(ownerRef(event, stamp.origin), 'id')
  const owner = attribution.lookup(owner_ref, event.event_time)
  event.owner_ref = owner_ref
  if (owner === undefined) return
  event.team_id = owner.team
  event.service = owner.service ?? event.service
}

function stampCost(event: UsageEvent, flags: string[], rater: Pick<Rater, 'rate'>): void {
  const rating = rater.rate(event)
  event.ctx = rating.ctx
  event.cost_usd = rating.cost_usd
  event.list_cost_usd = rating.list_cost_usd
  if (rating.cost_usd !== null) {
    event.cost_source = 'priced'
    event.price_version = rating.price_version
  }
  if (rating.unpriced) flags.push('unpriced')
  if (rating.upper_bound) flags.push('cost-upper-bound')
}

const cleanFlags = (flags: readonly string[], cleaner: Cleaner): string[] => [...new Set(flags.map((flag) => cleaner.clean(flag, 'free', 64)))].slice(0, 16)

/** A provider's tracking id stays; a raw key, wherever the log put it, becomes its fingerprint. */
function keyId(given: string | null, api_key: string | undefined, { hash_key, known_ids }: Tools): string | null {
  if (given === null || given === '') return api_key === undefined || api_key.trim() === '' ? null : fingerprint(api_key, hash_key)
  if (known_ids.get(given) === true) return given
  if (redactText(given, { kind: 'id' }) !== given) return fingerprint(given, hash_key)
  known_ids.set(given, true)
  return given
}

const userId = (given: string | null, { privacy, hash_key }: Tools): string | null => (given !== null && privacy.user_ids === 'hash' ? hashedUser(given, hash_key) : given)

/** A fragment's user is hashed already when its event is made. */
export const hashedUser = (user_id: string, hash_key: string): string => (/^user_[0-9a-f]{32}$/.test(user_id) ? user_id : pseudonym(user_id, hash_key))

const schemas = { 'usage.v1': usageEvent, 'secret-access.v1': secretAccessEvent, 'credential-change.v1': credentialChangeEvent } as const
const shapes: Readonly<Record<EventTopic, Shape | undefined>> = {
  'usage.v1': shapeOf(usageEvent),
  'secret-access.v1': shapeOf(secretAccessEvent),
  'credential-change.v1': shapeOf(credentialChangeEvent),
}

/** The quick yes says what zod would; whatever it does not accept is zod's to judge, for the reason. */
function checked(topic: EventTopic, event: PipelineEvent['event']): Completed {
  if (shapes[topic]?.(event) === true) return { topic, event } as PipelineEvent
  const parsed = schemas[topic].safeParse(event)
  if (parsed.success) return { topic, event: parsed.data } as PipelineEvent
  return { problem: parsed.error.issues.map((issue) => `${issue.path.join('.')}: ${issue.code}`).join('; ') }
}
