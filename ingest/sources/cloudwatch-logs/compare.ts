/** A slice of a rescan against what was published of it: which events are new, and which minutes differ without telling how. */
import type { LogEvent } from './api.ts'
import { addDigest, emptyDigest } from './digest.ts'
import { addToCell, type Cell, emptyCell, type Held, type Knowledge } from './held.ts'
import { HOUR_MS, hourOf, MINUTE_MS, minuteOf } from './scan.ts'

export interface Range {
  /** Inclusive, whole minutes. */
  from: number
  to: number
}

export class Comparison {
  readonly #held: Held
  /** How a minute was known when its first event was met: it stays so for the slice, though publishing makes it known. */
  readonly #known = new Map<number, Knowledge>()
  readonly #found = new Map<number, Cell>()

  readonly #ids_since: number
  readonly #watched_since: number

  /** `ids_since`: minutes from then on are told by ids; `watched_since`: events from then on were looked for by the hot scan. */
  constructor(held: Held, ids_since: number, watched_since: number) {
    this.#held = held
    this.#ids_since = ids_since
    this.#watched_since = watched_since
  }

  /** What of this page is to be published at once; `late` are those that were missed by an earlier scan. */
  take(events: readonly LogEvent[]): { fresh: LogEvent[]; late: LogEvent[] } {
    const fresh: LogEvent[] = []
    const late: LogEvent[] = []
    for (const event of events) {
      const minute = minuteOf(event.timestamp)
      let known = this.#known.get(minute)
      if (known === undefined) this.#known.set(minute, (known = this.#knows(minute)))
      if (known === 'ids') {
        if (this.#held.has(event)) continue
        if (event.timestamp >= this.#watched_since) late.push(event)
      } else {
        const cell = this.#found.get(minute) ?? emptyCell()
        addToCell(cell, event)
        this.#found.set(minute, cell)
        if (known === 'digest') continue
      }
      fresh.push(event)
    }
    return { fresh, late }
  }

  /** True for events whose minute is told by ids: only those are added one by one. */
  byId(event: LogEvent): boolean {
    return this.#known.get(minuteOf(event.timestamp)) === 'ids'
  }

  /** To be called when the slice is read to its end and published. Takes over what is alike or new; gives the minutes that differ. */
  settle(): Set<number> {
    const differing = new Set<number>()
    const hours = new Map<number, boolean>()
    for (const [minute, cell] of this.#found) {
      const hour = hourOf(minute)
      if (this.#known.get(minute) === 'digest') {
        let same = hours.get(hour)
        if (same === undefined && this.#held.knowsHour(hour)) hours.set(hour, (same = this.#held.sameHour(hour, this.#sum(hour))))
        if (!(same ?? this.#held.sameMinute(minute, cell))) {
          differing.add(minute)
          continue
        }
      }
      this.#held.set(minute, cell)
    }
    // From here on the minutes stand for the hour.
    for (const hour of hours.keys()) this.#held.forgetHour(hour)
    return differing
  }

  #knows(minute: number): Knowledge {
    const known = this.#held.knows(minute)
    return known === 'unknown' && minute >= this.#ids_since ? 'ids' : known
  }

  #sum(hour: number): ReturnType<typeof emptyDigest> {
    const sum = emptyDigest()
    for (let minute = hour; minute < hour + HOUR_MS; minute += MINUTE_MS) addDigest(sum, this.#found.get(minute) ?? emptyDigest())
    return sum
  }
}

/** Neighbouring minutes as one range. */
export function rangesOf(minutes: ReadonlySet<number>): Range[] {
  const ranges: Range[] = []
  for (const minute of [...minutes].sort((a, b) => a - b)) {
    const last = ranges.at(-1)
    if (last !== undefined && last.to + 1 === minute) last.to = minute + MINUTE_MS - 1
    else ranges.push({ from: minute, to: minute + MINUTE_MS - 1 })
  }
  return ranges
}
