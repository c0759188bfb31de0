/** Format `mapping`: columns or JSON pointers → fields of a usage event, declared in the config. For exports that no format knows. */
import { nameUuid } from '../../../runtime/ids.ts'
import { type UsageOutcome, usageOutcome } from '../../../schemas/event.ts'
import type { FormatSpec, ParsedUsage, Verdict } from '../../format.ts'
import { hasPartAboveWhole } from '../../shapes/usage-counts.ts'
import type { RawRecord } from '../../source.ts'
import { type FieldSource, type MappingConfig, mappingConfig } from './config.ts'
import { type Instant, parseInstant } from './time.ts'

export const mapping: FormatSpec<MappingConfig> = {
  id: 'mapping',
  summary: 'columns or JSON pointers to fields, declared in the config',
  config: mappingConfig,
  example: {
    match: { columns: ['time', 'prompt_tokens'] },
    fields: { event_time: { column: 'time' }, provider: { constant: 'openai' }, model: { column: 'model' }, input_tokens: { column: 'prompt_tokens' } },
  },
  create: (config) => {
    const mapper = new Mapper(config)
    return { id: 'mapping', parse: (record, context) => mapper.parse(record, context) }
  },
}

type Json = Record<string, unknown>
type Getter = (row: Json, origin: string) => unknown
type Scalar = string | number | boolean | null

/** A value that is there but cannot be meant: the record is ours and broken. Names the field, never the value. */
class BadField extends Error {}

class Mapper {
  readonly #config: MappingConfig
  readonly #origin: RegExp | undefined
  readonly #equals: { get: Getter; value: Scalar }[]
  readonly #getters: { name: string; get: Getter }[]
  readonly #fields: Fields
  readonly #time: Getter

