/** How late a stream's events come, and whose part of it is whose: what a collector tells beside how far it is. */
import { LATE_BOUNDS_MS } from '../schemas/progress.ts'
import type { RawRecord } from './source.ts'

const NEWEST = 1_000
const SHARE = 0.95

export class Delays {
  /** Late events by how long after their event they were found; the last count has no bound. */
  readonly late_histogram: number[] = Array.from({ length: LATE_BOUNDS_MS.length + 1 }, () => 0)
  readonly #cloud = new Newest()
  readonly #own = new Newest()

  /** `records` have just become durable on the bus; where the cloud says when it made them visible. */
  saw(records: readonly RawRecord[], now: number): void {
    for (const { at, ingested_at } of records.slice(-NEWEST)) {
      if (ingested_at === null) continue
      if (at > 0) this.#cloud.add(Math.max(0, ingested_at - at))
      this.#own.add(Math.max(0, now - ingested_at))
    }
  }

  /** An event behind what was said to be complete, found `after` ms after it happened. */
  late(after: number): void {
    const bucket = LATE_BOUNDS_MS.findIndex((bound) => after <= bound)
    const at = bucket === -1 ? LATE_BOUNDS_MS.length : bucket
    this.late_histogram[at] = (this.late_histogram[at] ?? 0) + 1
  }

  /** ms that 95 of 100 of the newest records did not exceed; null: the cloud does not say. */
  get cloud(): number | null {
    return this.#cloud.most
  }

  get own(): number | null {
    return this.#own.most
  }
}

/** The newest values, one place each in turn. */
class Newest {
  readonly #values: number[] = []
  #next = 0
  #most: number | null = null

  add(value: number): void {
    this.#values[this.#next++ % NEWEST] = value
    this.#most = null
  }

  get most(): number | null {
    if (this.#values.length === 0) return null
    this.#most ??= Float64Array.from(this.#values).sort()[Math.ceil(this.#values.length * SHARE) - 1] ?? null
    return this.#most
  }
}
