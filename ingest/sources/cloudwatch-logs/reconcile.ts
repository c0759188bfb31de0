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
  /** Every minute from here to #from was compared. */
  #since: number

  /** `from`: the first minute of ingestion time of which we may hold everything. */
  constructor(from: number | null) {
    this.#from = from
    this.#since = from ?? Infinity
  }

  /** Minutes to ask the metric for: [from, to); undefined: nothing new has settled. */
  due(now: number, settle: number): { from: number; to: number } | undefined {
    const to = minuteOf(now - settle)
    if (this.#from === null) this.#since = this.#from = to
    if (this.#from >= to) return undefined
    if (this.#from < to - DAY_MS) this.#since = this.#from = to - DAY_MS
    // A datapoint may come later than it should: the last half hour is asked for again.
    return { from: Math.max(this.#since, this.#from - ASK_AGAIN_MS), to }
  }

  get next(): number | null {
    return this.#from
  }

  /** Takes the datapoints in; `held` is minute → events. */
  compare(counts: ReadonlyMap<number, number>, to: number, held: ReadonlyMap<number, number>): void {
    for (const [minute, n] of counts) this.#counted.set(minute, n)
    for (const minute of this.#counted.keys()) if (minute < to - DAY_MS) this.#counted.delete(minute)
    // What is forgotten is not known to agree.
    this.#since = Math.max(this.#since, to - DAY_MS)
    this.#from = Math.max(this.#from ?? to, to)
    this.#held = held
  }

  /** Events held / events counted over the last day; null: nothing was counted, so nothing can be told. */
  get completeness(): number | null {
    let counted = 0
    for (const n of this.#counted.values()) counted += n
    return counted === 0 ? null : (counted - this.missing) / counted
  }

  /**
   * The end of the minutes that agree to the last event since `mark` (exclusive); undefined where one does not, or was not compared.
   * Then nothing was taken since that we do not hold, and a rescan of the whole day has nothing to find.
   */
  agreedSince(mark: number): number | undefined {
    const from = minuteOf(mark + 1)
    const to = this.#from ?? from
    if (this.#since > from || to <= from) return undefined
    const within = (minute: number): boolean => minute >= from && minute < to
    for (const [minute, n] of this.#counted) if (within(minute) && this.#held.get(minute) !== n) return undefined
    for (const minute of this.#held.keys()) if (within(minute) && !this.#counted.has(minute)) return undefined
    return to
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
