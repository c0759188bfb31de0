/** One log group as a source: scans the windows that scan.ts plans, gives what is new, keeps no token and no page. */
import type { Clock } from '../../../runtime/clock.ts'
import { messageOf, PermanentError } from '../../../runtime/errors.ts'
import type { Logger } from '../../../runtime/log.ts'
import type { Page, RawRecord, Source } from '../../source.ts'
import type { CloudWatchApi, LogEvent, LogPage } from './api.ts'
import { Comparison, rangesOf } from './compare.ts'
import { addToCell, type Cell, emptyCell, Held } from './held.ts'
import { ThrottledError, translate } from './failures.ts'
import { Lateness } from './lateness.ts'
import { cloudwatchMetrics as metrics } from './metrics.ts'
import { RECONCILE_EVERY_MS, Reconciliation } from './reconcile.ts'
import { dueHot, dueReread, finished, firstState, HOUR_MS, hourOf, MINUTE_MS, minuteOf, type ScanSettings, type ScanState, scanState, type ScanWindow, slicesOf } from './scan.ts'
import type { RequestShare } from './throttle.ts'

export const SOURCE_ID = 'cloudwatch-logs'

export interface GroupSettings extends ScanSettings {
  /** How far back the first start begins, ms. */
  start: number
  /** How long after the event its log line may be written, ms: detectors wait so long. */
  written_after: number
  /** Event ids kept for this group. */
  ids: number
  reconcile: boolean
  /** How old a minute must be before it is compared with the metric, ms. */
  settle: number
  pattern?: string | undefined
}

export interface GroupOptions {
  /** Name of the stream: account, region and group. */
  stream: string
  group: string
  region: string
  /** For messages: the role, or the default credentials. */
  identity: string
  api: CloudWatchApi
  share: RequestShare
  clock: Clock
  log: Logger
  settings: GroupSettings
}

type Pages = AsyncGenerator<Page<ScanState>, void, undefined>
type Scan = ScanWindow['tier'] | 'republish'

// Minutes are told apart as long as the cold scan goes back; the hours behind it only as a whole.
const KEEP_MINUTES_MS = 26 * HOUR_MS
const UNMEASURED_LATENESS_MS = 30_000
// A scan of the newest events that takes so long cannot keep up; it is said once.
const SLOW_SCAN_MS = 300_000
const METRIC_DENIED_RETRY_MS = HOUR_MS

export const createGroupSource = (options: GroupOptions): Source<ScanState> => new GroupSource(options)

class GroupSource implements Source<ScanState> {
  readonly stream: string
  readonly #options: GroupOptions
  readonly #lateness = new Lateness()
  #held: Held | undefined
  #reconciliation = new Reconciliation(null)
  #state: ScanState
  #reread: { window: ScanWindow; left: { from: number; to: number }[] } | undefined
  #hot_run = -Infinity
  /** Event time from which on a hot scan of this process has looked: what is found there later is a late find. */
  #watched_since = Infinity
  #reconcile_at = -Infinity
  #metric_denied = false
  #slow = false

  constructor(options: GroupOptions) {
    this.#options = options
    this.stream = options.stream
    this.#state = firstState(options.clock.now(), options.settings.start)
  }

