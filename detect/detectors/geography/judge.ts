/** How surprising are the places of one bucket, and what to say about it. */
import { BlockList, isIPv6 } from 'node:net'
import { picoToUsd } from '../../../pricing/money.ts'
import type { Severity } from '../../../schemas/scalars.ts'
import type { DetectedFinding } from '../../detector.ts'
import { formatDuration } from '../../duration-text.ts'
import { hasNews } from '../../emissions.ts'
import { perMinute } from '../../money.ts'
import { counted, dollars, subjectOf } from '../../sentence.ts'
import type { GeographyConfig } from './config.ts'
import { BUCKET_MS, type Bucket, type GeographyState, LAG, type Newcomers, type Place, type Seen } from './state.ts'

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

export interface Verdict extends Newcomers {
  /** What is to be told, the worst first. */
  strange: Strange[]
}

const NOTHING: Verdict = { strange: [], told: new Set(), all: new Set() }

/** Places of the bucket that this entity has no reason to be at; none while the history is too short. */
export function judge(state: GeographyState, key: string, bucket: Bucket, now: number, config: GeographyConfig): Verdict {
  const { since, events } = state
  if (since === null || now < bucket.start - (LAG - 1) * BUCKET_MS) return NOTHING
  if (bucket.start - since < config.min_history || events < config.min_events) return NOTHING
  const newcomers = bucket.places.flatMap(([name, seen]) => newcomer(state, bucket, name, seen, config) ?? [])
  if (newcomers.length === 0) return NOTHING
  // Refused calls alone are the business of invalid-request-burst. The others count together: whoever comes through proxies
  // makes a call or two from each network, and whoever is careful makes one an hour.
  const answered = newcomers.filter(({ name, seen }) => seen.successes > 0 || (state.strangers.get(name)?.successes ?? 0) > 0)
  const calls = answered.reduce((sum, { name, seen }) => sum + seen.calls + (state.strangers.get(name)?.calls ?? 0), 0)
  const enough = calls >= (key.startsWith('actor:') ? 1 : config.min_new) || answered.some(({ name }) => state.suspects.has(name))
  const strange = enough ? answered : []
  // An allow-listed place never speaks for one that is not.
  strange.sort((a, b) => Number(a.allowed) - Number(b.allowed) || b.surprise - a.surprise || b.seen.calls - a.seen.calls || (a.name < b.name ? -1 : 1))
  const names = (list: readonly Strange[]) => new Set(list.map(({ name }) => name))
  return { strange, told: names(strange), all: names(newcomers) }
}

function newcomer(state: GeographyState, bucket: Bucket, name: string, seen: Seen, config: GeographyConfig): Strange | undefined {
  const new_asn = seen.asn !== null && !state.knows(bucket.start, ({ asn }) => asn === seen.asn)
  const new_country = seen.country !== null && !state.knows(bucket.start, ({ country }) => country === seen.country)
  if (!new_asn && !new_country) return undefined
  // Freeman et al.: what was never seen is as likely as new things were in the past, smoothed by half of one.
  const surpriseOf = (times: number) => -Math.log((times + 0.5) / (state.days + 1))
  const surprise = (new_asn ? surpriseOf(state.new_asn_days) : 0) + (new_country ? surpriseOf(state.new_country_days) : 0)
  if (surprise < config.surprise) return undefined
  return { name, seen, new_asn, new_country, surprise, beside: besideOf(state, bucket, name, seen), allowed: isAllowed(seen, config) }
}

