/** A page of raw records → events on the bus, counted. Every record is accepted, skipped or rejected: never two of them, never none. */
import type { Bus } from '../bus/bus.ts'
import { type Clock, monotonicMs, yieldToEventLoop } from '../runtime/clock.ts'
import { crashPoint } from '../runtime/crash.ts'
import { messageOf, PermanentError } from '../runtime/errors.ts'
import { nameUuid, sha256Hex } from '../runtime/ids.ts'
import type { Logger } from '../runtime/log.ts'
import { counter, histogram } from '../runtime/metrics.ts'
import { retry } from '../runtime/retry.ts'
import type { Reject } from '../schemas/rejects.ts'
import type { TopicName, TopicValue } from '../schemas/topics.ts'
import type { EventTopic, Pipeline, PipelineEvent } from './pipeline.ts'
import type { RawRecord } from './source.ts'

const recordsTotal = counter('tokenwatch_ingest_records_total', 'records read, by what became of them', ['source', 'outcome'] as const)
const eventsTotal = counter('tokenwatch_ingest_events_total', 'events published', ['source', 'format', 'topic'] as const)
const skipsTotal = counter('tokenwatch_ingest_skips_total', 'records that no format wanted', ['source', 'why'] as const)
const rejectsTotal = counter('tokenwatch_ingest_rejects_total', 'records and events that were refused', ['source', 'reason', 'plugin'] as const)
const pageSeconds = histogram('tokenwatch_ingest_page_seconds', 'time for one page', ['source', 'step'] as const, [0.001, 0.005, 0.02, 0.1, 0.5, 2, 10])

/** records = accepted + the sums of skipped and rejected. */
export interface Counts {
  records: number
  accepted: number
  skipped: Map<string, number>
  rejected: Map<string, number>
  events: Record<EventTopic, number>
}

export const noCounts = (): Counts => ({
  records: 0,
  accepted: 0,
  skipped: new Map(),
  rejected: new Map(),
  events: { 'usage.v1': 0, 'secret-access.v1': 0, 'credential-change.v1': 0 },
})

export interface PublishDeps {
  pipeline: Pipeline
  bus: Bus
  clock: Clock
  log: Logger
  run_id: string | null
  /** Joins parts in this process (a run of `ingest`); absent: they go to fragments.v1, where join.ts waits for them. */
  join?: { take(fragments: readonly TopicValue<'fragments.v1'>[], now: number): JoinedEvents }
}

type BusDeps = Omit<PublishDeps, 'pipeline' | 'join'>

/** Events made of parts, and what was wrong with some. */
export interface JoinedEvents {
  events: readonly PipelineEvent[]
  rejects: readonly Reject[]
}

/** Event times of a page, epoch ms; null for a page without events. */
export interface PageTimes {
  first: number | null
  last: number | null
  /** How far the most displaced event lies behind the newest one before it, ms. */
  disorder: number
  /** Events older than what was said to be complete, and when they happened. */
  late: number
  late_times: number[]
}

// Parsing a record takes some tens of microseconds: the loop lets heartbeats and HTTP run every few milliseconds.
const YIELD_EVERY = 200
const PUBLISH_AT_ONCE = 2_000

export type Outbox = { [T in TopicName]?: TopicValue<T>[] }

/** Resolves when everything of the page is durable on the bus. Waits for a bus that is away; rejects only on abort. */
export async function publishPage(
  records: readonly RawRecord[],
  occurrence: (key: string, id: string) => number,
  scanned_to: number | null,
  counts: Counts,
  deps: PublishDeps,
  signal: AbortSignal,
): Promise<PageTimes> {
  const times: PageTimes = { first: null, last: null, disorder: 0, late: 0, late_times: [] }
  const outbox: Outbox = {}
  const tally = new Tally()
  let at = monotonicMs()
  let index = 0
  for (const record of records) {
    handle(record, occurrence, outbox, times, scanned_to, counts, tally, deps)
    if (++index % YIELD_EVERY === 0) await yieldToEventLoop()
  }
  if (deps.join !== undefined && outbox['fragments.v1'] !== undefined) {
    takeJoined(deps.join.take(outbox['fragments.v1'], deps.clock.now()), outbox, times, scanned_to, counts, tally)
    delete outbox['fragments.v1']
  }
  const source = records[0]?.origin.source ?? 'none'
  tally.flush()
  pageSeconds.observe({ source, step: 'parse' }, (monotonicMs() - at) / 1000)
  at = monotonicMs()
  crashPoint('collector.before-publish')
  await publishOutbox(outbox, deps, signal)
  crashPoint('collector.after-publish')
  pageSeconds.observe({ source, step: 'publish' }, (monotonicMs() - at) / 1000)
  return times
}

function handle(
  record: RawRecord,
  occurrence: (key: string, id: string) => number,
  outbox: Outbox,
  times: PageTimes,
  scanned_to: number | null,
  counts: Counts,
  tally: Tally,
  deps: PublishDeps,
): void {
  const { source } = record.origin
  const outcome = deps.pipeline.process(record, { now: deps.clock.now(), run_id: deps.run_id, occurrence: (key) => occurrence(key, record.id) })
  counts.records++
  tally.add(recordsTotal, source, outcome.kind)
  if (outcome.kind === 'skip') {
    add(counts.skipped, outcome.why)
    tally.add(skipsTotal, source, outcome.why)
    return
  }
  const rejects = outcome.kind === 'reject' ? [outcome.reject] : outcome.rejects
  for (const reject of rejects) {
    put(outbox, 'rejects.v1', reject)
    tally.add(rejectsTotal, source, reject.reason, reject.plugin ?? 'none')
  }
  if (outcome.kind === 'reject') {
    add(counts.rejected, outcome.reject.reason)
    return
  }
  counts.accepted++
  for (const fragment of outcome.fragments) put(outbox, 'fragments.v1', fragment)
  for (const event of outcome.events) take(event, outbox, times, scanned_to, counts, tally)
}

