/**
 * How many rows of each bin of ingestion time were published. Compared with what the service counts, it tells which bins must be
 * read (again): rows become visible late and in any order, so a watermark alone would pass over them. Part of the checkpoint, and
 * bounded: a row is counted in one bin, and bins become coarser as they age.
 */

export const MINUTE = 60_000
export const TEN_MINUTES = 600_000
export const HOUR = 3_600_000

/** Counts of bins one behind the other, from `from` on; epoch ms. */
interface Run {
  from: number
  counts: number[]
}
export interface HeldCheckpoint {
  minutes: Run
  tens: Run
  /** Absent: of a version that forgot what is older than its tens. */
  hours?: Run
}

export class Held {
  readonly #minutes: Map<number, number>
  readonly #tens: Map<number, number>
  readonly #hours: Map<number, number>

  constructor(stored?: HeldCheckpoint) {
    this.#minutes = decode(stored?.minutes, MINUTE)
    this.#tens = decode(stored?.tens, TEN_MINUTES)
    this.#hours = decode(stored?.hours, HOUR)
  }

  /** Rows published of the minute that begins at `bin`; undefined: it is only known as a part of ten minutes or an hour. */
  minute(bin: number): number | undefined {
    return this.#hours.has(floor(bin, HOUR)) || this.#tens.has(floor(bin, TEN_MINUTES)) ? undefined : (this.#minutes.get(bin) ?? 0)
  }

  /** Rows published of the ten minutes that begin at `bin`; undefined: they are only known as a part of an hour. */
  ten(bin: number): number | undefined {
    if (this.#hours.has(floor(bin, HOUR))) return undefined
    return this.#tens.get(bin) ?? sum(this.#minutes, bin, TEN_MINUTES, MINUTE)
  }

  /** Rows published of the hour that begins at `bin`. */
  hour(bin: number): number {
    const folded = this.#hours.get(bin)
    if (folded !== undefined) return folded
    let rows = 0
    for (let ten = bin; ten < bin + HOUR; ten += TEN_MINUTES) rows += this.ten(ten) ?? 0
    return rows
  }

  /** The window [from, to), made of whole bins, was read as a whole: `times` are the ingestion times of all its rows. */
  replace(from: number, to: number, times: Iterable<number>): void {
    const counts = new Map<number, number>()
    for (const time of times) add(counts, floor(time, MINUTE), 1)
    const folded = new Map<Map<number, number>, Map<number, number>>()
    for (let minute = floor(from, MINUTE); minute < to; minute += MINUTE) {
      const [bins, bin] = this.#binOf(minute)
      const replaced = folded.get(bins) ?? new Map<number, number>()
      folded.set(bins, replaced)
      add(replaced, bin, counts.get(minute) ?? 0)
    }
    for (const [bins, replaced] of folded) {
      for (const [bin, count] of replaced) {
        if (count === 0) bins.delete(bin)
        else bins.set(bin, count)
      }
    }
  }

  /** Minutes before `tens` become tens, tens before `hours` become hours; both at whole bins of the coarser. */
  age(before: { tens: number; hours: number }): void {
    fold(this.#minutes, this.#tens, TEN_MINUTES, before.tens)
    fold(this.#tens, this.#hours, HOUR, before.hours)
  }

  /** Hours before the whole hour `before`. */
  forget(before: number): void {
    for (const hour of this.#hours.keys()) if (hour < before) this.#hours.delete(hour)
  }

  encode(): Required<HeldCheckpoint> {
    return { minutes: encode(this.#minutes, MINUTE), tens: encode(this.#tens, TEN_MINUTES), hours: encode(this.#hours, HOUR) }
  }

  /** Where the rows of a minute are counted. */
  #binOf(minute: number): [bins: Map<number, number>, bin: number] {
    const [hour, ten] = [floor(minute, HOUR), floor(minute, TEN_MINUTES)]
    if (this.#hours.has(hour)) return [this.#hours, hour]
    return this.#tens.has(ten) ? [this.#tens, ten] : [this.#minutes, minute]
  }
}

function fold(fine: Map<number, number>, coarse: Map<number, number>, size: number, before: number): void {
  for (const [bin, count] of fine) {
    if (floor(bin, size) >= before) continue
    add(coarse, floor(bin, size), count)
    fine.delete(bin)
  }
}

function sum(bins: ReadonlyMap<number, number>, from: number, size: number, step: number): number {
  let rows = 0
  for (let bin = from; bin < from + size; bin += step) rows += bins.get(bin) ?? 0
  return rows
}

const add = (bins: Map<number, number>, bin: number, count: number): void => void bins.set(bin, (bins.get(bin) ?? 0) + count)

export const floor = (time: number, size: number): number => time - (((time % size) + size) % size)

function encode(bins: ReadonlyMap<number, number>, size: number): Run {
  if (bins.size === 0) return { from: 0, counts: [] }
  const from = Math.min(...bins.keys())
  const to = Math.max(...bins.keys())
  return { from, counts: Array.from({ length: (to - from) / size + 1 }, (_, n) => bins.get(from + n * size) ?? 0) }
}

function decode(run: Run | undefined, size: number): Map<number, number> {
  return new Map((run?.counts ?? []).flatMap((count, n) => (count > 0 ? [[(run?.from ?? 0) + n * size, count] as const] : [])))
}
