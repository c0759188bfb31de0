/**
 * State of one entity: open buckets of ten minutes whose sums only grow, the error rate of the closed ones, and the places they
 * came from. A bucket is judged by what was closed LAG buckets before it, so the order of arrival within that time does not
 * change the verdict.
 */
import { OpenBuckets } from '../../open-buckets.ts'
import type { Attempt } from './attempt.ts'

export const BUCKET_MS = 600_000
/** Half an hour. */
export const LAG = 3
const DECAY = 2 ** -(1 / 1000)
const TARGETS = 64
const CODES = 16
const PLACES = 24
const KEYS = 32
const KNOWN = 256

export interface PlaceUse {
  asn: number | null
  as_name: string | null
  country: string | null
  errors: number
  successes: number
  first_error: number
  last_success: number
  /** The model of the latest success. */
  model: string
  pico: string
}

export interface Bucket {
  start: number
  first: number
  last: number
  requests: number
  errors: { invalid: number; limit: number; quota: number; server: number }
  minutes: number[]
  codes: [string, number][]
  targets: string[]
  keys: string[]
  places: [string, PlaceUse][]
  owner: Attempt['owner']
  emitted: number
  emitted_at: number
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

  /** Closes what ends at or before `now`, oldest first; `judge` says whether the bucket looked hostile (its places stay unknown then). */
  close(now: number, judge: (bucket: Bucket) => boolean): void {
    for (const [start, bucket] of this.open.until(now - BUCKET_MS)) {
      const hostile = judge(bucket)
      this.open.delete(start)
      this.since ??= start
      const { invalid, limit, quota, server } = bucket.errors
      if (!hostile) {
        this.pending.push({ start, errors: invalid + limit + quota + server })
        for (const [address, use] of bucket.places) {
          if (use.successes === 0) continue // who never got an answer is not at home here
          remember(this.addresses, address, start)
          if (use.asn !== null) remember(this.asns, String(use.asn), start)
        }
      }
      const settled = start - 2 * LAG * BUCKET_MS
      while (this.pending[0] !== undefined && this.pending[0].start <= settled) {
        this.base = { errors: this.base.errors * DECAY + this.pending[0].errors, buckets: this.base.buckets * DECAY + 1 }
        this.pending.shift()
      }
    }
  }

  wakeAfter(now: number): number | undefined {
    return this.open.wakeAfter(now, BUCKET_MS, LAG)
  }

  encode(): Uint8Array {
    const { open, base, pending, addresses, asns, since } = this
    return Buffer.from(JSON.stringify({ open: [...open], base, pending, addresses: [...addresses], asns: [...asns], since }))
  }

  static decode(bytes: Uint8Array): BurstState {
    const raw = JSON.parse(Buffer.from(bytes).toString('utf8')) as {
      open: [number, Bucket][]
      base: Base
      pending: { start: number; errors: number }[]
      addresses: [string, Known][]
      asns: [string, Known][]
      since: number | null
    }
    const { base, pending, since } = raw
    return Object.assign(new BurstState(), { base, pending, since, open: new OpenBuckets(raw.open), addresses: new Map(raw.addresses), asns: new Map(raw.asns) })
  }
}

function newBucket(start: number, { at, owner }: Attempt): Bucket {
  const errors = { invalid: 0, limit: 0, quota: 0, server: 0 }
  const minutes = Array.from({ length: 10 }, () => 0)
  return { start, first: at, last: at, requests: 0, errors, minutes, codes: [], targets: [], keys: [], places: [], owner, emitted: 0, emitted_at: 0 }
}

function addTo(bucket: Bucket, attempt: Attempt): void {
  const { at, kind, amount } = attempt
  bucket.requests += amount
  addPlace(bucket, attempt)
  if (kind === 'ok') return
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
  if (bucket.keys.length < KEYS && !bucket.keys.includes(attempt.key)) bucket.keys.push(attempt.key)
  // Outages and limits hit every target that is in use: only invalid requests tell that somebody is trying doors.
  if (kind === 'invalid' && bucket.targets.length < TARGETS && !bucket.targets.includes(attempt.target)) bucket.targets.push(attempt.target)
}

function addPlace(bucket: Bucket, { at, kind, amount, address, asn, as_name, country, model, pico }: Attempt): void {
  if (address === null) return
  let use = bucket.places.find(([name]) => name === address)?.[1]
  if (use === undefined) {
    if (bucket.places.length >= PLACES) return
    use = { asn, as_name, country, errors: 0, successes: 0, first_error: Number.MAX_SAFE_INTEGER, last_success: 0, model: '', pico: '0' }
    bucket.places.push([address, use])
  }
  if (kind === 'ok') {
    use.successes += amount
    if (at >= use.last_success) {
      use.last_success = at
      use.model = model
    }
    if (pico !== 0n) use.pico = (BigInt(use.pico) + pico).toString()
  } else {
    use.errors += amount
    use.first_error = Math.min(use.first_error, at)
  }
}

function remember(known: Map<string, Known>, name: string, at: number): void {
  const before = known.get(name)
  known.delete(name)
  known.set(name, { since: before?.since ?? at, last: at })
  if (known.size > KNOWN) known.delete(known.keys().next().value ?? '')
}
