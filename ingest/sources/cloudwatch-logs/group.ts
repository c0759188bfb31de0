/**
 * One log group as a source: scans the windows that scan.ts plans, gives what is new, stores no token and no page. Where it is in
 * its windows outlives a throw: a page that failed, or that was not taken, is asked for again by the same token.
 */
import { messageOf, PermanentError } from '../../../runtime/errors.ts'
import type { Logger } from '../../../runtime/log.ts'
import type { Page, RawRecord, Source } from '../../source.ts'
import type { LogEvent } from './api.ts'
import { Comparison, type Look, rangesOf } from './compare.ts'
import { TokenError } from './failures.ts'
import { Held } from './held.ts'
import { Lateness } from './lateness.ts'
import { cloudwatchMetrics as metrics } from './metrics.ts'
import { RECONCILE_EVERY_MS, Reconciliation } from './reconcile.ts'
import { type RequestOptions, Requests } from './requests.ts'
import { type Reread, Rereads } from './rereads.ts'
import { believable, dueHot, finished, firstState, HOUR_MS, hourOf, isBehind, MINUTE_MS, minuteOf, type ScanSettings, type ScanState, scanState, type ScanWindow } from './scan.ts'

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

export interface GroupOptions extends Omit<RequestOptions, 'pattern'> {
  log: Logger
  settings: GroupSettings
}

type Pages = AsyncGenerator<Page<ScanState>, void, undefined>

/** A hot window that is being read: its next page, and whether one failed. */
interface HotPass {
  window: ScanWindow
  token: string | undefined
  started: number
  pages: number
  failed: boolean
}

// Minutes are told apart as long as the cold scan goes back; the hours behind it only as a whole.
const KEEP_MINUTES_MS = 26 * HOUR_MS
// Digests are kept for a quarter as many parts of minutes as ids, but for what a quiet group needs.
const PARTS_PER_ID = 0.25
const FEWEST_PARTS = 10_000
const UNMEASURED_LATENESS_MS = 30_000
// A scan of the newest events that takes so long cannot keep up; it is said once.
const SLOW_SCAN_MS = 300_000
// CloudWatch takes events that are dated so far ahead.
const AHEAD_MS = 2 * HOUR_MS
// To a hot scan of three pages belongs one of a rescan.
const RESCAN_SHARE = 1 / 3
const METRIC_DENIED_RETRY_MS = HOUR_MS
const STALE_MS = 4 * RECONCILE_EVERY_MS

export const createGroupSource = (options: GroupOptions): Source<ScanState> => new GroupSource(options)

class GroupSource implements Source<ScanState> {
  readonly stream: string
  readonly #options: GroupOptions
  readonly #requests: Requests
  readonly #lateness = new Lateness()
  #held: Held | undefined
  #reconciliation = new Reconciliation(null)
  #state: ScanState
  #hot: HotPass | undefined
  readonly #rereads = new Rereads()
  #hot_run = -Infinity
  /** Pages of rescans before the next hot scan. */
  #rescan_turns = 0
  /** Event time from which on a hot scan of this process has looked: what is found there later is a late find. */
  #watched_since = Infinity
  #reconcile_at = -Infinity
  #compared_at = -Infinity
  #metric_denied = false
  #slow = false

  constructor(options: GroupOptions) {
    this.#options = options
    this.stream = options.stream
    this.#requests = new Requests({ ...options, pattern: options.settings.pattern })
    this.#state = firstState(options.clock.now(), options.settings.start)
  }

