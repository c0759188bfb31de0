/** The finite variant: files are read once, under a run id of their own, and counted. No checkpoints: a run that fails is started again. */
import type { Bus } from '../bus/bus.ts'
import type { Clock } from '../runtime/clock.ts'
import { PermanentError, UsageError } from '../runtime/errors.ts'
import type { Logger } from '../runtime/log.ts'
import { systemRandom } from '../runtime/random.ts'
import { fullJitter } from '../runtime/retry.ts'
import type { Held } from './join-held.ts'
import { RunJoin } from './join.ts'
import { createOccurrences } from './occurrences.ts'
import type { Pipeline } from './pipeline.ts'
import { Announcer } from './progress.ts'
import { publishJoined, publishPage } from './publish.ts'
import type { Page } from './source.ts'
import type { CollectorSource } from './sources/index.ts'

export interface IngestSummary {
  /** records = accepted + sums of skipped and rejected. */
  records: number
  accepted: number
  skipped: Record<string, number>
  rejected: Record<string, number>
  events: { usage: number; secret_access: number; credential_change: number }
}

export interface RunDeps {
  sources: readonly CollectorSource[]
  pipeline: Pipeline
  bus: Bus
  run_id: string
  clock: Clock
  log: Logger
  /** What the store holds of requests of which the run has one side only; absent: nothing is looked up. */
  held?: Held
  /** Called after each page, for a progress bar. */
  progress?: (records: number) => void
}

/** Exports are merged from many writers: an hour of disorder is common, and waiting for it costs nothing in a run. */
const ORDER_TOLERANCE = 3_600_000
const MAX_TRIES = 5

/**
 * Reads every source to its end, the one that lies furthest back in event time next, so that the watermark of the run can
 * follow. Resolves when all is durable on the bus and each stream is said to be done. Rejects when a source cannot be read.
 */
export async function runIngest(deps: RunDeps, signal: AbortSignal): Promise<IngestSummary> {
  const join = new RunJoin(deps.pipeline, deps.held)
  const readers = deps.sources.map((source) => new Reading(source, deps, join))
  // All streams first: a stream that nobody has heard of does not hold the watermark back.
  for (const reader of readers) await reader.announcer.send({}, signal)
  const open = new Set(readers)
  try {
    while (open.size > 0) {
      signal.throwIfAborted()
      let next: Reading | undefined
      for (const reader of open) if (next === undefined || reader.position < next.position) next = reader
      if (next !== undefined && (await next.step(open.size === 1, signal))) {
        open.delete(next)
        await next.close()
      }
      deps.progress?.(readers.reduce((sum, reader) => sum + reader.announcer.counts.records, 0))
    }
  } finally {
    for (const reader of open) await reader.close()
  }
  return summaryOf(readers)
}

class Reading {
  readonly announcer: Announcer
  readonly #source: CollectorSource
  readonly #deps: RunDeps
  readonly #join: RunJoin
  readonly #pipeline: Pipeline
  readonly #occurrence = createOccurrences()
  #pages: AsyncIterator<Page<unknown>> | undefined
  #after: unknown
  #failures = 0

  constructor(source: CollectorSource, deps: RunDeps, join: RunJoin) {
    this.#source = source
    this.#deps = deps
    this.#join = join
    this.#pipeline = source.formats === undefined ? deps.pipeline : deps.pipeline.withFormats(source.formats)
    const { bus, clock, log, run_id } = deps
    this.announcer = new Announcer(
      { bus, clock, log, run_id, order_tolerance: ORDER_TOLERANCE, patient: true },
      { key: `${source.id} ${source.stream}`, kind: source.kind, stream: source.stream },
    )
  }

  /** Event time that was reached; -Infinity before the first event. */
  get position(): number {
    return this.announcer.last_event_time ?? -Infinity
  }

  /** One page. true: that was the last one, and it was said. `is_last`: no other stream is open, so nothing more joins what waits. */
  async step(is_last: boolean, signal: AbortSignal): Promise<boolean> {
    const page = await this.#next(signal)
    signal.throwIfAborted()
    const { announcer } = this
    const deps = { ...this.#deps, pipeline: this.#pipeline, join: this.#join }
    if (page !== undefined && page.records.length > 0) {
      announcer.saw(await publishPage(page.records, this.#occurrence, announcer.scanned_to, announcer.counts, deps, signal))
    }
    this.#after = page?.next ?? this.#after
    announcer.scanned(page?.scanned_to)
    const done = page === undefined || page.done === true
    if (done && is_last) announcer.saw(await publishJoined(await this.#join.flush(deps.clock.now()), announcer.scanned_to, announcer.counts, deps, signal))
    await announcer.send({ done }, signal)
    return done
  }

  /** Lets the source close its files. */
  async close(): Promise<void> {
    await this.#pages?.return?.()
  }

  /** The next page, from the last one on after a glitch. undefined: the iterator has ended. */
  async #next(signal: AbortSignal): Promise<Page<unknown> | undefined> {
    for (;;) {
      try {
        this.#pages ??= this.#source.read(this.#after, signal)[Symbol.asyncIterator]()
        const { done, value } = await this.#pages.next()
        this.#failures = 0
        return done === true ? undefined : value
      } catch (error) {
        this.#pages = undefined
        if (signal.aborted || error instanceof PermanentError || error instanceof UsageError || ++this.#failures >= MAX_TRIES) throw error
        await this.#deps.clock.sleep(fullJitter(this.#failures, systemRandom), signal)
      }
    }
  }
}

function summaryOf(readers: readonly Reading[]): IngestSummary {
  const summary: IngestSummary = { records: 0, accepted: 0, skipped: {}, rejected: {}, events: { usage: 0, secret_access: 0, credential_change: 0 } }
  for (const { announcer } of readers) {
    const { counts } = announcer
    summary.records += counts.records
    summary.accepted += counts.accepted
    for (const [why, count] of counts.skipped) summary.skipped[why] = (summary.skipped[why] ?? 0) + count
    for (const [why, count] of counts.rejected) summary.rejected[why] = (summary.rejected[why] ?? 0) + count
    summary.events.usage += counts.events['usage.v1']
    summary.events.secret_access += counts.events['secret-access.v1']
    summary.events.credential_change += counts.events['credential-change.v1']
  }
  return summary
}
