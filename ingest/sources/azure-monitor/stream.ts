/**
 * One table of one workspace as a stream. Rows become visible late and in any order, so no watermark alone is safe: each round
 * counts the minutes of the overlap again, each hour the last two days, each day the last two weeks, and reads what holds more
 * rows than were published. Those counts are the checkpoint, and the completeness that is shown.
 */
import type { Clock } from '../../../runtime/clock.ts'
import { histogram, gauge } from '../../../runtime/metrics.ts'
import type { Page, RawRecord, Source } from '../../source.ts'
import { floor, Held, type HeldCheckpoint, HOUR, MINUTE, TEN_MINUTES } from './held.ts'
import { type Bin, type Caps, planReads, type Window } from './planner.ts'
import type { Reader, Row } from './reader.ts'
import { Seen } from './seen.ts'
import type { ServiceClock } from './service-clock.ts'

const SECONDS = [1, 10, 30, 60, 120, 300, 600, 1800, 3600, 21_600, 86_400, 172_800, 604_800] as const
const cloudDelay = histogram('tokenwatch_azure_cloud_delay_seconds', 'ingestion_time() - TimeGenerated: what the cloud took', ['stream'] as const, SECONDS)
const ownDelay = histogram('tokenwatch_azure_own_delay_seconds', 'read - ingestion_time(): what came on top here', ['stream'] as const, SECONDS)
const lateFinds = histogram('tokenwatch_azure_late_seconds', 'read - ingestion_time() of rows in a minute that had been read before', ['stream'] as const, SECONDS)
const complete = gauge('tokenwatch_azure_completeness', 'rows published / rows that the service counts, at the last re-count', ['stream'] as const)

/** Times of ingestion, epoch ms. */
export interface AzureCheckpoint {
  /** From here on it is known what was published: the first minute that was ever asked for, or the oldest that is remembered. */
  since: number
  /** Everything the service showed before it when it was read is published. */
  scanned_to: number
  held: HeldCheckpoint
  recounted_at: number
  /** Absent: of a version without. */
  deep_recounted_at?: number
  /** Which rows of the table `held` counts. Absent: of a version without. */
  selection?: string
}

export interface StreamOptions {
  stream: string
  clock: Clock
  service_clock: ServiceClock
  reader: Reader
  /** Names the steps of the query: other steps, another name. */
  selection: string
  caps: Caps
  /** All in ms. */
  start: number
  overlap: number
  settle: number
  poll: number
  recount_every: number
  recount_over: number
  deep_recount_every: number
  deep_recount_over: number
  /** How long after an event the cloud may take to ingest it: what is said to be complete lags by this. */
  event_delay: number
}

type AzurePage = Page<AzureCheckpoint>

/** Bins that were counted again, and what is held of each; undefined: not known. */
interface Recounted {
  bins: Bin[]
  held: (bin: Bin) => number | undefined
}

const STEP_MS = 6 * HOUR
/** Counted by one query. */
const RECOUNT_STEP_MS = 24 * HOUR
const PAGE_ROWS = 1000

export function azureStream(options: StreamOptions): Source<AzureCheckpoint> {
  const seen = new Seen()
  return {
    stream: options.stream,
    read: (after, signal) => new Reading(options, seen, after).pages(signal),
    probe: async (signal) => {
      const now = floor(await options.service_clock.now(signal), MINUTE)
      await options.reader.survey({ from: now - MINUTE, to: now }, MINUTE, signal)
    },
  }
}

/** One call of read(): what it knows is what the last page that was taken says. */
class Reading {
  readonly #options: StreamOptions
  readonly #seen: Seen
  readonly #held: Held
  #since: number | undefined
  #scanned_to = 0
  #recounted_at = 0
  #deep_recounted_at = 0
  #round_at = -Infinity
  #recounting = false
  /** null: nothing was counted; undefined: not counted yet. */
  #completeness: number | null | undefined

  constructor(options: StreamOptions, seen: Seen, after: AzureCheckpoint | undefined) {
    this.#options = options
    this.#seen = seen
    // The counts of other rows say nothing: beside the larger count of a wider query a late row would never be missed.
    const is_same = after?.selection === undefined || after.selection === options.selection
    this.#held = new Held(is_same ? after?.held : undefined)
    this.#scanned_to = after?.scanned_to ?? 0
    this.#recounted_at = is_same ? (after?.recounted_at ?? 0) : 0
    this.#deep_recounted_at = is_same ? (after?.deep_recounted_at ?? 0) : 0
    // A version that had no hours has forgotten what lies before its tens.
    this.#since = after?.held.hours === undefined && after !== undefined ? Math.max(after.since, floor(after.scanned_to - options.recount_over, TEN_MINUTES)) : after?.since
  }

