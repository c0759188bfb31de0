/**
 * What a key (or the keys of a team together) usually does in a bucket, and the bounds that follow from it.
 *
 * Bounds are a pure function of the events: the bound of bucket B rests on all buckets up to B - LAG, never on more and never
 * on less, whenever it is asked for. So an early finding and the judgement at the close agree, and a shuffle of the arrivals
 * within LAG buckets cannot change which buckets fire.
 */
import { SeasonalEnvelope } from '../../statistics/seasonal-envelope.ts'
import { gammaPoissonBound } from '../../statistics/tails.ts'
import { BUCKET_MS, type Sizes } from './bucket.ts'

/** Half an hour: more than collectors and lateness usually take, little for a baseline of weeks. */
export const LAG = 6
/** The sparse-key test weighs requests of about three days. */
const RATE_DECAY = 2 ** -(1 / 864)
const MINUTES_PER_BUCKET = 5
/** One minute in a billion: a company with 10,000 keys has five billion minutes a year. */
const RATE_LEVEL = 1e-9
/** Below this mean the envelope of counts is mostly zeros and ones; the tail of the counting process judges better. */
const SPARSE_PER_MINUTE = 2

export interface Bounds {
  cost: number
  tokens: number
  requests: number
  expected: Sizes
  /** Buckets and days behind it. */
  buckets: number
}

export interface Learnt {
  sizes: Sizes
  requests: number
}

export class Profile {
  #cost = new SeasonalEnvelope()
  #tokens = new SeasonalEnvelope()
  #requests = new SeasonalEnvelope()
  /** Decayed requests and minutes: the Gamma posterior of the rate. */
  #seen = 0
  #minutes = 0
  readonly #ring = new Map<number, Bounds>()
  /** Start of the last bucket that was learnt; null until the first one closes. */
  learnt: number | null = null
  /** Start of the first one. */
  since: number | null = null

  /** The first bucket closes: nothing before it counts. */
  begin(start: number): void {
    if (this.learnt !== null) return
    this.learnt = start - BUCKET_MS
    this.since = start
  }

  get buckets(): number {
    return this.#cost.buckets
  }

  /** Learns every bucket after the last one, up to and with `until`. `values` gives what is to be learnt of one bucket; none: nothing. */
  learnThrough(until: number, values: (start: number) => readonly Learnt[]): void {
    if (this.learnt === null) return
    for (let start = this.learnt + BUCKET_MS; start <= until; start += BUCKET_MS) {
      for (const { sizes, requests } of values(start)) this.learnOne(start, sizes, requests)
      this.learnt = start
      this.#bound(start + LAG * BUCKET_MS)
    }
  }

  learnOne(start: number, sizes: Sizes, requests: number): void {
    this.#cost.learn(start, sizes.cost)
    this.#tokens.learn(start, sizes.tokens)
    this.#requests.learn(start, sizes.requests)
    this.#seen = this.#seen * RATE_DECAY + requests
    this.#minutes = this.#minutes * RATE_DECAY + MINUTES_PER_BUCKET
  }

  /** undefined: what it would rest on is not closed yet (or the key is younger than LAG). */
  bounds(start: number): Bounds | undefined {
    return this.#ring.get(start)
  }

  toJSON(): unknown {
    return { c: this.#cost, t: this.#tokens, r: this.#requests, s: this.#seen, m: this.#minutes, l: this.learnt, f: this.since, b: [...this.#ring] }
  }

  static fromJSON(json: unknown): Profile {
    const raw = json as { c: unknown; t: unknown; r: unknown; s: number; m: number; l: number | null; f: number | null; b: [number, Bounds][] }
    const profile = new Profile()
    profile.learnt = raw.l
    profile.since = raw.f
    profile.#cost = SeasonalEnvelope.fromJSON(raw.c)
    profile.#tokens = SeasonalEnvelope.fromJSON(raw.t)
    profile.#requests = SeasonalEnvelope.fromJSON(raw.r)
    profile.#seen = raw.s
    profile.#minutes = raw.m
    for (const [start, bounds] of raw.b) profile.#ring.set(start, bounds)
    return profile
  }

  #bound(start: number): void {
    const cost = this.#cost.expect(start)
    const tokens = this.#tokens.expect(start)
    const requests = this.#requests.expect(start)
    const sparse = this.#seen < SPARSE_PER_MINUTE * this.#minutes
    const rate = sparse ? gammaPoissonBound(RATE_LEVEL, this.#seen + 0.5, this.#minutes + 1) : 0
    this.#ring.set(start, {
      cost: cost.upper,
      tokens: tokens.upper,
      requests: Math.max(requests.upper, rate),
      expected: { cost: cost.expected, tokens: tokens.expected, requests: requests.expected },
      buckets: this.buckets,
    })
    // Older bounds were needed while their bucket was open; LAG more of them is enough for what closes late.
    for (const old of this.#ring.keys()) {
      if (old > start - 2 * LAG * BUCKET_MS) break
      this.#ring.delete(old)
    }
  }
}
