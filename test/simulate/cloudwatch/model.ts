/**
 * CloudWatch Logs of one account and region as a model, driven by a (virtual) clock and a seed.
 *
 * How it is driven: make it with `new CloudWatchModel({ clock, random, faults })`, `createGroup(name)`, then `put(group, events)`.
 * An event may lie in the future: each has its event time (`timestamp`), the time at which CloudWatch takes it (`ingested_at`,
 * default now) and the time from which queries see it (`visible_at`, default ingested_at). The model looks at `clock.now()` only
 * when it is asked, so a whole script may be put in at the start while the clock skips idle time. `clock` is the true time;
 * give the collector another clock for skew. The model is the `CloudWatchApi` of the source itself: pass it to
 * `createGroupSource({ api: model, … })` (ingest/sources/cloudwatch-logs/group.ts). For the real SDK clients over HTTP see server.ts.
 * With a virtual clock that skips idle time keep `faults.page_events` below 200: the collector lets the event loop run every 200
 * records, which looks like idling. Oracle: `events(group)` is all that was ever put in, `visible(group)` what a query could see now; `stats` counts requests.
 * Faults may be changed at any time through `faults`; `intercept` sees each call first and may throw `new CloudError(…)`.
 * `deleteGroup` makes calls answer ResourceNotFoundException; `createGroup` of a deleted name brings it back with its events.
 */
import type { CloudWatchApi, FilterRequest, LogEvent, LogPage } from '../../../ingest/sources/cloudwatch-logs/api.ts'
import type { Clock } from '../../../runtime/clock.ts'
import type { Random } from '../../../runtime/random.ts'

export interface ModelEvent {
  id: string
  stream: string
  timestamp: number
  ingested_at: number
  visible_at: number
  message: string
}

export type PutEvent = Pick<ModelEvent, 'timestamp' | 'message'> & Partial<Pick<ModelEvent, 'stream' | 'ingested_at' | 'visible_at'>>

export type CallName = 'FilterLogEvents' | 'DescribeLogGroups' | 'GetMetricData'

/** Chances are per call, 0 to 1. */
export interface Faults {
  /** A page without events and with a token. */
  empty_page: number
  /** A page that ends after a few events, with a token. */
  short_page: number
  /** The last events come with a token, and the end is an empty page. */
  trailing_token: number
  throttle: number
  server_error: number
  /** The connection ends without an answer. */
  reset: number
  /** True times in which every call fails in this way. */
  storms: { from: number; to: number; name: 'ThrottlingException' | 'ServiceUnavailableException' | 'AccessDeniedException' | 'ExpiredTokenException' }[]
  token_lives_ms: number
  page_events: number
  page_bytes: number
  /** Requests per second of the account and region; more are throttled. */
  quota: number
  /** How long a datapoint of IncomingLogEvents takes to appear after its minute. */
  metric_delay_ms: number
  metrics_denied: boolean
}

export const NO_FAULTS: Faults = {
  empty_page: 0,
  short_page: 0,
  trailing_token: 0,
  throttle: 0,
  server_error: 0,
  reset: 0,
  storms: [],
  token_lives_ms: 86_400_000,
  page_events: 10_000,
  page_bytes: 1_048_576,
  quota: 5,
  metric_delay_ms: 60_000,
  metrics_denied: false,
}

/** What the SDK would throw: the loops read the name, the HTTP server the status. */
export class CloudError extends Error {
  readonly status: number
  readonly $metadata: { httpStatusCode: number }
  constructor(name: string, message: string, status = 400) {
    super(message)
    this.name = name
    this.status = status
    this.$metadata = { httpStatusCode: status }
  }
}

interface Stats {
  calls: Record<CallName, number>
  throttled: number
  failed: number
  /** Events handed out, and pages. */
  events: number
  pages: number
  /** Most calls to CloudWatch Logs within any ten seconds of true time. */
  busiest_ten_seconds: number
}

interface Stored extends ModelEvent {
  order: number
}

interface Cursor {
  request: string
  after: Stored | undefined
  issued_at: number
}

const DAY_MS = 86_400_000