  async *read(after: unknown, signal: AbortSignal): Pages {
    const { clock, settings } = this.#options
    this.#begin(after)
    // The floor is kept from the first moment on: a start that is cut short must not move it.
    if (after === undefined) yield this.#page([], this.#state, undefined)
    while (!signal.aborted) {
      yield* this.#hotIfDue(signal)
      if (this.#hotWindow(clock.now()) !== undefined) continue // catching up
      yield* this.#reconcile(signal)
      const window = this.#reread?.window ?? dueReread(this.#state, clock.now(), settings)
      if (window !== undefined) yield* this.#rereadOn(window, signal)
      else await clock.sleep(Math.max(1, this.#hot_run + settings.every.hot - clock.now()), signal)
    }
  }

  /** Asks for one event, and for the metric: the message of the throw names the missing permission. */
  async probe(signal: AbortSignal): Promise<void> {
    const { clock, settings, api, group } = this.#options
    const now = clock.now()
    await this.#request({ tier: 'hot', from: now - MINUTE_MS, to: now }, undefined, 'hot', signal)
    if (!this.#reconciles) return
    const to = minuteOf(now - settings.settle)
    await api.incomingLogEvents({ group, from: to - MINUTE_MS, to }, signal).catch((error: unknown) => this.#translate(error, 'cloudwatch:GetMetricData', signal))
  }

  #begin(after: unknown): void {
    const { clock, settings, log } = this.#options
    const stored = scanState.safeParse(after)
    if (stored.success) this.#state = stored.data
    else {
      if (after !== undefined) log.warn('the checkpoint is of another kind: the group is read as on a first start', { stream: this.stream })
      this.#state = firstState(clock.now(), settings.start)
      this.#reread = undefined
    }
    if (this.#held !== undefined) return
    this.#held = new Held(settings.ids, KEEP_MINUTES_MS, this.#state.hours)
    // Minutes that the metric counted while nobody was here: what came late meanwhile is found by the rescans, which are compared, too.
    const oldest = minuteOf(this.#state.hot_scanned_to) + MINUTE_MS
    this.#reconciliation = new Reconciliation(stored.success ? (this.#state.last_reconciled_minute ?? oldest) : minuteOf(clock.now()) + MINUTE_MS)
  }

  get #ours(): Held {
    return (this.#held ??= new Held(this.#options.settings.ids, KEEP_MINUTES_MS))
  }

  /** The horizon of the warm scan; after an outage it moves along with what is caught up. */
  get #ids_since(): number {
    const { clock, settings } = this.#options
    return Math.min(clock.now(), this.#state.hot_scanned_to) - settings.overlap.warm - settings.every.warm
  }

  get #overlap(): number {
    const { overlap } = this.#options.settings
    return this.#lateness.overlap(overlap.hot, overlap.warm)
  }

  #hotWindow(now: number): ScanWindow | undefined {
    if (this.#hot_run > now) this.#hot_run = now // the clock was set back
    return dueHot(this.#state, now, this.#hot_run, this.#options.settings, this.#overlap)
  }

  async *#hotIfDue(signal: AbortSignal): Pages {
    const { clock, settings } = this.#options
    const started = clock.now()
    const window = this.#hotWindow(started)
    if (window === undefined) return
    const before = this.#state.hot_scanned_to
    let token: string | undefined
    do {
      const page = await this.#request(window, token, 'hot', signal)
      token = page.token
      const fresh = once(page.events).filter((event) => !this.#ours.has(event))
      metrics.suppressed.inc({ stream: this.stream }, page.events.length - fresh.length)
      const next = token === undefined ? finished(this.#state, window, settings) : this.#state
      // Pages come in order of event time: what lies before the last event of a page is read.
      const scanned = token === undefined ? window.to : page.events.at(-1)?.timestamp
      if (fresh.length > 0 || token === undefined) yield this.#page(fresh, next, scanned)
      this.#measure(fresh, before)
      for (const event of fresh) this.#ours.add(event, this.#ids_since)
      this.#state = next
    } while (token !== undefined)
    this.#hot_run = started
    if (clock.now() - started > SLOW_SCAN_MS && started - before < SLOW_SCAN_MS && !this.#slow) {
      this.#slow = true
      const cure = 'let CloudWatch push this group (docs/cloudwatch-logs.md), or narrow it by filter_pattern'
      this.#options.log.warn('a log group writes more than the request quota of AWS lets anybody read in time', {
        stream: this.stream,
        seconds: Math.round((clock.now() - started) / 1000),
        cure,
      })
    }
    this.#watched_since = Math.min(this.#watched_since, window.from)
    this.#ours.compact(clock.now(), this.#ids_since)
  }

  /** One slice of a rescan; the hot scan has its turn between two pages. A failed slice is begun again, the marks move at the very end. */
  async *#rereadOn(window: ScanWindow, signal: AbortSignal): Pages {
    const { settings, clock } = this.#options
    const reread = (this.#reread ??= { window, left: slicesOf(window) })
    const slice = reread.left[0]
    if (slice !== undefined) {
      const comparison = new Comparison(this.#ours, this.#ids_since, this.#watched_since)
      let token: string | undefined
      do {
        yield* this.#hotIfDue(signal)
        const page = await this.#request({ tier: window.tier, ...slice }, token, window.tier, signal)
        token = page.token
        const { fresh, late } = comparison.take(once(page.events))
        metrics.suppressed.inc({ stream: this.stream }, page.events.length - fresh.length)
        if (fresh.length > 0) yield this.#page(fresh, this.#state, undefined)
        for (const event of fresh) if (comparison.byId(event)) this.#ours.add(event, this.#ids_since)
        this.#foundLate(late, window.tier)
      } while (token !== undefined)
      const differing = comparison.settle()
      for (const range of rangesOf(differing)) yield* this.#republish(range.from, range.to, signal)
      reread.left.shift()
    }
    if (reread.left.length > 0) return
    const hours = this.#ours.encode(clock.now() - settings.overlap.deep - settings.every.deep, hourOf(this.#state.warm_scanned_to - settings.overlap.warm))
    this.#state = { ...finished(this.#state, window, settings), hours }
    this.#reread = undefined
    yield this.#page([], this.#state, undefined)
  }

  /** Minutes that differ from what was published of them, and nobody knows in which event: all of them once more. */
  async *#republish(from: number, to: number, signal: AbortSignal): Pages {
    const cells = new Map<number, Cell>()
    let token: string | undefined
    do {
      const page = await this.#request({ tier: 'warm', from, to }, token, 'republish', signal)
      token = page.token
      const events = once(page.events)
      if (events.length > 0) yield this.#page(events, this.#state, undefined)
      metrics.republished.inc({ stream: this.stream }, events.length)
      for (const event of events) {
        const minute = minuteOf(event.timestamp)
        const cell = cells.get(minute) ?? emptyCell()
        addToCell(cell, event)
        cells.set(minute, cell)
      }
    } while (token !== undefined)
    for (const [minute, cell] of cells) this.#ours.set(minute, cell)
  }

  get #reconciles(): boolean {
    // The metric counts every event of the group: with a pattern there is nothing to compare.
    return this.#options.settings.reconcile && this.#options.settings.pattern === undefined
  }

  /** Never stops collecting: without the permission completeness is unknown, which is said once. */
  async *#reconcile(signal: AbortSignal): Pages {
    const { api, clock, group, settings, log } = this.#options
    const now = clock.now()
    if (!this.#reconciles || (now < this.#reconcile_at && this.#reconcile_at < now + METRIC_DENIED_RETRY_MS * 2)) return
    this.#reconcile_at = now + RECONCILE_EVERY_MS
    const minutes = this.#reconciliation.due(now, settings.settle)
    if (minutes === undefined) return
    try {
      const counts = await api.incomingLogEvents({ group, ...minutes }, signal)
      this.#reconciliation.compare(counts, minutes.to, this.#ours.ingested())
    } catch (error) {
      this.#metricFailed(error, signal)
      return
    }
    this.#metric_denied = false
    this.#state = this.#agreed({ ...this.#state, last_reconciled_minute: this.#reconciliation.next })
    // Not before the running rescan is done: it may find what is missing, and an answer that nobody follows is used up.
    const answer = this.#reread === undefined ? this.#reconciliation.answer() : undefined
    if (answer !== undefined) {
      log.warn('CloudWatch counted more events than were found: scanning again', { stream: this.stream, missing: this.#reconciliation.missing, scan: answer.tier })
      const from = Math.max(this.#state.floor, hourOf(answer.first - settings.overlap[answer.tier]))
      const window: ScanWindow = { tier: answer.tier, from, to: minuteOf(this.#state.hot_scanned_to) - 1 }
      if (window.from < window.to) this.#reread = { window, left: slicesOf(window) }
    }
    metrics.completeness.set({ stream: this.stream }, this.#reconciliation.completeness ?? Number.NaN)
    yield this.#page([], this.#state, undefined)
  }

  /** Where the metric agrees in every minute since their last run, the scans of a day and of 15 days are done: they read all of it. */
  #agreed(state: ScanState): ScanState {
    const next = { ...state }
    for (const mark of ['cold_scanned_to', 'deep_scanned_to'] as const) {
      const to = this.#reconciliation.agreedSince(state[mark])
      if (to !== undefined) next[mark] = Math.max(state[mark], to - 1)
    }
    return next
  }

  #metricFailed(error: unknown, signal: AbortSignal): void {
    const { clock, log } = this.#options
    try {
      this.#translate(error, 'cloudwatch:GetMetricData', signal)
    } catch (translated) {
      if (signal.aborted) throw translated
      if (!(translated instanceof PermanentError)) return
      this.#reconcile_at = clock.now() + METRIC_DENIED_RETRY_MS
      if (!this.#metric_denied) log.warn('completeness cannot be told: the metric IncomingLogEvents cannot be read', { stream: this.stream, error: messageOf(translated) })
      this.#metric_denied = true
    }
  }

  async #request(window: ScanWindow, token: string | undefined, scan: Scan, signal: AbortSignal): Promise<LogPage> {
    const { api, group, settings, share } = this.#options
    await share.take(this.stream, scan === 'hot', signal)
    signal.throwIfAborted()
    const count = (outcome: string): void => metrics.requests.inc({ stream: this.stream, scan, outcome })
    const { from, to } = window
    const query = { group, from, to, ...(token === undefined ? {} : { token }), ...(settings.pattern === undefined ? {} : { pattern: settings.pattern }) }
    try {
      const page = await api.filterLogEvents(query, signal)
      share.succeeded()
      count('ok')
      return page
    } catch (error) {
      count('failed')
      return this.#translate(error, 'logs:FilterLogEvents', signal, token !== undefined)
    } finally {
      metrics.share.set({ stream: this.stream }, share.rate)
    }
  }

  #translate(error: unknown, action: string, signal: AbortSignal, token = false): never {
    const { group, region, identity, share } = this.#options
    try {
      return translate(error, { action, resource: group, region, identity, token }, signal)
    } catch (translated) {
      if (translated instanceof ThrottledError) {
        share.throttled()
        metrics.throttled.inc({ stream: this.stream })
      }
      throw translated
    }
  }

  /** `scanned`: everything up to here was read. What is usually late is not said to be complete yet. */
  #page(events: readonly LogEvent[], next: ScanState, scanned: number | undefined): Page<ScanState> {
    const { written_after } = this.#options.settings
    const settle = Math.min(this.#overlap, this.#lateness.usual ?? UNMEASURED_LATENESS_MS) + written_after
    const origin = { source: SOURCE_ID, stream: this.stream }
    return {
      records: events.map((event): RawRecord => ({ id: event.eventId, at: event.timestamp, ingested_at: event.ingestionTime, body: event.message, origin })),
      next,
      completeness: this.#reconciliation.completeness,
      // Without a new end the last word stands: a rescan says nothing of the present.
      scanned_to: (scanned ?? this.#state.hot_scanned_to) - settle,
    }
  }

  #measure(fresh: readonly LogEvent[], before: number): void {
    const now = this.#options.clock.now()
    const { stream } = this
    let late = 0
    for (const { timestamp, ingestionTime } of fresh) {
      const cloud = ingestionTime === null ? 0 : Math.max(0, ingestionTime - timestamp)
      const missed = timestamp >= this.#watched_since && timestamp <= before && this.#ours.knows(timestamp) !== 'digest'
      if (missed) late++
      this.#lateness.add(missed ? now - timestamp : cloud)
      metrics.visible.observe({ stream }, Math.max(0, now - timestamp) / 1000)
      if (ingestionTime === null) continue
      metrics.cloudDelay.observe({ stream }, cloud / 1000)
      metrics.ourDelay.observe({ stream }, Math.max(0, now - ingestionTime) / 1000)
    }
    if (late > 0) metrics.lateFinds.inc({ stream, scan: 'hot' }, late)
    metrics.overlap.set({ stream }, this.#overlap / 1000)
  }

  /** A rescan found what the hot scan could not see: it was visible later than the overlap, we do not know how much. */
  #foundLate(events: readonly LogEvent[], tier: ScanWindow['tier']): void {
    const overlap = this.#overlap
    for (const { timestamp, ingestionTime } of events) this.#lateness.add(Math.max((ingestionTime ?? 0) - timestamp, overlap * 2))
    if (events.length > 0) metrics.lateFinds.inc({ stream: this.stream, scan: tier }, events.length)
  }
}

/** An id that a page holds twice is one event. */
function once(events: readonly LogEvent[]): LogEvent[] {
  const seen = new Set<string>()
  return events.filter(({ eventId }) => !seen.has(eventId) && seen.add(eventId))
}
