/** One batch from the bus to a handler, the same way for both buses: decode, park what is broken, hand over until it is handled. */
import type { Clock } from '../runtime/clock.ts'
import { messageOf } from '../runtime/errors.ts'
import type { Logger } from '../runtime/log.ts'
import { type Random, systemRandom } from '../runtime/random.ts'
import { fullJitter } from '../runtime/retry.ts'
import type { Reject } from '../schemas/rejects.ts'
import type { TopicName } from '../schemas/topics.ts'
import type { Batch, Consumer } from './bus.ts'
import { decodeBatch, type StoredRecord } from './decode.ts'
import { consumed, redeliveries, rejected } from './metrics.ts'

export interface DeliveryDeps {
  clock: Clock
  log: Logger
  random?: Random
  publishRejects(rejects: readonly Reject[]): Promise<void>
}

export interface Delivery<T extends TopicName> {
  topic: T
  partition: number
  group: string
  stored: readonly StoredRecord[]
  consumer: Consumer<T>
}

const BASE_MS = 100
const CAP_MS = 30_000

/** `handled`: `last + 1` may be committed. `aborted`: nothing may be committed. A number: it failed, try again after so many milliseconds. */
export type Outcome = 'handled' | 'aborted' | number

/** Hands the batch over until it is handled or the signal aborts. Does not throw. */
export async function deliver<T extends TopicName>(delivery: Delivery<T>, deps: DeliveryDeps, signal: AbortSignal): Promise<'handled' | 'aborted'> {
  for (let attempt = 1; ; attempt++) {
    const outcome = await deliverOnce(delivery, attempt, deps, signal)
    if (typeof outcome === 'string') return outcome
    await deps.clock.sleep(outcome, signal)
  }
}

/** One try. Does not throw: whatever fails, decoding and rejects included, becomes a back-off with jitter. `attempt` counts from 1. */
export async function deliverOnce<T extends TopicName>(delivery: Delivery<T>, attempt: number, deps: DeliveryDeps, signal: AbortSignal): Promise<Outcome> {
  const { topic, partition, group, consumer } = delivery
  const { log, random = systemRandom } = deps
  if (signal.aborted) return 'aborted'
  try {
    const batch = await decodeAndPark(delivery, deps)
    if (!signal.aborted) await (batch.records.length > 0 ? consumer.handle(batch, signal) : consumer.skipped?.({ topic, partition, offset: batch.last + 1n }))
    if (signal.aborted) return 'aborted'
    consumed.inc({ topic, group }, batch.records.length)
    return 'handled'
  } catch (error) {
    if (signal.aborted) return 'aborted'
    redeliveries.inc({ topic, group })
    // One line at the 1st, 2nd, 4th, 8th … failure: a long outage must not fill the disk with logs.
    if ((attempt & (attempt - 1)) === 0) log.warn('a batch is handed over again', { topic, partition, group, attempt, error: messageOf(error) })
    return fullJitter(Math.min(attempt, 20), random, BASE_MS, CAP_MS)
  }
}

async function decodeAndPark<T extends TopicName>({ topic, partition, stored }: Delivery<T>, deps: DeliveryDeps): Promise<Batch<T>> {
  const { records, rejects } = await decodeBatch(topic, partition, stored, deps.clock.now())
  if (rejects.length > 0) await park(topic, partition, rejects, deps)
  return { topic, partition, first: stored[0]?.offset ?? 0n, last: stored.at(-1)?.offset ?? 0n, records } as Batch<T>
}

/** Publishes the rejects of one batch and counts them. */
export async function park(topic: TopicName, partition: number, rejects: readonly Reject[], deps: Pick<DeliveryDeps, 'log' | 'publishRejects'>): Promise<void> {
  // A broken record on rejects.v1 itself would breed another one for ever: it is only counted and logged.
  if (topic !== 'rejects.v1') await deps.publishRejects(rejects)
  for (const reject of rejects) rejected.inc({ topic, reason: reject.reason })
  deps.log.warn('records on the bus do not fit their schema and were set aside', { topic, partition, count: rejects.length, reason: rejects[0]?.reason })
}
