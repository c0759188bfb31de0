/**
 * Records that come in parts, made whole: fragments.v1 → events. One loop in the role collect for what is collected live; a run
 * of `ingest` joins its own parts in its own process, so that its end needs nobody else.
 *
 * A batch is handled when its events are durable on the bus and what waits is durable in the store: a kill at any point hands the
 * same parts over again, and they give the same events with the same ids and revisions.
 */
import type { Batch, Bus, Partition } from '../bus/bus.ts'
import type { Clock } from '../runtime/clock.ts'
import { crashPoint } from '../runtime/crash.ts'
import { messageOf } from '../runtime/errors.ts'
import type { Logger } from '../runtime/log.ts'
import { counter, gauge } from '../runtime/metrics.ts'
import { retry } from '../runtime/retry.ts'
import type { Fragment } from '../schemas/fragments.ts'
import type { StateStore } from '../store/store.ts'
import { joiners } from './formats/index.ts'
import type { Held } from './join-held.ts'
import { type Joined, type JoinLimits, JoinTable } from './join-table.ts'
import type { Pipeline } from './pipeline.ts'
import { type JoinedEvents, type Outbox, publishOutbox, put } from './publish.ts'

export interface JoinOptions extends JoinLimits {
  /** Milliseconds between two looks at what has waited long enough. */
  tick_every: number
  /** At most one write to the store in so many ms: each costs it a part. */
  save_every: number
}

/** API Management's two tables arrive 3 to 10 minutes late, each on its own. */
export const joinDefaults: JoinOptions = { wait: 900_000, remember: 86_400_000, max_requests: 100_000, tick_every: 5_000, save_every: 500 }

export interface JoinDeps {
  bus: Bus
  state: StateStore
  pipeline: Pipeline
  clock: Clock
  log: Logger
  /** Absent: nothing is looked up, halves are always told. */
  held?: Held
  options?: Partial<JoinOptions>
}

export const JOIN_SCOPE = 'join'
const GROUP = 'join'

const waitingRequests = gauge('tokenwatch_join_waiting', 'requests of which a part is missing', ['partition'] as const)
const joinedTotal = counter('tokenwatch_join_events_total', 'events made of parts: the first time, or again because a part came later', ['format', 'emission'] as const)
const droppedTotal = counter('tokenwatch_join_dropped_total', 'requests whose parts were no event', ['partition'] as const)

/** Resolves when the signal aborts; rejects when the bus cannot go on. */
export async function runJoin(deps: JoinDeps, signal: AbortSignal): Promise<void> {
  const join = new Join(deps, signal)
  const stopped = new AbortController()
  const ticking = join.tick(AbortSignal.any([signal, stopped.signal]))
  try {
    await deps.bus.consume(
      ['fragments.v1'],
      GROUP,
      { assigned: (partitions) => join.assigned(partitions), revoked: (partitions) => join.revoked(partitions), handle: (batch) => join.handle(batch) },
      signal,
    )
  } finally {
    stopped.abort()
    await ticking
  }
}

class Join {
  readonly #deps: JoinDeps
  readonly #options: JoinOptions
  readonly #signal: AbortSignal
  readonly #tables = new Map<number, JoinTable>()
  /** Ours, also those whose table must be read again. */
  readonly #partitions = new Set<number>()
  #turn: Promise<unknown> = Promise.resolve()
  #next_save: Promise<void> | undefined
  #last_save: Promise<unknown> = Promise.resolve()
  #saved_at = -Infinity

  constructor(deps: JoinDeps, signal: AbortSignal) {
    this.#deps = deps
    this.#options = { ...joinDefaults, ...deps.options }
    this.#signal = signal
  }

