/** Reads a Kafka topic from its beginning to its present end. The client has no reading without a group, so a passing one is used, never committed. */
import type { Clock } from '../runtime/clock.ts'
import { PermanentError, UsageError } from '../runtime/errors.ts'
import { freshUuid } from '../runtime/ids.ts'
import type { Logger } from '../runtime/log.ts'
import { systemRandom } from '../runtime/random.ts'
import { fullJitter } from '../runtime/retry.ts'
import type { TopicName } from '../schemas/topics.ts'
import type { Batch } from './bus.ts'
import { decodeBatch } from './decode.ts'
import { type DeliveryDeps, park } from './deliver.ts'
import type { BatchSession, FetchedBatch, GroupEvents, OpenGroup, Range, ReadRanges } from './kafka-client.ts'

interface ReplayDeps {
  clock: Clock
  log: Logger
  delivery: DeliveryDeps
  open: OpenGroup
  ranges: ReadRanges
  explain(error: unknown): Error
  waiting(error: unknown): void
}
type Visit<T extends TopicName> = (batch: Batch<T>) => void | Promise<void>

const MAX_TRIES = 10
/** How long nothing may come before it is asked whether the records are still there. */
const STILL_THERE_MS = 1_000

/** Resolves at the ends that the topic had at the call, or when the signal aborts; rejects with what `visit` throws. */
export async function replayKafka<T extends TopicName>(topic: T, visit: Visit<T>, deps: ReplayDeps, signal: AbortSignal): Promise<void> {
  const ranges = await deps.ranges(topic)
  const todo = [...ranges].filter(([, { low, high }]) => high > low).sort(([a], [b]) => a - b)
  const positions = new Map(todo.map(([partition, { low }]) => [partition, low]))
  for (let attempt = 1; todo.length > 0 && !signal.aborted; attempt++) {
    try {
      return await readOnce(topic, todo, positions, visit, deps, signal)
    } catch (error) {
      if (error instanceof VisitError) throw error.cause
      const explained = deps.explain(error)
      if (explained instanceof PermanentError || explained instanceof UsageError || attempt >= MAX_TRIES) throw explained
      deps.waiting(explained)
      await deps.clock.sleep(fullJitter(attempt, systemRandom), signal)
    }
  }
}

class VisitError extends Error {}

async function readOnce<T extends TopicName>(
  topic: T,
  todo: [number, Range][],
  positions: Map<number, bigint>,
  visit: Visit<T>,
  deps: ReplayDeps,
  signal: AbortSignal,
): Promise<void> {
  const ended = Promise.withResolvers<void>()
  const current = () => todo.find(([partition, { high }]) => (positions.get(partition) ?? high) < high)
  const advance = (partition: number, next: bigint) => {
    positions.set(partition, next)
    const at = current()
    if (at === undefined) return ended.resolve()
    if (at[0] === partition) return
    client.pause({ topic, partition })
    client.resume({ topic, partition: at[0] })
  }
  const events: GroupEvents = {
    // One partition after the other, so that batches come in the same order as from the embedded bus.
    joined: (_, partitions) => {
      const first = current()?.[0]
      for (const at of partitions) {
        const position = positions.get(at.partition)
        if (position !== undefined) client.seek(at, position)
        if (at.partition === first) client.resume(at)
        else client.pause(at)
      }
    },
    rebalancing: () => {},
    alive: () => {},
    passed: ({ partition }, last) => {
      if (current()?.[0] === partition) advance(partition, last + 1n)
    },
    crashed: ended.reject,
    batch: async (fetched, session) => {
      const range = current()
      if (signal.aborted || range?.[0] !== fetched.partition || fetched.asked !== positions.get(fetched.partition)) return deps.clock.sleep(20)
      const last = await visitBatch(topic, fetched, range[1].high, visit, deps, session).catch((error: unknown) => ended.reject(new VisitError('visit', { cause: error })))
      if (typeof last === 'bigint') advance(fetched.partition, last + 1n)
    },
  }
  const client = deps.open(`replay-${freshUuid()}`, [topic], events)
  // Retention may delete what is still to be read. The client then goes to the beginning by itself, and where that is the end no
  // batch ever comes: without this the replay would wait for it for ever.
  const passDeleted = async (): Promise<void> => {
    const at = current()
    const position = positions.get(at?.[0] ?? -1)
    await deps.clock.sleep(STILL_THERE_MS, over.signal)
    if (at === undefined || position === undefined || over.signal.aborted || positions.get(at[0]) !== position) return
    const low = (await deps.ranges(topic)).get(at[0])?.low ?? position
    if (low <= position || positions.get(at[0]) !== position) return
    client.seek({ topic, partition: at[0] }, low)
    advance(at[0], low)
  }
  const over = new AbortController()
  const watch = async (): Promise<void> => {
    while (!over.signal.aborted) await passDeleted().catch(ended.reject)
  }
  const stop = () => ended.resolve()
  signal.addEventListener('abort', stop, { once: true })
  const watching = watch()
  try {
    await Promise.race([client.start().then(() => ended.promise), ended.promise])
  } finally {
    signal.removeEventListener('abort', stop)
    over.abort()
    await client.close()
    await watching
  }
}

async function visitBatch<T extends TopicName>(
  topic: T,
  { partition, records: all }: FetchedBatch,
  high: bigint,
  visit: Visit<T>,
  deps: ReplayDeps,
  session: BatchSession,
): Promise<bigint> {
  const stored = all.filter(({ offset }) => offset < high)
  const { records, rejects } = await decodeBatch(topic, partition, stored, deps.clock.now())
  if (rejects.length > 0) await park(topic, partition, rejects, deps.delivery)
  const last = stored.at(-1)?.offset ?? high - 1n
  if (records.length > 0) await visit({ topic, partition, first: stored[0]?.offset ?? last, last, records })
  await session.heartbeat()
  session.resolve(last)
  return last
}
