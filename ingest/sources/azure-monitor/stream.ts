/**
 * One table of one workspace as a stream. Rows become visible late and in any order, so no watermark alone is safe: each round
 * counts the minutes of the overlap again, each hour the last two days, and reads what holds more rows than were published.
 * Those counts are the checkpoint, and the completeness that is shown.
 */
import type { Clock } from '../../../runtime/clock.ts'
import { histogram, gauge } from '../../../runtime/metrics.ts'
import type { Page, RawRecord, Source } from '../../source.ts'
import { floor, Held, type HeldCheckpoint, MINUTE, TEN_MINUTES } from './held.ts'
import { type Bin, type Caps, planReads, type Window } from './planner.ts'
import type { Reader, Row } from './reader.ts'
import { Seen } from './seen.ts'
import type { ServiceClock } from './service-clock.ts'

const SECONDS = [1, 10, 30, 60, 120, 300, 600, 1800, 3600, 21_600, 86_400, 172_800] as const
const cloudDelay = histogram('tokenwatch_azure_cloud_delay_seconds', 'ingestion_time() - TimeGenerated: what the cloud took', ['stream'] as const, SECONDS)
const ownDelay = histogram('tokenwatch_azure_own_delay_seconds', 'read - ingestion_time(): what came on top here', ['stream'] as const, SECONDS)
const lateFinds = histogram('tokenwatch_azure_late_seconds', 'read - ingestion_time() of rows in a minute that had been read before', ['stream'] as const, SECONDS)
const complete = gauge('tokenwatch_azure_completeness', 'rows published / rows that the service counts, at the last re-count', ['stream'] as const)

/** Times of ingestion, epoch ms. */
export interface AzureCheckpoint {
  /** The first minute that was ever asked for. */
  since: number
  /** Everything the service showed before it when it was read is published. */
  scanned_to: number
  held: HeldCheckpoint
  recounted_at: number
}

export interface StreamOptions {
  stream: string
  clock: Clock
  service_clock: ServiceClock
  reader: Reader
  caps: Caps
  /** All in ms. */
  start: number
  overlap: number
  settle: number
  poll: number
  recount_every: number
  recount_over: number
  /** How long after an event the cloud may take to ingest it: what is said to be complete lags by this. */
  event_delay: number
}

type AzurePage = Page<AzureCheckpoint>

const STEP_MS = 6 * 60 * MINUTE
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
  #completeness: number | undefined

  constructor(options: StreamOptions, seen: Seen, after: AzureCheckpoint | undefined) {
    this.#options = options
    this.#seen = seen
    this.#held = new Held(after?.held)
    this.#since = after?.since
    this.#scanned_to = after?.scanned_to ?? 0
    this.#recounted_at = after?.recounted_at ?? 0
  }

  async *pages(signal: AbortSignal): AsyncGenerator<AzurePage> {
    const { clock, service_clock, settle, start, poll, recount_every } = this.#options
    while (!signal.aborted) {
      const now = await service_clock.now(signal)
      const target = floor(now - settle, MINUTE)
      if (this.#since === undefined) {
        this.#since = floor(target - start, TEN_MINUTES)
        this.#scanned_to = this.#since
      }
      do yield* this.#advance(Math.min(target, this.#scanned_to + STEP_MS), signal)
      while (this.#scanned_to < target && !signal.aborted)
      if (now - this.#recounted_at >= recount_every || this.#recounted_at > now) {
        yield* this.#recount(target, signal)
        this.#recounted_at = now
        yield this.#page([])
      }
      await clock.sleep(poll, signal)
    }
  }

  /** Counts from the overlap to `to`, reads what changed, and moves the mark. */
  async *#advance(to: number, signal: AbortSignal): AsyncGenerator<AzurePage> {
    const { reader, overlap, recount_over } = this.#options
    const from = this.#overlapFrom()
    if (to > from) {
      const bins = await reader.survey({ from, to }, MINUTE, signal)
      yield* this.#readChanged(bins, (bin) => bin.rows > (this.#held.minute(bin.from) ?? Infinity), signal)
      this.#scanned_to = Math.max(this.#scanned_to, to)
    }
    this.#held.age(floor(this.#scanned_to - overlap - 60 * MINUTE, TEN_MINUTES), floor(this.#scanned_to - recount_over, TEN_MINUTES))
    yield this.#page([])
  }

  /** Counts everything that is still remembered again: what the overlap was too short for is found here. */
  async *#recount(target: number, signal: AbortSignal): AsyncGenerator<AzurePage> {
    const { reader, recount_over, stream } = this.#options
    const from = Math.max(this.#since ?? target, floor(target - recount_over, TEN_MINUTES) + TEN_MINUTES)
    const to = floor(this.#overlapFrom(), TEN_MINUTES)
    if (to <= from) return
    const bins: Bin[] = []
    for (let at = from; at < to; at += 4 * STEP_MS) bins.push(...(await reader.survey({ from: at, to: Math.min(to, at + 4 * STEP_MS) }, TEN_MINUTES, signal)))
    yield* this.#readChanged(bins, (bin) => bin.rows > this.#held.ten(bin.from), signal)
    const counted = bins.reduce((sum, bin) => sum + bin.rows, 0)
    const held = bins.reduce((sum, bin) => sum + Math.min(bin.rows, this.#held.ten(bin.from)), 0)
    this.#completeness = counted === 0 ? 1 : held / counted
    complete.set({ stream }, this.#completeness)
  }

  async *#readChanged(bins: readonly Bin[], changed: (bin: Bin) => boolean, signal: AbortSignal): AsyncGenerator<AzurePage> {
    for (const { window, rows } of planReads(bins, changed, this.#options.caps)) {
      yield* this.#read(window, rows, signal)
      if (signal.aborted) return
    }
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
        yield { records: part.map((row) => this.#record(row)), next: before }
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
    return { records, next: this.#checkpoint(), scanned_to: this.#scanned_to - this.#options.event_delay, ...completeness }
  }

  #checkpoint(): AzureCheckpoint {
    return { since: this.#since ?? 0, scanned_to: this.#scanned_to, held: this.#held.encode(), recounted_at: this.#recounted_at }
  }

  #overlapFrom(): number {
    return Math.max(this.#since ?? 0, floor(this.#scanned_to - this.#options.overlap, MINUTE))
  }
}
