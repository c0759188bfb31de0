/** A range of a rescan against what was published of it: which events are new, and which minutes must be read once more to tell. */
import type { LogEvent } from './api.ts'
import { addDigest, type Digest, emptyDigest, sameDigest } from './digest.ts'
import { addToCell, bucketOf, type Cell, type Held } from './held.ts'
import { hourBucket } from './hours.ts'
import { IdSet } from './ids.ts'
import { hourOf, MINUTE_MS, minuteOf } from './scan.ts'

export interface Range {
  /** Inclusive, whole minutes. */
  from: number
  to: number
}

/** What a page holds for the comparison. Nothing is counted before `took` says that it was published. */
export interface Look {
  /** To be published. */
  fresh: LogEvent[]
  /** Of these, those whose minute is told by ids: to be added to what is held. */
  by_id: LogEvent[]
  /** Those that the hot scan should have found, had it looked further back. */
  late: LogEvent[]
  /** Those that no hot scan could find any more. */
  later: LogEvent[]
  counted: LogEvent[]
  suppressed: LogEvent[]
}

// A minute between two others that are read again costs less than a request of its own.
const JOIN_MS = 10 * MINUTE_MS

export class Comparison {
  readonly #held: Held
  /** Minutes told by ids, and the ids as far as they were known at first; undefined: by parts. It stays so for the range. */
  readonly #ids = new Map<number, IdSet | undefined>()
  readonly #found = new Map<number, Cell>()
  /** Minute → parts of which something was not published, because something of them had been before. */
  readonly #suppressed = new Map<number, Set<number>>()
  readonly #ids_since: number
  readonly #watched_since: number

  /** `ids_since`: minutes from then on are told by ids; `watched_since`: events from then on were looked for by the hot scan. */
  constructor(held: Held, ids_since: number, watched_since: number) {
    this.#held = held
    this.#ids_since = ids_since
    this.#watched_since = watched_since
  }

  look(events: readonly LogEvent[]): Look {
    const look: Look = { fresh: [], by_id: [], late: [], later: [], counted: [], suppressed: [] }
    for (const event of events) {
      const watched = event.timestamp >= this.#watched_since
      const ids = this.#idsOf(minuteOf(event.timestamp))
      if (ids !== undefined) {
        if (ids.has(event.eventId) || this.#held.has(event)) continue
        look.by_id.push(event)
        if (watched) look.late.push(event)
      } else {
        look.counted.push(event)
        if (this.#held.hasPart(event)) {
          look.suppressed.push(event)
          continue
        }
        if (watched) look.later.push(event)
      }
      look.fresh.push(event)
    }
    return look
  }

  /** The fresh events of this page are durable on the bus. */
  took({ counted, suppressed }: Look): void {
    for (const event of counted) {
      const minute = minuteOf(event.timestamp)
      const cell = this.#found.get(minute) ?? new Map<number, Digest>()
      this.#found.set(minute, cell)
      addToCell(cell, event)
    }
    for (const event of suppressed) {
      const minute = minuteOf(event.timestamp)
      const parts = this.#suppressed.get(minute) ?? new Set()
      this.#suppressed.set(minute, parts.add(bucketOf(event)))
    }
  }

  /**
   * To be called when the range is read to its end and published. A part is taken over when all of it was published just now, or
   * when it is what was published before. The others are forgotten: gives their minutes, which are to be read again.
   */
  settle(): Set<number> {
    const again = new Set<number>()
    const hours = this.#hours()
    const known = new Map([...this.#found].map(([minute, cell]) => [minute, this.#published(minute, cell, hours.get(hourOf(minute)))]))
    // From here on the minutes stand for the hour.
    for (const hour of hours.keys()) this.#held.forgetHour(hour)
    for (const [minute, cell] of known) {
      this.#held.set(minute, cell)
      if (cell.size < (this.#found.get(minute)?.size ?? 0)) again.add(minute)
    }
    return again
  }

  #idsOf(minute: number): IdSet | undefined {
    if (this.#ids.has(minute)) return this.#ids.get(minute)
    const known = this.#held.knows(minute)
    const ids = this.#held.idsOf(minute) ?? (known === 'unknown' && minute >= this.#ids_since ? NONE : undefined)
    this.#ids.set(minute, ids)
    return ids
  }

  #published(minute: number, cell: Cell, hour: { same: (bucket: number) => boolean } | undefined): Cell {
    const suppressed = this.#suppressed.get(minute)
    const same = (bucket: number, digest: Digest): boolean => hour?.same(bucket) ?? this.#held.samePart(minute, bucket, digest)
    return new Map([...cell].filter(([bucket, digest]) => suppressed?.has(bucket) !== true || same(bucket, digest)))
  }

  /** The hours that are known as a whole: which of their parts are what was found in all their minutes. */
  #hours(): Map<number, { same: (bucket: number) => boolean }> {
    const sums = new Map<number, Map<number, Digest>>()
    for (const [minute, cell] of this.#found) {
      const known = this.#held.hour(hourOf(minute))
      if (known === undefined) continue
      const sum = sums.get(hourOf(minute)) ?? new Map<number, Digest>()
      sums.set(hourOf(minute), sum)
      for (const [bucket, digest] of cell) {
        const part = sum.get(hourBucket(known, bucket)) ?? emptyDigest()
        addDigest(part, digest)
        sum.set(hourBucket(known, bucket), part)
      }
    }
    return new Map(
      [...sums].map(([hour, sum]) => {
        const known = this.#held.hour(hour)
        const alike = new Set([...sum].filter(([part, digest]) => sameDigest(digest, known?.parts.get(part) ?? emptyDigest())).map(([part]) => part))
        return [hour, { same: (bucket: number) => known !== undefined && alike.has(hourBucket(known, bucket)) }]
      }),
    )
  }
}

const NONE = new IdSet()

/** The minutes as few ranges. */
export function rangesOf(minutes: ReadonlySet<number>): Range[] {
  const ranges: Range[] = []
  for (const minute of [...minutes].sort((a, b) => a - b)) {
    const last = ranges.at(-1)
    if (last !== undefined && minute - last.to <= JOIN_MS) last.to = minute + MINUTE_MS - 1
    else ranges.push({ from: minute, to: minute + MINUTE_MS - 1 })
  }
  return ranges
}
