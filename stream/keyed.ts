/** State per (run, fold, entity), the calls of `step`, and what they gave. No bus, no store, no wall clock. */
import { yieldToEventLoop } from '../runtime/clock.ts'
import { PermanentError } from '../runtime/errors.ts'
import type { TopicName, TopicValue } from '../schemas/topics.ts'
import { type ConfiguredFold, type EventTopic, eventTopics, FORGET_AFTER_MS, type Fold, type FoldedFinding } from './fold.ts'
import { Timers } from './timers.ts'
import { Watermark, type WatermarkOptions } from './watermark.ts'

/** How many ticks run before other work gets a turn. */
const TICKS_PER_TURN = 2000

/** One key of one fold in one run. */
export interface Keyed {
  readonly fold: number
  readonly entity: string
  /** undefined: not decoded yet (`bytes`) or not in memory (`evicted`). */
  state: unknown
  bytes: Uint8Array | undefined
  evicted: boolean
  wake_at: number
  late: number
  last_event_time: number
  dirty: boolean
  /** The snapshot holds an entry of this key. */
  persisted: boolean
  removed: boolean
}

export interface Run {
  readonly run_id: string | null
  readonly watermark: Watermark
  readonly keys: Map<string, Keyed>[]
  readonly timers: Timers<Keyed>
  events: number
  findings: number
  late: number
  duplicates: number
  /** Wall time of the last event or progress, to find runs that nobody ends. */
  touched_at: number
}

export interface Emitted {
  run: Run
  keyed: Keyed
  spec: Fold
  finding: FoldedFinding
}

export interface FoldFailure {
  spec: Fold
  entity: string | null
  topic: EventTopic | null
  event: TopicValue<EventTopic> | null
  error: unknown
}

export class KeyedFolds {
  readonly folds: readonly ConfiguredFold[]
  readonly runs = new Map<string | null, Run>()
  readonly #by_topic = new Map<TopicName, { index: number; spec: Fold; config: unknown }[]>()
  readonly #options: WatermarkOptions
  /** Filled by fold and tick, emptied by the runner. */
  emitted: Emitted[] = []
  failures: FoldFailure[] = []
  evicted = 0

  constructor(folds: readonly ConfiguredFold[], options: WatermarkOptions) {
    this.folds = folds
    this.#options = options
    folds.forEach(({ spec, config }, index) => {
      for (const topic of spec.topics) this.#by_topic.set(topic, [...(this.#by_topic.get(topic) ?? []), { index, spec, config }])
    })
  }

