/** What the bus needs of a Kafka client, so that the client library stays in kafka.ts. Offsets are bigint here, text there. */
import type { TopicName } from '../schemas/topics.ts'
import type { Partition } from './bus.ts'
import type { StoredRecord } from './decode.ts'

/** Records of one partition as one fetch brought them. */
export interface FetchedBatch extends Partition {
  /** The offset that the fetch asked for; tells a batch from before a seek. */
  asked: bigint
  records: readonly StoredRecord[]
}

export interface BatchSession {
  /** Throws when the group is rebalancing or this member is out of it: stop, let the error pass. */
  heartbeat(): Promise<void>
  /** Commits the next offset to read; throws when the broker refuses. */
  commit(next: bigint): Promise<void>
  /** The next fetch goes on behind this offset. Without it the same records come again. */
  resolve(last: bigint): void
}

export interface GroupEvents {
  /** This member got its share; called before the first batch of it. A new member id means that everything before was lost. */
  joined(member: string, partitions: readonly Partition[]): void
  /** Partitions are about to move. */
  rebalancing(): void
  /** The client has heard from a broker. */
  alive(): void
  /** All of a fetched batch was passed over without records (markers of transactions). */
  passed(at: Partition, last: bigint): void
  crashed(error: Error): void
  batch(fetched: FetchedBatch, session: BatchSession): Promise<void>
}

export interface GroupClient {
  /** Resolves when the client has joined or `crashed` was called. */
  start(): Promise<void>
  seek(at: Partition, offset: bigint): void
  pause(at: Partition): void
  resume(at: Partition): void
  /** Leaves the group and disconnects; does not throw. */
  close(): Promise<void>
}

/** First offset that is still there and the next one to be written. */
export interface Range {
  low: bigint
  high: bigint
}

export type OpenGroup = (group: string, topics: readonly TopicName[], events: GroupEvents) => GroupClient
export type ReadRanges = (topic: TopicName) => Promise<Map<number, Range>>

export const keyOf = ({ topic, partition }: Partition): string => `${topic}/${partition}`
