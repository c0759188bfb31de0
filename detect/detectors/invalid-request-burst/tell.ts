/** The finding of one bucket in words. */
import { picoToUsd } from '../../../pricing/money.ts'
import type { DetectedFinding } from '../../detector.ts'
import { formatDuration } from '../../duration-text.ts'
import { hasNews } from '../../emissions.ts'
import { perMinute } from '../../money.ts'
import { counted, subjectOf } from '../../sentence.ts'
import { MIN_BUCKETS, type Reason, type Verdict } from './judge.ts'
import { BUCKET_MS, type Bucket } from './state.ts'

/** The finding, or undefined if nothing worth telling happened since the last emission. */
export function tell(key: string, bucket: Bucket, verdict: Verdict, closing: boolean): DetectedFinding | undefined {
  // What succeeds from there counts as well: the dollars at risk grow with it.
  const size = verdict.errors + verdict.fresh.reduce((sum, [, use]) => sum + use.successes, 0)
  if (!hasNews(bucket, size, verdict.severity, closing)) return undefined
  const spent = verdict.hostile ? verdict.fresh.reduce((sum, [, use]) => sum + BigInt(use.pico), 0n) : 0n
  const { success_after } = verdict
  const first = verdict.errors === 0 && success_after ? success_after.first_success : bucket.first
  const last = Math.max(first, bucket.last, success_after?.last_success ?? 0)
  const { team_id, service, owner_ref, api_key_id, provider } = bucket.owner
  const owned = !key.startsWith('address:')
  return {
    revision: bucket.emitted,
    entity: key,
    window_start: bucket.start,
    window_end: bucket.start + BUCKET_MS,
    first_event_time: first,
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
    spend_usd_per_minute: spent > 0n ? picoToUsd(perMinute(spent, first, last)) : null,
    spend_usd: spent > 0n ? picoToUsd(spent) : null,
    evidence: evidenceOf(bucket, verdict),
    baseline: { buckets: Math.round(verdict.base.buckets), from: null, note: noteOf(bucket, verdict) },
  }
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

function summaryOf(key: string, bucket: Bucket, { reason, errors, fresh, success_after, searched_before, hostile }: Verdict): string {
  const span = formatDuration(Math.max(1000, bucket.last - bucket.first))
  const [top = 'errors', times = 0] = [...bucket.codes].sort(([, a], [, b]) => b - a)[0] ?? []
  const subject = subjectOf(key, bucket.owner.service)
  if (!hostile)
    return `${subject}: ${errors} of ${bucket.requests} requests failed in ${span}, ${10 * times >= 9 * errors ? 'nearly all' : 'mostly'} ${top}; one mistake repeated, nothing points to abuse.`
  const network = fresh[0] ? ` from ${fresh[0][1].as_name ?? fresh[0][0]}, new to this key` : ''
  if (searched_before !== undefined && success_after)
    return `${subject}: ${counted(success_after.successes, 'call')} succeeded${network}, first seen when ${searched_before} requests from there failed within the hour before; the last was to ${success_after.model}.`
  const what = reason === 'key-enumeration' ? `over ${bucket.keys.length} keys` : `over ${bucket.targets.length} distinct targets`
  const then = success_after ? `; then a call to ${success_after.model} succeeded` : ''
  const noun = reason === 'denied-secret-search' ? 'denied reads' : 'failed requests'
  return `${subject}: ${errors} ${noun} in ${span} ${what}${network}${then}.`
}

function evidenceOf(bucket: Bucket, { tail, errors, fresh, success_after, searched_before, base, hostile }: Verdict): DetectedFinding['evidence'] {
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
    ...(searched_before !== undefined && { errors_from_there_before: searched_before }),
  }
}

function noteOf(bucket: Bucket, { base }: Verdict): string {
  const blind = bucket.places.length === 0 ? '; blind for addresses: the log carries none' : ''
  return base.buckets < MIN_BUCKETS ? `little history: first-seen networks are not judged${blind}` : `own error rate over ${Math.round(base.buckets)} buckets with traffic${blind}`
}
