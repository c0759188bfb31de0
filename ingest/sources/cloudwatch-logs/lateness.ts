/** How late events become visible, measured: a histogram of visibility − event time that forgets, and the overlap that follows from it. */

/** Upper bounds in ms; the last is without bound. */
const BOUNDS = [1_000, 2_000, 5_000, 10_000, 20_000, 30_000, 60_000, 90_000, 120_000, 180_000, 300_000, 600_000, 900_000, 1_800_000, 3_600_000] as const
// Half of what was measured is forgotten after so many events: a quiet stream keeps its memory, a busy one follows the day.
const HALVE_AT = 20_000
// Fewer than one late event in a thousand is left to the warm scan: a single straggler must not make each hot scan longer.
const SHARE = 0.999
const ENOUGH = 50
const MARGIN = 1.25

export class Lateness {
  readonly #counts = new Float64Array(BOUNDS.length + 1)
  #total = 0

  /** ms, at least 0. */
  add(late: number): void {
    const index = BOUNDS.findIndex((bound) => late <= bound)
    const at = index === -1 ? BOUNDS.length : index
    this.#counts[at] = (this.#counts[at] ?? 0) + 1
    if (++this.#total < HALVE_AT) return
    for (let each = 0; each <= BOUNDS.length; each++) this.#counts[each] = (this.#counts[each] ?? 0) / 2
    this.#total /= 2
  }

  /** ms within which 99.9 % of the events were visible; undefined until enough were seen. */
  get usual(): number | undefined {
    if (this.#total < ENOUGH) return undefined
    let below = 0
    for (const [index, bound] of BOUNDS.entries()) {
      below += this.#counts[index] ?? 0
      if (below >= this.#total * SHARE) return bound
    }
    return BOUNDS.at(-1)
  }

  /** The overlap of the hot scan: as configured, more where events are later than that, never more than `most`. */
  overlap(least: number, most: number): number {
    return Math.min(Math.max(most, least), Math.max(least, MARGIN * (this.usual ?? 0)))
  }
}
