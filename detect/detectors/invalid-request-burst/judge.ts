/** Search or mistake? The features of one bucket, the verdict, and the finding. */
import { picoToUsd } from '../../../pricing/money.ts'
import type { Severity } from '../../../schemas/scalars.ts'
import type { DetectedFinding } from '../../detector.ts'
import { formatDuration } from '../../duration-text.ts'
import { perMinute } from '../../money.ts'
import { subjectOf } from '../../sentence.ts'
import { gammaPoissonTail } from '../../statistics/tails.ts'
import type { InvalidRequestBurstConfig } from './config.ts'
import { type Base, BUCKET_MS, type Bucket, type BurstState, LAG, type PlaceUse } from './state.ts'

export const ATTACK = ['T1078.004', 'T1526', 'T1580', 'T1110.004', 'T1555.006', 'AML.T0012', 'AML.T0040'] as const

/** A day of buckets with traffic: before that "first seen" means nothing. */
const MIN_BUCKETS = 24
/** What we believe of an unknown key: half an error in one bucket (one in five for an actor that reads secrets). */
const PRIOR_ERRORS = 0.5

type Reason =
  | 'recon-then-success'
  | 'target-enumeration'
  | 'errors-from-new-network'
  | 'key-enumeration'
  | 'denied-secret-search'
  | 'quota-exhausted'
  | 'rate-limited'
  | 'provider-errors'
  | 'misconfiguration'

export interface Verdict {
  reason: Reason
  severity: Severity
  hostile: boolean
  tail: number
  errors: number
  base: Base
  /** Places that this entity had not used before. */
  fresh: [string, PlaceUse][]
  success_after: PlaceUse | undefined
}

/** `hour_errors`: errors of the hour that ends with this bucket, known at its close only. */
export function judge(state: BurstState, key: string, bucket: Bucket, now: number, config: InvalidRequestBurstConfig, hour_errors: number | null): Verdict | undefined {
  const { invalid, limit, quota, server } = bucket.errors
  const errors = invalid + limit + quota + server
  const actor = key.startsWith('actor:')
  if (errors < (actor ? config.min_denied : config.min_errors) && (hour_errors ?? 0) < 3 * config.min_errors) return undefined
  const base = state.baseFor(bucket.start, now)
  if (base === undefined) return undefined
  const tail = tailOf(bucket, errors, hour_errors, base, actor ? 5 : 1)
  if (tail >= config.surprise) return undefined
  const settled = state.since !== null && base.buckets >= MIN_BUCKETS
  const fresh = settled ? freshPlaces(state, bucket) : []
  const success_after = fresh.map(([, use]) => use).find((use) => use.errors >= 3 && use.last_success > use.first_error)
  const shared = { tail, errors, base, fresh, success_after }
  if (key.startsWith('address:')) {
    if (bucket.keys.length < config.min_keys || invalid < config.min_errors) return undefined
    return { ...shared, reason: 'key-enumeration', severity: 'high', hostile: true }
  }
  const fresh_errors = fresh.reduce((sum, [, use]) => sum + use.errors, 0)
  // Limits and outages from a new address are a deploy; refused requests from there are somebody who does not know the way.
  const strange = fresh_errors >= Math.max(3, errors / 2) && invalid >= errors / 4
  const search = bucket.targets.length >= config.min_targets
  if (actor && (search || strange)) return { ...shared, reason: 'denied-secret-search', severity: success_after || strange ? 'high' : 'medium', hostile: true }
  if ((search || strange) && success_after) return { ...shared, reason: 'recon-then-success', severity: 'critical', hostile: true }
  if (search) return { ...shared, reason: 'target-enumeration', severity: strange ? 'high' : 'medium', hostile: true }
  if (strange) return { ...shared, reason: 'errors-from-new-network', severity: 'medium', hostile: true }
  if (!config.operational || 2 * errors < bucket.requests) return undefined
  return { ...shared, reason: plainReason(bucket), severity: 'low', hostile: false }
}

/** The finding, or undefined if nothing worth telling happened since the last emission. */
export function tell(key: string, bucket: Bucket, verdict: Verdict, closing: boolean): DetectedFinding | undefined {
  // A success after the search matters more than how many errors there were: it is told at once.
  const weight = verdict.errors + (verdict.success_after ? 1_000_000 : 0)
  const grown = closing ? weight !== bucket.emitted_at : bucket.emitted === 0 || weight >= 2 * bucket.emitted_at
  if (!grown) return undefined
  bucket.emitted++
  bucket.emitted_at = weight
  const spent = verdict.hostile ? verdict.fresh.reduce((sum, [, use]) => sum + BigInt(use.pico), 0n) : 0n
  const last = Math.max(bucket.last, verdict.success_after?.last_success ?? 0)
  const { team_id, service, owner_ref, api_key_id, provider } = bucket.owner
  const owned = !key.startsWith('address:')
  return {
    revision: bucket.emitted,
    entity: key,
    window_start: bucket.start,
    window_end: bucket.start + BUCKET_MS,
    first_event_time: bucket.first,
    last_event_time: last,
    severity: verdict.severity,
    reason: verdict.reason,
    title: titles[verdict.reason],
    summary: summaryOf(key, bucket, verdict),
    attack: attackOf(verdict.reason),
    team_id: owned ? team_id : null,
    service: owned ? service : null,
    owner_ref: owned ? owner_ref : null,
    api_key_id: owned ? api_key_id : null,
    provider,
    spend_usd_per_minute: spent > 0n ? picoToUsd(perMinute(spent, bucket.first, last)) : null,
    spend_usd: spent > 0n ? picoToUsd(spent) : null,
    evidence: evidenceOf(bucket, verdict),
    baseline: { buckets: Math.round(verdict.base.buckets), from: null, note: noteOf(bucket, verdict) },
  }
}

