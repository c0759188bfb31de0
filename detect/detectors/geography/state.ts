/**
 * Where one key or actor is at home: countries and networks (ASN) with decayed counts, learnt from closed buckets, and what its
 * open buckets saw. A bucket is judged by what was closed LAG buckets before it, whatever the order of arrival.
 */
import { usdToPico } from '../../../pricing/money.ts'
import type { SecretAccessEvent } from '../../../schemas/secret-access.ts'
import type { UsageEvent } from '../../../schemas/usage.ts'
import { type Emissions, nothingTold } from '../../emissions.ts'
import { OpenBuckets } from '../../open-buckets.ts'

export const BUCKET_MS = 900_000
export const LAG = 2
const DAY_MS = 86_400_000
const HALF_LIFE_DAYS = 30
const PLACES = 64
/** A key attacked through proxies shows dozens of places in one bucket; a service has one or two. */
const OPEN_PLACES = 32
const ADDRESSES = 4
/** A new place that has been used for three days without anybody stopping it is a place of this key. */
const SETTLED_MS = 3 * DAY_MS
/** A stolen key is tried once and used weeks later: single calls from a new place are added up for so long. */
const STRANGER_MS = 30 * DAY_MS

export interface Place {
  /** Not both null. */
  asn: number | null
  country: string | null
  /** Decayed calls; `since` is the start of the first bucket that counts. */
  count: number
  since: number
  last: number
}

/** Calls of closed buckets from a place that is new and not told yet. */
export interface Stranger {
  calls: number
  successes: number
  last: number
}

export interface Seen {
  asn: number | null
  country: string | null
  as_name: string | null
  calls: number
  successes: number
  first: number
  last: number
  addresses: string[]
  agents: string[]
  pico: string
}

export interface Bucket extends Emissions {
  start: number
  places: [string, Seen][]
  unlocated: number
  owner: { team_id: string | null; service: string | null; owner_ref: string; api_key_id: string | null; provider: string | null }
  owner_at: number
}

/** What a bucket showed of places that this entity has no reason to be at. */
export interface Newcomers {
  told: ReadonlySet<string>
  /** Told or not: such a place is not learnt. */
  all: ReadonlySet<string>
}

export class GeographyState {
  open = new OpenBuckets<Bucket>()
  home = new Map<string, Place>()
  /** Places that were reported, by when. */
  suspects = new Map<string, number>()
  /** New places with too few calls to report: they are not at home here, or one quiet try would open the door for the rest. */
  strangers = new Map<string, Stranger>()
  events = 0
  unlocated = 0
  since: number | null = null
  days = 0
  last_day = -1
  /** Days on which a network was first seen, the first day not counted: how often something new is normal here. */
  new_asn_days = 0
  new_country_days = 0

  /** `outside`: the address is on no allow-list. */
  add(event: UsageEvent | SecretAccessEvent, outside: (address: string) => boolean): Bucket {
    const start = event.event_time - (event.event_time % BUCKET_MS)
    let bucket = this.open.get(start)
    if (bucket === undefined) this.open.set(start, (bucket = newBucket(start, event)))
    if (event.event_time >= bucket.owner_at) {
      bucket.owner = ownerOf(event)
      bucket.owner_at = event.event_time
    }
    // Either of them is enough: an anycast or satellite network has no country, and its number still says that it is another one.
    if (event.client_asn === null && event.client_country === null) bucket.unlocated++
    else see(bucket, event, outside)
    return bucket
  }

  /** Is this known from before the bucket? */
  knows(start: number, test: (place: Place) => boolean): boolean {
    for (const place of this.home.values()) if (place.since <= start - LAG * BUCKET_MS && test(place)) return true
    return false
  }

  /** Open buckets whose past is closed at `now`: only they can be judged. */
  ready(now: number): [number, Bucket][] {
    return this.open.until(now + (LAG - 1) * BUCKET_MS)
  }

  close(now: number, judge: (bucket: Bucket) => Newcomers): void {
    for (const [start, bucket] of this.open.until(now - BUCKET_MS)) {
      const newcomers = judge(bucket)
      this.open.delete(start)
      this.#learn(bucket, newcomers)
    }
  }

  wakeAfter(now: number): number | undefined {
    return this.open.wakeAfter(now, BUCKET_MS, LAG)
  }

  encode(): Uint8Array {
    return Buffer.from(JSON.stringify({ ...this.plain(), open: [...this.open], home: [...this.home], suspects: [...this.suspects], strangers: [...this.strangers] }))
  }

  /** The scalars. */
  plain() {
    const { events, unlocated, since, days, last_day, new_asn_days, new_country_days } = this
    return { events, unlocated, since, days, last_day, new_asn_days, new_country_days }
  }

  static decode(bytes: Uint8Array): GeographyState {
    const raw = JSON.parse(Buffer.from(bytes).toString('utf8')) as ReturnType<GeographyState['plain']> & {
      open: [number, Bucket][]
      home: [string, Place][]
      suspects: [string, number][]
      strangers: [string, Stranger][]
    }
    const maps = { home: new Map(raw.home), suspects: new Map(raw.suspects), strangers: new Map(raw.strangers) }
    return Object.assign(new GeographyState(), raw, maps, { open: new OpenBuckets(raw.open) })
  }

