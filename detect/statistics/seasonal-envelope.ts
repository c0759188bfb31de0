/**
 * What is normal for one metric of one key: an hour-of-day profile and an envelope around what is left over. Learns closed
 * buckets only; about 3.5 kB.
 */
import { Ewma } from './ewma.ts'
import { LogHistogram } from './log-histogram.ts'

const HOUR_MS = 3_600_000
/** Half of what the envelope knows is younger than this many buckets (about ten days of five-minute buckets). */
const HALF_LIFE = 3000
const CELL_FLOOR = 0.01
/** Fewer visits than this and an hour of the day is judged by the running level. */
const FIRST_VISITS = 3
/**
 * The envelope is the 0.1 % … 99.9 % band, widened. A key has a hundred thousand buckets a year, and LLM calls are heavy-tailed: the worst
 * quiet bucket lies about two bands above (measured on made-up months, see the README of token-spike).
 */
const WIDEN = 2

export interface Expectation {
  expected: number
  /** Above this a bucket is out of character. */
  upper: number
}

export class SeasonalEnvelope {
  readonly #cells: Ewma[]
  #level: Ewma
  #residuals: LogHistogram
  buckets = 0

  constructor() {
    this.#cells = Array.from({ length: 24 }, () => new Ewma(CELL_FLOOR))
    this.#level = new Ewma(0.005)
    this.#residuals = new LogHistogram(HALF_LIFE)
  }

  learn(bucket_start: number, value: number): void {
    this.#residuals.decay()
    this.#residuals.add(value - this.#predict(bucket_start))
    this.#cell(bucket_start).add(value)
    this.#level.add(value)
    this.buckets++
  }

  expect(bucket_start: number): Expectation {
    const expected = this.#predict(bucket_start)
    const { low, high } = this.#residuals.band(0.001, 0.999)
    // A young envelope has not met its tail yet: the factor falls from 3 (none seen) to 1.2 after ten days.
    const youth = 1 + 2 / (1 + this.#residuals.weight / 300)
    return { expected, upper: Math.max(expected, this.#level.mean) * 2 + (Math.max(0, high) + WIDEN * (high - low)) * youth }
  }

  toJSON(): unknown {
    return { c: this.#cells, l: this.#level, r: this.#residuals, b: this.buckets }
  }

  static fromJSON(json: unknown): SeasonalEnvelope {
    const { c, l, r, b } = json as { c: [number, number, number][]; l: [number, number, number]; r: [number, number, number, string]; b: number }
    const envelope = new SeasonalEnvelope()
    c.forEach((cell, hour) => (envelope.#cells[hour] = Ewma.fromJSON(cell, CELL_FLOOR)))
    envelope.#level = Ewma.fromJSON(l, 0.005)
    envelope.#residuals = LogHistogram.fromJSON(r, HALF_LIFE)
    envelope.buckets = b
    return envelope
  }

  #predict(bucket_start: number): number {
    const cell = this.#cell(bucket_start)
    return cell.n < FIRST_VISITS ? this.#level.mean : cell.mean
  }

  #cell(bucket_start: number): Ewma {
    const cell = this.#cells[Math.floor(bucket_start / HOUR_MS) % 24]
    if (cell === undefined) throw new RangeError(`no hour of the day for ${bucket_start}`)
    return cell
  }
}
