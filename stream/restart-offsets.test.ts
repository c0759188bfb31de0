import { describe, expect, it } from 'vitest'
import type { Bus, Consumer, Partition, PartitionOffset } from '../bus/bus.ts'
import { detectorsConfig } from '../detect/config.ts'
import { usageSample } from '../detect/detector-case.ts'
import { configuredDetectors } from '../detect/index.ts'
import { systemClock } from '../runtime/clock.ts'
import { silentLogger } from '../runtime/log.ts'
import type { StateStore } from '../store/store.ts'
import { createMemoryState } from '../test/support/memory-state.ts'
import type { EventTopic } from './fold.ts'
import { runDetectors } from './runner.ts'

type RunnerConsumer = Consumer<EventTopic | 'progress.v1'>

/** Starts a runner on a bus that hands over only what the test says, lets it work, and stops it (which saves a snapshot). */
async function life(state: StateStore, work: (consumer: RunnerConsumer) => Promise<void>): Promise<void> {
  const stop = new AbortController()
  const consume = async (_topics: unknown, _group: string, consumer: RunnerConsumer): Promise<void> => work(consumer).finally(() => stop.abort())
  const bus = { consume, publish: async () => {}, end_offsets: async (): Promise<PartitionOffset[]> => [], lag: async () => [] } as unknown as Bus
  await runDetectors({ bus, state, detectors: configuredDetectors(detectorsConfig.parse(undefined)), clock: systemClock, log: silentLogger }, stop.signal)
}

describe('the runner after a restart', () => {
  it('reads a partition that its snapshot does not know from the beginning, whatever the group committed', async () => {
    const state = createMemoryState()
    const partitions: Partition[] = [0, 1].map((partition) => ({ topic: 'usage.v1', partition }))
    await life(state, async (consumer) => {
      await consumer.assigned?.(partitions)
      await consumer.handle({ topic: 'usage.v1', partition: 0, first: 0n, last: 4n, records: [usageSample(Date.UTC(2026, 5, 1))] }, new AbortController().signal)
    })
    await life(state, async (consumer) => {
      expect(await consumer.assigned?.(partitions)).toEqual([
        { topic: 'usage.v1', partition: 0, offset: 5n },
        { topic: 'usage.v1', partition: 1, offset: 0n },
      ])
    })
  })
})
