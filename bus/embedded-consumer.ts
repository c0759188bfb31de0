/** One member of a consumer group on the embedded bus: takes part in the division, runs one worker per partition that it holds. */
import { type Clock, yieldToEventLoop } from '../runtime/clock.ts'
import { messageOf, TransientError } from '../runtime/errors.ts'
import { freshUuid } from '../runtime/ids.ts'
import type { Logger } from '../runtime/log.ts'
import { retry } from '../runtime/retry.ts'
import { type TopicName, topics } from '../schemas/topics.ts'
import type { Consumer, PartitionOffset } from './bus.ts'
import { deliver, type DeliveryDeps } from './deliver.ts'
import type { Changes } from './embedded-changes.ts'
import { type Claim, type GroupFile, HEARTBEAT_MS } from './embedded-group.ts'
import type { LogFile, LogPartition } from './embedded-log.ts'
import { commitFailures } from './metrics.ts'

const READ_ROWS = 500 // the thread is blocked for about 1 ms per read
const BATCH_BYTES = 4_000_000
const RETRY_MS = 1_000

export interface EmbeddedDeps {
  clock: Clock
  log: Logger
  file: LogFile
  groups: GroupFile
  changes: Changes
  delivery: DeliveryDeps
}
export interface Membership<T extends TopicName> {
  topics: readonly T[]
  group: string
  consumer: Consumer<T>
  max_records: number
}
interface Worker {
  claim: Claim
  controller: AbortController
  done: Promise<void>
}

/** Runs until the signal aborts; rejects when the file cannot be used any more or `assigned` says that it never will. */
export async function consumeEmbedded<T extends TopicName>(membership: Membership<T>, deps: EmbeddedDeps, signal: AbortSignal): Promise<void> {
  const { group, topics } = membership
  const { clock, groups, changes, log } = deps
  // Older members sort first, so that a newcomer moves as few partitions as may be.
  const member = `${clock.now().toString().padStart(14, '0')}-${process.pid}-${freshUuid().slice(0, 8)}`
  const workers = new Map<number, Worker>()
  const over = new AbortController()
  const failed = new AbortController()
  const running = AbortSignal.any([signal, failed.signal])
  // Apart from the loop below, which may wait long for a handler: the lease must live on meanwhile.
  const heartbeat = beat(() => groups.renew(group, member, topics, clock.now()), clock, log, over.signal)
  try {
    while (!running.aborted) await divideOnce({ membership, deps, member, workers, failed, running })
  } finally {
    await giveUp([...workers.keys()], workers, membership, deps)
    over.abort()
    await heartbeat
    try {
      groups.leave(group, member)
      changes.refresh()
    } catch (error) {
      // The lease runs out by itself; an error from here would hide the one that brought us here.
      log.warn('a group could not be left in good order', { group, error: messageOf(error) })
    }
  }
  if (failed.signal.aborted) throw failed.signal.reason
}

interface Running<T extends TopicName> {
  membership: Membership<T>
  deps: EmbeddedDeps
  member: string
  workers: Map<number, Worker>
  failed: AbortController
  running: AbortSignal
}

/** Takes and gives partitions once, then waits for the next reason to look again. */
async function divideOnce<T extends TopicName>(run: Running<T>): Promise<void> {
  const { membership, deps, member, workers, running } = run
  const { clock, groups, changes, log } = deps
  const { group, topics } = membership
  try {
    groups.renew(group, member, topics, clock.now())
    const epoch = groups.epoch(group)
    const held = new Map([...workers].map(([id, worker]) => [id, worker.claim.generation]))
    const division = groups.divide(group, member, held, clock.now())
    await giveUp([...division.lost, ...division.surplus], workers, membership, deps)
    if (division.surplus.length > 0) groups.release(group, member, division.surplus)
    if (division.gained.length > 0) await take(division.gained, run)
    const pause = new AbortController()
    const soon = AbortSignal.any([running, pause.signal])
    const tick = clock.sleep(HEARTBEAT_MS, soon)
    await Promise.race([tick, changes.waitForGroup(group, epoch, soon)])
    pause.abort()
  } catch (error) {
    if (!(error instanceof TransientError)) throw error
    log.warn('the division of a group is tried again', { group, error: messageOf(error) })
    await clock.sleep(RETRY_MS, running)
  }
}

/** Stops the workers, waits until their handlers ended, then tells the consumer. */
async function giveUp<T extends TopicName>(ids: readonly number[], workers: Map<number, Worker>, { consumer, group }: Membership<T>, { file, log }: EmbeddedDeps): Promise<void> {
  const leaving = ids.filter((id) => workers.has(id))
  if (leaving.length === 0) return
  for (const id of leaving) workers.get(id)?.controller.abort()
  await Promise.all(leaving.map(async (id) => workers.get(id)?.done))
  for (const id of leaving) workers.delete(id)
  try {
    await consumer.revoked?.(leaving.map((id) => partitionAt(file, id)).map(({ topic, partition }) => ({ topic, partition })))
  } catch (error) {
    log.warn('a consumer failed while giving up partitions', { group, error: messageOf(error) })
  }
}

