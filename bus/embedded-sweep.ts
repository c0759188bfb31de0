/** Retention and compaction of the embedded bus, in steps so small that the pipeline does not notice. */
import { type Clock, yieldToEventLoop } from '../runtime/clock.ts'
import { type TopicName, topics } from '../schemas/topics.ts'
import type { LogFile } from './embedded-log.ts'

/** Milliseconds that records of a topic are kept; -1 for ever. */
export type Retention = Readonly<Partial<Record<TopicName, number>>>

export async function sweep(file: LogFile, retention: Retention | undefined, clock: Clock, signal?: AbortSignal): Promise<void> {
  for (const { id, topic } of file.partitions) {
    const keep = retention?.[topic] ?? topics[topic].retention_ms
    if (keep >= 0) await untilDone(() => file.expire(id, clock.now() - keep), signal)
    if (topics[topic].cleanup === 'compact') await untilDone(() => file.compact(id), signal)
  }
  await untilDone(() => file.shrink(), signal)
}

async function untilDone(step: () => boolean, signal?: AbortSignal): Promise<void> {
  const stopped = () => signal?.aborted === true
  while (!stopped() && step()) await yieldToEventLoop()
}
