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
/** Silence before the last six weeks is not learnt bucket by bucket: a clock that was years off would cost a million of them. */
const SILENCE_LEARNT_MS = 42 * 86_400_000
/** One minute in a billion: a company with 10,000 keys has five billion minutes a year. */
const RATE_LEVEL = 1e-9
/** Below this mean the envelope of counts is mostly zeros and ones; the tail of the counting process judges better. */
const SPARSE_PER_MINUTE = 2

/**
 * The envelope follows whatever grows by less than half in its LAG: doubled every half an hour, a stolen key goes from five hundred
 * tokens a minute to three million in six hours, and nothing fires. So no bound is above four times the highest one of the day before
 * yesterday, or of a week ago. (In quiet months of 12 seeds, 24 keys each, no bound grew to more than 2.6 times that of two days, or 1.7 times that of a week before.)
 */
const GROWTH = 4
const LOOK_BACK_DAYS = [2, 7]
/** The bounds of a profile's first days are not yet something to hold against it. */
const SETTLED_MS = 3 * 86_400_000
const DAY_MS = 86_400_000

type Three = [cost: number, tokens: number, requests: number]

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
  /** Highest bounds of each of the last days. */
  readonly #days = new Map<number, Three>()
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
    if (until - this.learnt > SILENCE_LEARNT_MS) this.learnt = until - SILENCE_LEARNT_MS
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

  /** The new level is normal: what was usual before it no longer holds the bounds down. */
  acceptLevel(): void {
    this.#days.clear()
  }

  toJSON(): unknown {
    return { c: this.#cost, t: this.#tokens, r: this.#requests, s: this.#seen, m: this.#minutes, l: this.learnt, f: this.since, b: [...this.#ring], d: [...this.#days] }
  }

  static fromJSON(json: unknown): Profile {
    const raw = json as { c: unknown; t: unknown; r: unknown; s: number; m: number; l: number | null; f: number | null; b: [number, Bounds][]; d: [number, Three][] }
    const profile = new Profile()
    profile.learnt = raw.l
    profile.since = raw.f
    profile.#cost = SeasonalEnvelope.fromJSON(raw.c)
    profile.#tokens = SeasonalEnvelope.fromJSON(raw.t)
    profile.#requests = SeasonalEnvelope.fromJSON(raw.r)
    profile.#seen = raw.s
    profile.#minutes = raw.m
    for (const [day, highest] of raw.d) profile.#days.set(day, highest)
    for (const [start, bounds] of raw.b) profile.#ring.set(start, bounds)
    return profile
  }

  #bound(start: number): void {
    const cost = this.#cost.expect(start)
    const tokens = this.#tokens.expect(start)
    const requests = this.#requests.expect(start)
    const sparse = this.#seen < SPARSE_PER_MINUTE * this.#minutes
    const rate = sparse ? gammaPoissonBound(RATE_LEVEL, this.#seen + 0.5, this.#minutes + 1) : 0
    const upper = this.#held(start, [cost.upper, tokens.upper, Math.max(requests.upper, rate)])
    this.#ring.set(start, {
      cost: upper[0],
      tokens: upper[1],
      requests: upper[2],
      expected: { cost: cost.expected, tokens: tokens.expected, requests: requests.expected },
      buckets: this.buckets,
    })
    // Older bounds were needed while their bucket was open; LAG more of them is enough for what closes late.
    for (const old of this.#ring.keys()) {
      if (old > start - 2 * LAG * BUCKET_MS) break
      this.#ring.delete(old)
    }
  }

  /** The bounds, held down by those of earlier days; remembers them for later ones. */
  #held(start: number, upper: Three): Three {
    if (this.since === null || start - this.since < SETTLED_MS) return upper
    const day = Math.floor(start / DAY_MS)
    const before = LOOK_BACK_DAYS.map((days) => this.#days.get(day - days)).filter((highest) => highest !== undefined)
    const held = upper.map((value, index) => Math.min(value, ...before.map((highest) => GROWTH * (highest[index] ?? Infinity)))) as Three
    const today = this.#days.get(day)
    this.#days.set(day, today ? (held.map((value, index) => Math.max(value, today[index] ?? 0)) as Three) : held)
    for (const old of this.#days.keys()) {
      if (old >= day - Math.max(...LOOK_BACK_DAYS)) break
      this.#days.delete(old)
    }
    return held
  }
}
