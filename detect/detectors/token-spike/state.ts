/** State of one entity: a key with its own profile, or the pool of a team that judges the keys that are too young for one. */
import type { UsageEvent } from '../../../schemas/usage.ts'
import { OpenBuckets } from '../../open-buckets.ts'
import { addTo, BUCKET_MS, type Bucket, bucketFromJSON, bucketToJSON, newBucket, sizesOf, startOf } from './bucket.ts'
import { LAG, Profile } from './profile.ts'

/** What a person would call "used before": bounded, the longest unused one goes. */
const KNOWN_MODELS = 64
const KNOWN_ADDRESSES = 128
/** Keys that a pool remembers (about 60 bytes each); beyond that the longest unused one is new when it comes back. */
const MEMBERS = 4096
/** Two hours of use spread over the first days: with fewer active buckets there is nothing to compare with. */
const MIN_ACTIVE = 24
/**
 * What has been out of character for three days is the new normal and is learnt. Sooner, and a burn of half a day would hide the next
 * one for weeks: the band's edge is its highest thousandth, and three buckets are enough to move it.
 */
const UNUSUAL_LEARNT_MS = 3 * 86_400_000
/** A nightly job that is new fires once a day: so long without firing, and the three days begin again. */
const UNUSUAL_GAP_MS = 36 * 3_600_000
/** A guard for a runner that is far behind: a week of open buckets. Beyond that the oldest are closed as they are. */
const OPEN_LIMIT = 2016

export interface Member {
  since: number
  /** Closed buckets with at least one request, and those of them that are too young to count for every open bucket. */
  active: number
  recent: number[]
  /** Out of character since and until; null: not lately. */
  unusual: [number, number] | null
}

export class SpikeState {
  readonly pool: boolean
  profile = new Profile()
  /** start → entity → bucket. A key's own state has one entity. */
  open = new OpenBuckets<Map<string, Bucket>>()
  members = new Map<string, Member>()
  models = new Map<string, number>()
  addresses = new Map<string, number>()
  /** What the runner said with this step; no part of the snapshot. */
  gaps: readonly (readonly [number, number])[] = []

  constructor(pool: boolean) {
    this.pool = pool
  }

  /** Adds the event to its open bucket. */
  add(event: UsageEvent, entity: string): Bucket {
    const start = startOf(event.event_time)
    let buckets = this.open.get(start)
    if (buckets === undefined) this.open.set(start, (buckets = new Map()))
    let bucket = buckets.get(entity)
    if (bucket === undefined) buckets.set(entity, (bucket = newBucket(event)))
    addTo(bucket, event, (address) => this.addresses.has(address))
    this.member(entity, start)
    return bucket
  }

  member(entity: string, start: number): Member {
    let member = this.members.get(entity)
    if (member === undefined) this.members.set(entity, (member = { since: start, active: 0, recent: [], unusual: null }))
    else if (start < member.since) member.since = start
    return member
  }

  /** Has this key a past of its own? Rests on the same closed buckets as the bound, so that key and pool always agree who judges. */
  isGrown(entity: string, start: number, cold_start: number): boolean {
    const member = this.members.get(entity)
    if (member === undefined || start - member.since < cold_start) return false
    const known = member.recent.filter((closed) => closed <= start - LAG * BUCKET_MS).length
    return member.active + known >= MIN_ACTIVE
  }