  #learn(bucket: Bucket, { told, all }: Newcomers): void {
    const day = Math.floor(bucket.start / DAY_MS)
    const first_day = this.since === null
    this.since ??= bucket.start
    if (day !== this.last_day) {
      this.days++
      if (this.last_day >= 0) this.#decay(day - this.last_day)
      this.last_day = day
    }
    this.unlocated += bucket.unlocated
    const counts_as_new = !first_day && bucket.start - this.since >= DAY_MS
    for (const [name, seen] of bucket.places) {
      // Who only got refusals is not at home here, and does not make new networks look usual.
      if (seen.successes === 0 && !this.home.has(name)) {
        if (all.has(name)) this.#meet(name, seen, bucket.start)
        continue
      }
      if (all.has(name)) {
        const suspected = this.suspects.get(name)
        if (suspected === undefined && !told.has(name)) {
          if (!this.strangers.has(name) && counts_as_new) this.#countNew(seen)
          this.#meet(name, seen, bucket.start)
          continue
        }
        this.strangers.delete(name)
        if (suspected === undefined) this.suspects.set(name, bucket.start)
        if (suspected === undefined || bucket.start - suspected < SETTLED_MS) continue
      }
      this.suspects.delete(name)
      this.#settle(name, seen, bucket.start, counts_as_new)
    }
    this.#shrink(bucket.start)
  }

  #settle(name: string, seen: Seen, start: number, counts_as_new: boolean): void {
    this.events += seen.calls
    const place = this.home.get(name)
    if (place) {
      place.count += seen.calls
      place.last = start
      return
    }
    if (counts_as_new) this.#countNew(seen)
    this.home.set(name, { asn: seen.asn, country: seen.country, count: seen.calls, since: start, last: start })
  }

  #countNew(seen: Seen): void {
    const home = [...this.home.values()]
    if (seen.asn !== null && !home.some(({ asn }) => asn === seen.asn)) this.new_asn_days++
    if (seen.country !== null && !home.some(({ country }) => country === seen.country)) this.new_country_days++
  }

  #meet(name: string, { calls, successes }: Seen, start: number): void {
    const before = this.strangers.get(name)
    this.strangers.delete(name)
    this.strangers.set(name, { calls: calls + (before?.calls ?? 0), successes: successes + (before?.successes ?? 0), last: start })
  }

  #decay(days: number): void {
    const factor = 2 ** (-days / HALF_LIFE_DAYS)
    for (const place of this.home.values()) place.count *= factor
  }

  /** The least used place goes when there are too many; suspects are few because a finding is a few places. */
  #shrink(now: number): void {
    while (this.home.size > PLACES) {
      const least = [...this.home].reduce((a, b) => (b[1].count < a[1].count ? b : a))
      this.home.delete(least[0])
    }
    while (this.suspects.size > PLACES) this.suspects.delete(this.suspects.keys().next().value ?? '')
    for (const [name, { last }] of this.strangers) {
      if (this.strangers.size <= PLACES && now - last < STRANGER_MS) break // the longest unseen comes first
      this.strangers.delete(name)
    }
  }
}

function see(bucket: Bucket, event: UsageEvent | SecretAccessEvent, outside: (address: string) => boolean): void {
  const { event_time, client_ip, client_asn: asn, client_country: country, client_as_name, user_agent } = event
  const name = `${country ?? '??'} ${asn ?? '?'}`
  let seen = bucket.places.find(([known]) => known === name)?.[1]
  if (seen === undefined) {
    if (bucket.places.length >= OPEN_PLACES) return
    seen = { asn, country, as_name: client_as_name, calls: 0, successes: 0, first: event_time, last: event_time, addresses: [], agents: [], pico: '0' }
    bucket.places.push([name, seen])
  }
  seen.calls++
  if (event.outcome === 'success') seen.successes++
  seen.first = Math.min(seen.first, event_time)
  seen.last = Math.max(seen.last, event_time)
  if (client_ip !== null) keepAddress(seen.addresses, client_ip, outside)
  if (user_agent !== null && seen.agents.length < ADDRESSES && !seen.agents.includes(user_agent)) seen.agents.push(user_agent)
  if ('requests' in event && event.cost_usd !== null) seen.pico = (BigInt(seen.pico) + usdToPico(event.cost_usd)).toString()
}

/** A few addresses; one that nobody allowed pushes out one that is allowed, or it would hide behind the first ones. */
function keepAddress(kept: string[], address: string, outside: (address: string) => boolean): void {
  if (kept.includes(address)) return
  if (kept.length < ADDRESSES) kept.push(address)
  else if (outside(address)) {
    const allowed = kept.findIndex((one) => !outside(one))
    if (allowed >= 0) kept[allowed] = address
  }
}

function newBucket(start: number, event: UsageEvent | SecretAccessEvent): Bucket {
  return { start, places: [], unlocated: 0, owner: ownerOf(event), owner_at: event.event_time, ...nothingTold }
}

function ownerOf(event: UsageEvent | SecretAccessEvent): Bucket['owner'] {
  const { team_id, service, owner_ref } = event
  return 'requests' in event
    ? { team_id, service, owner_ref, api_key_id: event.api_key_id, provider: event.provider }
    : { team_id, service, owner_ref, api_key_id: null, provider: event.store }
}
