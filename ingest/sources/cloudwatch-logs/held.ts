/**
 * What was published of a stream, so that rescans publish only what is new: ids of the newest minutes, digests of older ones,
 * apart by when CloudWatch took the events. What comes late was mostly taken late, so it is a part of its own, and only that
 * part is published. Only an optimisation: whatever is forgotten or does not fit is published once more, with the same event
 * ids. All times are event times in epoch ms unless said otherwise. Fill it after the bus says durable, never before.
 */
import type { LogEvent } from './api.ts'
import { addId, type Digest, emptyDigest, sameDigest } from './digest.ts'
import { decodeHour, emptyHour, encodeHour, foldCell, type Hour, hourBucket } from './hours.ts'
import { IdSet } from './ids.ts'
import { HOUR_MS, hourOf, MINUTE_MS, minuteOf } from './scan.ts'

/** What was published of a minute of event time: ingestion time in minutes since 1970 → events that CloudWatch took then. */
export type Cell = Map<number, Digest>

/** ids: each event can be told; digest: only parts can be compared; unknown: nothing was published of it, as far as we know. */
export type Knowledge = 'ids' | 'digest' | 'unknown'

export interface HeldOptions {
  /** Ids kept at most. */
  ids: number
  /** Parts of minutes kept at most, as far as the warm scan allows. */
  parts: number
  /** ms for which minutes are told apart, hours behind it. */
  keep_minutes: number
  /** Of the checkpoint. */
  hours?: Readonly<Record<string, string>>
}

export class Held {
  readonly #ids = new Map<number, IdSet>()
  readonly #cells = new Map<number, Cell>()
  /** Hours whose minutes are not told apart; they have no cells. */
  readonly #hours = new Map<number, Hour>()
  readonly #options: HeldOptions
  #count = 0
  #parts = 0

