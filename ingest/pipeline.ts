/** Raw record → events: parse, fingerprint, redact, enrich, attribute, rate, check. Pure: the same record gives the same events. */
import type { Rateable, Rater, Rating } from '../pricing/rate.ts'
import { messageOf } from '../runtime/errors.ts'
import { nameUuid, sha256Hex } from '../runtime/ids.ts'
import { plainText } from '../runtime/text.ts'
import type { AttributionEntry } from '../schemas/attribution.ts'
import { type Fragment, fragment as fragmentSchema } from '../schemas/fragments.ts'
import type { Reject } from '../schemas/rejects.ts'
import { credentialChangeEvent } from '../schemas/credential-change.ts'
import { secretAccessEvent } from '../schemas/secret-access.ts'
import type { TopicValue } from '../schemas/topics.ts'
import { usageEvent } from '../schemas/usage.ts'
import { parseAddress, truncated } from './address.ts'
import { type Attribution, createAttribution, ownerRef } from './attribution.ts'
import { type Geo, openGeo } from './enrich.ts'
import { fingerprint, pseudonym } from './fingerprint.ts'
import type { Format, ParsedEvent, ParsedUsage } from './format.ts'
import { type Cleaner, createCleaner, redactText, type TextKind } from './redact.ts'
import type { RawRecord } from './source.ts'

export type EventTopic = ParsedEvent['topic']
export type PipelineEvent = { [T in EventTopic]: { topic: T; event: TopicValue<T> } }[EventTopic]

/** `format` names the plugin that decided; null for a record that no format wanted. */
export type Outcome =
  | { kind: 'accept'; format: string; events: PipelineEvent[]; fragments: Fragment[]; rejects: Reject[] }
  | { kind: 'skip'; why: string }
  | { kind: 'reject'; reject: Reject }

export interface Privacy {
  truncate_ip: 'none' | '/24+/48'
  user_ids: 'keep' | 'hash'
}

export interface PipelineOptions {
  /** In order; the first that does not skip wins. */
  formats: readonly Format[]
  hash_key: string
  /** Who owns what since when; see ledger/attribution.ts for the reader of the config. */
  attribution: readonly AttributionEntry[]
  rater: Pick<Rater, 'rate'>
  privacy: Privacy
  /** Default: the databases that come along, opened at the first public address. */
  geo?: Geo
}

export interface ProcessContext {
  /** Epoch ms of reading. */
  now: number
  run_id: string | null
  /** Counts identical normalised records of one stream: 0, 1, … */
  occurrence: (key: string) => number
}

export interface Pipeline {
  /** Total: whatever the body is, it gives an outcome and never throws (but for a broken IP database, which is not the record's fault). */
  process(record: RawRecord, context: ProcessContext): Outcome
  /** The same with other formats: a source may name its own. */
  withFormats(formats: readonly Format[]): Pipeline
  /** The later steps alone, for events that join.ts made of parts. `record` says where they came from; its body only stands for them in a reject. */
  finish(record: RawRecord, context: ProcessContext, format: string, events: ParsedEvent[]): Outcome
  /** A record that nobody can parse, as a reject: an envelope that cannot be unpacked. */
  refuse(record: RawRecord, context: ProcessContext, reason: string, detail: string, plugin: string): Outcome
}

/** What the steps share, made once. */
interface Tools {
  cleaner: Cleaner
  geo: Geo
  attribution: Attribution
  options: PipelineOptions
}

/** One record. Clouds cut at 256 kB (CloudWatch) or 1 MB (CloudTrail); what is longer is not a log line. */
export const MAX_RECORD_BYTES = 1_000_000
const OLDEST = Date.UTC(2015, 0, 1) // before that there was no such thing to log: a clock that is years off
const DAY_MS = 86_400_000

export function createPipeline(options: PipelineOptions): Pipeline {
  const cleaner = createCleaner({ emails: options.privacy.user_ids === 'hash' })
  return pipelineOf(options.formats, { cleaner, geo: options.geo ?? openGeo(), attribution: createAttribution(options.attribution), options })
}

