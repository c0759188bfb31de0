/**
 * The loop around sources: read a page, publish it, then the checkpoint, then the progress. In that order: a checkpoint moves only
 * after the bus says durable, progress only after the checkpoint, so a crash repeats work (same ids) and never skips any.
 */
import type { Bus } from '../bus/bus.ts'
import type { Clock } from '../runtime/clock.ts'
import { crashPoint } from '../runtime/crash.ts'
import { messageOf, PermanentError, TransientError, UsageError } from '../runtime/errors.ts'
import type { Logger } from '../runtime/log.ts'
import { counter, gauge } from '../runtime/metrics.ts'
import { type Random, systemRandom } from '../runtime/random.ts'
import { fullJitter, retry } from '../runtime/retry.ts'
import type { StateStore } from '../store/store.ts'
import { createOccurrences } from './occurrences.ts'
import type { Pipeline } from './pipeline.ts'
import { Announcer } from './progress.ts'
import { publishPage } from './publish.ts'
import type { Page } from './source.ts'
import { asCollectorSource, type CollectorSource } from './sources/index.ts'

export { type IngestSummary, runIngest } from './run.ts'

const blindStreams = gauge('tokenwatch_ingest_blind', '1 while a stream cannot be read', ['source', 'stream'] as const)
const lateTotal = counter('tokenwatch_ingest_late_total', 'events found behind what was said to be complete', ['source'] as const)
const readFailures = counter('tokenwatch_ingest_read_failures_total', 'reads that failed and are tried again', ['source', 'kind'] as const)

export interface CollectorOptions {
  /** Milliseconds between two checkpoints and progress records of a busy stream. Default 1,000: what a crash repeats at most. */
  checkpoint_every?: number
  /** How far records of a stream may be out of order, ms. Default 60,000. */
  order_tolerance?: number
  /** Wait before a stream that cannot be read (permission, missing file) is tried again, ms. Default 60,000. */
  blind_retry?: number
}

export interface CollectorDeps {
  sources: readonly CollectorSource[]
  pipeline: Pipeline
  bus: Bus
  state: StateStore
  clock: Clock
  log: Logger
  random?: Random
  options?: CollectorOptions
}

const SCOPE = 'checkpoints'
// A glitch heals by itself; after this many failures in a row the stream is called blind, so that nobody waits for it.
const BLIND_AFTER = 5
/** Ids of requests, traces and times in what a cloud says: the same trouble with others is no news. */
const CHANGES_EACH_TIME = /[\da-f]*\d[\da-f]*(?:[-:.][\da-f]+)*/gi

/** Resolves when the signal aborts, or when every source has come to its end; one bad source never stops the others. */
export async function runCollector(deps: CollectorDeps, signal: AbortSignal): Promise<void> {
  const known = new Set<string>()
  const open = (sources: readonly CollectorSource[]): Stream[] =>
    sources.filter((source) => !known.has(keyOf(source)) && known.add(keyOf(source))).map((source) => new Stream(source, deps, begin))
  // What a stream throws that was found while others run ends the collector, as theirs does.
  const found: Promise<void>[] = []
  let fail: (error: unknown) => void = () => undefined
  const failure = new Promise<never>((_, reject) => (fail = reject))
  failure.catch(() => undefined)
  const begin = async (sources: readonly CollectorSource[]): Promise<void> => {
    const streams = open(sources)
    await Promise.all(streams.map((stream) => stream.start(signal)))
    found.push(...streams.map((stream) => stream.run(signal).catch(fail)))
  }
  const streams = open(deps.sources)
  await Promise.all(streams.map((stream) => stream.start(signal)))
  await Promise.race([failure, Promise.all(streams.map((stream) => stream.run(signal)))])
  while (found.length > 0) await Promise.race([failure, Promise.all(found.splice(0))])
}

const keyOf = (source: CollectorSource): string => `${source.id} ${source.stream}`

class Stream {
  readonly #source: CollectorSource
  readonly #deps: CollectorDeps
  readonly #begin: (sources: readonly CollectorSource[]) => Promise<void>
  readonly #log: Logger
  readonly #key: string
  readonly #announcer: Announcer
  readonly #every: number
  readonly #pipeline: Pipeline
  #occurrence = createOccurrences()
  #after: unknown
  #stored = ''
  #stored_at = -Infinity
  #failures = 0
  #blind = false
  /** Why, without what differs from try to try. */
  #reason = ''
  readonly #named = new Set<string>()

  constructor(source: CollectorSource, deps: CollectorDeps, begin: (sources: readonly CollectorSource[]) => Promise<void>) {
    this.#source = source
    this.#deps = deps
    this.#begin = begin
    this.#key = keyOf(source)
    this.#log = deps.log.with({ source: source.id, stream: source.stream })
    this.#pipeline = source.formats === undefined ? deps.pipeline : deps.pipeline.withFormats(source.formats)
    this.#every = deps.options?.checkpoint_every ?? 1_000
    const { bus, clock, log } = deps
    this.#announcer = new Announcer(
      { bus, clock, log, run_id: null, order_tolerance: deps.options?.order_tolerance ?? 60_000 },
      { key: this.#key, kind: source.kind, stream: source.stream },
    )
  }

  /** Says that the stream is there, before any stream says how far it is: else the watermark would run ahead of the slow ones. */
  async start(signal: AbortSignal): Promise<void> {
    this.#tellBlind(0)
    await this.#announcer.send({}, signal).catch((error: unknown) => this.#unlessAborted(error, signal))
  }

