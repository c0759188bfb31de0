/** Port of formats: pure, total, synchronous. The first format that does not skip wins; the order is in the config. */
import type { PluginSpec } from '../runtime/plugin.ts'
import type { CredentialChangeEvent } from '../schemas/credential-change.ts'
import type { Fragment } from '../schemas/fragments.ts'
import type { SecretAccessEvent } from '../schemas/secret-access.ts'
import type { UsageEvent } from '../schemas/usage.ts'
import type { RawRecord } from './source.ts'

/** What the later steps of the collector stamp: redact, enrich, attribution, rate. A format fills everything else. */
type Stamped =
  | 'observed_time'
  | 'delivered_time'
  | 'source'
  | 'source_stream'
  | 'format'
  | 'run_id'
  | 'team_id'
  | 'client_ip_prefix'
  | 'client_country'
  | 'client_asn'
  | 'client_as_name'
type StampedUsage = Stamped | 'cost_usd' | 'list_cost_usd' | 'cost_source' | 'price_version' | 'ctx'

/**
 * What a format gives. `api_key` may hold a raw key that stood in the log: fingerprint.ts turns it into api_key_id before
 * anything else sees the event, and it is never stored. `owner_ref` null: attribution.ts derives it. A format that gives
 * `client_ip_prefix` (masked addresses) keeps it.
 */
export type ParsedUsage = {
  topic: 'usage.v1'
  event: Omit<UsageEvent, StampedUsage | 'owner_ref'> & { owner_ref: string | null; api_key?: string; client_ip_prefix?: number | null }
}
export type ParsedSecretAccess = {
  topic: 'secret-access.v1'
  event: Omit<SecretAccessEvent, Stamped | 'owner_ref'> & { owner_ref: string | null; client_ip_prefix?: number | null }
}
export type ParsedCredentialChange = {
  topic: 'credential-change.v1'
  event: Omit<CredentialChangeEvent, Stamped | 'owner_ref'> & { owner_ref: string | null; client_ip_prefix?: number | null }
}
export type ParsedEvent = ParsedUsage | ParsedSecretAccess | ParsedCredentialChange

/** skip = not ours: counted, nothing stored. reject = ours but broken: a row in rejects. `why` is kebab-case. */
export type Verdict = { kind: 'accept'; events: ParsedEvent[]; fragments?: Fragment[] } | { kind: 'skip'; why: string } | { kind: 'reject'; why: string; detail: string }

export interface Format {
  readonly id: string
  /**
   * `json` is the body parsed once by the collector (undefined where it is not a JSON object or array), `now` the time of
   * reading, `occurrence(key)` counts identical normalised records of one page (0, 1, …) for records without an id of their own.
   */
  parse(record: RawRecord, context: { json: unknown; now: number; occurrence: (key: string) => number }): Verdict
}

export interface FormatSpec<C> extends PluginSpec<C> {
  create(config: C): Format
  /** For records that come in parts (Verdict.fragments): how join.ts makes one event of them. */
  joiner?: Joiner
}

/** Pure, like parse. `parts` holds at most one fragment of each part name, all of one correlation id. */
export interface Joiner {
  /** The names of `fragment.part` that make a whole event: with all of them there is nothing to wait for. */
  parts: readonly string[]
  /** A part whose event the format has already given (Verdict.events): only what comes after it is news. */
  told(part: Fragment): boolean
  /** The event with what is known. null: these parts alone are no event (a gateway row of another API). */
  event(correlation_id: string, parts: readonly Fragment[]): ParsedEvent | null
}
