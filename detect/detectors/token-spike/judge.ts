/** Says whether a bucket is out of character, and writes the finding. */
import { formatDuration } from '../../duration-text.ts'
import { picoToUsd, usdToPico } from '../../../pricing/money.ts'
import type { Evidence } from '../../../schemas/findings.ts'
import type { Severity } from '../../../schemas/scalars.ts'
import type { DetectedFinding } from '../../detector.ts'
import { hasNews } from '../../emissions.ts'
import { microOf, perMinute } from '../../money.ts'
import { counted, dollars, subjectOf } from '../../sentence.ts'
import { BUCKET_MS, type Bucket, sizesOf } from './bucket.ts'
import type { TokenSpikeConfig } from './config.ts'
import { type Bounds, LAG } from './profile.ts'
import type { SpikeState } from './state.ts'

export const ATTACK = ['T1496.004', 'AML.T0034', 'LLM10:2025'] as const

/** The pool has seen this many buckets of its keys before it judges anybody. */
const MIN_POOL = 300

export interface Verdict {
  reason: 'cost-spike' | 'token-spike' | 'request-spike' | 'new-key-spike' | 'cold-start-cap'
  /** Largest of size / bound over the metrics that decided. */
  ratio: number
  bounds: Bounds | null
}

/**
 * A key with a past is judged by its own state, a young one by its pool (baseline of the team, and the cap): never by both, because a
 * finding has one writer who counts its revisions.
 */
export function judge(state: SpikeState, entity: string, bucket: Bucket, now: number, config: TokenSpikeConfig): Verdict | undefined {
  if (now < bucket.start - (LAG - 1) * BUCKET_MS) return undefined // what says whether it is young is not closed yet
  if (state.isGrown(entity, bucket.start, config.cold_start) === state.pool) return undefined
  return state.pool ? (judgeByPool(state, bucket, config) ?? judgeByCap(bucket, config)) : isUnusual(state, bucket, config)
}

/** Above the bounds of its own state, whoever judges it: a pool must not learn what a grown key was alerted for. */
export function isUnusual(state: SpikeState, bucket: Bucket, config: TokenSpikeConfig): Verdict | undefined {
  const bounds = state.profile.bounds(bucket.start)
  return bounds && exceeds(bucket, bounds, config)
}

function judgeByCap({ pico }: Bucket, { cold_start_cap_usd }: TokenSpikeConfig): Verdict | undefined {
  const cap = cold_start_cap_usd === null ? null : usdToPico(cold_start_cap_usd)
  return cap !== null && pico > cap ? { reason: 'cold-start-cap', ratio: Number(pico) / Number(cap), bounds: null } : undefined
}

function judgeByPool(state: SpikeState, bucket: Bucket, config: TokenSpikeConfig): Verdict | undefined {
  const verdict = isMature(state, bucket, config) ? isUnusual(state, bucket, config) : undefined
  return verdict && { ...verdict, reason: 'new-key-spike' }
}

/** Has a pool seen enough to judge others? */
export function isMature({ profile }: SpikeState, bucket: Bucket, config: TokenSpikeConfig): boolean {
  const bounds = profile.bounds(bucket.start)
  return profile.since !== null && bounds !== undefined && bucket.start - profile.since >= config.cold_start && bounds.buckets >= MIN_POOL
}

function exceeds(bucket: Bucket, bounds: Bounds, config: TokenSpikeConfig): Verdict | undefined {
  const sizes = sizesOf(bucket)
  const floor = microOf(usdToPico(config.min_usd_per_bucket))
  const cost = sizes.cost / Math.max(bounds.cost, floor)
  // Where every request has a price, dollars decide what is worth a page; tokens and requests speak for the unpriced ones.
  const matters = sizes.cost >= floor || bucket.unpriced > 0 || bucket.unmetered > 0
  const tokens = matters ? sizes.tokens / Math.max(bounds.tokens, config.min_tokens_per_bucket) : 0
  const requests = matters ? sizes.requests / Math.max(bounds.requests, config.min_requests_per_minute) : 0
  if (cost > 1) return { reason: 'cost-spike', ratio: Math.max(cost, tokens, requests), bounds }
  if (tokens > 1) return { reason: 'token-spike', ratio: Math.max(tokens, requests), bounds }
  return requests > 1 ? { reason: 'request-spike', ratio: requests, bounds } : undefined
}

