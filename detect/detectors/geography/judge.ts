/** How surprising are the places of one bucket, and what to say about it. */
import { BlockList, isIPv6 } from 'node:net'
import { picoToUsd } from '../../../pricing/money.ts'
import type { Severity } from '../../../schemas/scalars.ts'
import type { DetectedFinding } from '../../detector.ts'
import { formatDuration } from '../../duration-text.ts'
import { perMinute } from '../../money.ts'
import { counted, dollars, subjectOf } from '../../sentence.ts'
import type { GeographyConfig } from './config.ts'
import { BUCKET_MS, type Bucket, type GeographyState, LAG, type Place, type Seen } from './state.ts'

export const ATTACK = ['T1078.004', 'AML.T0012', 'T1555.006'] as const

/** Two networks within five minutes of each other are in use at the same time. */
const CONCURRENT_MS = 300_000
const DAY_MS = 86_400_000

export interface Strange {
  name: string
  seen: Seen
  new_asn: boolean
  new_country: boolean
  /** Nats: -ln of the chance per day of what is new, by the key's own past. */
  surprise: number
  /** The usual network was used within five minutes of it. */
  beside: Seen | undefined
  allowed: boolean
}

/** Places of the bucket that this entity has no reason to be at; empty while the history is too short. */
export function judge(state: GeographyState, key: string, bucket: Bucket, now: number, config: GeographyConfig): Strange[] {
  const { since, events, days } = state
  if (since === null || now < bucket.start - (LAG - 1) * BUCKET_MS) return []
  if (bucket.start - since < config.min_history || events < config.min_events) return []
  const min_new = key.startsWith('actor:') ? 1 : config.min_new
  const strange: Strange[] = []
  for (const [name, seen] of bucket.places) {
    // Refused calls alone are the business of invalid-request-burst.
    if (seen.successes === 0 || seen.calls < min_new) continue
    const new_asn = !state.knows(bucket.start, ({ asn }) => asn === seen.asn)
    const new_country = !state.knows(bucket.start, ({ country }) => country === seen.country)
    if (!new_asn && !new_country) continue
    // Freeman et al.: what was never seen is as likely as new things were in the past, smoothed by half of one.
    const surprise = (new_asn ? -Math.log((state.new_asn_days + 0.5) / (days + 1)) : 0) + (new_country ? -Math.log((state.new_country_days + 0.5) / (days + 1)) : 0)
    if (surprise < config.surprise) continue
    strange.push({ name, seen, new_asn, new_country, surprise, beside: besideOf(state, bucket, name, seen), allowed: isAllowed(seen, config) })
  }
  return strange.sort((a, b) => b.surprise - a.surprise || b.seen.calls - a.seen.calls || (a.name < b.name ? -1 : 1))
}

/** The finding, or undefined if nothing worth telling happened since the last emission. */
export function tell(state: GeographyState, key: string, bucket: Bucket, strange: readonly Strange[], closing: boolean): DetectedFinding | undefined {
  const [worst] = strange
  if (worst === undefined) return undefined
  const calls = strange.reduce((sum, { seen }) => sum + seen.calls, 0) + (strange.some(({ beside }) => beside) ? 1_000_000 : 0)
  if (closing ? calls === bucket.emitted_at : bucket.emitted > 0 && calls < 2 * bucket.emitted_at) return undefined
  bucket.emitted++
  bucket.emitted_at = calls
  const spent = strange.reduce((sum, { seen }) => sum + BigInt(seen.pico), 0n)
  const first = Math.min(...strange.map(({ seen }) => seen.first))
  const last = Math.max(...strange.map(({ seen }) => seen.last))
  const burn = perMinute(spent, first, last)
  const reason = reasonOf(worst)
  return {
    revision: bucket.emitted,
    entity: key,
    window_start: bucket.start,
    window_end: bucket.start + BUCKET_MS,
    first_event_time: first,
    last_event_time: last,
    severity: severityOf(worst, key),
    reason,
    title: titles[reason],
    summary: summaryOf(state, key, bucket.owner.service, worst, spent, burn),
    attack: key.startsWith('actor:') ? ['T1078.004', 'T1555.006'] : ['T1078.004', 'AML.T0012'],
    ...bucket.owner,
    spend_usd_per_minute: spent > 0n ? picoToUsd(burn) : null,
    spend_usd: spent > 0n ? picoToUsd(spent) : null,
    evidence: {
      new_places: strange.slice(0, 5).map(({ seen, surprise, allowed }) => ({
        country: seen.country,
        asn: seen.asn,
        network: seen.as_name,
        calls: seen.calls,
        usd: picoToUsd(BigInt(seen.pico)),
        surprise_nats: Math.round(surprise * 100) / 100,
        allow_listed: allowed,
      })),
      addresses: [...worst.seen.addresses].sort(),
      user_agents: [...worst.seen.agents].sort(),
      usual_places: usual(state).map(({ country, asn, count }) => ({ country, asn, share: share(state, count) })),
      concurrent_with_usual: worst.beside !== undefined,
      history_days: state.days,
      history_calls: state.events,
      new_networks_in_history: state.new_asn_days,
      unlocated_calls: bucket.unlocated,
    },
    baseline: { buckets: state.days, from: state.since, note: noteOf(state, bucket) },
  }
}

