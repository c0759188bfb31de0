/**
 * Per minute of ingestion time: the events that we hold against those that CloudWatch counted (IncomingLogEvents). This is what
 * turns "nothing is lost" into a number. Pure but for the maps that it keeps; asking the metric is group.ts's business.
 */
import { MINUTE_MS, minuteOf, type Tier } from './scan.ts'

const DAY_MS = 86_400_000
const ASK_AGAIN_MS = 30 * MINUTE_MS
// What a shortfall leads to, one after the other, each time it is still there at the next look.
const ANSWERS: readonly (Exclude<Tier, 'hot'> | undefined)[] = ['warm', 'cold', 'deep']

export class Reconciliation {
  readonly #counted = new Map<number, number>()
  #held: ReadonlyMap<number, number> = new Map()
  #answers = 0
  #from: number | null
  /** Minutes before may be held without being known. */
  #known_from: number
  /** From here on every minute was compared, and agreed when it was a day old; those of the last day may not. */
  #agreed_from: number
  /** Nobody knows whether what was missing before a restart was found since. */
  readonly #doubtful_until: number
  /** Minutes before were compared for the last time. */
  #edge = -Infinity

  /**
   * `from`: the first minute of ingestion time of which we may hold everything; `agreed_from`: from when on those before agreed;
   * `missing`: events that a process before this one missed in the day before.
   */
  constructor(from: number | null, agreed_from: number | null = null, missing = 0) {
    this.#from = from
    this.#doubtful_until = missing > 0 && from !== null ? from + DAY_MS : -Infinity
    this.#agreed_from = Math.min(agreed_from ?? Infinity, from ?? Infinity)
    this.#known_from = from ?? Infinity
  }

  /** Minutes to ask the metric for: [from, to); undefined: nothing new has settled. */
  due(now: number, settle: number): { from: number; to: number } | undefined {
    const to = minuteOf(now - settle)
    if (this.#from === null) this.#from = this.#known_from = this.#agreed_from = to
    if (this.#from >= to) return undefined
    // Nobody compared what lies before.
    if (this.#from < to - DAY_MS) this.#from = this.#known_from = this.#agreed_from = to - DAY_MS
    // A datapoint may come later than it should: the last half hour is asked for again.
    return { from: Math.max(this.#known_from, this.#from - ASK_AGAIN_MS), to }
  }

  get next(): number | null {
    return this.#from
  }

  /** Takes the datapoints in; `held` is minute → events. */
  compare(counts: ReadonlyMap<number, number>, to: number, held: ReadonlyMap<number, number>): void {
    for (const [minute, n] of counts) this.#counted.set(minute, n)
    this.#from = Math.max(this.#from ?? to, to)
    this.#held = held
    const edge = to - DAY_MS
    this.#agreed_from = Math.max(this.#agreed_from, this.#lastDifferent(edge))
    for (const minute of this.#counted.keys()) if (minute < edge) this.#counted.delete(minute)
    this.#edge = Math.max(this.#edge, edge)
  }

  /** Events held / events counted over the last day; null: nothing was counted, or nothing can be told. */
  get completeness(): number | null {
    if (this.#from !== null && this.#from < this.#doubtful_until) return null
    let counted = 0
    for (const n of this.#counted.values()) counted += n
    return counted === 0 ? null : (counted - this.missing) / counted
  }

  /** Every minute of ingestion time from here to `next` agrees to the last event, as far as it is known; null: nothing does. */
  get agreed_since(): number | null {
    const since = Math.max(this.#agreed_from, this.#lastDifferent(Infinity))
    return this.#from === null || since >= this.#from ? null : since
  }

  /** The end of the minutes before `to` that are compared for the last time, or of all, of which one does not agree. */
  #lastDifferent(to: number): number {
    let last = -Infinity
    const look = (minute: number, n: number, other: number): void => {
      if (n !== other && minute >= this.#edge && minute >= this.#known_from && minute < to && minute < (this.#from ?? 0)) last = Math.max(last, minute + MINUTE_MS)
    }
    for (const [minute, n] of this.#counted) look(minute, n, this.#held.get(minute) ?? 0)
    for (const [minute, n] of this.#held) look(minute, n, this.#counted.get(minute) ?? 0)
    return last
  }

  get missing(): number {
    let missing = 0
    for (const [minute, n] of this.#counted) missing += Math.max(0, n - (this.#held.get(minute) ?? 0))
    return missing
  }

  /** The scan that a shortfall asks for now; undefined: nothing is short, or everything was tried. `first` is the oldest minute that is short. */
  answer(): { tier: Exclude<Tier, 'hot'>; first: number } | undefined {
    const short = [...this.#counted].filter(([minute, n]) => (this.#held.get(minute) ?? 0) < n).map(([minute]) => minute)
    if (short.length === 0) {
      this.#answers = 0
      return undefined
    }
    const tier = ANSWERS[this.#answers]
    if (tier === undefined) return undefined
    this.#answers++
    return { tier, first: Math.min(...short) }
  }
}

export const RECONCILE_EVERY_MS = 5 * MINUTE_MS