  async run(signal: AbortSignal): Promise<void> {
    try {
      const stored = await this.#waitFor('the store', signal, () => this.#deps.state.get(SCOPE, this.#key))
      this.#after = stored === undefined ? undefined : this.#decode(stored)
      while (!signal.aborted) {
        if (await this.#pass(signal)) return
      }
    } catch (error) {
      this.#unlessAborted(error, signal)
    }
  }

  /** One read from the last checkpoint on. true: the source has come to its end. */
  async #pass(signal: AbortSignal): Promise<boolean> {
    try {
      for await (const page of this.#source.read(this.#after, signal)) {
        await this.#take(page, signal)
        if (page.done === true) return true
        if (signal.aborted) break
      }
      // What was published must not be published again after a restart.
      if (signal.aborted) await this.#store()
      else await this.#deps.clock.sleep(this.#every, signal)
      return false
    } catch (error) {
      if (signal.aborted) throw error
      await this.#failed(error, signal)
      return false
    }
  }

  async #take(page: Page<unknown>, signal: AbortSignal): Promise<void> {
    const { bus, clock } = this.#deps
    if (page.records.length > 0) {
      const deps = { pipeline: this.#pipeline, bus, clock, log: this.#log, run_id: null }
      const times = await publishPage(page.records, this.#occurrence, this.#announcer.scanned_to, this.#announcer.counts, deps, signal).catch((error: unknown) => {
        // Counted but not published: when the page is read again its twins must be counted from the start.
        this.#occurrence = createOccurrences()
        throw error
      })
      this.#announcer.saw(times, page.records)
      if (times.late > 0) lateTotal.inc({ source: this.#source.kind }, times.late)
    }
    this.#after = page.next
    this.#announcer.scanned(page.scanned_to)
    this.#announcer.compared(page.completeness)
    if (page.found !== undefined) await this.#begin(page.found.map((source) => asCollectorSource(source, this.#source)))
    this.#healed()
    const idle = page.records.length === 0
    if (page.done === true || idle || Math.abs(clock.now() - this.#stored_at) >= this.#every) {
      await this.#waitFor('the store', signal, () => this.#store())
      crashPoint('collector.after-checkpoint')
      await this.#announcer.send({ done: page.done === true }, signal)
    }
  }

  /** A checkpoint that cannot be read costs a re-read, never a stop: ids make the repetition harmless. */
  #decode(stored: Uint8Array): unknown {
    try {
      return JSON.parse(Buffer.from(stored).toString('utf8'))
    } catch (error) {
      this.#log.error('the checkpoint cannot be read: the stream is read from its begin', { error: messageOf(error) })
      return undefined
    }
  }

  async #store(): Promise<void> {
    const text = JSON.stringify(this.#after)
    if (this.#after === undefined || text === this.#stored) return
    await this.#deps.state.put(SCOPE, new Map([[this.#key, Buffer.from(text)]]))
    this.#stored = text
    this.#stored_at = this.#deps.clock.now()
  }

  /** The world is away: again with jitter. It says no for good (permission, missing file): blind, named once, again slowly. */
  async #failed(error: unknown, signal: AbortSignal): Promise<void> {
    const { clock, random = systemRandom, options } = this.#deps
    const permanent = error instanceof PermanentError || error instanceof UsageError
    this.#failures++
    readFailures.inc({ source: this.#source.kind, kind: permanent ? 'permanent' : 'transient' })
    if (permanent || (this.#failures >= BLIND_AFTER && !this.#blind)) await this.#goBlind(messageOf(error), signal)
    else if (!this.#blind) this.#log.warn('reading failed: trying again', { error: messageOf(error) })
    const wished = error instanceof TransientError ? error.retry_after_ms : undefined
    const slow = options?.blind_retry ?? 60_000
    await clock.sleep(permanent ? slow / 2 + random() * (slow / 2) : (wished ?? fullJitter(this.#failures, random)), signal)
  }

  /** Each reason is named once. A new one takes the place of the old: who has renewed the secret must hear that the role is gone, too. */
  async #goBlind(message: string, signal: AbortSignal): Promise<void> {
    const reason = message.replaceAll(CHANGES_EACH_TIME, '#')
    if (this.#blind && reason === this.#reason) return
    this.#blind = true
    this.#reason = reason
    this.#tellBlind(1)
    if (!this.#named.has(reason)) this.#log.error('a stream cannot be read: it is tried again until it can', { error: message })
    this.#named.add(reason)
    await this.#announcer.send({ blind: message }, signal)
  }

  /** With the labels of the other metrics of a stream, or nobody could lay them beside each other. */
  #tellBlind(value: 0 | 1): void {
    blindStreams.set({ source: this.#source.kind, stream: this.#source.stream }, value)
  }

  #healed(): void {
    this.#failures = 0
    if (!this.#blind) return
    this.#blind = false
    this.#named.clear()
    this.#tellBlind(0)
    this.#log.info('the stream can be read again')
  }

  #waitFor<T>(what: string, signal: AbortSignal, work: () => Promise<T>): Promise<T> {
    return retry(work, { clock: this.#deps.clock, signal, log: this.#log, what, retryable: () => true })
  }

  #unlessAborted(error: unknown, signal: AbortSignal): void {
    if (!signal.aborted) throw error
  }
}