  constructor(config: MappingConfig) {
    const { event_time, duration_ms, audio_duration_ms, ...plain } = config.fields
    this.#config = config
    this.#origin = config.match.origin === undefined ? undefined : new RegExp(config.match.origin)
    this.#equals = (config.match.equals ?? []).map(({ pointer, value }) => ({ get: getter({ pointer }), value }))
    this.#time = getter(event_time)
    this.#getters = Object.entries({ ...plain, duration_ms, audio_duration_ms }).flatMap(([name, source]) => {
      if (source === undefined) return []
      const get = getter(source)
      const scale = 'scale' in source ? source.scale : 1
      return [{ name, get: scale === 1 ? get : (row: Json, origin: string) => scaledValue(get(row, origin), scale, name) }]
    })
    this.#fields = fieldsOf(this.#getters.map(({ name }) => name))
  }

  parse(record: RawRecord, { json, occurrence }: { json: unknown; occurrence: (key: string) => number }): Verdict {
    const row = this.#row(json)
    if (row === undefined) return { kind: 'skip', why: 'not-a-row' }
    const origin = record.origin.stream
    if (!this.#matches(row, origin)) return { kind: 'skip', why: 'no-match' }
    try {
      const instant = this.#instant(row, origin)
      const values = this.#getters.map(({ name, get }) => scalar(get(row, origin), name))
      return { kind: 'accept', events: [eventOf(instant, { values, ...this.#fields }, occurrence)] }
    } catch (error) {
      if (error instanceof BadField) return { kind: 'reject', why: 'bad-field', detail: error.message }
      throw error
    }
  }

  #row(json: unknown): Json | undefined {
    if (Array.isArray(json)) {
      const { columns } = this.#config
      if (columns === undefined || json.length !== columns.length) return undefined
      return Object.fromEntries(columns.map((name, column) => [name, json[column] as unknown]))
    }
    return typeof json === 'object' && json !== null ? (json as Json) : undefined
  }

  #matches(row: Json, origin: string): boolean {
    const { columns } = this.#config.match
    if (columns !== undefined && !columns.every((name) => Object.hasOwn(row, name))) return false
    if (this.#origin !== undefined && !this.#origin.test(origin)) return false
    return this.#equals.every(({ get, value }) => get(row, origin) === value)
  }

  #instant(row: Json, origin: string): Instant {
    const value = this.#time(row, origin)
    const instant = typeof value === 'string' || typeof value === 'number' ? parseInstant(value, this.#config.fields.event_time.format) : undefined
    if (instant === undefined) throw new BadField(`event_time is missing or no ${this.#config.fields.event_time.format} time`)
    return instant
  }
}

function getter(source: FieldSource | { column: string } | { pointer: string }): Getter {
  if ('column' in source) return (row) => (Object.hasOwn(row, source.column) ? row[source.column] : undefined)
  if ('constant' in source) return () => source.constant
  if ('origin' in source) {
    const pattern = new RegExp(source.origin)
    return (_, origin) => {
      const match = pattern.exec(origin)
      return match === null ? undefined : source.template.replace(/\$(\d)/g, (_whole, group: string) => match[Number(group)] ?? '')
    }
  }
  const steps = source.pointer
    .split('/')
    .slice(1)
    .map((step) => step.replaceAll('~1', '/').replaceAll('~0', '~'))
  return (row) => {
    let at: unknown = row
    for (const step of steps) {
      if (typeof at !== 'object' || at === null || !Object.hasOwn(at, step)) return undefined
      at = (at as Json)[step]
    }
    return at
  }
}

/** Empty cells are unknown, not zero. */
function scalar(value: unknown, name: string): Scalar {
  if (value === undefined || value === null || value === '') return null
  if (typeof value === 'string' || typeof value === 'number' || typeof value === 'boolean') return value
  throw new BadField(`${name} is no text, number or boolean`)
}

function scaledValue(value: unknown, scale: number, name: string): Scalar {
  const given = scalar(value, name)
  if (given === null) return null
  const number = typeof given === 'boolean' ? NaN : Number(given)
  if (!Number.isFinite(number)) throw new BadField(`${name} is no number`)
  return Math.round(number * scale)
}

/** Where the value of a field stands among those of a row, and the fields in the order in which an event id takes them. */
interface Fields {
  slots: Readonly<Record<string, number | undefined>>
  in_id: readonly { slot: number; begin: string }[]
}
type Row = Fields & { values: readonly Scalar[] }

function fieldsOf(names: readonly string[]): Fields {
  const slots = Object.fromEntries(names.map((name, slot) => [name, slot]))
  const in_id = names
    .map((name, slot) => ({ name, slot, begin: `[${JSON.stringify(name)},` }))
    .filter(({ name }) => name !== 'event_id')
    .sort((a, b) => (a.name < b.name ? -1 : 1))
  return { slots, in_id }
}

function valueOf({ slots, values }: Row, name: string): Scalar {
  const slot = slots[name]
  return slot === undefined ? null : (values[slot] ?? null)
}

function count(row: Row, name: string): number | null {
  const value = valueOf(row, name)
  if (value === null) return null
  const number = typeof value === 'string' && /^\s*\d{1,16}(?:\.0+)?\s*$/.test(value) ? Number(value) : value
  if (typeof number !== 'number' || !Number.isSafeInteger(number) || number < 0) throw new BadField(`${name} is no whole number of 0 or more`)
  return number
}

function text(row: Row, name: string): string | null {
  const value = valueOf(row, name)
  return value === null ? null : String(value)
}

function eventOf(instant: Instant, row: Row, occurrence: (key: string) => number): ParsedUsage {
  const provider = text(row, 'provider')
  if (provider === null) throw new BadField('provider is missing')
  const status_code = count(row, 'status_code')
  if (status_code !== null && status_code > 999) throw new BadField('status_code is no HTTP status')
  const counts = countsOf(row)
  const audio_duration_ms = count(row, 'audio_duration_ms')
  const metered = counts.input_tokens !== null || counts.output_tokens !== null || counts.images !== null || audio_duration_ms !== null
  const outcome = outcomeOf(text(row, 'outcome'), status_code)
  const api_key = text(row, 'api_key')
  const event: ParsedUsage['event'] = {
    event_id: '',
    event_time: instant.ms,
    revision: 0,
    account_id: text(row, 'account_id'),
    region: text(row, 'region'),
    owner_ref: text(row, 'owner_ref'),
    service: text(row, 'service'),
    client_ip: text(row, 'client_ip'),
    user_agent: text(row, 'user_agent'),
    flags: flagsOf(counts, metered, outcome),
    provider,
    operation: text(row, 'operation'),
    project_id: text(row, 'project_id'),
    org_id: text(row, 'org_id'),
    api_key_id: text(row, 'api_key_id'),
    user_id: text(row, 'user_id'),
    deployment: text(row, 'deployment'),
    model: text(row, 'model'),
    request_model: text(row, 'request_model'),
    tier: text(row, 'tier') ?? 'default',
    stream: null,
    input_tokens: counts.input_tokens,
    cache_read_input_tokens: counts.cache_read_input_tokens,
    cache_write_input_tokens: counts.cache_write_input_tokens,
    audio_input_tokens: counts.audio_input_tokens,
    image_input_tokens: counts.image_input_tokens,
    output_tokens: counts.output_tokens,
    reasoning_output_tokens: counts.reasoning_output_tokens,
    audio_output_tokens: counts.audio_output_tokens,
    image_output_tokens: counts.image_output_tokens,
    images: counts.images,
    audio_duration_ms,
    requests: counts.requests ?? 1,
    usage_source: metered ? 'log' : 'absent',
    duration_ms: count(row, 'duration_ms'),
    status_code,
    outcome,
    error_type: text(row, 'error_type'),
    error_code: text(row, 'error_code'),
    request_id: text(row, 'request_id'),
    response_id: text(row, 'response_id'),
  }
  if (api_key !== null) event.api_key = api_key
  // Last: only rows that are kept count as occurrences.
  event.event_id = eventId(provider, instant, row, occurrence)
  return { topic: 'usage.v1', event }
}

/** A call that failed before a model ran used no tokens: that there are none is no gap. */
function flagsOf(counts: Counts, metered: boolean, outcome: UsageOutcome): string[] {
  if (!metered) return outcome === 'success' ? ['tokens-missing'] : []
  return hasPartAboveWhole(counts) ? ['tokens-inconsistent'] : []
}

type Counts = Pick<
  ParsedUsage['event'],
  | 'input_tokens'
  | 'cache_read_input_tokens'
  | 'cache_write_input_tokens'
  | 'audio_input_tokens'
  | 'image_input_tokens'
  | 'output_tokens'
  | 'reasoning_output_tokens'
  | 'audio_output_tokens'
  | 'image_output_tokens'
  | 'images'
> & { requests: number | null }

const countsOf = (row: Row): Counts => ({
  input_tokens: count(row, 'input_tokens'),
  cache_read_input_tokens: count(row, 'cache_read_input_tokens'),
  cache_write_input_tokens: count(row, 'cache_write_input_tokens'),
  audio_input_tokens: count(row, 'audio_input_tokens'),
  image_input_tokens: count(row, 'image_input_tokens'),
  output_tokens: count(row, 'output_tokens'),
  reasoning_output_tokens: count(row, 'reasoning_output_tokens'),
  audio_output_tokens: count(row, 'audio_output_tokens'),
  image_output_tokens: count(row, 'image_output_tokens'),
  images: count(row, 'images'),
  requests: count(row, 'requests'),
})

/** Without a key of the provider: the time in full precision, every mapped value, and which of equal rows it is. */
function eventId(provider: string, instant: Instant, row: Row, occurrence: (key: string) => number): string {
  const own = text(row, 'event_id')
  if (own !== null) return nameUuid(provider, own)
  let record = '['
  for (const { slot, begin } of row.in_id) {
    const value = row.values[slot] ?? null
    record += `${record === '[' ? '' : ','}${begin}${value === null ? 'null' : JSON.stringify(String(value))}]`
  }
  record += ']'
  // The id of the first of equal rows stands for all of them: nearly always it is the only one.
  const first = nameUuid('mapping', provider, instant.ms, instant.ns, record, 0)
  const index = occurrence(first)
  return index === 0 ? first : nameUuid('mapping', provider, instant.ms, instant.ns, record, index)
}

function outcomeOf(given: string | null, status: number | null): UsageOutcome {
  if (given !== null) {
    const known = usageOutcome.safeParse(given)
    if (!known.success) throw new BadField(`outcome is none of ${usageOutcome.options.join(', ')}`)
    return known.data
  }
  if (status === null || status < 400) return 'success'
  if (status >= 500) return 'server_error'
  if (status === 429) return 'rate_limited'
  return status === 401 || status === 403 ? 'auth_failure' : 'client_error'
}