  get topics(): EventTopic[] {
    return eventTopics.filter((topic) => this.#by_topic.has(topic))
  }

  run(run_id: string | null, wall: number): Run {
    let run = this.runs.get(run_id)
    if (run === undefined) this.adopt((run = newRun(run_id, this.folds.length, new Watermark(run_id === null, this.#options, wall), wall)))
    return run
  }

  adopt(run: Run): void {
    this.runs.set(run.run_id, run)
  }

  /** Keys of these events whose state is not in memory; the runner reads them before it folds. */
  missing(topic: EventTopic, events: readonly TopicValue<EventTopic>[]): { run: Run; keyed: Keyed }[] {
    const missing: { run: Run; keyed: Keyed }[] = []
    if (this.evicted === 0) return missing
    for (const event of events) {
      const run = this.runs.get(event.run_id)
      if (run === undefined) continue
      for (const { index, spec } of this.#by_topic.get(topic) ?? []) {
        for (const entity of safeKeys(spec, event)) {
          const keyed = run.keys[index]?.get(entity)
          if (keyed?.evicted) missing.push({ run, keyed })
        }
      }
    }
    return missing
  }

  /** Folds one event into every key that it concerns. Late events are counted on the keys that exist, never folded. */
  fold(topic: EventTopic, event: TopicValue<EventTopic>, run: Run): void {
    const late = event.event_time < run.watermark.value
    run.events++
    if (late) run.late++
    else if (event.event_time > run.watermark.last_event_time) run.watermark.last_event_time = event.event_time
    for (const { index, spec, config } of this.#by_topic.get(topic) ?? []) {
      let entity: string | null = null
      try {
        for (entity of spec.keys(event)) {
          const keyed = run.keys[index]?.get(entity) ?? (late ? undefined : newKey(run, index, entity))
          if (keyed === undefined) continue
          keyed.dirty = true
          if (late) {
            keyed.late++
            continue
          }
          if (event.event_time > keyed.last_event_time) keyed.last_event_time = event.event_time
          const input = { event }
          this.#apply(run, keyed, spec, spec.step(stateOf(keyed, spec), input, entity, { config, now: run.watermark.value, late: keyed.late, gaps: run.watermark.gaps }))
        }
      } catch (error) {
        this.failures.push({ spec, entity, topic, event, error })
      }
    }
  }

  /** Runs every tick that is due at `until`, in event-time order. `load` brings back an evicted state; `flush` runs now and then. */
  async tick(run: Run, until: number, load: (run: Run, keyed: Keyed) => Promise<void>, flush: () => Promise<void>): Promise<number> {
    let ticks = 0
    for (let timer = run.timers.popDue(until); timer !== undefined; timer = run.timers.popDue(until)) {
      const keyed = timer.key
      const fold = this.folds[keyed.fold]
      if (fold === undefined || keyed.removed || keyed.wake_at !== timer.at) continue
      if (keyed.evicted) await load(run, keyed)
      keyed.wake_at = Infinity
      keyed.dirty = true
      try {
        const context = { config: fold.config, now: timer.at, late: keyed.late, gaps: run.watermark.gaps }
        this.#apply(run, keyed, fold.spec, fold.spec.step(stateOf(keyed, fold.spec), { tick: timer.at }, keyed.entity, context))
        if (keyed.wake_at <= timer.at) throw new PermanentError(`the detector wants to be woken at ${keyed.wake_at}, which is not after ${timer.at}`)
      } catch (error) {
        keyed.wake_at = Infinity
        this.failures.push({ spec: fold.spec, entity: keyed.entity, topic: null, event: null, error })
      }
      if (++ticks % TICKS_PER_TURN === 0) {
        await flush()
        await yieldToEventLoop()
      }
    }
    return ticks
  }

  /** Keys that nobody has used for so long that they are forgotten. */
  forgotten(run: Run): Keyed[] {
    const old: Keyed[] = []
    run.keys.forEach((keys, index) => {
      const spec = this.folds[index]?.spec
      for (const keyed of keys.values()) {
        const after = spec?.forget_after_ms?.(keyed.entity) ?? FORGET_AFTER_MS
        if (keyed.last_event_time < run.watermark.value - after) old.push(keyed)
      }
    })
    return old
  }

  forget(run: Run, keyed: Keyed): void {
    if (keyed.evicted) this.evicted--
    keyed.removed = true
    run.keys[keyed.fold]?.delete(keyed.entity)
  }

  #apply(run: Run, keyed: Keyed, spec: Fold, step: ReturnType<Fold['step']>): void {
    keyed.state = step.state
    const wake_at = step.wake_at ?? Infinity
    if (wake_at !== keyed.wake_at) {
      keyed.wake_at = wake_at
      if (wake_at !== Infinity) run.timers.push({ at: wake_at, order: `${spec.id} ${keyed.entity}`, key: keyed })
    }
    for (const finding of step.findings) {
      run.findings++
      this.emitted.push({ run, keyed, spec, finding })
    }
  }
}

/** Oldest keys leave memory until a fifth of `limit` is free again; the snapshot that was just written has them all. Gives resident keys per fold. */
export function evictOldest(folds: KeyedFolds, limit: number): number[] {
  const resident: Keyed[] = []
  for (const run of folds.runs.values()) for (const keyed of keysInRun(run)) if (!keyed.evicted) resident.push(keyed)
  const excess = resident.length > limit ? resident.length - Math.floor(limit * 0.8) : 0
  if (excess > 0) resident.sort((a, b) => a.last_event_time - b.last_event_time)
  for (const keyed of resident.slice(0, excess)) {
    if (keyed.dirty || !keyed.persisted) continue
    keyed.state = undefined
    keyed.bytes = undefined
    keyed.evicted = true
    folds.evicted++
  }
  return folds.folds.map((_, index) => resident.filter((keyed) => keyed.fold === index && !keyed.evicted).length)
}

export function* keysInRun(run: Run): Generator<Keyed> {
  for (const keys of run.keys) yield* keys.values()
}

export function newRun(run_id: string | null, folds: number, watermark: Watermark, wall: number): Run {
  const keys = Array.from({ length: folds }, () => new Map<string, Keyed>())
  return { run_id, watermark, keys, timers: new Timers(), events: 0, findings: 0, late: 0, duplicates: 0, touched_at: wall }
}

function newKey(run: Run, fold: number, entity: string): Keyed {
  const keyed: Keyed = {
    fold,
    entity,
    state: undefined,
    bytes: undefined,
    evicted: false,
    wake_at: Infinity,
    late: 0,
    last_event_time: -Infinity,
    dirty: true,
    persisted: false,
    removed: false,
  }
  run.keys[fold]?.set(entity, keyed)
  return keyed
}

function stateOf(keyed: Keyed, spec: Fold): unknown {
  if (keyed.bytes !== undefined) {
    keyed.state = spec.decode(keyed.bytes)
    keyed.bytes = undefined
  }
  return keyed.state
}

function safeKeys(spec: Fold, event: TopicValue<EventTopic>): string[] {
  try {
    return spec.keys(event)
  } catch {
    return [] // fold() meets the same error and reports it
  }
}
