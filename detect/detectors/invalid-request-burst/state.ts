/**
 * State of one entity: open buckets of ten minutes whose sums only grow, the error rate of the closed ones, and the places they
 * came from. A bucket is judged by what was closed LAG buckets before it, so the order of arrival within that time does not
 * change the verdict.
 */
import { type Emissions, nothingTold } from '../../emissions.ts'
import { OpenBuckets } from '../../open-buckets.ts'
import type { Attempt } from './attempt.ts'

export const BUCKET_MS = 600_000
/** Half an hour. */
export const LAG = 3
const DECAY = 2 ** -(1 / 1000)
const NEVER = Number.MAX_SAFE_INTEGER
const TARGETS = 64
const CODES = 16
const PLACES = 24
const KEYS = 32
const ANSWERED = 32
const KNOWN = 256
/** A network that was seen searching is remembered for an hour: a checker's buyer comes minutes later, in another bucket. */
export const SUSPECT_MS = 6 * BUCKET_MS
const SUSPECTS = 32

export interface PlaceUse {
  asn: number | null
  as_name: string | null
  country: string | null
  errors: number
  /** … of which invalid: limits and outages are not probing. */
  invalid: number
  successes: number
  first_error: number
  first_success: number
  last_success: number
  /** The model of the latest success. */
  model: string
  pico: string
}

export interface Bucket extends Emissions {
  start: number
  first: number
  last: number
  requests: number
  errors: { invalid: number; limit: number; quota: number; server: number }
  minutes: number[]
  codes: [string, number][]
  targets: string[]
  keys: string[]
  /** Keys among them that were refused as such. */
  refused_keys: string[]
  places: [string, PlaceUse][]
  /** Models that answered. */
  answered: string[]
  owner: Attempt['owner']
}

/** A place from which somebody searched: its errors, until when it counts. */
export interface Suspect {
  errors: number
  until: number
}

/** How a closed bucket is learnt. hostile: not at all; surprising: its errors count at most `at_most`. */
export interface Lesson {
  hostile: boolean
  /** Names of the places that searched (nameOf). */
  suspects: [string, number][]
  at_most: number
}

/** Errors and buckets with traffic, decayed. */
export interface Base {
  errors: number
  buckets: number
}

interface Known {
  since: number
  last: number
}

export class BurstState {
  open = new OpenBuckets<Bucket>()
  base: Base = { errors: 0, buckets: 0 }
  /** Closed, but too young to judge others by. */
  pending: { start: number; errors: number }[] = []
  addresses = new Map<string, Known>()
  asns = new Map<string, Known>()
  /** Models (or secrets) that this entity got answers from. */
  models = new Map<string, Known>()
  suspects = new Map<string, Suspect>()
  since: number | null = null

  add(attempt: Attempt): Bucket {
    const start = attempt.at - (attempt.at % BUCKET_MS)
    let bucket = this.open.get(start)
    if (bucket === undefined) this.open.set(start, (bucket = newBucket(start, attempt)))
    addTo(bucket, attempt)
    return bucket
  }

  /** What is known from before `start`, whenever one asks. undefined: that is not closed yet. */
  baseFor(start: number, now: number): Base | undefined {
    if (now < start - (LAG - 1) * BUCKET_MS) return undefined
    let { errors, buckets } = this.base
    for (const closed of this.pending) {
      if (closed.start > start - LAG * BUCKET_MS) continue
      errors = errors * DECAY + closed.errors
      buckets = buckets * DECAY + 1
    }
    return { errors, buckets }
  }

  knows(known: Map<string, Known>, name: string, start: number): boolean {
    const seen = known.get(name)
    return seen !== undefined && seen.since <= start - LAG * BUCKET_MS
  }

  /** Open buckets whose past is closed at `now`: only they can be judged. */
  ready(now: number): [number, Bucket][] {
    return this.open.until(now + (LAG - 1) * BUCKET_MS)
  }

  /** Closes what ends at or before `now`, oldest first; what was hostile stays unknown. */
  close(now: number, judge: (bucket: Bucket) => Lesson): void {
    for (const [start, bucket] of this.open.until(now - BUCKET_MS)) {
      const lesson = judge(bucket)
      this.open.delete(start)
      this.since ??= start
      if (!lesson.hostile) this.#learn(bucket, lesson.at_most)
      this.#suspect(start, lesson.suspects)
      const settled = start - 2 * LAG * BUCKET_MS
      while (this.pending[0] !== undefined && this.pending[0].start <= settled) {
        this.base = { errors: this.base.errors * DECAY + this.pending[0].errors, buckets: this.base.buckets * DECAY + 1 }
        this.pending.shift()
      }
    }
  }

  /** Errors of the search that came from this place shortly before the bucket; undefined: none. */
  searchedFrom(place: string, start: number): number | undefined {
    const suspect = this.suspects.get(place)
    return suspect !== undefined && start <= suspect.until ? suspect.errors : undefined
  }