/** The finding, or undefined if nothing worth telling happened since the last emission. */
export function tell(state: SpikeState, entity: string, bucket: Bucket, verdict: Verdict, closing: boolean): DetectedFinding | undefined {
  const burn = perMinute(bucket.pico, bucket.first, bucket.last)
  const severity = severityOf(burn, bucket, verdict)
  // All that was used, in units of about the same worth: it doubles when what is large in it doubles.
  if (!hasNews(bucket, microOf(bucket.pico) + bucket.tokens + bucket.requests, severity, closing)) return undefined
  const { api_key_id, owner_ref, team_id, service, provider } = bucket.owner
  return {
    revision: bucket.emitted,
    entity,
    window_start: bucket.start,
    window_end: bucket.start + BUCKET_MS,
    first_event_time: bucket.first,
    last_event_time: bucket.last,
    severity,
    reason: verdict.reason,
    title: titleOf(verdict),
    summary: summaryOf(entity, bucket, verdict, burn, closing),
    attack: [...ATTACK],
    team_id,
    service,
    owner_ref,
    api_key_id,
    provider,
    spend_usd_per_minute: bucket.pico > 0n ? picoToUsd(burn) : null,
    spend_usd: bucket.pico > 0n ? picoToUsd(bucket.pico) : null,
    evidence: evidenceOf(state, bucket, verdict),
    baseline: { buckets: verdict.bounds?.buckets ?? 0, from: state.profile.since, note: noteOf(state, bucket, verdict) },
  }
}

/** Ten dollars a minute is a month's salary in a day; one is an incident of the working day. */
function severityOf(burn: bigint, bucket: Bucket, { reason, ratio }: Verdict): Severity {
  if (burn >= 10_000_000_000_000n) return 'critical'
  if (burn >= 1_000_000_000_000n) return 'high'
  if (bucket.unpriced + bucket.unmetered > 0 && ratio >= 10) return 'high'
  return reason === 'request-spike' ? 'low' : 'medium'
}

const titles: Record<Verdict['reason'], string> = {
  'cost-spike': 'Spend far above what this key usually costs',
  'token-spike': 'Tokens far above what this key usually uses',
  'request-spike': 'Requests far above what this key usually sends',
  'new-key-spike': 'A new key uses far more than the other keys of its team',
  'cold-start-cap': 'A new key spends more than the cap for unknown keys',
}
const titleOf = (verdict: Verdict): string => titles[verdict.reason]

function summaryOf(entity: string, bucket: Bucket, { reason, bounds }: Verdict, burn: bigint, closing: boolean): string {
  const span = formatDuration(closing ? BUCKET_MS : Math.max(1000, bucket.last - bucket.first))
  const top = [...bucket.models].sort(([, a], [, b]) => b.tokens - a.tokens)[0]?.[0] ?? 'unknown'
  const seen = bucket.pico > 0n ? `${dollars(bucket.pico)} (${dollars(burn)} a minute)` : `${bucket.tokens} tokens`
  const used = `${subjectOf(entity, bucket.owner.service)} used ${seen} in ${span}, ${counted(bucket.requests, 'request')}, mostly ${top}`
  if (bounds === null) return `${used}; it is too new for a baseline, and no new key may spend that much.`
  const usual = bucket.pico > 0n ? dollars(BigInt(Math.round(Math.max(0, bounds.expected.cost))) * 1_000_000n) : `about ${Math.round(Math.max(0, bounds.expected.tokens))} tokens`
  return reason === 'new-key-spike' ? `${used}; keys of its team use ${usual} in 5 min.` : `${used}; at this hour ${usual} in 5 min is usual.`
}

function evidenceOf(state: SpikeState, bucket: Bucket, { bounds, ratio }: Verdict): Evidence {
  const sizes = sizesOf(bucket)
  const usd = (micro: number) => picoToUsd(BigInt(Math.round(Math.max(0, micro))) * 1_000_000n)
  const models = [...bucket.models].sort(([, a], [, b]) => b.tokens - a.tokens || b.requests - a.requests)
  return {
    times_bound: Math.round(ratio * 100) / 100,
    seen_tokens: bucket.tokens,
    seen_usd: picoToUsd(bucket.pico),
    seen_requests: bucket.requests,
    seen_requests_busiest_minute: sizes.requests,
    failed_requests: bucket.failed,
    ...(bounds && {
      expected_tokens: Math.round(Math.max(0, bounds.expected.tokens)),
      expected_usd: usd(bounds.expected.cost),
      bound_tokens: Math.round(bounds.tokens),
      bound_usd: usd(bounds.cost),
      bound_requests_busiest_minute: Math.round(bounds.requests),
    }),
    models: models.slice(0, 6).map(([model, use]) => ({ model, requests: use.requests, tokens: use.tokens, usd: picoToUsd(use.pico) })),
    new_models: models.map(([model]) => model).filter((model) => !state.models.has(model) && model !== 'others'),
    new_addresses: [...bucket.fresh_addresses].sort(),
    unpriced_requests: bucket.unpriced,
    unmetered_requests: bucket.unmetered,
  }
}

function noteOf(state: SpikeState, bucket: Bucket, { bounds }: Verdict): string {
  const basis =
    bounds === null ? 'no baseline yet: absolute cap' : state.pool ? 'pooled profile of the team, the key is new' : 'own profile by hour of day (UTC), closed buckets only'
  const blind = [...(bucket.unmetered > 0 ? [`${bucket.unmetered} answers carried no tokens`] : []), ...(bucket.unpriced > 0 ? [`${bucket.unpriced} requests have no price`] : [])]
  return blind.length === 0 ? basis : `${basis}; partly blind: ${blind.join(', ')}`
}