/** Asks the consumer where to start, then starts a worker for each new partition. */
async function take<T extends TopicName>(gained: readonly Claim[], run: Running<T>): Promise<void> {
  const { membership, deps, member, workers, failed, running } = run
  const { consumer, group } = membership
  const { clock, log, file } = deps
  const partitions = gained.map(({ id }) => partitionAt(file, id)).map(({ topic, partition }) => ({ topic, partition }))
  let starts: readonly PartitionOffset[] | void = undefined
  try {
    starts = await retry(async () => consumer.assigned?.(partitions), { clock, signal: running, what: `the start position of group ${group}`, log })
  } catch (error) {
    if (running.aborted) return
    throw error
  }
  if (running.aborted) return
  for (const claim of gained) {
    const at = partitionAt(file, claim.id)
    const wished = starts?.find((start) => start.topic === at.topic && start.partition === at.partition)?.offset
    const position = startPosition(claim, wished === undefined ? undefined : Number(wished), at, deps)
    const controller = new AbortController()
    const done = work({ membership, deps, member, claim, at }, position, controller).catch((error: unknown) => failed.abort(error))
    workers.set(claim.id, { claim, controller, done })
  }
}

function startPosition(claim: Claim, wished: number | undefined, at: LogPartition, { changes, log }: EmbeddedDeps): number {
  changes.refresh()
  const position = wished ?? claim.committed ?? 0
  const end = changes.end(claim.id)
  if (position <= end) return position
  log.warn('the start offset lies behind the end of the partition, so reading starts at its beginning', { topic: at.topic, partition: at.partition, offset: position, end })
  return 0
}

interface Job<T extends TopicName> {
  membership: Membership<T>
  deps: EmbeddedDeps
  member: string
  claim: Claim
  at: LogPartition
}

/** Reads, delivers and commits one partition, one batch at a time, until the controller aborts or the claim is lost. */
async function work<T extends TopicName>(job: Job<T>, from: number, controller: AbortController): Promise<void> {
  const { membership, deps, claim, at } = job
  const { signal } = controller
  let position = from
  while (!signal.aborted) {
    const end = deps.changes.end(claim.id)
    const stored = await readBatch(deps.file, claim.id, position, membership.max_records)
    const last = stored.at(-1)?.offset
    if (position > 0) sayLost(job, position, stored[0]?.offset ?? end)
    if (last === undefined && end <= position) {
      await deps.changes.waitForRecords(claim.id, position, signal)
      continue
    }
    // Nothing stored although the end is further on: retention or compaction took the records; the offset moves on.
    const next = last === undefined ? end : last + 1
    if (last === undefined) {
      const to = { topic: at.topic, partition: at.partition, offset: BigInt(end) }
      try {
        await retry(async () => membership.consumer.skipped?.(to), { clock: deps.clock, signal, what: `the place of group ${membership.group}`, log: deps.log })
      } catch (error) {
        if (signal.aborted) return
        throw error
      }
    } else {
      const delivery = { topic: at.topic as T, partition: at.partition, group: membership.group, consumer: membership.consumer, stored: stored.map(toStored) }
      if ((await deliver(delivery, deps.delivery, signal)) === 'aborted') return
    }
    if (!(await commit(job, next, signal))) return
    position = next
    await yieldToEventLoop()
  }
}

/** Offsets have no holes but those of retention: what lies between was never handed over. On a compacted topic that is meant. */
function sayLost<T extends TopicName>({ membership: { group }, deps: { log }, at: { topic, partition } }: Job<T>, position: number, next: number): void {
  if (next <= position || topics[topic].cleanup === 'compact') return
  log.error('retention has deleted records that this group had not read: find out why it is so far behind, or keep the topic for longer', {
    group,
    topic,
    partition,
    records: next - position,
  })
}

const toStored = ({ offset, value }: { offset: number; value: string }) => ({ offset: BigInt(offset), value })

async function readBatch(file: LogFile, id: number, position: number, max_records: number): Promise<{ offset: number; value: string }[]> {
  const batch: { offset: number; value: string }[] = []
  let bytes = 0
  for (let from = position; batch.length < max_records && bytes < BATCH_BYTES; await yieldToEventLoop()) {
    const limit = Math.min(READ_ROWS, max_records - batch.length)
    const rows = file.read(id, from, limit, BATCH_BYTES - bytes)
    for (const row of rows) bytes += row.value.length
    batch.push(...rows)
    if (rows.length < limit) break
    from = (rows.at(-1)?.offset ?? from) + 1
  }
  return batch
}

/** False: the claim is somebody else's now, or the worker was stopped before the commit went through. */
async function commit<T extends TopicName>({ membership: { group }, deps: { groups, clock, log }, member, claim }: Job<T>, next: number, signal: AbortSignal): Promise<boolean> {
  while (!signal.aborted) {
    try {
      if (groups.commit(group, member, claim, next)) return true
      commitFailures.inc({ group })
      log.warn('another member holds the partition now, the batch is left to it', { group, partition_id: claim.id })
      return false
    } catch (error) {
      if (!(error instanceof TransientError)) throw error
      commitFailures.inc({ group })
      log.warn('the offset is committed again', { group, error: messageOf(error) })
      await clock.sleep(RETRY_MS, signal)
    }
  }
  return false
}

async function beat(renew: () => void, clock: Clock, log: Logger, over: AbortSignal): Promise<void> {
  for (; !over.aborted; await clock.sleep(HEARTBEAT_MS, over)) {
    try {
      renew()
    } catch (error) {
      log.warn('the lease in a group could not be renewed', { error: messageOf(error) })
    }
  }
}

function partitionAt(file: LogFile, id: number): LogPartition {
  const found = file.partitions.find((partition) => partition.id === id)
  if (found === undefined) throw new Error(`the bus file has no partition ${id}`)
  return found
}