  #learn({ start, errors: { invalid, limit, quota, server }, places, answered }: Bucket, at_most: number): void {
    this.pending.push({ start, errors: Math.min(at_most, invalid + limit + quota + server) })
    for (const [address, use] of places) {
      if (use.successes === 0) continue // who never got an answer is not at home here
      remember(this.addresses, address, start)
      if (use.asn !== null) remember(this.asns, String(use.asn), start)
    }
    for (const model of answered) remember(this.models, model, start)
  }

  #suspect(start: number, places: readonly [string, number][]): void {
    for (const [name, errors] of places) {
      this.suspects.delete(name)
      this.suspects.set(name, { errors, until: start + SUSPECT_MS })
    }
    for (const [name, { until }] of this.suspects) {
      if (this.suspects.size <= SUSPECTS && until >= start) break
      this.suspects.delete(name)
    }
  }

  wakeAfter(now: number): number | undefined {
    return this.open.wakeAfter(now, BUCKET_MS, LAG)
  }

  encode(): Uint8Array {
    const { open, base, pending, addresses, asns, models, suspects, since } = this
    return Buffer.from(JSON.stringify({ open: [...open], base, pending, addresses: [...addresses], asns: [...asns], models: [...models], suspects: [...suspects], since }))
  }

  static decode(bytes: Uint8Array): BurstState {
    const raw = JSON.parse(Buffer.from(bytes).toString('utf8')) as {
      open: [number, Bucket][]
      base: Base
      pending: { start: number; errors: number }[]
      addresses: [string, Known][]
      asns: [string, Known][]
      models: [string, Known][]
      suspects: [string, Suspect][]
      since: number | null
    }
    const { base, pending, since } = raw
    const maps = { addresses: new Map(raw.addresses), asns: new Map(raw.asns), models: new Map(raw.models), suspects: new Map(raw.suspects) }
    return Object.assign(new BurstState(), { base, pending, since, open: new OpenBuckets(raw.open), ...maps })
  }
}

function newBucket(start: number, { at, owner }: Attempt): Bucket {
  const errors = { invalid: 0, limit: 0, quota: 0, server: 0 }
  const minutes = Array.from({ length: 10 }, () => 0)
  const lists = { codes: [], targets: [], keys: [], refused_keys: [], places: [], answered: [] }
  return { start, first: at, last: at, requests: 0, errors, minutes, ...lists, owner, ...nothingTold }
}

function addTo(bucket: Bucket, attempt: Attempt): void {
  const { at, kind, amount } = attempt
  bucket.requests += amount
  addPlace(bucket, attempt)
  if (kind === 'ok') {
    addName(bucket.answered, attempt.model, ANSWERED)
    return
  }
  if (bucket.errors.invalid + bucket.errors.limit + bucket.errors.quota + bucket.errors.server === 0) bucket.first = bucket.last = at
  bucket.first = Math.min(bucket.first, at)
  if (at >= bucket.last) {
    bucket.last = at
    bucket.owner = attempt.owner
  }
  bucket.errors[kind] += amount
  const minute = Math.floor((at - bucket.start) / 60_000)
  bucket.minutes[minute] = (bucket.minutes[minute] ?? 0) + amount
  const code = bucket.codes.find(([name]) => name === attempt.code)
  if (code) code[1] += amount
  else if (bucket.codes.length < CODES) bucket.codes.push([attempt.code, amount])
  addName(bucket.keys, attempt.key, KEYS)
  if (attempt.key_refused) addName(bucket.refused_keys, attempt.key, KEYS)
  // Outages and limits hit every target that is in use: only invalid requests tell that somebody is trying doors.
  if (kind === 'invalid') addName(bucket.targets, attempt.target, TARGETS)
}

function addName(names: string[], name: string, limit: number): void {
  if (names.length < limit && !names.includes(name)) names.push(name)
}

function addPlace(bucket: Bucket, { at, kind, amount, address, asn, as_name, country, model, pico }: Attempt): void {
  if (address === null) return
  let use = bucket.places.find(([name]) => name === address)?.[1]
  if (use === undefined) {
    if (bucket.places.length >= PLACES) return
    use = { asn, as_name, country, errors: 0, invalid: 0, successes: 0, first_error: NEVER, first_success: NEVER, last_success: 0, model: '', pico: '0' }
    bucket.places.push([address, use])
  }
  if (kind === 'ok') {
    use.successes += amount
    use.first_success = Math.min(use.first_success, at)
    if (at >= use.last_success) {
      use.last_success = at
      use.model = model
    }
    if (pico !== 0n) use.pico = (BigInt(use.pico) + pico).toString()
  } else {
    use.errors += amount
    if (kind === 'invalid') use.invalid += amount
    use.first_error = Math.min(use.first_error, at)
  }
}

function remember(known: Map<string, Known>, name: string, at: number): void {
  const before = known.get(name)
  known.delete(name)
  known.set(name, { since: before?.since ?? at, last: at })
  if (known.size > KNOWN) known.delete(known.keys().next().value ?? '')
}

/** What a place is called: its network where that is known, because services change address at every deploy. */
export const nameOf = (address: string, { asn }: PlaceUse): string => (asn === null ? address : `AS${asn}`)