  /** Learns the silence up to LAG before `start`, as far as event time has passed it: that makes the bound of `start` known. */
  catchUp(start: number, now: number): void {
    const closed = startOf(Math.max(0, now)) - BUCKET_MS
    this.profile.learnThrough(Math.min(start - LAG * BUCKET_MS, closed), (silent) => this.#silence(silent))
  }

  /** Open buckets whose past is closed at `now`: only they can be judged. */
  ready(now: number): [number, Map<string, Bucket>][] {
    return this.open.until(startOf(Math.max(0, now)) + (LAG - 1) * BUCKET_MS)
  }

  /** Closes what ends at or before `now`, oldest first. `judge` says whether the bucket is out of character. */
  close(now: number, judge: (entity: string, bucket: Bucket, at: number) => boolean): void {
    const due = this.open.until(now - BUCKET_MS)
    const excess = this.open.size - OPEN_LIMIT
    for (const [start, open] of excess > due.length ? [...this.open].slice(0, excess) : due) {
      this.profile.begin(start)
      this.profile.learnThrough(start - BUCKET_MS, (silent) => this.#silence(silent))
      const buckets = [...open].sort(([a], [b]) => (a < b ? -1 : 1))
      const learn: Bucket[] = []
      for (const [entity, bucket] of buckets) {
        const usual = this.#settle(entity, bucket, judge(entity, bucket, Math.max(now, start + BUCKET_MS)))
        if (usual && !this.#isMissing(start)) learn.push(bucket)
      }
      this.open.delete(start)
      this.profile.learnThrough(start, () => learn.map((bucket) => ({ sizes: sizesOf(bucket), requests: bucket.requests })))
    }
    while (this.members.size > MEMBERS) this.members.delete(this.members.keys().next().value ?? '')
  }

  wakeAfter(now: number): number | undefined {
    return this.open.wakeAfter(now, BUCKET_MS, LAG)
  }

  encode(): Uint8Array {
    const open = [...this.open].map(([start, buckets]) => [start, [...buckets].map(([entity, bucket]) => [entity, bucketToJSON(bucket)])])
    const { pool, profile, members, models, addresses } = this
    return Buffer.from(JSON.stringify({ pool, profile, open, members: [...members], models: [...models], addresses: [...addresses] }))
  }

  static decode(bytes: Uint8Array): SpikeState {
    const raw = JSON.parse(Buffer.from(bytes).toString('utf8')) as {
      pool: boolean
      profile: unknown
      open: [number, [string, unknown][]][]
      members: [string, Member][]
      models: [string, number][]
      addresses: [string, number][]
    }
    const state = new SpikeState(raw.pool)
    state.profile = Profile.fromJSON(raw.profile)
    state.open = new OpenBuckets(raw.open.map(([start, buckets]) => [start, new Map(buckets.map(([entity, bucket]) => [entity, bucketFromJSON(bucket)]))]))
    state.members = new Map(raw.members)
    state.models = new Map(raw.models)
    state.addresses = new Map(raw.addresses)
    return state
  }

  /** True if the bucket may be learnt. What fired is not normal until it has lasted. */
  #settle(entity: string, bucket: Bucket, fired: boolean): boolean {
    const member = this.member(entity, bucket.start)
    // The longest unused member is the first of the map.
    this.members.delete(entity)
    this.members.set(entity, member)
    member.recent.push(bucket.start)
    while (member.recent[0] !== undefined && member.recent[0] <= bucket.start - 2 * LAG * BUCKET_MS) {
      member.recent.shift()
      member.active++
    }
    if (fired) {
      const since = member.unusual !== null && bucket.start - member.unusual[1] <= UNUSUAL_GAP_MS ? member.unusual[0] : bucket.start
      member.unusual = [since, bucket.start]
      if (bucket.start - since < UNUSUAL_LEARNT_MS) return false
      this.profile.acceptLevel()
    }
    for (const model of bucket.models.keys()) remember(this.models, model, bucket.start, KNOWN_MODELS)
    for (const address of bucket.fresh_addresses) remember(this.addresses, address, bucket.start, KNOWN_ADDRESSES)
    return true
  }

  /**
   * A key that says nothing is at zero, unless its collector could not look. A pool learns nothing from silence, or its sparse keys
   * would make every key look loud.
   */
  #silence(start: number): { sizes: { cost: number; tokens: number; requests: number }; requests: number }[] {
    return this.pool || this.#isMissing(start) ? [] : [{ sizes: { cost: 0, tokens: 0, requests: 0 }, requests: 0 }]
  }

  /** A baseline learns whole buckets only: in a gap a part of them may be missing. */
  #isMissing(start: number): boolean {
    return this.gaps.some(([from, to]) => from < start + BUCKET_MS && start < to)
  }
}

function remember(known: Map<string, number>, name: string, at: number, limit: number): void {
  known.delete(name)
  known.set(name, at)
  if (known.size > limit) known.delete(known.keys().next().value ?? '')
}
