/**
 * What was published of a stream, so that rescans publish only what is new: ids of the newest minutes, digests of older ones.
 * Only an optimisation. Whatever is forgotten or does not fit is published once more, with the same event ids. All times are
 * event times in epoch ms unless said otherwise. Fill it after the bus says durable, never before.
 */
import type { LogEvent } from './api.ts'
import { addDigest, addId, decodeDigest, type Digest, emptyDigest, encodeDigest, sameDigest } from './digest.ts'
import { HOUR_MS, hourOf, MINUTE_MS, minuteOf } from './scan.ts'

/** A minute of event time. */
export interface Cell extends Digest {
  /** Minute of ingestion time → events. */
  by: Map<number, number>
}

/** ids: each event can be told; digest: only the whole can be compared; unknown: nothing was published of it, as far as we know. */
export type Knowledge = 'ids' | 'digest' | 'unknown'

export class Held {
  readonly #ids = new Map<number, Set<string>>()
  readonly #cells = new Map<number, Cell>()
  /** Hours of which only the digest is known. */
  readonly #hours = new Map<number, Digest>()
  /** Minute of ingestion time → events of minutes that are not told apart any more. */
  readonly #old = new Map<number, number>()
  readonly #limit: number
  readonly #keep_cells: number
  #count = 0

  /** `limit`: ids kept at most; `keep_cells`: ms for which minutes are told apart, hours behind it. */
  constructor(limit: number, keep_cells: number, hours: Readonly<Record<string, string>> = {}) {
    this.#limit = limit
    this.#keep_cells = keep_cells
    for (const [hour, text] of Object.entries(hours)) {
      const digest = decodeDigest(text)
      if (digest !== undefined) this.#hours.set(Number(hour) * HOUR_MS, digest)
    }
  }

  knows(time: number): Knowledge {
    const minute = minuteOf(time)
    if (this.#ids.has(minute)) return 'ids'
    return this.#cells.has(minute) || this.#hours.has(hourOf(time)) ? 'digest' : 'unknown'
  }

  has(event: LogEvent): boolean {
    return this.#ids.get(minuteOf(event.timestamp))?.has(event.eventId) ?? false
  }

  /** An event that was published and was not there before. Ids are kept from `since` on. */
  add(event: LogEvent, since: number): void {
    const minute = minuteOf(event.timestamp)
    let cell = this.#cells.get(minute)
    if (cell === undefined) {
      this.#cells.set(minute, (cell = emptyCell()))
      if (minute >= since && !this.#hours.has(hourOf(minute))) this.#ids.set(minute, new Set())
    }
    addToCell(cell, event)
    const ids = this.#ids.get(minute)
    if (ids === undefined) return
    ids.add(event.eventId)
    this.#count++
  }

  /** Equal: what a scan found in this minute is what was published. */
  sameMinute(minute: number, found: Cell): boolean {
    const cell = this.#cells.get(minute)
    return cell !== undefined && sameDigest(cell, found)
  }

  /** An hour that is known as a whole: true if the minutes that a scan found add up to it and what came late to it. */
  sameHour(hour: number, found: Digest): boolean {
    const digest = this.#hours.get(hour)
    if (digest === undefined) return false
    const sum = { ...digest }
    for (let minute = hour; minute < hour + HOUR_MS; minute += MINUTE_MS) addDigest(sum, this.#cells.get(minute) ?? emptyDigest())
    return sameDigest(sum, found)
  }

  knowsHour(hour: number): boolean {
    return this.#hours.has(hour)
  }

  forgetHour(hour: number): void {
    this.#hours.delete(hour)
  }

  /** A scan of the whole minute was published, or is known to have been. */
  set(minute: number, cell: Cell): void {
    this.#cells.set(minute, cell)
  }

  /** Minute of ingestion time → events held. */
  ingested(): Map<number, number> {
    const sums = new Map(this.#old)
    for (const { by } of this.#cells.values()) for (const [minute, n] of by) sums.set(minute, (sums.get(minute) ?? 0) + n)
    return sums
  }

  get ids(): number {
    return this.#count
  }

  /** Forgets ids before `ids_since`, the oldest first where there are too many, and minutes that are long over. */
  compact(now: number, ids_since: number): void {
    for (const minute of [...this.#ids.keys()].sort((a, b) => a - b)) {
      if (minute >= ids_since && this.#count <= this.#limit) break
      this.#count -= this.#ids.get(minute)?.size ?? 0
      this.#ids.delete(minute)
    }
    const oldest = hourOf(now - this.#keep_cells)
    for (const [minute, cell] of this.#cells) {
      if (minute >= oldest) continue
      const hour = hourOf(minute)
      const digest = this.#hours.get(hour) ?? emptyDigest()
      addDigest(digest, cell)
      this.#hours.set(hour, digest)
      this.#cells.delete(minute)
      for (const [by, n] of cell.by) this.#old.set(by, (this.#old.get(by) ?? 0) + n)
    }
    for (const by of this.#old.keys()) if (by < oldest) this.#old.delete(by)
  }

  /** Digests of the hours in [since, before) for the checkpoint; older ones are forgotten for good. */
  encode(since: number, before: number): Record<string, string> {
    for (const hour of this.#hours.keys()) if (hour < hourOf(since)) this.#hours.delete(hour)
    const sums = new Map([...this.#hours].map(([hour, digest]) => [hour, { ...digest }]))
    for (const [minute, cell] of this.#cells) {
      const hour = hourOf(minute)
      if (hour + HOUR_MS > before) continue
      const sum = sums.get(hour) ?? emptyDigest()
      addDigest(sum, cell)
      sums.set(hour, sum)
    }
    return Object.fromEntries([...sums].filter(([hour]) => hour + HOUR_MS <= before).map(([hour, digest]) => [String(hour / HOUR_MS), encodeDigest(digest)]))
  }
}

export const emptyCell = (): Cell => ({ ...emptyDigest(), by: new Map() })

export function addToCell(cell: Cell, event: LogEvent): void {
  addId(cell, event.eventId)
  const minute = minuteOf(event.ingestionTime ?? event.timestamp)
  cell.by.set(minute, (cell.by.get(minute) ?? 0) + 1)
}