export class CloudWatchModel implements CloudWatchApi {
  readonly faults: Faults
  readonly stats: Stats = { calls: { FilterLogEvents: 0, DescribeLogGroups: 0, GetMetricData: 0 }, throttled: 0, failed: 0, events: 0, pages: 0, busiest_ten_seconds: 0 }
  intercept: ((call: CallName, group: string) => void) | undefined
  readonly #clock: Clock
  readonly #random: Random
  readonly #groups = new Map<string, { events: Stored[]; deleted: boolean }>()
  readonly #cursors = new Map<string, Cursor>()
  readonly #recent: number[] = []
  #order = 0

  constructor(options: { clock: Clock; random: Random; faults?: Partial<Faults> }) {
    this.#clock = options.clock
    this.#random = options.random
    this.faults = { ...NO_FAULTS, ...options.faults }
  }

  createGroup(name: string): void {
    const known = this.#groups.get(name)
    if (known === undefined) this.#groups.set(name, { events: [], deleted: false })
    else known.deleted = false
  }

  deleteGroup(name: string): void {
    const known = this.#groups.get(name)
    if (known !== undefined) known.deleted = true
  }

  /** Takes what PutLogEvents would take: at most 14 days old and 2 hours ahead. */
  put(group: string, events: readonly PutEvent[]): ModelEvent[] {
    const stored = this.#groups.get(group)
    if (stored === undefined) throw new Error(`no log group ${group}`)
    const added = events.map((event) => {
      const ingested_at = event.ingested_at ?? this.#clock.now()
      if (event.timestamp < ingested_at - 14 * DAY_MS || event.timestamp > ingested_at + DAY_MS / 12) throw new RangeError('PutLogEvents would refuse this time')
      const order = this.#order++
      const id = `${ingested_at}${String(order).padStart(10, '0')}`.padStart(56, '3')
      const visible_at = Math.max(ingested_at, event.visible_at ?? ingested_at)
      return { id, stream: event.stream ?? 'main', timestamp: event.timestamp, ingested_at, visible_at, message: event.message, order }
    })
    stored.events.push(...added)
    stored.events.sort(before)
    return added
  }

  /** Everything that was ever put in, in the order of the API. */
  events(group: string): readonly ModelEvent[] {
    return this.#groups.get(group)?.events ?? []
  }