/** The smallest of the one-minute, ten-minute and one-hour tails, times three for having looked three times. */
function tailOf(bucket: Bucket, errors: number, hour_errors: number | null, base: Base, prior_buckets: number): number {
  const shape = base.errors + PRIOR_ERRORS
  const rate = base.buckets + prior_buckets
  const ten = gammaPoissonTail(errors, shape, rate)
  const one = gammaPoissonTail(Math.max(...bucket.minutes), shape, rate * 10)
  const hour = hour_errors === null ? 1 : gammaPoissonTail(hour_errors, shape, rate / 6)
  return Math.min(1, 3 * Math.min(ten, one, hour))
}

function freshPlaces(state: BurstState, bucket: Bucket): [string, PlaceUse][] {
  const knows_asns = [...state.asns.values()].some((known) => known.since <= bucket.start - LAG * BUCKET_MS)
  return bucket.places.filter(([address, use]) => {
    // With known networks an address is new only if its network is: services change address at every deploy.
    if (knows_asns && use.asn !== null) return !state.knows(state.asns, String(use.asn), bucket.start)
    return state.addresses.size > 0 && !state.knows(state.addresses, address, bucket.start)
  })
}

function plainReason({ errors: { invalid, limit, quota, server } }: Bucket): Reason {
  const most = Math.max(invalid, limit, quota, server)
  if (most === quota) return 'quota-exhausted'
  if (most === limit) return 'rate-limited'
  return most === server ? 'provider-errors' : 'misconfiguration'
}

const titles: Record<Reason, string> = {
  'recon-then-success': 'Somebody tried this key until a call worked',
  'target-enumeration': 'Somebody tries what this key may do',
  'errors-from-new-network': 'Refused requests from a network that never used this key',
  'key-enumeration': 'One address tries many keys',
  'denied-secret-search': 'Denied reads of many secrets',
  'quota-exhausted': 'The quota of this key is used up',
  'rate-limited': 'This key runs into its rate limit',
  'provider-errors': 'The provider fails for this key',
  misconfiguration: 'This key repeats one refused request',
}

function attackOf(reason: Reason): string[] {
  if (reason === 'denied-secret-search') return ['T1555.006']
  if (reason === 'key-enumeration') return ['T1110.004', 'T1078.004']
  if (reason === 'errors-from-new-network') return ['T1078.004', 'AML.T0012']
  if (reason === 'target-enumeration' || reason === 'recon-then-success') return ['T1526', 'T1580', 'T1078.004', 'AML.T0012', 'AML.T0040']
  return []
}

function summaryOf(key: string, bucket: Bucket, { reason, errors, fresh, success_after, hostile }: Verdict): string {
  const span = formatDuration(Math.max(1000, bucket.last - bucket.first))
  const top = [...bucket.codes].sort(([, a], [, b]) => b - a)[0]?.[0] ?? 'errors'
  const subject = subjectOf(key, bucket.owner.service)
  if (!hostile) return `${subject}: ${errors} of ${bucket.requests} requests failed in ${span}, nearly all ${top}; one mistake repeated, nothing points to abuse.`
  const network = fresh[0] ? ` from ${fresh[0][1].as_name ?? fresh[0][0]}, new to this key` : ''
  const what = reason === 'key-enumeration' ? `over ${bucket.keys.length} keys` : `over ${bucket.targets.length} distinct targets`
  const then = success_after ? `; then a call to ${success_after.model} succeeded` : ''
  const noun = reason === 'denied-secret-search' ? 'denied reads' : 'failed requests'
  return `${subject}: ${errors} ${noun} in ${span} ${what}${network}${then}.`
}

function evidenceOf(bucket: Bucket, { tail, errors, fresh, success_after, base, hostile }: Verdict): DetectedFinding['evidence'] {
  const codes = [...bucket.codes].sort(([a, n], [b, m]) => m - n || (a < b ? -1 : 1))
  return {
    verdict: hostile ? 'abuse' : 'misconfiguration',
    errors,
    requests: bucket.requests,
    error_share: Math.round((1000 * errors) / Math.max(1, bucket.requests)) / 1000,
    busiest_minute: Math.max(...bucket.minutes),
    usual_errors_per_10_min: Math.round((100 * base.errors) / Math.max(1, base.buckets)) / 100,
    chance_under_own_rate: Number(tail.toExponential(2)),
    distinct_targets: bucket.targets.length,
    distinct_keys: bucket.keys.length,
    codes: Object.fromEntries(codes.slice(0, 8)),
    targets: [...bucket.targets].sort().slice(0, 8),
    new_places: fresh.slice(0, 5).map(([address, use]) => ({ address, asn: use.asn, network: use.as_name, country: use.country, errors: use.errors, successes: use.successes })),
    success_after_errors: success_after !== undefined,
  }
}

function noteOf(bucket: Bucket, { base }: Verdict): string {
  const blind = bucket.places.length === 0 ? '; blind for addresses: the log carries none' : ''
  return base.buckets < MIN_BUCKETS ? `little history: first-seen networks are not judged${blind}` : `own error rate over ${Math.round(base.buckets)} buckets with traffic${blind}`
}