type Reason = 'concurrent-networks' | 'new-country' | 'new-network'

const reasonOf = ({ beside, new_country }: Strange): Reason => (beside ? 'concurrent-networks' : new_country ? 'new-country' : 'new-network')

const titles: Record<Reason, string> = {
  'concurrent-networks': 'Used from a new network while the usual one goes on',
  'new-country': 'Used from a new country and network',
  'new-network': 'Used from a new network',
}

function severityOf({ allowed, new_country, new_asn, beside }: Strange, key: string): Severity {
  if (allowed) return 'info'
  if (new_country && new_asn) return beside ? 'critical' : 'high'
  if (beside && new_asn) return 'high'
  return key.startsWith('actor:') ? 'high' : 'medium'
}

function summaryOf(state: GeographyState, key: string, service: string | null, { seen, beside, allowed }: Strange, spent: bigint, burn: bigint): string {
  const place = `${seen.as_name ?? `AS${seen.asn}`} (${seen.country})`
  const home = usual(state)[0]
  const before = home ? `; in ${formatDuration(Math.max(DAY_MS, state.days * DAY_MS))} it was nearly always AS${home.asn} (${home.country})` : ''
  const money = spent > 0n ? `, ${dollars(spent)} spent there (${dollars(burn)} a minute)` : ''
  const also = beside ? `, while ${beside.as_name ?? `AS${beside.asn}`} went on using it` : ''
  return `${subjectOf(key, service)} was used ${counted(seen.calls, 'time')} from ${place}${also}${money}${before}${allowed ? '; the place is on the allow-list' : ''}.`
}

function noteOf(state: GeographyState, bucket: Bucket): string {
  const located = `countries and networks of ${state.events} located calls on ${state.days} days`
  return state.unlocated + bucket.unlocated > 0 ? `${located}; partly blind: ${state.unlocated + bucket.unlocated} calls had no address or no known place` : located
}

const usual = (state: GeographyState): Place[] => [...state.home.values()].sort((a, b) => b.count - a.count || a.asn - b.asn).slice(0, 3)

function share(state: GeographyState, count: number): number {
  let total = 0
  for (const place of state.home.values()) total += place.count
  return Math.round((1000 * count) / Math.max(1e-9, total)) / 1000
}

function besideOf(state: GeographyState, bucket: Bucket, name: string, seen: Seen): Seen | undefined {
  const near = bucket.places.find(
    ([other, use]) =>
      other !== name &&
      use.asn !== seen.asn &&
      use.first <= seen.last + CONCURRENT_MS &&
      use.last >= seen.first - CONCURRENT_MS &&
      state.knows(bucket.start, ({ asn }) => asn === use.asn),
  )
  return near?.[1]
}

/** Built for each finding: findings are rare, and a detector keeps nothing outside its state. */
function isAllowed({ asn, country, addresses }: Seen, { allow }: GeographyConfig): boolean {
  if (allow.asns.includes(asn) || allow.countries.includes(country)) return true
  if (allow.cidrs.length === 0 || addresses.length === 0) return false
  const list = new BlockList()
  for (const cidr of allow.cidrs) {
    const [network = '', prefix = ''] = cidr.split('/')
    list.addSubnet(network, Number(prefix), isIPv6(network) ? 'ipv6' : 'ipv4')
  }
  return addresses.every((address) => list.check(address, isIPv6(address) ? 'ipv6' : 'ipv4'))
}
