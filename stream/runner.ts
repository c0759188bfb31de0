/**
 * The keyed runner: reads events and progress from the bus, keeps event time per run, calls the folds, publishes findings,
 * snapshots states with their offsets. Its guarantees are in stream/README.md.
 *
 * Exactly one process may run it: it must own all partitions of its topics. If the group shows it only a part, it says so
 * loudly (log and `tokenwatch_detect_partitions_unowned`) and goes on with what it has.
 */
import type { Batch, Bus, Partition, PartitionOffset } from '../bus/bus.ts'
import { type Clock, monotonicMs } from '../runtime/clock.ts'
import { crashPoint } from '../runtime/crash.ts'
import { messageOf } from '../runtime/errors.ts'
import type { Logger } from '../runtime/log.ts'
import { retry } from '../runtime/retry.ts'
import type { Progress } from '../schemas/progress.ts'
import type { TopicName } from '../schemas/topics.ts'
import type { StateStore } from '../store/store.ts'
import type { ConfiguredFold, EventTopic } from './fold.ts'
import { type Emitted, type Keyed, evictOldest, KeyedFolds, keysInRun, type Run } from './keyed.ts'
import { runnerMetrics } from './metrics.ts'
import { type RunnerOptions, runnerDefaults } from './options.ts'
import { Outbox } from './outbox.ts'
import { RecentIds, runSalt, shortId } from './recent-ids.ts'
import { keyName, loadSnapshot, type PendingProgress, reloadKey, saveSnapshot } from './snapshot.ts'

/** StateStore scope: key run_id, value a RunMark as JSON, written when every detector has seen the whole run. */
export const RUNS_SCOPE = 'detect-runs'
export interface RunMark {
  run_id: string
  events: number
  findings: number
  late: number
  duplicates: number
  done_at: number
}

interface RunnerParts {
  bus: Bus
  state: StateStore
  detectors: readonly ConfiguredFold[]
  clock: Clock
  log: Logger
  options?: Partial<RunnerOptions>
}

/** Partitions take turns, so what is decoded ahead only costs memory. */
const MAX_RECORDS = 1_000
/** How far past the last event of a finished run its timers may go. */
const HORIZON_MS = 2 * 86_400_000
const OWNERSHIP_MS = 60_000
const MAINTENANCE_MS = 1000
const FINISHED_KEPT = 200

/** Resolves when the signal aborted and the last snapshot is written; rejects when bus or store cannot go on. */
export async function runDetectors(parts: RunnerParts, signal: AbortSignal): Promise<void> {
  const runner = new Runner(parts, { ...runnerDefaults, ...parts.options }, signal)
  const stopped = new AbortController()
  const maintenance = runner.maintain(AbortSignal.any([signal, stopped.signal]))
  try {
    await parts.bus.consume<EventTopic | 'progress.v1'>(
      [...runner.topics, 'progress.v1'],
      runner.options.group,
      {
        assigned: (partitions) => runner.assigned(partitions),
        revoked: (partitions) => runner.revoked(partitions),
        handle: (batch) => runner.handle(batch),
        skipped: (to) => runner.skipped(to),
      },
      signal,
      { max_records: MAX_RECORDS },
    )
  } finally {
    stopped.abort()
    await maintenance
  }
  await runner.stop()
}

class Runner {
  readonly options: RunnerOptions
  readonly topics: EventTopic[]
  readonly #parts: RunnerParts
  readonly #signal: AbortSignal
  readonly #folds: KeyedFolds
  readonly #outbox: Outbox
  readonly #positions = new Map<string, PartitionOffset>()
  readonly #owned = new Set<string>()
  readonly #dirtyIds = new Set<string>()
  #ids = new Map<string, RecentIds>()
  #pending: PendingProgress[] = []
  #finished: { run_id: string; mark: string }[] = []
  #dropped: string[] = []
  #loaded = false
  #changed = false
  #snapshot_at: number
  #failure: unknown
  /** One thing at a time: partitions are handed over concurrently, the state is one. */
  #turn: Promise<unknown> = Promise.resolve()

