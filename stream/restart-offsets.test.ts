import { describe, expect, it } from 'vitest'
import type { Bus, Consumer, Partition, PartitionOffset } from '../bus/bus.ts'
import { detectorsConfig } from '../detect/config.ts'
import { usageSample } from '../detect/detector-case.ts'
import { configuredDetectors } from '../detect/index.ts'
import { systemClock } from '../runtime/clock.ts'
import { silentLogger } from '../runtime/log.ts'
import type { Progress } from '../schemas/progress.ts'
import type { StateStore } from '../store/store.ts'
import { createMemoryState } from '../test/support/memory-state.ts'
import type { EventTopic } from './fold.ts'
import { runDetectors } from './runner.ts'

const never = new AbortController().signal
type RunnerConsumer = Consumer<EventTopic | 'progress.v1'>

/** Starts a runner on a bus that hands over only what the test says, lets it work, and stops it (which saves a snapshot). */
async function life(state: StateStore, work: (consumer: RunnerConsumer) => Promise<void>, ends: PartitionOffset[] = []): Promise<void> {
  const stop = new AbortController()
  const consume = async (_topics: unknown, _group: string, consumer: RunnerConsumer): Promise<void> => work(consumer).finally(() => stop.abort())
  const bus = {
    consume,
    publish: async () => {},
    end_offsets: async () => ends,
    lag: async () => ends.map((end) => ({ ...end, committed: end.offset, end: end.offset })),
  } as unknown as Bus
  await runDetectors({ bus, state, detectors: configuredDetectors(detectorsConfig.parse(undefined)), clock: systemClock, log: silentLogger }, stop.signal)
}

const progressSample = (to: number): Progress => ({
  stream: 'a:s',
  source: 'a',
  source_stream: 's',
  run_id: null,
  at: to,
  scanned_to: to,
  last_event_time: to,
  completeness: null,
  blind: false,
  reason: null,
  done: false,
  records: 0,
  accepted: 0,
  skipped: 0,
  rejected: 0,
  late: 0,
})

describe('the runner after a restart', () => {
  it('lets progress wait for what it has to read again, whatever the group committed', async () => {
    const state = createMemoryState()
    const home: Partition[] = [{ topic: 'usage.v1', partition: 0 }]
    const ends = [{ topic: 'usage.v1', partition: 0, offset: 9n }] satisfies PartitionOffset[]
    const heard = Date.UTC(2026, 5, 1, 1)
    const at = (n: number) => usageSample(Date.UTC(2026, 5, 1) + n)
    await life(
      state,
      async (consumer) => {
        await consumer.assigned?.(home)
        await consumer.handle({ topic: 'usage.v1', partition: 0, first: 0n, last: 4n, records: [at(1)] }, never)
        await consumer.handle({ topic: 'progress.v1', partition: 0, first: 0n, last: 0n, records: [progressSample(heard)] }, never)
      },
      ends,
    )
    // The crashed process had gone further than its snapshot; nothing arrives for a while, as when Kafka is slow to hand over.
    await life(
      state,
      async (consumer) => {
        await consumer.assigned?.(home)
        await systemClock.sleep(3_500)
      },
      ends,
    )
    await life(
      state,
      async (consumer) => {
        expect(await consumer.assigned?.(home)).toEqual([{ topic: 'usage.v1', partition: 0, offset: 5n }])
        await consumer.skipped?.({ topic: 'usage.v1', partition: 0, offset: 9n })
      },
      ends,
    )
    await life(state, async (consumer) => expect(await consumer.assigned?.(home)).toEqual([{ topic: 'usage.v1', partition: 0, offset: 9n }]), ends)
  })

  it('reads a partition that its snapshot does not know from the beginning, whatever the group committed', async () => {
    const state = createMemoryState()
    const partitions: Partition[] = [0, 1].map((partition) => ({ topic: 'usage.v1', partition }))
    await life(state, async (consumer) => {
      await consumer.assigned?.(partitions)
      await consumer.handle({ topic: 'usage.v1', partition: 0, first: 0n, last: 4n, records: [usageSample(Date.UTC(2026, 5, 1))] }, never)
    })
    await life(state, async (consumer) => {
      expect(await consumer.assigned?.(partitions)).toEqual([
        { topic: 'usage.v1', partition: 0, offset: 5n },
        { topic: 'usage.v1', partition: 1, offset: 0n },
      ])
    })
  })
})