  visible(group: string): readonly ModelEvent[] {
    return this.events(group).filter((event) => event.visible_at <= this.#clock.now())
  }

  async filterLogEvents(request: FilterRequest, signal: AbortSignal): Promise<LogPage> {
    this.#enter('FilterLogEvents', request.group, signal)
    const { events } = this.#group(request.group)
    const key = JSON.stringify([request.group, request.from, request.to, request.pattern ?? ''])
    const after = request.token === undefined ? undefined : this.#resume(request.token, key)
    this.stats.pages++
    // Now and then with the very token that was asked with (boto/boto3#1584), which means no more than any other.
    if (this.#chance(this.faults.empty_page)) return { events: [], token: request.token !== undefined && this.#chance(0.3) ? request.token : this.#issue(key, after) }
    const page: LogEvent[] = []
    const limit = this.#chance(this.faults.short_page) ? 1 + Math.floor(this.#random() * 5) : this.faults.page_events
    let bytes = 0
    let last = after
    const now = this.#clock.now()
    for (let index = after === undefined ? firstAt(events, request.from) : firstBehind(events, after); index < events.length; index++) {
      const event = events[index]
      if (event === undefined || event.timestamp > request.to) break
      if (event.visible_at > now || (request.pattern !== undefined && !event.message.includes(request.pattern))) continue
      bytes += event.message.length + 26
      if (page.length >= limit || (bytes > this.faults.page_bytes && page.length > 0)) return this.#page(page, this.#issue(key, last))
      page.push({ eventId: event.id, timestamp: event.timestamp, ingestionTime: event.ingested_at, message: event.message, logStreamName: event.stream })
      last = event
    }
    return this.#page(page, page.length > 0 && this.#chance(this.faults.trailing_token) ? this.#issue(key, last) : undefined)
  }

  async describeLogGroups(request: { prefix: string; token?: string }, signal: AbortSignal): Promise<{ names: string[]; token?: string }> {
    this.#enter('DescribeLogGroups', request.prefix, signal)
    const names = [...this.#groups].filter(([name, { deleted }]) => !deleted && name.startsWith(request.prefix)).map(([name]) => name)
    const from = Number(request.token ?? 0)
    const page = names.sort().slice(from, from + 50)
    return from + 50 < names.length ? { names: page, token: String(from + 50) } : { names: page }
  }

  async incomingLogEvents({ group, from, to }: { group: string; from: number; to: number }, signal: AbortSignal): Promise<Map<number, number>> {
    this.#enter('GetMetricData', group, signal)
    if (this.faults.metrics_denied) throw new CloudError('AccessDeniedException', 'not authorized to perform: cloudwatch:GetMetricData')
    const counts = new Map<number, number>()
    for (const { ingested_at } of this.events(group)) {
      const minute = Math.floor(ingested_at / 60_000) * 60_000
      if (minute < from || minute >= to || minute + 60_000 + this.faults.metric_delay_ms > this.#clock.now()) continue
      counts.set(minute, (counts.get(minute) ?? 0) + 1)
    }
    return counts
  }

  /** Counts the call and lets it fail as the faults say. */
  #enter(call: CallName, group: string, signal: AbortSignal): void {
    if (signal.aborted) throw Object.assign(new Error('aborted'), { name: 'AbortError' })
    const now = this.#clock.now()
    this.stats.calls[call]++
    this.intercept?.(call, group)
    if (call !== 'GetMetricData') {
      this.#recent.push(now)
      while ((this.#recent[0] ?? now) <= now - 10_000) this.#recent.shift()
      this.stats.busiest_ten_seconds = Math.max(this.stats.busiest_ten_seconds, this.#recent.length)
      if (this.#recent.filter((at) => at > now - 1_000).length > this.faults.quota) this.#throttle()
    }
    const storm = this.faults.storms.find(({ from, to }) => from <= now && now < to)
    if (storm?.name === 'ThrottlingException' || this.#chance(this.faults.throttle)) this.#throttle()
    if (storm !== undefined) this.#fail(storm.name, storm.name === 'ServiceUnavailableException' ? 503 : 400)
    if (this.#chance(this.faults.server_error)) this.#fail('InternalFailure', 500)
    if (this.#chance(this.faults.reset)) this.#fail('TimeoutError', 0)
  }

  #throttle(): never {
    this.stats.throttled++
    throw new CloudError('ThrottlingException', 'Rate exceeded')
  }

  #fail(name: string, status: number): never {
    this.stats.failed++
    throw new CloudError(name, 'the model was told to fail', status)
  }

  #group(name: string): { events: Stored[] } {
    const group = this.#groups.get(name)
    if (group === undefined || group.deleted) throw new CloudError('ResourceNotFoundException', 'The specified log group does not exist.')
    return group
  }

  #page(events: LogEvent[], token: string | undefined): LogPage {
    this.stats.events += events.length
    return token === undefined ? { events } : { events, token }
  }

  #issue(request: string, after: Stored | undefined): string {
    const token = `t${this.#cursors.size}`
    this.#cursors.set(token, { request, after, issued_at: this.#clock.now() })
    return token
  }

  #resume(token: string, request: string): Stored | undefined {
    const cursor = this.#cursors.get(token)
    if (cursor === undefined || cursor.request !== request) throw new CloudError('InvalidParameterException', 'The specified nextToken is invalid.')
    if (this.#clock.now() - cursor.issued_at > this.faults.token_lives_ms) throw new CloudError('InvalidParameterException', 'The specified nextToken is expired.')
    return cursor.after
  }

  #chance(probability: number): boolean {
    return probability > 0 && this.#random() < probability
  }
}

/** Order of the API: event time, ingestion time, PutLogEvents request. */
const before = (a: Stored, b: Stored): number => a.timestamp - b.timestamp || a.ingested_at - b.ingested_at || a.order - b.order

function firstAt(events: readonly Stored[], time: number): number {
  let [low, high] = [0, events.length]
  while (low < high) {
    const middle = (low + high) >> 1
    if ((events[middle]?.timestamp ?? 0) < time) low = middle + 1
    else high = middle
  }
  return low
}

function firstBehind(events: readonly Stored[], after: Stored): number {
  let [low, high] = [0, events.length]
  while (low < high) {
    const middle = (low + high) >> 1
    const event = events[middle]
    if (event !== undefined && before(event, after) <= 0) low = middle + 1
    else high = middle
  }
  return low
}