  async assigned(partitions: readonly Partition[]): Promise<void> {
    await this.#exclusive(async () => {
      for (const { partition } of partitions) await this.#table(partition)
    })
  }

  /** Whoever takes them reads what we saved. */
  async revoked(partitions: readonly Partition[]): Promise<void> {
    await this.#save()
    await this.#exclusive(async () => {
      for (const { partition } of partitions) {
        this.#partitions.delete(partition)
        this.#tables.delete(partition)
        waitingRequests.remove({ partition: `${partition}` })
      }
    })
  }

  async handle(batch: Batch<'fragments.v1'>): Promise<void> {
    await this.#exclusive(() =>
      this.#work(batch.partition, (table) => {
        const now = this.#deps.clock.now()
        return batch.records.flatMap((fragment) => table.add(fragment, now))
      }),
    )
    await this.#save()
  }

  /** Parts that have waited long enough are told without the others. */
  async tick(signal: AbortSignal): Promise<void> {
    const { clock, log } = this.#deps
    while (!signal.aborted) {
      await clock.sleep(this.#options.tick_every, signal)
      if (signal.aborted) return
      await this.#exclusive(async () => {
        for (const partition of this.#partitions) await this.#work(partition, (table) => table.due(clock.now()))
      })
        .then(() => this.#save())
        .catch((error: unknown) => {
          if (!signal.aborted) log.warn('halves of requests could not be told, it is tried again', { error: messageOf(error) })
        })
    }
  }

  /** What failed on the way to the bus is thrown away in memory: the same parts, from the store and the bus, give it again. */
  async #work(partition: number, step: (table: JoinTable) => Joined[]): Promise<void> {
    const table = await this.#table(partition)
    try {
      const before = table.dropped
      await this.#tell(step(table))
      table.settle()
      waitingRequests.set({ partition: `${partition}` }, table.waiting)
      if (table.dropped > before) droppedTotal.inc({ partition: `${partition}` }, table.dropped - before)
    } catch (error) {
      // First what was settled before it: whoever waits for that save would commit parts of a table that is gone.
      await this.#save().finally(() => this.#tables.delete(partition))
      throw error
    }
  }

  async #tell(all: readonly Joined[]): Promise<void> {
    const { pipeline, clock, held } = this.#deps
    const joined = await this.#store(() => news(all, held))
    if (joined.length === 0) return
    const outbox: Outbox = {}
    for (const one of joined) {
      const { events, rejects } = finishJoined(one, pipeline, clock.now())
      for (const { topic, event } of events) put(outbox, topic, event)
      for (const reject of rejects) put(outbox, 'rejects.v1', reject)
      joinedTotal.inc({ format: one.format, emission: one.event.event.revision > 0 ? 'again' : 'first' })
    }
    crashPoint('join.before-publish')
    await publishOutbox(outbox, { ...this.#deps, run_id: null }, this.#signal)
    crashPoint('join.after-publish')
  }

  async #table(partition: number): Promise<JoinTable> {
    const known = this.#tables.get(partition)
    if (known !== undefined) return known
    // Before it is read: what fails here or later is tried again at the next tick, whether or not a part comes meanwhile.
    this.#partitions.add(partition)
    const { state, log } = this.#deps
    const prefix = `${partition} `
    const entries = await this.#store(() => state.list(JOIN_SCOPE))
    const table = new JoinTable(joiners(), this.#options)
    const unreadable = table.restore([...entries].flatMap(([key, value]) => (key.startsWith(prefix) ? [[key.slice(prefix.length), value] as const] : [])))
    if (unreadable > 0) log.warn('parts of requests that another version saved cannot be read: their events come from the part that is still to come', { requests: unreadable })
    this.#tables.set(partition, table)
    return table
  }

  /** Resolves when everything that was settled before the call is durable. Calls that come together share one write. */
  #save(): Promise<void> {
    this.#next_save ??= this.#saveSoon()
    return this.#next_save
  }

  async #saveSoon(): Promise<void> {
    const { clock, state } = this.#deps
    const before = this.#last_save
    const { promise, resolve } = Promise.withResolvers<void>()
    this.#last_save = promise
    try {
      await clock.sleep(this.#saved_at + this.#options.save_every - clock.now(), this.#signal)
      await before
      this.#next_save = undefined
      const changes = new Map<string, Uint8Array | undefined>()
      for (const [partition, table] of this.#tables) for (const [key, value] of table.takeChanges()) changes.set(`${partition} ${key}`, value)
      if (changes.size === 0) return
      await this.#store(() => state.put(JOIN_SCOPE, changes))
      this.#saved_at = clock.now()
      crashPoint('join.after-save')
    } finally {
      resolve()
    }
  }

  #store<T>(work: () => Promise<T>): Promise<T> {
    return retry(work, { clock: this.#deps.clock, signal: this.#signal, log: this.#deps.log, what: 'the store (parts of requests)', retryable: () => true })
  }

  #exclusive<T>(work: () => Promise<T>): Promise<T> {
    const result = this.#turn.then(work)
    this.#turn = result.catch(() => undefined)
    return result
  }
}