function take({ topic, event }: PipelineEvent, outbox: Outbox, times: PageTimes, scanned_to: number | null, counts: Counts, tally: Tally): void {
  put(outbox, topic, event)
  tally.add(eventsTotal, event.source, event.format, topic)
  // Told before, with less: not one more event.
  if (event.revision > 0) return
  counts.events[topic]++
  const time = event.event_time
  if (times.first === null || time < times.first) times.first = time
  if (times.last === null || time > times.last) times.last = time
  else times.disorder = Math.max(times.disorder, times.last - time)
  if (scanned_to !== null && time < scanned_to) {
    times.late++
    times.late_times.push(time)
  }
}

function takeJoined({ events, rejects }: JoinedEvents, outbox: Outbox, times: PageTimes, scanned_to: number | null, counts: Counts, tally: Tally): void {
  for (const event of events) take(event, outbox, times, scanned_to, counts, tally)
  for (const reject of rejects) put(outbox, 'rejects.v1', reject)
}

/** The end of a run: the halves that still wait. Resolves when they are durable. */
export async function publishJoined(joined: JoinedEvents, scanned_to: number | null, counts: Counts, deps: PublishDeps, signal: AbortSignal): Promise<PageTimes> {
  const times: PageTimes = { first: null, last: null, disorder: 0, late: 0, late_times: [] }
  const outbox: Outbox = {}
  const tally = new Tally()
  takeJoined(joined, outbox, times, scanned_to, counts, tally)
  tally.flush()
  await publishOutbox(outbox, deps, signal)
  return times
}

/** Resolves when all of it is durable on the bus. Waits for a bus that is away; rejects only on abort, or when the bus refuses everything. */
export async function publishOutbox(outbox: Outbox, deps: BusDeps, signal: AbortSignal): Promise<void> {
  for (const topic of Object.keys(outbox) as TopicName[]) await publishAll(topic, outbox[topic] ?? [], deps, signal)
}

/** A counter costs a microsecond each time, which is a tenth of a record: they are told once a page. */
class Tally {
  /** A page has few kinds of outcome, so looking through them is quicker than making a key of the labels. */
  readonly #sums: { metric: Told; first: string; second: string; third: string | undefined; n: number }[] = []

  /** Labels in the order of the metric's names. */
  add(metric: Told, first: string, second: string, third?: string): void {
    for (const sum of this.#sums) {
      if (sum.metric !== metric || sum.second !== second || sum.third !== third || sum.first !== first) continue
      sum.n++
      return
    }
    this.#sums.push({ metric, first, second, third, n: 1 })
  }

  flush(): void {
    for (const { metric, first, second, third, n } of this.#sums) metric.labels(...(third === undefined ? [first, second] : [first, second, third])).inc(n)
    this.#sums.length = 0
  }
}

type Told = Pick<ReturnType<typeof counter>, 'labels'>

const add = (counts: Map<string, number>, why: string): void => void counts.set(why, (counts.get(why) ?? 0) + 1)

export function put<T extends TopicName>(outbox: Outbox, topic: T, value: TopicValue<T>): void {
  const list = (outbox[topic] ??= [] as never) as TopicValue<T>[]
  list.push(value)
}

async function publishAll<T extends TopicName>(topic: T, values: readonly TopicValue<T>[], deps: BusDeps, signal: AbortSignal): Promise<void> {
  const { bus, clock, log } = deps
  for (let from = 0; from < values.length; from += PUBLISH_AT_ONCE) {
    const part = values.slice(from, from + PUBLISH_AT_ONCE)
    try {
      // A rejection means unknown: the same values again, consumers absorb them by id.
      await retry(() => bus.publish(topic, part), { clock, signal, log, what: 'the bus' })
    } catch (error) {
      if (!(error instanceof PermanentError) || signal.aborted) throw error
      await publishEach(topic, part, deps, signal)
    }
  }
}

/** The bus refused a batch for good: one by one, so that only the value that it cannot take is parked. */
async function publishEach<T extends TopicName>(topic: T, values: readonly TopicValue<T>[], deps: BusDeps, signal: AbortSignal): Promise<void> {
  const { bus, clock, log } = deps
  for (const value of values) {
    try {
      await retry(() => bus.publish(topic, [value]), { clock, signal, log, what: 'the bus' })
    } catch (error) {
      // A bus that refuses its own rejects, or everything, is broken: nothing may be passed over then.
      if (!(error instanceof PermanentError) || signal.aborted || topic === 'rejects.v1' || values.length === 1) throw error
      log.error('the bus refused a record: it is parked on rejects.v1', { topic, error: messageOf(error) })
      await retry(() => bus.publish('rejects.v1', [busReject(topic, value, error, deps)]), { clock, signal, log, what: 'the bus' })
    }
  }
}

function busReject(topic: TopicName, value: unknown, error: Error, { clock, run_id }: BusDeps): Reject {
  const payload = JSON.stringify(value)
  const sha256 = sha256Hex(payload)
  const { source = 'unknown', source_stream = '', format = null } = value as { source?: string; source_stream?: string; format?: string | null }
  return {
    reject_id: nameUuid(source, source_stream, 'bus-refused', sha256),
    received_at: clock.now(),
    source,
    source_stream,
    stage: 'bus',
    plugin: format,
    run_id,
    reason: 'bus-refused',
    detail: messageOf(error).slice(0, 1000),
    size_bytes: Buffer.byteLength(payload),
    sha256,
    topic,
    payload: payload.length <= 65_536 ? payload : null,
  }
}
