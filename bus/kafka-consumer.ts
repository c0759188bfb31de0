/**
 * One member of a Kafka group with the promises of the port: start positions from `assigned`, one batch at a time per partition,
 * commit after handling only, nothing committed after a revoke. A crashed client is replaced; a silent one ends consume().
 */
import type { Clock } from '../runtime/clock.ts'
import { messageOf, PermanentError, UsageError } from '../runtime/errors.ts'
import type { Logger } from '../runtime/log.ts'
import { systemRandom } from '../runtime/random.ts'
import { fullJitter, retry } from '../runtime/retry.ts'
import type { TopicName } from '../schemas/topics.ts'
import type { Consumer, Partition, PartitionOffset } from './bus.ts'
import { deliverOnce, type DeliveryDeps } from './deliver.ts'
import { type BatchSession, type FetchedBatch, type GroupClient, type GroupEvents, keyOf, type OpenGroup, type ReadRanges } from './kafka-client.ts'
import { commitFailures } from './metrics.ts'

const BEAT_MS = 1_000 // how often a working handler lets the client think of its heartbeat (sent every third of the session timeout at most)
const RESTART_CAP_MS = 5_000
const IDLE_AFTER_ABORT_MS = 50

export interface KafkaMembership<T extends TopicName> {
  topics: readonly T[]
  group: string
  consumer: Consumer<T>
  max_records: number
}
export interface KafkaConsumerDeps {
  clock: Clock
  log: Logger
  delivery: DeliveryDeps
  open: OpenGroup
  ranges: ReadRanges
  /** Makes an error of the client one that a person can act on; PermanentError and UsageError end consume(). */
  explain(error: unknown): Error
  waiting(error: unknown): void
  answering(): void
  stalled_after_ms: number
}

/** Runs until the signal aborts; rejects on what trying again cannot cure and when the client falls silent. */
export async function consumeKafka<T extends TopicName>(membership: KafkaMembership<T>, deps: KafkaConsumerDeps, signal: AbortSignal): Promise<void> {
  for (let failures = 0; !signal.aborted;) {
    const member = new Member(membership, deps, signal)
    const error = await member.run()
    if (error === undefined || signal.aborted) return
    if (error instanceof StalledError) throw error
    const explained = deps.explain(error)
    if (explained instanceof PermanentError || explained instanceof UsageError) throw explained
    failures = member.served ? 1 : failures + 1
    deps.waiting(explained)
    await deps.clock.sleep(fullJitter(failures, systemRandom, 100, RESTART_CAP_MS), signal)
  }
}

class StalledError extends Error {}

interface Generation {
  member: string
  partitions: readonly Partition[]
  controller: AbortController
  /** Resolves when revoked() and assigned() were called and all seeks are set. */
  ready: Promise<void>
  running: Set<Promise<void>>
}

/** One life of the client, from joining to a crash or the end. */
class Member<T extends TopicName> implements GroupEvents {
  /** It was assigned partitions, so the next crash is a new trouble and not the old one. */
  served = false
  readonly #membership: KafkaMembership<T>
  readonly #deps: KafkaConsumerDeps
  readonly #signal: AbortSignal
  readonly #client: GroupClient
  readonly #over = new AbortController()
  readonly #held = new Map<string, Partition>()
  /** Next offset to hand over, where this member knows it: wished by assigned(), or behind the last handled batch. */
  readonly #positions = new Map<string, bigint>()
  /** Seeks of which no batch has been seen yet. */
  readonly #seeks = new Map<string, bigint>()
  readonly #failures = new Map<string, number>()
  #heldBy = ''
  #generation: Generation | undefined
  #error: Error | undefined
  #heard: number

  constructor(membership: KafkaMembership<T>, deps: KafkaConsumerDeps, signal: AbortSignal) {
    this.#membership = membership
    this.#deps = deps
    this.#signal = signal
    this.#heard = deps.clock.now()
    this.#client = deps.open(membership.group, membership.topics, this)
  }