  async *pages(signal: AbortSignal): AsyncGenerator<AzurePage> {
    const { clock, poll, recount_every, deep_recount_every } = this.#options
    while (!signal.aborted) {
      const now = yield* this.#round(signal)
      if (isDue(this.#recounted_at, recount_every, now)) {
        const deep = isDue(this.#deep_recounted_at, deep_recount_every, now)
        this.#recounting = true
        yield* this.#recount(deep, signal)
        this.#recounting = false
        this.#recounted_at = now
        if (deep) {
          this.#deep_recounted_at = now
          this.#forget()
        }
        yield this.#page([])
      }
      await clock.sleep(poll, signal)
    }
  }

  /** Reads up to the last settled minute. Returns the time of the service. */
  async *#round(signal: AbortSignal): AsyncGenerator<AzurePage, number> {
    const { clock, service_clock, settle, start } = this.#options
    this.#round_at = clock.now()
    const now = await service_clock.now(signal)
    const target = floor(now - settle, MINUTE)
    if (this.#since === undefined) {
      this.#since = floor(target - start, TEN_MINUTES)
      this.#scanned_to = this.#since
    }
    do {
      yield* this.#advance(Math.min(target, this.#scanned_to + STEP_MS), signal)
      if (!this.#recounting) this.#age()
    } while (this.#scanned_to < target && !signal.aborted)
    return now
  }

  /** Counts from the overlap to `to`, reads what changed, and moves the mark. */
  async *#advance(to: number, signal: AbortSignal): AsyncGenerator<AzurePage> {
    const { reader } = this.#options
    const from = this.#overlapFrom()
    if (to > from) {
      const bins = await reader.survey({ from, to }, MINUTE, signal)
      for (const { window, rows } of this.#reads(bins, (bin) => this.#held.minute(bin.from))) {
        yield* this.#read(window, rows, signal)
        if (signal.aborted) return
      }
      this.#scanned_to = Math.max(this.#scanned_to, to)
    }
    yield this.#page([])
  }

  /** Counts what is still remembered again, `deep`: all of it: what the overlap was too short for is found here. */
  async *#recount(deep: boolean, signal: AbortSignal): AsyncGenerator<AzurePage> {
    const { recount_over } = this.#options
    const since = this.#since ?? 0
    const counted: Recounted[] = []
    if (deep) {
      const hours = { from: since, to: Math.max(since, this.#foldedBefore()) }
      counted.push({ bins: await this.#count(hours, HOUR, signal), held: (bin) => this.#held.hour(floor(bin.from, HOUR)) })
    }
    const tens = { from: Math.max(since, floor(this.#scanned_to - recount_over, TEN_MINUTES) + TEN_MINUTES), to: floor(this.#overlapFrom(), TEN_MINUTES) }
    counted.push({ bins: await this.#count(tens, TEN_MINUTES, signal), held: (bin) => this.#held.ten(bin.from) })
    // What is missing is told as long as it is missing.
    this.#compare(counted)
    yield this.#page([])
    for (const { bins, held } of counted) {
      for (const { window, rows } of this.#reads(bins, held)) {
        yield* this.#read(window, rows, signal)
        if (!signal.aborted) yield* this.#keepUp(signal)
        if (signal.aborted) return
      }
    }
    this.#compare(counted)
  }

  async #count({ from, to }: Window, size: number, signal: AbortSignal): Promise<Bin[]> {
    const bins: Bin[] = []
    for (let at = from; at < to;) {
      const step = { from: at, to: Math.min(to, floor(at + RECOUNT_STEP_MS, size)) }
      at = step.to
      // A bin that begins before its step was counted from there on.
      for (const bin of await this.#options.reader.survey(step, size, signal)) bins.push({ ...bin, from: Math.max(bin.from, step.from), to: Math.min(bin.to, step.to) })
    }
    return bins
  }

  #compare(counted: readonly Recounted[]): void {
    let [rows, published] = [0, 0]
    for (const { bins, held } of counted) {
      for (const bin of bins) {
        rows += bin.rows
        published += Math.min(bin.rows, held(bin) ?? bin.rows)
      }
    }
    this.#completeness = rows === 0 ? null : published / rows
    complete.set({ stream: this.#options.stream }, this.#completeness ?? Number.NaN)
  }

  /** There may be much to read again; meanwhile what is new does not wait. */
  async *#keepUp(signal: AbortSignal): AsyncGenerator<AzurePage> {
    const { clock, poll } = this.#options
    if (isDue(this.#round_at, poll, clock.now())) yield* this.#round(signal)
  }

  #reads(bins: readonly Bin[], held: Recounted['held']): { window: Window; rows: number }[] {
    return planReads(bins, (bin) => bin.rows > (held(bin) ?? Infinity), this.#options.caps)
  }

  /** Not while a re-count reads: its windows are made of the bins that there were. */
  #age(): void {
    this.#held.age({ tens: floor(this.#overlapFrom() - HOUR, TEN_MINUTES), hours: this.#foldedBefore() })
  }

  /** Behind a re-count: so each hour is counted once more when it is old enough, however long nobody was here. */
  #forget(): void {
    const before = floor(this.#scanned_to - this.#options.deep_recount_over, HOUR)
    this.#held.forget(before)
    this.#since = Math.max(this.#since ?? 0, before)
  }

  /** Before it only whole hours are known. */
  #foldedBefore(): number {
    return floor(Math.min(this.#scanned_to - this.#options.recount_over, this.#overlapFrom() - HOUR), HOUR)
  }

  /** Pages of a window carry the place before it: only when all of it is published does the mark move. */
  async *#read(window: Window, counted: number, signal: AbortSignal): AsyncGenerator<AzurePage> {
    const before = this.#checkpoint()
    const times: number[] = []
    for await (const rows of this.#options.reader.rows(window, counted, signal)) {
      for (const row of rows) times.push(row.ingested)
      const fresh = rows.filter((row) => !this.#seen.has(row.id))
      for (let at = 0; at < fresh.length; at += PAGE_ROWS) {
        const part = fresh.slice(at, at + PAGE_ROWS)
        // Without `scanned_to` the collector would guess from the newest event, and rows come minutes out of order.
        yield { records: part.map((row) => this.#record(row)), next: before, scanned_to: this.#complete_to }
        // Behind the yield: the page has been published. Before it, a page that failed would be taken for done.
        for (const row of part) this.#published(row)
      }
    }
    this.#held.replace(window.from, window.to, times)
    // Windows come in order of time, and what lies between them is held already.
    this.#scanned_to = Math.max(this.#scanned_to, window.to)
    yield this.#page([])
  }

  #record({ id, time, ingested, body }: Row): RawRecord {
    return { id, at: time, ingested_at: ingested, body, origin: { source: 'azure-monitor', stream: this.#options.stream } }
  }

  #published(row: Row): void {
    const { stream, clock } = this.#options
    this.#seen.add(row.id)
    const own = Math.max(0, clock.now() - row.ingested) / 1000
    ownDelay.observe({ stream }, own)
    if (row.time > 0) cloudDelay.observe({ stream }, Math.max(0, row.ingested - row.time) / 1000)
    if (row.ingested < this.#scanned_to) lateFinds.observe({ stream }, own)
  }

  #page(records: RawRecord[]): AzurePage {
    const completeness = this.#completeness === undefined ? {} : { completeness: this.#completeness }
    return { records, next: this.#checkpoint(), scanned_to: this.#complete_to, ...completeness }
  }

  /** Of event times: what was ingested by then has happened so long before. */
  get #complete_to(): number {
    return this.#scanned_to - this.#options.event_delay
  }

  #checkpoint(): AzureCheckpoint {
    return {
      since: this.#since ?? 0,
      scanned_to: this.#scanned_to,
      held: this.#held.encode(),
      recounted_at: this.#recounted_at,
      deep_recounted_at: this.#deep_recounted_at,
      selection: this.#options.selection,
    }
  }

  #overlapFrom(): number {
    return Math.max(this.#since ?? 0, floor(this.#scanned_to - this.#options.overlap, MINUTE))
  }
}

/** A clock that was set back must not put it off for hours. */
const isDue = (last: number, every: number, now: number): boolean => now - last >= every || last > now