  constructor(parts: RunnerParts, options: RunnerOptions, signal: AbortSignal) {
    this.#parts = parts
    this.options = options
    this.#signal = signal
    this.#folds = new KeyedFolds(parts.detectors, this.#watermarkOptions)
    this.#outbox = new Outbox(parts.bus, parts.clock, parts.log, options.backfill_after)
    this.topics = this.#folds.topics
    this.#snapshot_at = parts.clock.now()
  }

  /** Loads the snapshot once and starts where it stands. */
  assigned(partitions: readonly Partition[]): Promise<PartitionOffset[]> {
    return this.#exclusive(async () => {
      if (!this.#loaded) await this.#load()
      for (const partition of partitions) this.#owned.add(partName(partition))
      // A partition that the snapshot does not know was not read when it was taken. What the group committed since then is in no
      // state, so it is read from its beginning: after a crash the committed offset would skip it.
      return partitions.map((partition) => this.#positions.get(partName(partition)) ?? { topic: partition.topic, partition: partition.partition, offset: 0n })
    })
  }

  /** Another process takes partitions: what we hold is saved, and read again from the store if they come back. */
  revoked(partitions: readonly Partition[]): Promise<void> {
    return this.#exclusive(async () => {
      for (const partition of partitions) this.#owned.delete(partName(partition))
      if (this.#owned.size > 0 || !this.#loaded) return
      await this.#save()
      this.#forgetAll()
    })
  }

  handle(batch: Batch<EventTopic | 'progress.v1'>): Promise<void> {
    return this.#exclusive(async () => {
      if (this.#failure !== undefined) throw this.#failure
      const started = monotonicMs()
      if (batch.topic === 'progress.v1') await this.#heard(batch.records)
      else await this.#fold(batch)
      this.#moved(batch, batch.last + 1n)
      crashPoint('runner.after-fold')
      await this.#send()
      await this.#progressed()
      if (this.#parts.clock.now() - this.#snapshot_at >= this.options.snapshot_interval) await this.#save()
      runnerMetrics.fold.observe((monotonicMs() - started) / 1000)
    })
  }

  /** Rejected records: progress waits for the end of the partition, so their place counts as read. */
  skipped(to: PartitionOffset): Promise<void> {
    return this.#exclusive(async () => {
      this.#moved(to, to.offset)
      await this.#progressed()
    })
  }

  /** What happens without events: silence, snapshots, ownership. */
  async maintain(signal: AbortSignal): Promise<void> {
    const { clock } = this.#parts
    let looked_at = -Infinity
    while (!signal.aborted) {
      await clock.sleep(MAINTENANCE_MS, signal)
      if (signal.aborted || !this.#loaded) continue
      await this.#exclusive(async () => {
        await this.#progressed()
        if (this.#changed && clock.now() - this.#snapshot_at >= this.options.snapshot_interval) await this.#save()
        if (clock.now() - looked_at >= OWNERSHIP_MS) {
          looked_at = clock.now()
          await this.#partlyOwned()
        }
      }).catch((error: unknown) => {
        // Bus or store away: the consumer meets the same trouble and decides; here only the next round is lost.
        this.#parts.log.warn('detector upkeep failed, it is tried again', { error: messageOf(error) })
      })
    }
  }

  async stop(): Promise<void> {
    if (this.#loaded) await this.#exclusive(() => this.#save())
  }

  get #watermarkOptions() {
    return { lateness: this.options.lateness, silent_after: this.options.silent_after, unpaced_lateness: Math.max(this.options.lateness, 600_000) }
  }

  /** What was not saved is folded again by whoever gets the partitions. */
  #forgetAll(): void {
    this.#folds.runs.clear()
    this.#folds.evicted = 0
    this.#positions.clear()
    this.#ids = new Map()
    this.#dirtyIds.clear()
    this.#pending = []
    this.#finished = []
    this.#dropped = []
    this.#outbox.clear()
    this.#loaded = false
  }

  async #load(): Promise<void> {
    const { state, clock, log } = this.#parts
    const snapshot = await loadSnapshot(state, this.#folds, this.#watermarkOptions, clock.now(), log)
    this.#loaded = true
    if (snapshot === undefined) return
    for (const offset of snapshot.offsets) this.#positions.set(partName(offset), offset)
    this.#ids = snapshot.ids
    this.#pending = snapshot.pending
    this.#finished = snapshot.finished
    for (const { run_id, mark } of this.#finished.slice(-10)) await state.put(RUNS_SCOPE, new Map([[run_id, Buffer.from(mark)]]))
  }

  async #fold(batch: Batch<EventTopic>): Promise<void> {
    for (const { run, keyed } of this.#folds.missing(batch.topic, batch.records)) if (keyed.evicted) await this.#reload(run, keyed)
    const name = partName(batch)
    let ids = this.#ids.get(name)
    if (ids === undefined) this.#ids.set(name, (ids = new RecentIds()))
    const counts = { folded: 0, duplicate: 0, revision: 0, late: 0, finished: 0 }
    const now = this.#parts.clock.now()
    for (const event of batch.records) {
      const { run_id } = event
      if (event.revision > 0) counts.revision++
      else if (run_id !== null && !this.#folds.runs.has(run_id) && this.#finished.some((run) => run.run_id === run_id)) counts.finished++
      else {
        const run = this.#folds.run(run_id, now)
        run.touched_at = now
        if (!ids.add(shortId(event.event_id, runSalt(run_id)))) {
          run.duplicates++
          counts.duplicate++
        } else {
          counts[event.event_time < run.watermark.value ? 'late' : 'folded']++
          this.#folds.fold(batch.topic, event, run)
        }
      }
    }
    this.#dirtyIds.add(name)
    for (const [outcome, count] of Object.entries(counts)) if (count > 0) runnerMetrics.events.inc({ topic: batch.topic, outcome }, count)
  }

  /** Progress counts only after everything that stands on the bus now has been folded: topics and partitions race. */
  async #heard(values: readonly Progress[]): Promise<void> {
    const barrier = await this.#parts.bus.end_offsets(this.topics)
    this.#pending.push({ values: [...values], barrier })
    runnerMetrics.pending.set(this.#pending.length)
  }

  #moved(batch: Partition, offset: bigint): void {
    const name = partName(batch)
    const before = this.#positions.get(name)
    if (before === undefined || before.offset < offset) this.#positions.set(name, { topic: batch.topic, partition: batch.partition, offset })
    this.#changed = true
  }

  /** Makes due progress effective, advances event time, runs timers, ends runs. */
  async #progressed(): Promise<void> {
    const now = this.#parts.clock.now()
    const touched = new Set<Run>()
    while (this.#pending[0] !== undefined && this.#passed(this.#pending[0])) {
      for (const value of this.#pending.shift()?.values ?? []) {
        if (value.run_id !== null && this.#finished.some((run) => run.run_id === value.run_id)) continue
        const run = this.#folds.run(value.run_id, now)
        run.watermark.observe(value, now)
        run.touched_at = now
        touched.add(run)
      }
      this.#changed = true
    }
    const live = this.#folds.runs.get(null)
    if (live) touched.add(live)
    for (const run of touched) {
      await this.#advance(run, run.watermark.advance(now))
      if (run.run_id !== null && run.watermark.done) await this.#finish(run, run.run_id)
    }
    for (const run of this.#folds.runs.values()) if (run.run_id !== null && now - run.touched_at >= this.options.abandon_run_after) this.#abandon(run)
    if (live && Number.isFinite(live.watermark.value)) runnerMetrics.watermark.set(live.watermark.value / 1000)
    runnerMetrics.pending.set(this.#pending.length)
  }

  #passed(pending: PendingProgress): boolean {
    return pending.barrier.every(({ topic, partition, offset }) => offset === 0n || (this.#positions.get(partName({ topic, partition }))?.offset ?? 0n) >= offset)
  }

  async #advance(run: Run, until: number): Promise<void> {
    const ticks = await this.#folds.tick(
      run,
      until,
      (of, keyed) => this.#reload(of, keyed),
      () => this.#send(),
    )
    if (ticks === 0) return
    runnerMetrics.ticks.inc(ticks)
    this.#changed = true
    await this.#send()
  }

  /** The run is read to its end: its last timers run, the mark is written, its state goes. */
  async #finish(run: Run, run_id: string): Promise<void> {
    run.watermark.value = Math.max(run.watermark.value, run.watermark.last_event_time + HORIZON_MS)
    await this.#advance(run, run.watermark.value)
    await this.#send()
    const { events, findings, late, duplicates } = run
    const mark = JSON.stringify({ run_id, events, findings, late, duplicates, done_at: this.#parts.clock.now() } satisfies RunMark)
    this.#finished = [...this.#finished.slice(1 - FINISHED_KEPT), { run_id, mark }]
    this.#drop(run)
    await this.#save()
    await this.#parts.state.put(RUNS_SCOPE, new Map([[run_id, Buffer.from(mark)]]))
    this.#parts.log.info('the detectors have seen the whole run', { run_id, events, findings, late, duplicates })
  }

  #abandon(run: Run): void {
    this.#parts.log.warn('dropping the detector state of a run that nobody ended: ingest its files again if its findings are wanted', { run_id: run.run_id, events: run.events })
    this.#drop(run)
  }

  #drop(run: Run): void {
    for (const keyed of keysInRun(run)) {
      if (keyed.persisted) this.#dropped.push(this.#nameOf(run, keyed))
      if (keyed.evicted) this.#folds.evicted--
    }
    this.#folds.runs.delete(run.run_id)
    this.#changed = true
  }

  async #send(): Promise<void> {
    const emitted: Emitted[] = this.#folds.emitted
    const failures = this.#folds.failures
    this.#folds.emitted = []
    this.#folds.failures = []
    this.#outbox.add(emitted, failures)
    if (this.#outbox.size === 0) return
    await this.#outbox.flush(this.#signal)
    crashPoint('runner.after-findings')
  }

  async #save(): Promise<void> {
    if (this.#outbox.size > 0) return // what is not told yet must be folded again after a crash
    const started = monotonicMs()
    for (const run of this.#folds.runs.values()) {
      for (const keyed of this.#folds.forgotten(run)) {
        if (keyed.persisted) this.#dropped.push(this.#nameOf(run, keyed))
        this.#folds.forget(run, keyed)
      }
    }
    const snapshot = { offsets: [...this.#positions.values()], ids: this.#ids, pending: this.#pending, finished: this.#finished }
    const { clock, log, state } = this.#parts
    const save = () => saveSnapshot(state, this.#folds, snapshot, this.#dropped, this.#dirtyIds)
    // A stop must not wait for a store that is away: the next start folds again from the snapshot before.
    await retry(save, { clock, signal: this.#signal, what: 'the store (detector snapshot)', log, ...(this.#signal.aborted ? { max_tries: 1 } : {}) })
    crashPoint('runner.after-snapshot')
    this.#dropped = []
    this.#dirtyIds.clear()
    this.#changed = false
    this.#snapshot_at = clock.now()
    const resident = evictOldest(this.#folds, this.options.max_resident_keys)
    this.#parts.detectors.forEach(({ spec }, index) => runnerMetrics.keys.set({ detector: spec.id }, resident[index] ?? 0))
    runnerMetrics.snapshot.observe((monotonicMs() - started) / 1000)
  }

  #reload(run: Run, keyed: Keyed): Promise<void> {
    return retry(() => reloadKey(this.#parts.state, this.#folds, run, keyed), {
      clock: this.#parts.clock,
      signal: this.#signal,
      what: 'the store (detector state)',
      log: this.#parts.log,
    })
  }

  async #partlyOwned(): Promise<void> {
    const all: PartitionOffset[] = await this.#parts.bus.end_offsets([...this.topics, 'progress.v1'] satisfies TopicName[])
    const unowned = all.filter((partition) => !this.#owned.has(partName(partition)))
    runnerMetrics.unowned.set(unowned.length)
    if (unowned.length === 0) return
    this.#parts.log.error('this detect process owns only a part of the events, so its baselines are wrong: run exactly one process with the role detect', {
      unowned: unowned.length,
      of: all.length,
    })
  }

  #nameOf(run: Run, keyed: Keyed): string {
    return keyName(run, this.#parts.detectors[keyed.fold]?.spec.id ?? '', keyed.entity)
  }

  #exclusive<T>(work: () => Promise<T>): Promise<T> {
    const result = this.#turn.then(work)
    this.#turn = result.catch(() => undefined)
    return result
  }
}

const partName = ({ topic, partition }: Partition): string => `${topic} ${partition}`