/** The finding, or undefined if nothing worth telling happened since the last emission. */
export function tell(state: GeographyState, key: string, bucket: Bucket, strange: readonly Strange[], closing: boolean): DetectedFinding | undefined {
  const [worst] = strange
  if (worst === undefined) return undefined
  const calls = strange.reduce((sum, { seen }) => sum + seen.calls, 0)
  const severity = severityOf(worst, key)
  if (!hasNews(bucket, calls, severity, closing)) return undefined
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
    severity,
    reason,
    title: titleOf(worst),
    summary: summaryOf(state, key, bucket.owner.service, strange, spent, burn),
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

function titleOf({ beside, new_asn, new_country }: Strange): string {
  if (beside) return 'Used from a new network while the usual one goes on'
  if (new_country && new_asn) return 'Used from a new country and network'
  return new_country ? 'Used from a new country' : 'Used from a new network'
}

function severityOf({ allowed, new_country, new_asn, beside }: Strange, key: string): Severity {
  if (allowed) return 'info'
  if (new_country && new_asn) return beside ? 'critical' : 'high'
  if (beside && new_asn) return 'high'
  return key.startsWith('actor:') ? 'high' : 'medium'
}

function summaryOf(state: GeographyState, key: string, service: string | null, strange: readonly Strange[], spent: bigint, burn: bigint): string {
  const [worst] = strange
  if (worst === undefined) return ''
  const { beside, allowed } = worst
  const calls = strange.reduce((sum, { seen }) => sum + seen.calls, 0)
  const others = strange.length > 1 ? ` and ${counted(strange.length - 1, 'other new place')}` : ''
  const home = usual(state)[0]
  const before = home ? `; in ${formatDuration(Math.max(DAY_MS, state.days * DAY_MS))} it was mostly ${placeText(home)}` : ''
  const money = spent > 0n ? `, ${dollars(spent)} spent there (${dollars(burn)} a minute)` : ''
  const also = beside ? `, while ${beside.as_name ?? networkText(beside)} went on using it` : ''
  return `${subjectOf(key, service)} was used ${counted(calls, 'time')} from ${placeText(worst.seen)}${others}${also}${money}${before}${allowed ? '; the place is on the allow-list' : ''}.`
}

const networkText = ({ asn }: Pick<Place, 'asn'>): string => (asn === null ? 'an unknown network' : `AS${asn}`)
const placeText = (place: Pick<Place, 'asn' | 'country'> & { as_name?: string | null }): string => `${place.as_name ?? networkText(place)} (${place.country ?? 'country unknown'})`

function noteOf(state: GeographyState, bucket: Bucket): string {
  const located = `countries and networks of ${state.events} located calls on ${state.days} days`
  return state.unlocated + bucket.unlocated > 0 ? `${located}; partly blind: ${state.unlocated + bucket.unlocated} calls had no address or no known place` : located
}

const usual = (state: GeographyState): Place[] => [...state.home.values()].sort((a, b) => b.count - a.count || (a.asn ?? 0) - (b.asn ?? 0)).slice(0, 3)

function share(state: GeographyState, count: number): number {
  let total = 0
  for (const place of state.home.values()) total += place.count
  return Math.round((1000 * count) / Math.max(1e-9, total)) / 1000
}

function besideOf(state: GeographyState, bucket: Bucket, name: string, seen: Seen): Seen | undefined {
  const near = bucket.places.find(
    ([other, use]) =>
      other !== name &&
      use.asn !== null &&
      seen.asn !== null &&
      use.asn !== seen.asn &&
      use.first <= seen.last + CONCURRENT_MS &&
      use.last >= seen.first - CONCURRENT_MS &&
      state.knows(bucket.start, ({ asn }) => asn === use.asn),
  )
  return near?.[1]
}

function isAllowed({ asn, country, addresses }: Seen, { allow }: GeographyConfig): boolean {
  if ((asn !== null && allow.asns.includes(asn)) || (country !== null && allow.countries.includes(country))) return true
  const outside = outsideOf(allow)
  return allow.cidrs.length > 0 && addresses.length > 0 && !addresses.some(outside)
}

/** Whether an address is in none of the allowed ranges. */
export function outsideOf(allow: GeographyConfig['allow']): (address: string) => boolean {
  if (allow.cidrs.length === 0) return () => false
  const list = listOf(allow)
  return (address) => !list.check(address, isIPv6(address) ? 'ipv6' : 'ipv4')
}

/** The ranges, read once per configuration: a cache of what the argument says, not a memory of events. */
const lists = new WeakMap<GeographyConfig['allow'], BlockList>()

function listOf(allow: GeographyConfig['allow']): BlockList {
  let list = lists.get(allow)
  if (list !== undefined) return list
  lists.set(allow, (list = new BlockList()))
  for (const cidr of allow.cidrs) {
    const [network = '', prefix = ''] = cidr.split('/')
    list.addSubnet(network, Number(prefix), isIPv6(network) ? 'ipv6' : 'ipv4')
  }
  return list
}
