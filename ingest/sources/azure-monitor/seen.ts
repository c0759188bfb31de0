/**
 * Ids of rows that were published, so that a bin which is read again publishes only what is new in it. Bounded, in two
 * generations: what it forgets is published again under the same event id, which costs work and nothing else.
 */
export class Seen {
  readonly #most: number
  #recent = new Set<string>()
  #older = new Set<string>()

  /** Holds at least `most` ids, at most twice as many. */
  constructor(most = 50_000) {
    this.#most = most
  }

  has(id: string): boolean {
    return this.#recent.has(id) || this.#older.has(id)
  }

  add(id: string): void {
    this.#recent.add(id)
    if (this.#recent.size < this.#most) return
    this.#older = this.#recent
    this.#recent = new Set()
  }
}