  /** The error that ended it, or undefined when the signal aborted. */
  async run(): Promise<Error | undefined> {
    const ended = AbortSignal.any([this.#signal, this.#over.signal])
    const watchdog = this.#watch(ended)
    try {
      await Promise.race([this.#client.start(), aborted(ended)])
      await aborted(ended)
    } catch (error) {
      this.#fail(error)
    }
    this.#generation?.controller.abort()
    await Promise.allSettled([this.#generation?.ready, ...(this.#generation?.running ?? [])])
    await this.#revoke([...this.#held.values()])
    await this.#client.close()
    this.#over.abort()
    await watchdog
    return this.#error
  }

  joined(member: string, partitions: readonly Partition[]): void {
    this.alive()
    this.served = true
    this.#deps.answering()
    const before = this.#generation
    before?.controller.abort()
    const generation: Generation = { member, partitions, controller: new AbortController(), ready: Promise.resolve(), running: new Set() }
    generation.ready = Promise.allSettled([before?.ready, ...(before?.running ?? [])]).then(() => this.#settle(generation))
    generation.ready.catch((error: unknown) => this.#fail(error))
    this.#generation = generation
  }

  rebalancing(): void {
    this.#generation?.controller.abort()
  }

  alive(): void {
    this.#heard = this.#deps.clock.now()
  }

  passed(at: Partition, last: bigint): void {
    const { topic, partition } = at
    void this.#membership.consumer.skipped?.({ topic, partition, offset: last + 1n }).catch((error: unknown) => this.#fail(error))
  }

  crashed(error: Error): void {
    this.#fail(error)
  }

  async batch(fetched: FetchedBatch, session: BatchSession): Promise<void> {
    const generation = this.#generation
    if (generation === undefined || generation.controller.signal.aborted || this.#signal.aborted) {
      // The client asks again at once; a short rest keeps that from being a busy loop until it has left the group.
      await this.#deps.clock.sleep(IDLE_AFTER_ABORT_MS)
      return
    }
    const work = this.#process(fetched, session, generation)
    const settled = work.catch(() => {})
    generation.running.add(settled)
    await work.finally(() => generation.running.delete(settled))
  }

  async #process(fetched: FetchedBatch, session: BatchSession, generation: Generation): Promise<void> {
    const { signal } = generation.controller
    await this.#beating(generation.ready, session, generation)
    if (signal.aborted || (await this.#isStale(fetched))) return
    const { max_records, group, consumer } = this.#membership
    const key = keyOf(fetched)
    // In parts of one size: a full one and a small rest would cost the store two inserts, of which the second hardly pays.
    const size = Math.ceil(fetched.records.length / Math.ceil(fetched.records.length / max_records))
    for (let from = 0; from < fetched.records.length && !signal.aborted; from += size) {
      const stored = fetched.records.slice(from, from + size)
      const attempt = (this.#failures.get(key) ?? 0) + 1
      const delivery = { topic: fetched.topic as T, partition: fetched.partition, group, consumer, stored }
      const outcome = await this.#beating(deliverOnce(delivery, attempt, this.#deps.delivery, signal), session, generation)
      if (outcome === 'aborted' || signal.aborted) return
      if (outcome !== 'handled') {
        this.#failures.set(key, attempt)
        void this.#rest(fetched, outcome)
        return
      }
      this.#failures.delete(key)
      const last = stored.at(-1)?.offset ?? fetched.asked
      await this.#commit(session, last + 1n)
      this.#positions.set(key, last + 1n)
      if (signal.aborted) return
      session.resolve(last)
    }
  }

  async #commit(session: BatchSession, next: bigint): Promise<void> {
    try {
      await session.commit(next)
    } catch (error) {
      commitFailures.inc({ group: this.#membership.group })
      throw error
    }
  }

  /** The partition pauses, the others go on; the records come again because their offset was not resolved. */
  async #rest(at: Partition, ms: number): Promise<void> {
    this.#client.pause(at)
    await this.#deps.clock.sleep(ms, this.#over.signal)
    if (!this.#over.signal.aborted && this.#error === undefined) this.#client.resume(at)
  }

  /** A batch that was fetched before a seek took effect must not be handed over. */
  async #isStale(fetched: FetchedBatch): Promise<boolean> {
    const key = keyOf(fetched)
    const wished = this.#seeks.get(key)
    if (wished === undefined || wished === fetched.asked) {
      this.#seeks.delete(key)
      return false
    }
    const range = (await this.#deps.ranges(fetched.topic)).get(fetched.partition)
    if (range !== undefined && wished >= range.low && wished <= range.high) {
      this.#client.seek(fetched, wished)
      return true
    }
    // Retention took the records, or the topic was made anew: the client has fallen back to the beginning.
    const { topic, partition } = fetched
    this.#deps.log.warn('the start offset is not on the topic any more, so reading starts at its beginning', { topic, partition, offset: wished, from: fetched.asked })
    this.#seeks.delete(key)
    return false
  }

  /** Calls revoked() and assigned() for the difference and sets the start positions. */
  async #settle(generation: Generation): Promise<void> {
    const { member, partitions, controller } = generation
    const wanted = new Map(partitions.map((at) => [keyOf(at), at]))
    const kept = (key: string) => this.#heldBy === member && wanted.has(key)
    await this.#revoke([...this.#held].filter(([key]) => !kept(key)).map(([, at]) => at))
    if (controller.signal.aborted) return
    const gained = partitions.filter((at) => !this.#held.has(keyOf(at)))
    if (gained.length > 0) {
      const { clock, log } = this.#deps
      const { consumer, group } = this.#membership
      const ended = AbortSignal.any([controller.signal, this.#signal, this.#over.signal])
      let starts: readonly PartitionOffset[] | void
      try {
        starts = await retry(async () => this.#stillThere(await consumer.assigned?.(gained)), { clock, signal: ended, what: `the start position of group ${group}`, log })
      } catch (error) {
        if (ended.aborted) return // asked again when the group has settled
        throw error
      }
      for (const at of gained) this.#held.set(keyOf(at), at)
      for (const start of starts ?? []) this.#positions.set(keyOf(start), start.offset)
    }
    this.#heldBy = member
    if (controller.signal.aborted) return
    for (const [key, at] of this.#held) {
      const position = this.#positions.get(key)
      if (position === undefined) continue
      this.#seeks.set(key, position)
      this.#client.seek(at, position)
    }
  }

  /** Retention may have deleted what a start position stands for; where nothing is left, no batch would ever tell. */
  async #stillThere(starts: readonly PartitionOffset[] | void): Promise<readonly PartitionOffset[]> {
    const there: PartitionOffset[] = []
    for (const start of starts ?? []) {
      const low = (await this.#deps.ranges(start.topic)).get(start.partition)?.low ?? 0n
      if (start.offset < low) await this.#membership.consumer.skipped?.({ ...start, offset: low })
      there.push(start.offset < low ? { ...start, offset: low } : start)
    }
    return there
  }

  async #revoke(partitions: readonly Partition[]): Promise<void> {
    if (partitions.length === 0) return
    for (const at of partitions) {
      const key = keyOf(at)
      for (const map of [this.#held, this.#positions, this.#seeks, this.#failures]) map.delete(key)
    }
    try {
      await this.#membership.consumer.revoked?.(partitions)
    } catch (error) {
      this.#deps.log.warn('a consumer failed while giving up partitions', { group: this.#membership.group, error: messageOf(error) })
    }
  }

  /** Heartbeats go on while `work` runs; when the group says that partitions move, the handlers are told to stop. */
  async #beating<R>(work: Promise<R>, session: BatchSession, generation: Generation): Promise<R> {
    const done = new AbortController()
    const settled = work.then(
      () => done.abort(),
      () => done.abort(),
    )
    for (;;) {
      await Promise.race([settled, this.#deps.clock.sleep(BEAT_MS, done.signal)])
      if (done.signal.aborted) return work
      try {
        await session.heartbeat()
      } catch (error) {
        generation.controller.abort()
        await settled
        throw error
      }
    }
  }

  /** A known illness of the client is to stop fetching without a word; a fresh process is the cure. */
  async #watch(ended: AbortSignal): Promise<void> {
    const { clock, stalled_after_ms } = this.#deps
    for (let checked = clock.now(); ; checked = clock.now()) {
      await clock.sleep(stalled_after_ms / 4, ended)
      if (ended.aborted) return
      // The whole machine slept: nothing can be said about the client.
      if (clock.now() - checked > stalled_after_ms) this.#heard = clock.now()
      const silent = clock.now() - this.#heard
      if (silent > stalled_after_ms) this.#fail(new StalledError(`the Kafka consumer of group ${this.#membership.group} has been silent for ${silent} ms: restart the process`))
    }
  }

  #fail(error: unknown): void {
    if (this.#signal.aborted) return
    this.#error ??= error instanceof Error ? error : new Error(messageOf(error))
    this.#over.abort()
  }
}

const aborted = (signal: AbortSignal): Promise<void> =>
  new Promise((resolve) => {
    if (signal.aborted) return resolve()
    signal.addEventListener('abort', () => resolve(), { once: true })
  })
