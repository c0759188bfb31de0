/** Runs detectors over prepared events without bus or store: the folds, the watermark and the ticks of the real runner's core. */
import type { ConfiguredFold, EventTopic, FoldedFinding } from '../../stream/fold.ts'
import { KeyedFolds, keysInRun } from '../../stream/keyed.ts'
import type { TopicValue } from '../../schemas/topics.ts'

export interface Told extends FoldedFinding {
  detector: string
  /** Event time that had arrived when it was told. */
  arrived: number
}

export interface ReplayOptions {
  /** Milliseconds between newest arrival and watermark. */
  lag?: number
  /** How often the watermark moves, in event time. */
  every?: number
  /** Encode and decode every state at this event index. */
  roundTripAt?: number
}

export interface Replayed {
  told: Told[]
  folds: KeyedFolds
}

/** Events in order of arrival. The watermark follows the newest event at `lag`; at the end everything closes. */
export async function replay(
  detectors: readonly ConfiguredFold[],
  events: readonly { topic: EventTopic; event: TopicValue<EventTopic> }[],
  { lag = 120_000, every = 60_000, roundTripAt = -1 }: ReplayOptions = {},
): Promise<Replayed> {
  const folds = new KeyedFolds(detectors, { lateness: 0, silent_after: Infinity, unpaced_lateness: 0 })
  const told: Told[] = []
  let newest = 0
  const collect = () => {
    for (const { spec, finding } of folds.emitted) told.push({ ...finding, detector: spec.id, arrived: newest })
    folds.emitted = []
    const [failure] = folds.failures
    if (failure) throw failure.error instanceof Error ? failure.error : new Error(String(failure.error))
  }
  const advance = async (until: number) => {
    for (const run of folds.runs.values()) {
      run.watermark.value = Math.max(run.watermark.value, until)
      await folds.tick(
        run,
        run.watermark.value,
        async () => {},
        async () => collect(),
      )
    }
    collect()
  }
  let next = -Infinity
  for (const [index, { topic, event }] of events.entries()) {
    if (index === roundTripAt) roundTrip(folds)
    folds.fold(topic, event, folds.run(event.run_id, 0))
    newest = Math.max(newest, event.event_time)
    collect()
    if (newest >= next) {
      await advance(newest - lag)
      next = newest + every
    }
  }
  await advance(newest + 2 * 86_400_000)
  return { told, folds }
}

function roundTrip(folds: KeyedFolds): void {
  for (const run of folds.runs.values()) {
    for (const keyed of keysInRun(run)) {
      const spec = folds.folds[keyed.fold]?.spec
      if (spec && keyed.state !== undefined) keyed.state = spec.decode(spec.encode(keyed.state))
    }
  }
}