function pipelineOf(formats: readonly Format[], tools: Tools): Pipeline {
  return {
    withFormats: (others) => pipelineOf(others, tools),
    finish: (record, context, format, events) => accepted(record, context, format, { events }, tools),
    refuse: (record, context, reason, detail, plugin) => ({ kind: 'reject', reject: rejectOf(record, context, reason, detail, plugin) }),
    process: (record, context) => {
      const refuse = (reason: string, detail: string, plugin: string | null): Outcome => ({ kind: 'reject', reject: rejectOf(record, context, reason, detail, plugin) })
      // Characters first: a UTF-16 unit is at least one byte, so a huge body is refused without measuring it.
      if (record.body.length > MAX_RECORD_BYTES || (record.body.length * 3 > MAX_RECORD_BYTES && Buffer.byteLength(record.body) > MAX_RECORD_BYTES))
        return refuse('too-large', `the record has more than ${MAX_RECORD_BYTES} bytes`, null)
      const json = parseJson(record.body)
      let why: string | undefined
      for (const format of formats) {
        let verdict
        try {
          verdict = format.parse(record, { json, now: context.now, occurrence: context.occurrence })
        } catch (error) {
          return refuse('format-failed', `${format.id}: ${error instanceof RangeError ? 'nested too deeply' : messageOf(error)}`, format.id)
        }
        if (verdict.kind === 'reject') return refuse(verdict.why, verdict.detail, format.id)
        if (verdict.kind === 'accept') return accepted(record, context, format.id, verdict, tools)
        if (!NOT_MINE.has(verdict.why)) why ??= verdict.why
      }
      if (json === undefined && why === undefined && looksLikeCutJson(record.body)) return refuse('invalid-json', 'the record begins like JSON but is cut or damaged', null)
      return { kind: 'skip', why: why ?? 'unknown-format' }
    },
  }
}

/** Reasons that say no more than that another format may know it; the first that says more is counted. */
const NOT_MINE = new Set(['foreign-shape', 'foreign-line', 'not-json', 'not-a-row', 'no-match', 'unknown-shape'])

function parseJson(body: string): unknown {
  const first = /\S/.exec(body.length > 64 ? body.slice(0, 64) : body)?.[0]
  if (first !== '{' && first !== '[') return undefined
  try {
    return JSON.parse(body)
  } catch {
    return undefined
  }
}

/** `{"` or `[{` at the start and no format wanted it: a broken JSON log line, not a line of text. */
const looksLikeCutJson = (body: string): boolean => /^\s{0,64}(?:\{\s{0,64}"|\[\s{0,64}[{"])/.test(body)

function accepted(record: RawRecord, context: ProcessContext, format: string, verdict: { events: ParsedEvent[]; fragments?: Fragment[] }, tools: Tools): Outcome {
  const events: PipelineEvent[] = []
  const rejects: Reject[] = []
  for (const parsed of verdict.events) {
    const problem = badTime(parsed.event.event_time, context.now)
    if (problem !== null) {
      rejects.push(rejectOf(record, context, 'bad-time', problem, format))
      continue
    }
    const done = complete(record, context, format, parsed, tools)
    if ('problem' in done) rejects.push(rejectOf(record, context, 'invalid-event', done.problem, format))
    else events.push(done)
  }
  const fragments = (verdict.fragments ?? []).flatMap((fragment) => cleanFragment(fragment, record, context, tools))
  const first = rejects[0]
  if (events.length === 0 && fragments.length === 0) return first === undefined ? { kind: 'skip', why: 'no-events' } : { kind: 'reject', reject: first }
  return { kind: 'accept', format, events, fragments, rejects }
}

function badTime(event_time: number, now: number): string | null {
  if (!Number.isSafeInteger(event_time)) return 'the event has no time'
  if (event_time < OLDEST) return 'the event is from before 2015: a clock or a unit is wrong'
  return event_time > now + DAY_MS ? 'the event is more than a day in the future: a clock or a unit is wrong' : null
}

