/** Waiting until everything that was published has gone the whole way: stored, rolled up, detected, told. */
import type { Bus, PartitionOffset } from '../bus/bus.ts'
import type { Clock } from '../runtime/clock.ts'
import { UsageError } from '../runtime/errors.ts'
import type { TopicName } from '../schemas/topics.ts'

const POLL_MS = 100

/** True when the group has committed up to the given end offsets (empty partitions count as passed). */
export async function hasPassed(bus: Bus, group: string, ends: readonly PartitionOffset[]): Promise<boolean> {
  const committed = new Map((await bus.lag(group)).map((lag) => [`${lag.topic} ${lag.partition}`, lag.committed]))
  return ends.every(({ topic, partition, offset }) => offset === 0n || (committed.get(`${topic} ${partition}`) ?? -1n) >= offset)
}

export interface DrainStep {
  /** What is waited for, named when it takes too long. */
  what: string
  reached(): Promise<boolean>
}

/** Offsets that stand now: what `hasPassed` compares with later. */
export const endsOf = (bus: Bus, topics: readonly TopicName[]): Promise<PartitionOffset[]> => bus.end_offsets(topics)

/** One step after the other, because each feeds the next. Throws UsageError when `timeout_ms` is over. */
export async function drain(steps: readonly DrainStep[], timeout_ms: number, clock: Clock, signal: AbortSignal): Promise<void> {
  const deadline = clock.now() + timeout_ms
  for (const step of steps) {
    while (!(await step.reached())) {
      if (signal.aborted) throw new UsageError('stopped before everything had drained; what was published is on the bus and goes on at the next start')
      if (clock.now() > deadline)
        throw new UsageError(`still waiting for ${step.what}; what was published is safe on the bus. Try again with a longer --timeout, and check that this role runs somewhere`)
      await clock.sleep(POLL_MS, signal)
    }
  }
}
