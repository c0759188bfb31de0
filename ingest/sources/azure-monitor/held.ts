/**
 * How many rows of each bin of ingestion time were published. Compared with what the service counts, it tells which bins must be
 * read (again): rows become visible late and in any order, so a watermark alone would pass over them. Part of the checkpoint.
 */

export const MINUTE = 60_000
export const TEN_MINUTES = 600_000

/** Counts of bins one behind the other, from `from` on; epoch ms. */
interface Run {
  from: number
  counts: number[]
}
export interface HeldCheckpoint {
  minutes: Run
  tens: Run
}

export class Held {
  readonly #minutes: Map<number, number>
  readonly #tens: Map<number, number>

  constructor(stored?: HeldCheckpoint) {
    this.#minutes = decode(stored?.minutes, MINUTE)
    this.#tens = decode(stored?.tens, TEN_MINUTES)
  }

  /** Rows published of the minute that begins at `bin`; undefined: it is only known as a part of ten minutes. */
  minute(bin: number): number | undefined {
    return this.#tens.has(floor(bin, TEN_MINUTES)) ? undefined : (this.#minutes.get(bin) ?? 0)
  }

  /** Rows published of the ten minutes that begin at `bin`. */
  ten(bin: number): number {
    const folded = this.#tens.get(bin)
    if (folded !== undefined) return folded
    let sum = 0
    for (let minute = bin; minute < bin + TEN_MINUTES; minute += MINUTE) sum += this.#minutes.get(minute) ?? 0
    return sum
  }

  /** The window [from, to), made of whole minutes, was read as a whole: `times` are the ingestion times of all its rows. */
  replace(from: number, to: number, times: Iterable<number>): void {
    const counts = new Map<number, number>()
    for (const time of times) counts.set(floor(time, MINUTE), (counts.get(floor(time, MINUTE)) ?? 0) + 1)
    const tens = new Map<number, number>()
    for (let minute = from; minute < to; minute += MINUTE) {
      const count = counts.get(minute) ?? 0
      const ten = floor(minute, TEN_MINUTES)
      if (this.#tens.has(ten)) tens.set(ten, (tens.get(ten) ?? 0) + count)
      else if (count === 0) this.#minutes.delete(minute)
      else this.#minutes.set(minute, count)
    }
    for (const [ten, count] of tens) {
      if (count === 0) this.#tens.delete(ten)
      else this.#tens.set(ten, count)
    }
  }

  /** Minutes before `fold_before` become tens, tens before `drop_before` are forgotten; both at whole ten minutes. */
  age(fold_before: number, drop_before: number): void {
    for (const [minute, count] of this.#minutes) {
      const ten = floor(minute, TEN_MINUTES)
      if (ten >= fold_before) continue
      this.#tens.set(ten, (this.#tens.get(ten) ?? 0) + count)
      this.#minutes.delete(minute)
    }
    for (const ten of this.#tens.keys()) if (ten < drop_before) this.#tens.delete(ten)
  }

  encode(): HeldCheckpoint {
    return { minutes: encode(this.#minutes, MINUTE), tens: encode(this.#tens, TEN_MINUTES) }
  }
}

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
