/**
 * The bus: the only place where offsets exist. Two implementations, kafka.ts and embedded.ts, one contract test
 * (test/contract/bus.ts). No type of a client library crosses this port.
 *
 * Guarantees that callers may rely on:
 * - publish: resolves when every record is durable on all in-sync replicas. A rejection means *unknown*, never *not written*:
 *   publish the same values again; consumers absorb duplicates by id.
 * - consume: records of one key arrive in order. A batch is handed over until `handle` resolves; only then is `last + 1`
 *   committed. A batch whose partition was revoked meanwhile is not committed. Never a commit past a gap.
 * - A record that is not JSON or does not fit its schema never reaches `handle`: it goes to rejects.v1 with its reason and the
 *   offset moves on.
 */
import type { TopicName, TopicValue } from '../schemas/topics.ts'

/** Records of one partition in order. `first`/`last` are offsets on the bus; there may be holes between them. */
export type Batch<T extends TopicName = TopicName> = { [K in T]: { topic: K; partition: number; first: bigint; last: bigint; records: TopicValue<K>[] } }[T]

export interface Partition {
  topic: TopicName
  partition: number
}
/** `offset` is the next one to read. */
export interface PartitionOffset extends Partition {
  offset: bigint
}

export interface Consumer<T extends TopicName> {
  /**
   * Called before the first batch of newly assigned partitions. Offsets that it returns are where reading starts, whatever
   * was committed (the keyed runner seeks to its snapshot); partitions that it does not name start at the committed offset,
   * or at the beginning if there is none.
   */
  assigned?(partitions: readonly Partition[]): Promise<readonly PartitionOffset[] | void>
  /** Called after the running handle() of these partitions ended or was aborted. */
  revoked?(partitions: readonly Partition[]): Promise<void>
  /**
   * Resolve = handled, commit. Throw = hand over the same records again after a back-off with jitter (the batch may be cut
   * differently, it starts at the same offset). `signal` aborts on revoke and on shutdown: stop soon, what returns after
   * that is not committed. One batch at a time per partition; different partitions may run concurrently.
   */
  handle(batch: Batch<T>, signal: AbortSignal): Promise<void>
  /**
   * Nothing below `offset` will reach handle() any more: all rejected, or deleted by retention before they were read. Whoever
   * keeps positions of its own moves there. Throw = again.
   */
  skipped?(to: PartitionOffset): Promise<void>
}

export interface ConsumeOptions {
  /** Most records in one batch. Default 5,000. */
  max_records?: number
  /**
   * Members of the group that this process is to be, each with its share of the partitions; default 1. For handlers that mostly wait:
   * Kafka's client fetches for a member only when everything that it fetched before is handled. The embedded bus has no such wait.
   */
  members?: number
}

export interface GroupLag {
  topic: TopicName
  partition: number
  committed: bigint | null
  end: bigint
}

export interface Bus {
  /** Creates missing topics with partitions, retention and compaction of the registry. Idempotent, safe in two processes at once. */
  prepare(signal: AbortSignal): Promise<void>
  /** An empty list resolves at once. */
  publish<T extends TopicName>(topic: T, values: readonly TopicValue<T>[]): Promise<void>
  /** Resolves when the signal aborts and the running batches are drained; rejects when the bus cannot go on (the role then stops, non-zero). */
  consume<T extends TopicName>(topics: readonly T[], group: string, consumer: Consumer<T>, signal: AbortSignal, options?: ConsumeOptions): Promise<void>
  /**
   * Reads a topic from its beginning to the end that it has now, without a group and without committing: how alert state and
   * response chains are rebuilt. Batches in partition order.
   */
  replay<T extends TopicName>(topic: T, visit: (batch: Batch<T>) => void | Promise<void>, signal: AbortSignal): Promise<void>
  /** Committed and end offset of every partition that the group has read. */
  lag(group: string): Promise<GroupLag[]>
  /** Live consumers of the group, in any process. */
  members(group: string): Promise<number>
  /** Next offset to be written, per partition. */
  end_offsets(topics: readonly TopicName[]): Promise<PartitionOffset[]>
  /** Rejects with a reason a person can act on when the bus does not answer. */
  ping(signal: AbortSignal): Promise<void>
  close(): Promise<void>
}
