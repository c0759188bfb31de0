/** What a collector says of a stream on progress.v1: how far it has been read, what became of the records. */
import type { Bus } from '../bus/bus.ts'
import type { Clock } from '../runtime/clock.ts'
import type { Logger } from '../runtime/log.ts'
import { plainText } from '../runtime/text.ts'
import { retry } from '../runtime/retry.ts'
import { gauge, histogram } from '../runtime/metrics.ts'
import { LATE_BOUNDS_MS, type Progress } from '../schemas/progress.ts'
import { Delays } from './delays.ts'
import { noCounts, type PageTimes } from './publish.ts'
import { redactText } from './redact.ts'
import type { RawRecord } from './source.ts'

const scannedTo = gauge('tokenwatch_ingest_scanned_to_seconds', 'everything before this epoch second is published; time() minus it is the lag', ['source', 'stream'] as const)
const lateSeconds = histogram(
  'tokenwatch_ingest_late_seconds',
  'late events: how long after their event they were found',
  ['source', 'stream'] as const,
  LATE_BOUNDS_MS.map((ms) => ms / 1000),
)

interface AnnouncerDeps {
  bus: Bus
  clock: Clock
  log: Logger
  run_id: string | null
  /** How far records of a stream may be out of order, ms. */
  order_tolerance: number
  /** A finite run waits for a stream that turns out to be unsorted; live, one odd record would hold everybody up. */
  patient?: boolean
}

export class Announcer {
  readonly counts = noCounts()
  readonly #deps: AnnouncerDeps
  readonly #stream: { key: string; kind: string; stream: string }
  #scanned_to: number | null = null
  #last: number | null = null
  #late = 0
  #completeness: number | null = null
  #disorder = 0
  readonly #delays = new Delays()

  /** `key`: source and stream; `kind`: plugin id. */
  constructor(deps: AnnouncerDeps, stream: { key: string; kind: string; stream: string }) {
    this.#deps = deps
    this.#stream = stream
  }

  get scanned_to(): number | null {
    return this.#scanned_to
  }

  /** Newest event time so far. */
  get last_event_time(): number | null {
    return this.#last
  }

  /** What the source says of events held against events counted; absent: it says nothing new. */
  compared(completeness: number | null | undefined): void {
    if (completeness !== undefined) this.#completeness = completeness === null ? null : Math.min(1, Math.max(0, completeness))
  }

  /** A page that is durable on the bus. */
  saw(times: PageTimes, records: readonly RawRecord[] = []): void {
    this.#late += times.late
    this.#sawDelays(times, records)
    const behind = times.first !== null && this.#last !== null ? this.#last - times.first : 0
    this.#disorder = Math.max(this.#disorder, times.disorder, behind)
    if (times.last !== null && (this.#last === null || times.last > this.#last)) this.#last = times.last
  }

  /**
   * `given` is what the source knows: a followed file that was read to its end says the moment of that look, for every line that
   * was written by then is published. While a source only reads on, nothing is known of the lines to come but that they are
   * seldom older than what was seen, so the newest event time minus a tolerance is said; what is older still counts as late.
   * A clock that runs ahead in one record must not close the present, hence never beyond now. It never goes back.
   */
  scanned(given: number | undefined): void {
    const guess = given ?? (this.#last === null ? null : this.#last - this.#tolerance)
    if (guess === null) return
    const said = Math.max(0, Math.min(guess, this.#deps.clock.now()))
    if (this.#scanned_to === null || said > this.#scanned_to) this.#scanned_to = said
  }

  /** In a run of `ingest` nobody waits: how long ago the events happened says nothing. */
  #sawDelays({ late_times }: PageTimes, records: readonly RawRecord[]): void {
    const { clock, run_id } = this.#deps
    if (run_id !== null) return
    const now = clock.now()
    this.#delays.saw(records, now)
    for (const time of late_times) {
      this.#delays.late(now - time)
      lateSeconds.observe(this.#labels, Math.max(0, now - time) / 1000)
    }
  }

  get #labels(): { source: string; stream: string } {
    return { source: this.#stream.kind, stream: this.#stream.stream }
  }

  get #tolerance(): number {
    const { order_tolerance, patient } = this.#deps
    return patient === true ? Math.max(order_tolerance, 2 * this.#disorder) : order_tolerance
  }

  /** Everything is read: nothing older than the newest event will come. */
  finish(): void {
    if (this.#last !== null) this.#scanned_to = Math.max(this.#scanned_to ?? 0, this.#last + 1)
  }

  async send(change: { done?: boolean; blind?: string }, signal: AbortSignal): Promise<void> {
    const { bus, clock, log, run_id } = this.#deps
    if (change.done === true) this.finish()
    const sum = (counts: ReadonlyMap<string, number>): number => [...counts.values()].reduce((total, count) => total + count, 0)
    const at = clock.now()
    const done = change.done ?? false
    if (run_id === null && this.#scanned_to !== null) scannedTo.set(this.#labels, this.#scanned_to / 1000)
    const value: Progress = {
      stream: clean(this.#stream.key),
      source: this.#stream.kind,
      source_stream: clean(this.#stream.stream),
      run_id,
      at,
      scanned_to: this.#scanned_to,
      last_event_time: this.#last,
      completeness: this.#completeness,
      blind: change.blind !== undefined,
      reason: change.blind === undefined ? null : clean(change.blind),
      done,
      records: this.counts.records,
      accepted: this.counts.accepted,
      skipped: sum(this.counts.skipped),
      rejected: sum(this.counts.rejected),
      late: this.#late,
      late_histogram: run_id === null ? [...this.#delays.late_histogram] : [],
      lag_ms: this.#scanned_to === null || done ? null : Math.max(0, at - this.#scanned_to),
      cloud_delay_ms: this.#delays.cloud,
      own_delay_ms: this.#delays.own,
    }
    await retry(() => bus.publish('progress.v1', [value]), { clock, signal, log, what: 'the bus' })
  }
}

const clean = (text: string): string => plainText(redactText(text, { kind: 'id' }), 1024)