  constructor(options: HeldOptions) {
    this.#options = options
    for (const [hour, text] of Object.entries(options.hours ?? {})) {
      const decoded = decodeHour(Number(hour), text)
      if (decoded !== undefined) this.#hours.set(Number(hour) * HOUR_MS, decoded)
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

  /** The ids of a minute, for whoever looks at them for longer than they are kept here. */
  idsOf(minute: number): IdSet | undefined {
    return this.#ids.get(minute)
  }

  /** Something was published of what CloudWatch took at the time of this event, of its minute or hour. */
  hasPart(event: LogEvent): boolean {
    const hour = this.#hours.get(hourOf(event.timestamp))
    if (hour !== undefined) return hour.parts.has(hourBucket(hour, bucketOf(event)))
    return this.#cells.get(minuteOf(event.timestamp))?.has(bucketOf(event)) ?? false
  }

  samePart(minute: number, bucket: number, found: Digest): boolean {
    const part = this.#cells.get(minute)?.get(bucket)
    return part !== undefined && sameDigest(part, found)
  }

  /** An hour that is known as a whole; undefined: its minutes are told apart, or nothing is known. */
  hour(hour: number): Readonly<Hour> | undefined {
    return this.#hours.get(hour)
  }

  /**
   * An event that was published and was not there before. Where the ids of its minute are forgotten nobody can tell whether it was
   * counted before: it is not, and the next rescan finds that the minute differs.
   */
  add(event: LogEvent): void {
    const minute = minuteOf(event.timestamp)
    let ids = this.#ids.get(minute)
    if (ids === undefined) {
      if (this.knows(minute) !== 'unknown') return
      this.#ids.set(minute, (ids = new IdSet()))
    }
    const cell = this.#cells.get(minute) ?? new Map<number, Digest>()
    this.#cells.set(minute, cell)
    const before = cell.size
    addToCell(cell, event)
    this.#parts += cell.size - before
    this.#count -= ids.size
    ids.add(event.eventId)
    this.#count += ids.size
  }

  /** A scan has read the whole minute, and these parts of it were published. From now on they are told by their digests. */
  set(minute: number, cell: Cell): void {
    this.#forgetIds(minute)
    this.#parts += cell.size - (this.#cells.get(minute)?.size ?? 0)
    this.#cells.set(minute, cell)
  }

  forgetHour(hour: number): void {
    this.#hours.delete(hour)
  }

  /** Minute of ingestion time → events held. */
  ingested(): Map<number, number> {
    const sums = new Map<number, number>()
    const add = (bucket: number, n: number): void => void sums.set(bucket * MINUTE_MS, (sums.get(bucket * MINUTE_MS) ?? 0) + n)
    for (const cell of this.#cells.values()) for (const [bucket, { n }] of cell) add(bucket, n)
    for (const { by } of this.#hours.values()) for (const [bucket, n] of by) add(bucket, n)
    return sums
  }

  get ids(): number {
    return this.#count
  }

  get parts(): number {
    return this.#parts
  }

  /**
   * Forgets ids before `ids_since`, the oldest first where there are too many, and tells the minutes of an hour no longer apart
   * when it is long over, or when there are too many parts; but none from `minutes_since` on, which scans read in part.
   */
  compact(now: number, ids_since: number, minutes_since: number): void {
    const { ids, parts, keep_minutes } = this.#options
    for (const minute of [...this.#ids.keys()].sort((a, b) => a - b)) {
      if (minute >= ids_since && this.#count <= ids) break
      this.#forgetIds(minute)
    }
    const oldest = hourOf(now - keep_minutes)
    const hours = new Set([...this.#cells.keys()].map(hourOf))
    for (const hour of [...hours].sort((a, b) => a - b)) {
      if (hour + HOUR_MS > minutes_since || (hour >= oldest && this.#parts <= parts)) break
      this.#fold(hour)
    }
    for (const { by } of this.#hours.values()) for (const bucket of by.keys()) if (bucket * MINUTE_MS < oldest) by.delete(bucket)
  }

  /** The hours in [since, before) for the checkpoint; older ones are forgotten for good. */
  encode(since: number, before: number): Record<string, string> {
    for (const hour of this.#hours.keys()) if (hour < hourOf(since)) this.#hours.delete(hour)
    const hours = new Map(this.#hours)
    const ofCells = new Map<number, Hour>()
    for (const [minute, cell] of this.#cells) {
      const hour = hourOf(minute)
      let folded = ofCells.get(hour)
      if (folded === undefined) ofCells.set(hour, (folded = emptyHour()))
      foldCell(folded, cell)
    }
    for (const [hour, folded] of ofCells) if (!hours.has(hour)) hours.set(hour, folded)
    return Object.fromEntries(
      [...hours].filter(([hour]) => hour >= hourOf(since) && hour + HOUR_MS <= before).map(([hour, known]) => [String(hour / HOUR_MS), encodeHour(hour / HOUR_MS, known)]),
    )
  }

  #fold(hour: number): void {
    const folded = this.#hours.get(hour) ?? emptyHour()
    this.#hours.set(hour, folded)
    for (let minute = hour; minute < hour + HOUR_MS; minute += MINUTE_MS) {
      const cell = this.#cells.get(minute)
      if (cell === undefined) continue
      foldCell(folded, cell)
      this.#parts -= cell.size
      this.#cells.delete(minute)
      this.#forgetIds(minute)
    }
  }

  #forgetIds(minute: number): void {
    this.#count -= this.#ids.get(minute)?.size ?? 0
    this.#ids.delete(minute)
  }
}

/** Ingestion time in minutes since 1970; a small number, which V8 keeps in place. */
export const bucketOf = (event: LogEvent): number => Math.floor((event.ingestionTime ?? event.timestamp) / MINUTE_MS)

export function addToCell(cell: Cell, event: LogEvent): void {
  const bucket = bucketOf(event)
  let part = cell.get(bucket)
  if (part === undefined) cell.set(bucket, (part = emptyDigest()))
  addId(part, event.eventId)
}
