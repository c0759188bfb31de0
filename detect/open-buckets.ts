/**
 * The open buckets of one entity by their start, in order. A backlog of weeks opens thousands of them before event time is known,
 * and every event and every tick asks for the earliest ones: so the order is kept, not searched for.
 */
import { nextWake } from './wake.ts'

export class OpenBuckets<B> {
  readonly #buckets = new Map<number, B>()
  /** Ascending. */
  readonly #starts: number[] = []

  constructor(entries: Iterable<readonly [number, B]> = []) {
    for (const [start, bucket] of entries) this.set(start, bucket)
  }

  get size(): number {
    return this.#starts.length
  }

  get(start: number): B | undefined {
    return this.#buckets.get(start)
  }

  set(start: number, bucket: B): void {
    if (!this.#buckets.has(start)) this.#starts.splice(this.#countUntil(start), 0, start)
    this.#buckets.set(start, bucket)
  }

  delete(start: number): void {
    if (this.#buckets.delete(start)) this.#starts.splice(this.#countUntil(start) - 1, 1)
  }

  /** Those that start at or before `limit`, oldest first; a copy, so that the caller may delete them. */
  until(limit: number): [number, B][] {
    return this.#starts.slice(0, this.#countUntil(limit)).map((start) => [start, this.#buckets.get(start) as B])
  }

  /** As nextWake over all of them: what is ready waits for the end of the oldest, the rest for the first that is not ready. */
  wakeAfter(now: number, bucket_ms: number, lag: number): number | undefined {
    const [oldest] = this.#starts
    if (oldest === undefined) return undefined
    const unready = this.#starts[this.#countUntil(now + (lag - 1) * bucket_ms)]
    return nextWake(unready === undefined ? [oldest] : [oldest, unready], now, bucket_ms, lag)
  }

  /** Oldest first. */
  [Symbol.iterator](): Iterator<[number, B]> {
    return this.until(Infinity)[Symbol.iterator]()
  }

  /** How many start at or before `limit`. */
  #countUntil(limit: number): number {
    let low = 0
    let high = this.#starts.length
    while (low < high) {
      const middle = (low + high) >> 1
      if ((this.#starts[middle] ?? 0) <= limit) low = middle + 1
      else high = middle
    }
    return low
  }
}
