/** Raw record → events: parse, fingerprint, redact, enrich, attribute, rate, check. Pure: the same record gives the same events. */
import type { Rater } from '../pricing/rate.ts'
import { messageOf } from '../runtime/errors.ts'
import { nameUuid, sha256Hex } from '../runtime/ids.ts'
import { plainText } from '../runtime/text.ts'
import type { AttributionEntry } from '../schemas/attribution.ts'
import { type Fragment, fragment as fragmentSchema } from '../schemas/fragments.ts'
import type { Reject } from '../schemas/rejects.ts'
import { parseAddress, truncated } from './address.ts'
import { type Attribution, createAttribution } from './attribution.ts'
import { type Complete, createComplete, hashedUser, type PipelineEvent, type Privacy } from './complete.ts'
import { type Geo, openGeo } from './enrich.ts'
import type { Format, ParsedEvent } from './format.ts'
import { type Cleaner, createCleaner, redactText } from './redact.ts'
import type { RawRecord } from './source.ts'

export type { EventTopic, PipelineEvent, Privacy } from './complete.ts'

/** `format` names the plugin that decided; null for a record that no format wanted. */
export type Outcome =
  | { kind: 'accept'; format: string; events: PipelineEvent[]; fragments: Fragment[]; rejects: Reject[] }
  | { kind: 'skip'; why: string }
  | { kind: 'reject'; reject: Reject }

export interface PipelineOptions {
  /** In order; the first that does not skip wins. */
  formats: readonly Format[]
  hash_key: string
  /** Who owns what since when; see ledger/attribution.ts for the reader of the config. */
  attribution: readonly AttributionEntry[] | Attribution
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
  complete: Complete
  options: PipelineOptions
}

/** One record. Clouds cut at 256 kB (CloudWatch) or 1 MB (CloudTrail); what is longer is not a log line. */
export const MAX_RECORD_BYTES = 1_000_000
const OLDEST = Date.UTC(2015, 0, 1) // before that there was no such thing to log: a clock that is years off
const DAY_MS = 86_400_000

export function createPipeline(options: PipelineOptions): Pipeline {
  const cleaner = createCleaner({ emails: options.privacy.user_ids === 'hash', pseudonym: (email) => hashedUser(email, options.hash_key) })
  const attribution = 'lookup' in options.attribution ? options.attribution : createAttribution(options.attribution)
  const { rater, privacy, hash_key, geo = openGeo() } = options
  return pipelineOf(options.formats, { cleaner, complete: createComplete({ cleaner, geo, attribution, rater, privacy, hash_key }), options })
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
      if (!isBatch(json)) return decided(json, record, context, formats, tools)
      const each = { ...context, occurrence: countedIn(context.occurrence) }
      return together(json.map((item) => decided(item, { ...record, body: bodyOf(item) }, each, formats, tools)))
    },
  }
}

/** The verdict of the first format that wants it. */
function decided(json: unknown, record: RawRecord, context: ProcessContext, formats: readonly Format[], tools: Tools): Outcome {
  const refuse = (reason: string, detail: string, plugin: string | null): Outcome => ({ kind: 'reject', reject: rejectOf(record, context, reason, detail, plugin) })
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
}

const MAX_BATCH = 10_000 // of the shortest lines that say anything; more of them would hold everybody else up

/** A list of records in one line. Files and receivers open it before us; a cloud gives the line as it was logged, and must give the same events. */
const isBatch = (json: unknown): json is object[] =>
  Array.isArray(json) && json.length > 0 && json.length <= MAX_BATCH && json.every((item) => typeof item === 'object' && item !== null && !Array.isArray(item))

/** What a reject of one item is told by: its own text, so that a line of broken items is not hashed as a whole for each of them. */
function bodyOf(item: object): string {
  try {
    return JSON.stringify(item)
  } catch {
    return '' // nested too deeply to be written out
  }
}

/** Twins in one line have one id of their source, so they are told apart here, in the order in which a file has them. */
function countedIn(occurrence: (key: string) => number): (key: string) => number {
  const seen = new Map<string, number>()
  return (key) => {
    const before = seen.get(key) ?? 0
    seen.set(key, before + 1)
    return occurrence(key) + before
  }
}

/** One verdict for the line: events win over broken and foreign neighbours, as in envelopes; what was broken is told beside them. */
function together(outcomes: readonly Outcome[]): Outcome {
  const taken = outcomes.filter((outcome) => outcome.kind === 'accept')
  const [first] = taken
  const refused = outcomes.flatMap((outcome) => (outcome.kind === 'reject' ? [outcome.reject] : outcome.kind === 'accept' ? outcome.rejects : []))
  if (first !== undefined)
    return { kind: 'accept', format: first.format, events: taken.flatMap(({ events }) => events), fragments: taken.flatMap(({ fragments }) => fragments), rejects: refused }
  const skipped = outcomes.find((outcome) => outcome.kind === 'skip' && outcome.why !== 'unknown-format') ?? outcomes[0]
  return refused[0] !== undefined ? { kind: 'reject', reject: refused[0] } : (skipped ?? { kind: 'skip', why: 'unknown-format' })
}

/** Reasons that say no more than that another format may know it; the first that says more is counted. */
const NOT_MINE = new Set(['foreign-shape', 'foreign-line', 'not-json', 'not-a-row', 'no-match', 'unknown-shape'])

const MAX_INDENT = 64
const isBlank = (unit: number): boolean => unit === 0x20 || unit === 0x0a || unit === 0x0d || unit === 0x09

function parseJson(body: string): unknown {
  let at = 0
  while (at < MAX_INDENT && isBlank(body.charCodeAt(at))) at++
  const first = at < MAX_INDENT ? body[at] : undefined
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
    const done = tools.complete(record, context, format, parsed)
    if ('problem' in done) rejects.push(rejectOf(record, context, 'invalid-event', done.problem, format))
    else events.push(done)
  }
  const fragments = verdict.fragments === undefined ? [] : verdict.fragments.flatMap((fragment) => cleanFragment(fragment, record, context, tools))
  const first = rejects[0]
  if (events.length === 0 && fragments.length === 0) return first === undefined ? { kind: 'skip', why: 'no-events' } : { kind: 'reject', reject: first }
  return { kind: 'accept', format, events, fragments, rejects }
}

function badTime(event_time: number, now: number): string | null {
  if (!Number.isSafeInteger(event_time)) return 'the event has no time'
  if (event_time < OLDEST) return 'the event is from before 2015: a clock or a unit is wrong'
  return event_time > now + DAY_MS ? 'the event is more than a day in the future: a clock or a unit is wrong' : null
}

/** Fields whose job is to name a credential, a secret or a person: context words such as `password` are part of names there. For events complete.ts says the same. */
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