/** The order matters: a raw key is a fingerprint before anything else looks, text is clean before it becomes an owner, the cost comes last. */
function complete(record: RawRecord, context: ProcessContext, format: string, parsed: ParsedEvent, tools: Tools): PipelineEvent | { problem: string } {
  const { cleaner, options } = tools
  const given = parsed.event as ParsedUsage['event']
  // The copy still holds a raw key; `checked` is what keeps only the fields of the schema.
  const event: Record<string, unknown> = { ...given }
  const flags = [...given.flags]
  if (parsed.topic === 'usage.v1') {
    event['api_key_id'] = keyId(given.api_key_id, given.api_key, options.hash_key)
    if (given.user_id !== null && options.privacy.user_ids === 'hash') event['user_id'] = hashedUser(given.user_id, options.hash_key)
  }
  for (const name in event) {
    const value = event[name]
    if (typeof value === 'string') {
      if (!CHECKED_FIELDS.has(name)) event[name] = cleanField(name, value, cleaner)
    } else if (Array.isArray(value)) event[name] = value.map((item: unknown) => (typeof item === 'string' ? cleaner.clean(item, 'id') : item))
  }
  event['observed_time'] = context.now
  event['delivered_time'] = record.ingested_at
  event['source'] = record.origin.source
  event['source_stream'] = cleaner.clean(record.origin.stream, 'id')
  event['format'] = format
  event['run_id'] = context.run_id
  locate(event, given.client_ip, given.client_ip_prefix ?? null, tools, flags)
  const owner_ref = (event['owner_ref'] as string | null) ?? cleaner.clean(ownerRef(event, record.origin), 'id')
  const owner = tools.attribution.lookup(owner_ref, given.event_time)
  event['owner_ref'] = owner_ref
  event['team_id'] = owner?.team ?? null
  event['service'] = owner?.service ?? event['service'] ?? null
  event['flags'] = flags
  if (parsed.topic === 'usage.v1') {
    stampCost(event, options.rater.rate(event as Rateable), flags)
  }
  event['flags'] = [...new Set(flags.map((flag) => cleaner.clean(flag, 'free', 64)))].slice(0, 16)
  return checked(parsed.topic, event)
}

function stampCost(event: Record<string, unknown>, rating: Rating, flags: string[]): void {
  event['ctx'] = rating.ctx
  event['cost_usd'] = rating.cost_usd
  event['list_cost_usd'] = rating.list_cost_usd
  event['cost_source'] = rating.cost_usd === null ? 'none' : 'priced'
  event['price_version'] = rating.cost_usd === null ? null : rating.price_version
  if (rating.unpriced) flags.push('unpriced')
  if (rating.upper_bound) flags.push('cost-upper-bound')
}

const schemas = { 'usage.v1': usageEvent, 'secret-access.v1': secretAccessEvent, 'credential-change.v1': credentialChangeEvent } as const

/** The allow-list: what the schema does not name does not survive. */
function checked(topic: EventTopic, event: unknown): PipelineEvent | { problem: string } {
  const parsed = schemas[topic].safeParse(event)
  if (parsed.success) return { topic, event: parsed.data } as PipelineEvent
  return { problem: parsed.error.issues.map((issue) => `${issue.path.join('.')}: ${issue.code}`).join('; ') }
}

/** A provider's tracking id stays; a raw key, wherever the log put it, becomes its fingerprint. */
function keyId(given: string | null, api_key: string | undefined, hash_key: string): string | null {
  if (given !== null && given !== '') return redactText(given, { kind: 'id' }) === given ? given : fingerprint(given, hash_key)
  return api_key === undefined || api_key.trim() === '' ? null : fingerprint(api_key, hash_key)
}

/** Fields whose job is to name a credential, a secret or a person: context words such as `password` are part of names there. */
const ID_FIELDS = new Set([
  'owner_ref',
  'subscription_id',
  'vault',
  'secret_id',
  'actor_id',
  'actor_name',
  'session_name',
  'credential_id',
  'target_id',
  'api_key_id',
  'account_id',
  'project_id',
])
/** Not free text: the schema allows only an id or a word of its list, and an address is parsed. The raw key is not stored. */
const CHECKED_FIELDS = new Set(['event_id', 'outcome', 'usage_source', 'client_ip', 'api_key'])
const LIMITS: Readonly<Record<string, number>> = { tier: 32 }

