/**
 * The embedded bus: an append-only log in one SQLite file, with the same semantics as Kafka. Several processes on one host may
 * use the file at once: any of them publishes, the members of a group share the partitions.
 */
import { type Clock, yieldToEventLoop } from '../runtime/clock.ts'
import { messageOf, PermanentError, TransientError } from '../runtime/errors.ts'
import type { Logger } from '../runtime/log.ts'
import { type TopicName, type TopicValue, topics as registry } from '../schemas/topics.ts'
import type { Batch, Bus } from './bus.ts'
import { decodeBatch, encode } from './decode.ts'
import { park } from './deliver.ts'
import { type Appender, chunks, createAppender } from './embedded-appender.ts'
import { watchChanges } from './embedded-changes.ts'
import { consumeEmbedded, type EmbeddedDeps } from './embedded-consumer.ts'
import { openGroups } from './embedded-group.ts'
import { type LogFile, openLogFile } from './embedded-log.ts'
import { type Retention, sweep } from './embedded-sweep.ts'
import { published } from './metrics.ts'
import { partitionOf } from './partition.ts'

export interface EmbeddedBus extends Bus {
  /** Applies retention and compaction now. Long-lived processes do it by themselves every minute. */
  sweep(): Promise<void>
}

interface Options {
  /** Made if it is missing; must be on a local disk. */
  directory: string
  /** Milliseconds per topic, instead of the registry's. */
  retention?: Retention | undefined
}

const MAX_RECORDS = 5_000
const REPLAY_BYTES = 4_000_000
const SWEEP_MS = 60_000

/** Throws UsageError when the file cannot be opened. */
export function openEmbeddedBus(options: Options, deps: { clock: Clock; log: Logger }): EmbeddedBus {
  const { clock, log } = deps
  const file = openLogFile(options.directory)
  const groups = openGroups(file)
  const changes = watchChanges(file, groups, clock, log)
  const appender = createAppender(file, changes, clock)
  const closed = new AbortController()
  const background: Promise<void>[] = []
  const consuming = new Set<Promise<void>>()
  const guard = () => {
    if (closed.signal.aborted) throw new PermanentError('the bus is closed')
  }
  const publish = publisher(file, appender, guard)
  const delivery = { clock, log, publishRejects: (rejects: readonly TopicValue<'rejects.v1'>[]) => publish('rejects.v1', rejects) }
  const embedded: EmbeddedDeps = { clock, log, file, groups, changes, delivery }
  const startBackground = () => {
    if (background.length > 0) return
    background.push(changes.poll(closed.signal), sweepForEver(file, options.retention, deps, closed.signal))
  }
  return {
    prepare: async () => guard(), // the topics are made when the file is opened
    publish,
    consume: async (topics, group, consumer, signal, { max_records = MAX_RECORDS } = {}) => {
      guard()
      startBackground()
      const run = consumeEmbedded({ topics, group, consumer, max_records }, embedded, AbortSignal.any([signal, closed.signal]))
      const settled = run.catch(() => {})
      consuming.add(settled)
      await run.finally(() => consuming.delete(settled))
    },
    replay: async (topic, visit, signal) => (guard(), replay(topic, visit, embedded, signal)),
    lag: async (group) => {
      guard()
      const committed = groups.committed(group)
      const ends = file.ends()
      return file.partitions.flatMap(({ id, topic, partition }) => {
        const offset = committed.get(id)
        return offset === undefined ? [] : [{ topic, partition, committed: offset === null ? null : BigInt(offset), end: BigInt(ends.get(id) ?? 0) }]
      })
    },
    members: async (group) => (guard(), groups.members(group, clock.now())),
    end_offsets: async (topics) => {
      guard()
      const ends = file.ends()
      return file.partitions.filter(({ topic }) => topics.includes(topic)).map(({ id, topic, partition }) => ({ topic, partition, offset: BigInt(ends.get(id) ?? 0) }))
    },
    ping: async () => {
      guard()
      try {
        file.ends()
      } catch (error) {
        throw new TransientError(`the bus file in ${options.directory} cannot be read: ${messageOf(error)}`, { cause: error })
      }
    },
    sweep: async () => (guard(), sweep(file, options.retention, clock)),
    close: async () => {
      if (closed.signal.aborted) return
      closed.abort()
      await Promise.all([...consuming, ...background, appender.idle()])
      file.close()
    },
  }
}

function publisher(file: LogFile, appender: Appender, guard: () => void): Bus['publish'] {
  return async <T extends TopicName>(topic: T, values: readonly TopicValue<T>[]) => {
    guard()
    const { key, cleanup } = registry[topic] as { key: (value: TopicValue<T>) => string; cleanup: string }
    const homes = file.partitions.filter((at) => at.topic === topic)
    const known = new Map<string, number>()
    const homeOf = (name: string): number => {
      const id = homes[partitionOf(name, homes.length)]?.id ?? 0
      known.set(name, id)
      return id
    }
    const encoded = (value: TopicValue<T>) => {
      const name = key(value)
      return { id: known.get(name) ?? homeOf(name), key: cleanup === 'compact' ? name : null, value: encode(topic, value) }
    }
    for (const records of chunks(values, encoded)) {
      await appender.append(records)
      published.inc({ topic }, records.length)
    }
  }
}

async function replay<T extends TopicName>(topic: T, visit: (batch: Batch<T>) => void | Promise<void>, deps: EmbeddedDeps, signal: AbortSignal): Promise<void> {
  const { file, clock, delivery } = deps
  const ends = file.ends()
  for (const { id, partition } of file.partitions.filter((at) => at.topic === topic)) {
    const end = ends.get(id) ?? 0
    for (let from = 0; from < end && !signal.aborted; await yieldToEventLoop()) {
      const rows = file.read(id, from, 500, REPLAY_BYTES).filter(({ offset }) => offset < end)
      const last = rows.at(-1)
      if (last === undefined) break
      const stored = rows.map(({ offset, value }) => ({ offset: BigInt(offset), value }))
      const { records, rejects } = await decodeBatch(topic, partition, stored, clock.now())
      if (rejects.length > 0) await park(topic, partition, rejects, delivery)
      if (records.length > 0) await visit({ topic, partition, first: BigInt(rows[0]?.offset ?? 0), last: BigInt(last.offset), records })
      from = last.offset + 1
    }
  }
}

async function sweepForEver(file: LogFile, retention: Retention | undefined, { clock, log }: { clock: Clock; log: Logger }, signal: AbortSignal): Promise<void> {
  for (await clock.sleep(SWEEP_MS, signal); !signal.aborted; await clock.sleep(SWEEP_MS, signal)) {
    try {
      await sweep(file, retention, clock, signal)
    } catch (error) {
      log.warn('old records could not be deleted from the bus file', { error: messageOf(error) })
    }
  }
}