/** Without the halves of requests that the store holds: it knows at least as much of them. */
async function news(joined: readonly Joined[], held: Held | undefined): Promise<readonly Joined[]> {
  const halves = joined.filter(({ is_half }) => is_half).map(({ event }) => event.event)
  if (halves.length === 0 || held === undefined) return joined
  const known = await held(halves)
  return joined.filter(({ is_half, event }) => !is_half || !known.has(event.event.event_id))
}

/**
 * The join of one `ingest` run, in its own process and memory: exports hold the two sides in files of their own, so halves wait
 * until everything is read. Beyond half a million the oldest are told as they are, and again when their other side comes.
 */
export class RunJoin {
  readonly #table = new JoinTable(joiners(), { wait: Infinity, remember: Infinity, max_requests: 500_000 })
  readonly #pipeline: Pipeline
  readonly #held: Held | undefined

  constructor(pipeline: Pipeline, held?: Held) {
    this.#pipeline = pipeline
    this.#held = held
  }

  take(fragments: readonly Fragment[], now: number): JoinedEvents {
    return this.#finish(
      fragments.flatMap((fragment) => this.#table.add(fragment, now)),
      now,
    )
  }

  /** The run is read to its end: what still waits is told as it is. */
  async flush(now: number): Promise<JoinedEvents> {
    return this.#finish(await news(this.#table.flush(), this.#held), now)
  }

  #finish(joined: readonly Joined[], now: number): JoinedEvents {
    this.#table.discardChanges()
    const all = joined.map((one) => finishJoined(one, this.#pipeline, now))
    return { events: all.flatMap(({ events }) => events), rejects: all.flatMap(({ rejects }) => rejects) }
  }
}

/** The later steps of the pipeline, for an event made of parts. Where it came from is what the part that names the caller says. */
function finishJoined({ format, correlation_id, run_id, event, parts }: Joined, pipeline: Pipeline, now: number): JoinedEvents {
  const order = joiners().get(format)?.parts ?? []
  const [first] = [...parts].sort((a, b) => order.indexOf(a.part) - order.indexOf(b.part))
  const { source, source_stream } = first?.fields ?? {}
  const delivered = parts.map(({ fields }) => fields['delivered_time']).filter((time) => typeof time === 'number')
  const record = {
    id: correlation_id,
    at: event.event.event_time,
    ingested_at: delivered.length === 0 ? null : Math.max(...delivered),
    body: JSON.stringify({ format, correlation_id }),
    origin: { source: typeof source === 'string' ? source : 'unknown', stream: typeof source_stream === 'string' ? source_stream : 'unknown' },
  }
  const outcome = pipeline.finish(record, { now, run_id, occurrence: () => 0 }, format, [event])
  if (outcome.kind === 'accept') return { events: outcome.events, rejects: outcome.rejects }
  return { events: [], rejects: outcome.kind === 'reject' ? [outcome.reject] : [] }
}