const cleanField = (name: string, value: string, cleaner: Cleaner): string => cleaner.clean(value, (ID_FIELDS.has(name) ? 'id' : 'free') satisfies TextKind, LIMITS[name] ?? 1024)

/** Looks the address up, then truncates it if the operator wants that. */
function locate(event: Record<string, unknown>, client_ip: string | null, prefix: number | null, { geo, options }: Tools, flags: string[]): void {
  const address = client_ip === null || client_ip === '' ? undefined : parseAddress(client_ip, prefix)
  if (client_ip !== null && client_ip !== '' && address === undefined) flags.push('bad-address')
  const kept = address !== undefined && options.privacy.truncate_ip === '/24+/48' ? truncated(address) : address
  const place = address === undefined ? undefined : geo.lookup(address)
  event['client_ip'] = kept?.text ?? null
  event['client_ip_prefix'] = kept?.prefix ?? null
  event['client_country'] = place?.country ?? null
  event['client_asn'] = place?.asn ?? null
  event['client_as_name'] = place?.as_name ?? null
}

/** A part waits on the bus, so it is as clean as an event there. It carries where it came from: the other part may come another way. */
function cleanFragment(fragment: Fragment, record: RawRecord, context: ProcessContext, { cleaner, options }: Tools): Fragment[] {
  const fields: Fragment['fields'] = {}
  for (const [name, value] of Object.entries({ ...fragment.fields, ...privateFields(fragment.fields, options) })) {
    fields[cleaner.clean(name, 'free', 128)] = typeof value === 'string' ? cleaner.clean(value, ID_FIELDS.has(name) ? 'id' : 'free') : value
  }
  fields['source'] = record.origin.source
  fields['source_stream'] = cleaner.clean(record.origin.stream, 'id')
  fields['delivered_time'] = record.ingested_at
  const parsed = fragmentSchema.safeParse({ ...fragment, correlation_id: cleaner.clean(fragment.correlation_id, 'id'), observed_time: context.now, run_id: context.run_id, fields })
  return parsed.success ? [parsed.data] : []
}

/** What privacy changes, before the bus: the user and the address. A truncated address still has its country. */
function privateFields(fields: Fragment['fields'], { privacy, hash_key }: PipelineOptions): Fragment['fields'] {
  const changed: Fragment['fields'] = {}
  const { user_id, client_ip } = fields
  if (typeof user_id === 'string' && privacy.user_ids === 'hash') changed['user_id'] = hashedUser(user_id, hash_key)
  const address = typeof client_ip === 'string' && privacy.truncate_ip === '/24+/48' ? parseAddress(client_ip) : undefined
  if (address !== undefined) Object.assign(changed, { client_ip: truncated(address).text, client_ip_prefix: truncated(address).prefix })
  return changed
}

/** A fragment's user is hashed already when its event is made. */
const hashedUser = (user_id: string, hash_key: string): string => (/^user_[0-9a-f]{32}$/.test(user_id) ? user_id : pseudonym(user_id, hash_key))

function rejectOf(record: RawRecord, context: ProcessContext, reason: string, detail: string, plugin: string | null): Reject {
  const sha256 = sha256Hex(record.body)
  const stream = redactText(plainText(record.origin.stream.toWellFormed(), 1024), { kind: 'id' }).slice(0, 1024)
  return {
    reject_id: nameUuid(record.origin.source, stream, reason, sha256),
    received_at: context.now,
    source: record.origin.source,
    source_stream: stream,
    stage: 'parse',
    plugin,
    run_id: context.run_id,
    reason: plainText(reason, 200),
    detail: plainText(redactText(plainText(detail.toWellFormed(), 2000)), 1000),
    size_bytes: Buffer.byteLength(record.body),
    sha256,
    topic: null,
    payload: null,
  }
}