  async *read(after: unknown, signal: AbortSignal): Pages {
    const { clock, settings } = this.#options
    this.#begin(after)
    // The floor is kept from the first moment on: a start that is cut short must not move it.
    if (after === undefined) yield this.#page([], this.#state, undefined)
    while (!signal.aborted) {
      this.#believe()
      yield* this.#hotInTurn(signal)
      if (isBehind(this.#state, clock.now(), settings)) continue // catching up
      yield* this.#reconcile(signal)
      const reread = this.#dueReread()
      if (reread !== undefined) yield* this.#rereadOn(reread, signal)
      // Never longer than its interval: the clock may have been set back.
      else await clock.sleep(Math.min(settings.every.hot, Math.max(1, this.#hot_run + settings.every.hot - clock.now())), signal)
    }
  }

  /** Asks for one event, and for the metric: the message of the throw names the missing permission. */
  async probe(signal: AbortSignal): Promise<void> {
    const { clock, settings } = this.#options
    const now = clock.now()
    await this.#requests.filter({ from: now - MINUTE_MS, to: now }, undefined, 'hot', signal)
    if (!this.#reconciles) return
    const to = minuteOf(now - settings.settle)
    await this.#requests.counts({ from: to - MINUTE_MS, to }, signal)
  }

  #begin(after: unknown): void {
    const { clock, settings, log } = this.#options
    const stored = scanState.safeParse(after)
    if (stored.success) this.#state = stored.data
    else {
      if (after !== undefined) log.warn('the checkpoint is of another kind: the group is read as on a first start', { stream: this.stream })
      this.#state = firstState(clock.now(), settings.start)
      this.#hot = undefined
      this.#rereads.forget()
    }
    if (this.#held !== undefined) return
    this.#held = this.#remember(this.#state.hours)
    // Minutes that the metric counted while nobody was here: what came late meanwhile is found by the rescans, which are compared, too.
    const { hot_scanned_to, last_reconciled_minute, agreed_since, missing } = this.#state
    const oldest = stored.success ? (last_reconciled_minute ?? minuteOf(hot_scanned_to) + MINUTE_MS) : minuteOf(clock.now()) + MINUTE_MS
    this.#reconciliation = new Reconciliation(oldest, agreed_since, missing)
  }

  #believe(): void {
    const { clock, settings, log } = this.#options
    const now = clock.now()
    const state = believable(this.#state, now, settings.start)
    if (state === this.#state) return
    log.warn('the clock was set back by more than an hour: what was read ahead of it is read again', { stream: this.stream, hours: (this.#state.hot_scanned_to - now) / HOUR_MS })
    this.#state = state
    this.#hot = undefined
    this.#rereads.forget()
    this.#watched_since = Infinity
    this.#reconciliation = new Reconciliation(minuteOf(now) + MINUTE_MS)
  }

  get #ours(): Held {
    return (this.#held ??= this.#remember({}))
  }

  #remember(hours: Readonly<Record<string, string>>): Held {
    const { ids } = this.#options.settings
    return new Held({ ids, parts: Math.max(FEWEST_PARTS, Math.floor(ids * PARTS_PER_ID)), keep_minutes: KEEP_MINUTES_MS, hours })
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

  #dueHot(): HotPass | undefined {
    const now = this.#options.clock.now()
    if (this.#hot_run > now) this.#hot_run = -Infinity // the clock was set back
    const window = dueHot(this.#state, now, this.#hot_run, this.#options.settings, this.#overlap)
    return window === undefined ? undefined : { window, token: undefined, started: now, pages: 0, failed: false }
  }

  /** Where hot scans take so long that the next one is due at once, rescans get their share of the pages nevertheless. */
  async *#hotInTurn(signal: AbortSignal): Pages {
    if (this.#rescan_turns <= 0 || !this.#rereads.running || isBehind(this.#state, this.#options.clock.now(), this.#options.settings)) yield* this.#hotIfDue(signal)
  }

  async *#hotIfDue(signal: AbortSignal): Pages {
    const hot = (this.#hot ??= this.#dueHot())
    if (hot === undefined) return
    const { window } = hot
    const before = this.#state.hot_scanned_to
    do {
      const page = await this.#requests.filter(window, hot.token, 'hot', signal).catch((error: unknown) => {
        hot.failed = true
        if (error instanceof TokenError) this.#hot = undefined
        throw error
      })
      const { token } = page
      const fresh = once(page.events).filter((event) => !this.#ours.has(event))
      metrics.suppressed.inc({ stream: this.stream }, page.events.length - fresh.length)
      const next = token === undefined ? finished(this.#state, window, this.#options.settings) : this.#state
      // Pages come in order of event time: what lies before the last event of a page is read.
      const scanned = token === undefined ? window.to : page.events.at(-1)?.timestamp
      if (this.#requests.recovered() || fresh.length > 0 || token === undefined) yield this.#page(fresh, next, scanned)
      // Only here the page was taken.
      this.#measure(fresh, before)
      for (const event of fresh) this.#ours.add(event)
      this.#state = next
      hot.token = token
      hot.pages++
    } while (hot.token !== undefined)
    this.#hot = undefined
    this.#hotDone(hot, before)
  }

  #hotDone({ window, started, pages, failed }: HotPass, before: number): void {
    const { clock, settings, log } = this.#options
    const now = clock.now()
    this.#hot_run = started
    this.#rescan_turns = Math.floor(pages * RESCAN_SHARE)
    if (now - started > SLOW_SCAN_MS && started - before < SLOW_SCAN_MS && !failed && !this.#slow) {
      this.#slow = true
      const cure = 'let CloudWatch push this group (docs/cloudwatch-logs.md), or narrow it by filter_pattern'
      log.warn('a log group writes more than the request quota of AWS lets anybody read in time', { stream: this.stream, seconds: Math.round((now - started) / 1000), cure })
    }
    this.#watched_since = Math.min(this.#watched_since, window.from)
    this.#ours.compact(now, this.#ids_since, Math.min(this.#ids_since, this.#state.warm_scanned_to - settings.overlap.warm, this.#rereads.apart_from))
  }

  #dueReread(): Reread | undefined {
    return this.#rereads.next(this.#state, this.#options.clock.now(), this.#options.settings)
  }

  /** One slice of a rescan; the hot scan and shorter rescans have their turn between two pages. The marks move at the very end. */
  async *#rereadOn(reread: Reread, signal: AbortSignal): Pages {
    const { window, left } = reread
    const slice = left[0]
    if (slice !== undefined) {
      const pass = (reread.pass ??= { comparison: new Comparison(this.#ours, this.#ids_since, this.#watched_since), token: undefined })
      do {
        yield* this.#hotInTurn(signal)
        yield* this.#reconcile(signal)
        if (this.#dueReread() !== reread) return
        const page = await this.#requests.filter(slice, pass.token, slice.again === true ? 'republish' : window.tier, signal).catch((error: unknown) => {
          if (error instanceof TokenError) reread.pass = undefined
          throw error
        })
        const look = pass.comparison.look(once(page.events))
        metrics.suppressed.inc({ stream: this.stream }, page.events.length - look.fresh.length)
        if (this.#requests.recovered() || look.fresh.length > 0) yield this.#page(look.fresh, this.#state, undefined)
        // Only here the page was taken.
        pass.comparison.took(look)
        for (const event of look.by_id) this.#ours.add(event)
        if (slice.again === true) metrics.republished.inc({ stream: this.stream }, look.fresh.length)
        else this.#foundLate(look, window.tier)
        pass.token = page.token
        this.#rereads.readPage(reread)
        this.#rescan_turns--
      } while (pass.token !== undefined)
      reread.pass = undefined
      left.shift()
      const differing = rangesOf(pass.comparison.settle())
      // What differs again differs from what was not there yet: that is for the next scan.
      if (slice.again !== true) left.unshift(...differing.map((range) => ({ ...range, again: true })))
    }
    if (left.length === 0) yield* this.#rereadDone(reread)
  }

  async *#rereadDone(reread: Reread): Pages {
    const { settings, clock } = this.#options
    const hours = this.#ours.encode(clock.now() - settings.overlap.deep - settings.every.deep, hourOf(this.#state.warm_scanned_to - settings.overlap.warm))
    this.#state = { ...finished(this.#state, reread.window, settings), hours }
    this.#rereads.end()
    yield this.#page([], this.#state, undefined)
  }

  get #reconciles(): boolean {
    // The metric counts every event of the group: with a pattern there is nothing to compare.
    return this.#options.settings.reconcile && this.#options.settings.pattern === undefined
  }

  /** Never stops collecting: without the permission completeness is unknown, which is said once. */
  async *#reconcile(signal: AbortSignal): Pages {
    const { clock, settings, log } = this.#options
    const now = clock.now()
    if (!this.#reconciles || (now < this.#reconcile_at && this.#reconcile_at < now + METRIC_DENIED_RETRY_MS * 2)) return
    this.#reconcile_at = now + RECONCILE_EVERY_MS
    const minutes = this.#reconciliation.due(now, settings.settle)
    if (minutes === undefined) return
    try {
      const counts = await this.#requests.counts(minutes, signal)
      this.#reconciliation.compare(counts, minutes.to, this.#ours.ingested())
      this.#compared_at = clock.now()
    } catch (error) {
      this.#metricFailed(error, signal)
      return
    }
    this.#metric_denied = false
    this.#state = this.#agreed(this.#state)
    // Not before the running rescan is done: it may find what is missing, and an answer that nobody follows is used up.
    const answer = !this.#rereads.running ? this.#reconciliation.answer() : undefined
    if (answer !== undefined) {
      log.warn('CloudWatch counted more events than were found: scanning again', { stream: this.stream, missing: this.#reconciliation.missing, scan: answer.tier })
      const from = Math.max(this.#state.floor, hourOf(answer.first - settings.overlap[answer.tier]))
      const window: ScanWindow = { tier: answer.tier, from, to: minuteOf(this.#state.hot_scanned_to) - 1 }
      if (window.from < window.to) this.#rereads.begin(window)
    }
    metrics.completeness.set({ stream: this.stream }, this.#completeness ?? Number.NaN)
    yield this.#page([], this.#state, undefined)
  }

  /**
   * The scans of a day and of 15 days rest where CloudWatch took nothing that is not held, for as long as they look back. Since
   * their last run is not enough: what it took before may not have been visible then.
   */
  #agreed(state: ScanState): ScanState {
    const { overlap } = this.#options.settings
    const { agreed_since, missing, next: to } = this.#reconciliation
    const next = { ...state, agreed_since, missing, last_reconciled_minute: to }
    if (agreed_since === null || to === null) return next
    for (const tier of ['cold', 'deep'] as const) {
      const mark = `${tier}_scanned_to` as const
      if (agreed_since <= to - overlap[tier] - AHEAD_MS) next[mark] = Math.max(state[mark], to - 1)
    }
    return next
  }

  #metricFailed(error: unknown, signal: AbortSignal): void {
    const { clock, log } = this.#options
    if (signal.aborted) throw error
    if (!(error instanceof PermanentError)) return
    this.#reconcile_at = clock.now() + METRIC_DENIED_RETRY_MS
    if (!this.#metric_denied) log.warn('completeness cannot be told: the metric IncomingLogEvents cannot be read', { stream: this.stream, error: messageOf(error) })
    this.#metric_denied = true
  }

  /** What was told long ago is not known now. */
  get #completeness(): number | null {
    return Math.abs(this.#options.clock.now() - this.#compared_at) > STALE_MS ? null : this.#reconciliation.completeness
  }

  /** `scanned`: everything up to here was read. What is usually late is not said to be complete yet. */
  #page(events: readonly LogEvent[], next: ScanState, scanned: number | undefined): Page<ScanState> {
    const { written_after } = this.#options.settings
    const settle = Math.min(this.#overlap, this.#lateness.usual ?? UNMEASURED_LATENESS_MS) + written_after
    const origin = { source: SOURCE_ID, stream: this.stream }
    return {
      records: events.map((event): RawRecord => ({ id: event.eventId, at: event.timestamp, ingested_at: event.ingestionTime, body: event.message, origin })),
      next,
      completeness: this.#completeness,
      // Without a new end the last word stands: a rescan says nothing of the present.
      scanned_to: (scanned ?? this.#state.hot_scanned_to) - settle,
    }
  }

  #measure(fresh: readonly LogEvent[], before: number): void {
    const now = this.#options.clock.now()
    const { every } = this.#options.settings
    const { stream } = this
    let late = 0
    for (const { timestamp, ingestionTime } of fresh) {
      const cloud = ingestionTime === null ? 0 : Math.max(0, ingestionTime - timestamp)
      const missed = timestamp >= this.#watched_since && timestamp <= before && this.#ours.knows(timestamp) !== 'digest'
      if (missed) late++
      // It was not visible when the last scan began. How long this one took is not its fault: else slow scans would make longer ones.
      this.#lateness.add(missed ? Math.min(now - timestamp, Math.max(cloud, this.#hot_run + every.hot - timestamp)) : cloud)
      metrics.visible.observe({ stream }, Math.max(0, now - timestamp) / 1000)
      if (ingestionTime === null) continue
      metrics.cloudDelay.observe({ stream }, cloud / 1000)
      metrics.ourDelay.observe({ stream }, Math.max(0, now - ingestionTime) / 1000)
    }
    if (late > 0) metrics.lateFinds.inc({ stream, scan: 'hot' }, late)
    metrics.overlap.set({ stream }, this.#overlap / 1000)
  }

  /** A rescan found what the hot scan could not see: it was visible later than the overlap, we do not know how much. */
  #foundLate({ late, later }: Pick<Look, 'late' | 'later'>, tier: ScanWindow['tier']): void {
    const overlap = this.#overlap
    // What was later than the warm scan goes back no hot scan can find: it does not ask for a longer one.
    for (const { timestamp, ingestionTime } of late) this.#lateness.add(Math.max((ingestionTime ?? 0) - timestamp, overlap * 2))
    if (late.length + later.length > 0) metrics.lateFinds.inc({ stream: this.stream, scan: tier }, late.length + later.length)
  }
}

/** An id that a page holds twice is one event. */
function once(events: readonly LogEvent[]): LogEvent[] {
  const seen = new Set<string>()
  return events.filter(({ eventId }) => !seen.has(eventId) && seen.add(eventId))
}
