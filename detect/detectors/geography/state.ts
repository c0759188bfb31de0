/**
 * Where one key or actor is at home: countries and networks (ASN) with decayed counts, learnt from closed buckets, and what its
 * open buckets saw. A bucket is judged by what was closed LAG buckets before it, whatever the order of arrival.
 */
import { usdToPico } from '../../../pricing/money.ts'
import type { SecretAccessEvent } from '../../../schemas/secret-access.ts'
import type { UsageEvent } from '../../../schemas/usage.ts'
import { OpenBuckets } from '../../open-buckets.ts'

export const BUCKET_MS = 900_000
export const LAG = 2
const DAY_MS = 86_400_000
const HALF_LIFE_DAYS = 30
const PLACES = 64
const OPEN_PLACES = 16
const ADDRESSES = 4
/** A new place that has been used for three days without anybody stopping it is a place of this key. */
const SETTLED_MS = 3 * DAY_MS

export interface Place {
  asn: number
  country: string
  /** Decayed calls; `since` is the start of the first bucket that counts. */
  count: number
  since: number
  last: number
}

export interface Seen {
  asn: number
  country: string
  as_name: string | null
  calls: number
  successes: number
  first: number
  last: number
  addresses: string[]
  agents: string[]
  pico: string
}

export interface Bucket {
  start: number
  places: [string, Seen][]
  unlocated: number
  owner: { team_id: string | null; service: string | null; owner_ref: string; api_key_id: string | null; provider: string | null }
  owner_at: number
  emitted: number
  emitted_at: number
}

export class GeographyState {
  open = new OpenBuckets<Bucket>()
  home = new Map<string, Place>()
  /** Places that were reported, by when. */
  suspects = new Map<string, number>()
  events = 0
  unlocated = 0
  since: number | null = null
  days = 0
  last_day = -1
  /** Days on which a network was first seen, the first day not counted: how often something new is normal here. */
  new_asn_days = 0
  new_country_days = 0

  add(event: UsageEvent | SecretAccessEvent): Bucket {
    const start = event.event_time - (event.event_time % BUCKET_MS)
    let bucket = this.open.get(start)
    if (bucket === undefined) this.open.set(start, (bucket = { start, places: [], unlocated: 0, owner: ownerOf(event), owner_at: event.event_time, emitted: 0, emitted_at: 0 }))
    if (event.event_time >= bucket.owner_at) {
      bucket.owner = ownerOf(event)
      bucket.owner_at = event.event_time
    }
    if (event.client_asn === null || event.client_country === null) bucket.unlocated++
    else see(bucket, event, event.client_asn, event.client_country)
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

  close(now: number, judge: (bucket: Bucket) => ReadonlySet<string>): void {
    for (const [start, bucket] of this.open.until(now - BUCKET_MS)) {
      const strange = judge(bucket)
      this.open.delete(start)
      this.#learn(bucket, strange)
    }
  }

  wakeAfter(now: number): number | undefined {
    return this.open.wakeAfter(now, BUCKET_MS, LAG)
  }

  encode(): Uint8Array {
    return Buffer.from(JSON.stringify({ ...this.plain(), open: [...this.open], home: [...this.home], suspects: [...this.suspects] }))
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
    }
    return Object.assign(new GeographyState(), raw, { open: new OpenBuckets(raw.open), home: new Map(raw.home), suspects: new Map(raw.suspects) })
  }

  #learn(bucket: Bucket, strange: ReadonlySet<string>): void {
    const day = Math.floor(bucket.start / DAY_MS)
    const first_day = this.since === null
    this.since ??= bucket.start
    if (day !== this.last_day) {
      this.days++
      if (this.last_day >= 0) this.#decay(day - this.last_day)
      this.last_day = day
    }
    this.unlocated += bucket.unlocated
    for (const [name, seen] of bucket.places) {
      const suspected = this.suspects.get(name)
      if (strange.has(name)) {
        if (suspected === undefined) this.suspects.set(name, bucket.start)
        if (suspected === undefined || bucket.start - suspected < SETTLED_MS) continue
      }
      this.suspects.delete(name)
      const place = this.home.get(name)
      this.events += seen.calls
      if (place) {
        place.count += seen.calls
        place.last = bucket.start
        continue
      }
      const home = [...this.home.values()]
      if (!first_day && bucket.start - this.since >= DAY_MS) {
        if (!home.some(({ asn }) => asn === seen.asn)) this.new_asn_days++
        if (!home.some(({ country }) => country === seen.country)) this.new_country_days++
      }
      this.home.set(name, { asn: seen.asn, country: seen.country, count: seen.calls, since: bucket.start, last: bucket.start })
    }
    this.#shrink()
  }

  #decay(days: number): void {
    const factor = 2 ** (-days / HALF_LIFE_DAYS)
    for (const place of this.home.values()) place.count *= factor
  }

  /** The least used place goes when there are too many; suspects are few because a finding is a few places. */
  #shrink(): void {
    while (this.home.size > PLACES) {
      const least = [...this.home].reduce((a, b) => (b[1].count < a[1].count ? b : a))
      this.home.delete(least[0])
    }
    while (this.suspects.size > PLACES) this.suspects.delete(this.suspects.keys().next().value ?? '')
  }
}

function see(bucket: Bucket, event: UsageEvent | SecretAccessEvent, asn: number, country: string): void {
  const name = `${country} ${asn}`
  const { event_time, client_ip, client_as_name, user_agent } = event
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
  if (client_ip !== null && seen.addresses.length < ADDRESSES && !seen.addresses.includes(client_ip)) seen.addresses.push(client_ip)
  if (user_agent !== null && seen.agents.length < ADDRESSES && !seen.agents.includes(user_agent)) seen.agents.push(user_agent)
  if ('requests' in event && event.cost_usd !== null) seen.pico = (BigInt(seen.pico) + usdToPico(event.cost_usd)).toString()
}

function ownerOf(event: UsageEvent | SecretAccessEvent): Bucket['owner'] {
  const { team_id, service, owner_ref } = event
  return 'requests' in event
    ? { team_id, service, owner_ref, api_key_id: event.api_key_id, provider: event.provider }
    : { team_id, service, owner_ref, api_key_id: null, provider: event.store }
}
