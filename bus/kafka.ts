/**
 * The bus on Apache Kafka, through kafkajs 2.2.4: the only file that knows the client. Acks from all in-sync replicas, no
 * idempotent producer (its sequence numbers can lose a batch after a lost answer), no transactions; duplicates are absorbed by id.
 */
import { createRequire } from 'node:module'
import { constants, zstdCompressSync, zstdDecompressSync } from 'node:zlib'
import kafkajs from 'kafkajs'
import type { Admin, EachBatchPayload, IHeaders, Kafka as KafkaClient, KafkaConfig as ClientConfig, Producer, ProducerConfig } from 'kafkajs'
import type { Clock } from '../runtime/clock.ts'
import { messageOf, PermanentError, UsageError } from '../runtime/errors.ts'
import type { Logger } from '../runtime/log.ts'
import { retry } from '../runtime/retry.ts'
import { resolveSecret } from '../runtime/secrets.ts'
import { type TopicName, topicNames, topics as registry, type TopicValue } from '../schemas/topics.ts'
import type { Bus } from './bus.ts'
import type { KafkaConfig } from './config.ts'
import { encode } from './decode.ts'
import type { GroupClient, GroupEvents, OpenGroup, Range, ReadRanges } from './kafka-client.ts'
import { consumeKafka } from './kafka-consumer.ts'
import { explainKafka, hasNoLeaderYet } from './kafka-errors.ts'
import { replayKafka } from './kafka-replay.ts'
import { published } from './metrics.ts'
import { partitionOf } from './partition.ts'

// CommonJS: Node does not see all its names from outside
const { CompressionCodecs, CompressionTypes, Kafka, logLevel } = kafkajs

export interface KafkaDeps {
  clock: Clock
  log: Logger
  env?: Readonly<Record<string, string | undefined>>
}

const MAX_RECORDS = 5_000
const SEND_BYTES = 900_000 // brokers take 1 MB per batch by default, and all records of a send may fall into one partition
const FETCH_WAIT_MS = 1_000 // how long a broker holds an empty fetch: bounds how late a rebalance or a stop is noticed
const FETCH_PARTITION_BYTES = 131_072
const FETCH_BYTES = 524_288
const CONCURRENT_PARTITIONS = 4
const COMPRESSION = { none: CompressionTypes.None, gzip: CompressionTypes.GZIP, zstd: CompressionTypes.ZSTD }
const RETRY = { initialRetryTime: 100, multiplier: 2, maxRetryTime: 2_000, retries: 5 } // about 5 s, then our own loops take over

const ZSTD = { params: { [constants.ZSTD_c_compressionLevel]: 3 } }
const LEADER_WAIT = { what: 'Kafka', base_ms: 100, cap_ms: 1_000, max_tries: 10 }
const PRODUCER: ProducerConfig = {
  allowAutoTopicCreation: false,
  idempotent: false,
  retry: RETRY,
  createPartitioner:
    () =>
    ({ partitionMetadata, message }) =>
      partitionOf(String(message.key ?? ''), partitionMetadata.length),
}

/** Connects when it is first used. Throws UsageError when a secret is missing. */
export function createKafkaBus(config: KafkaConfig, deps: KafkaDeps): Bus {
  stopIdleTimers()
  registerCodecs()
  const { clock, log } = deps
  const kafka = new Kafka(clientConfig(config, deps))
  const named = (topic: TopicName) => `${config.topics.prefix}${topic}`
  const explain = (error: unknown) => explainKafka(error, config.brokers)
  const { waiting, answering } = availability(config.brokers, log)
  const closed = new AbortController()
  const consuming = new Set<Promise<void>>()
  const admin = connecting(kafka.admin({ retry: RETRY }), closed.signal)
  const producer = connecting(kafka.producer(PRODUCER), closed.signal)
  const asked = async <R>(work: () => Promise<R>): Promise<R> => {
    try {
      const result = await work()
      answering()
      return result
    } catch (error) {
      throw explain(error)
    }
  }
  const publish: Bus['publish'] = async (topic, values) => {
    for (const records of sends(topic, values)) {
      await asked(async () => send(await producer.client(), named(topic), records, COMPRESSION[config.compression])).catch((error: unknown) => {
        if (!(error instanceof PermanentError)) waiting(error)
        throw error
      })
      published.inc({ topic }, records.length)
    }
  }
  // Leaders move; the client gives up at the first answer "not the leader" here, so it is asked again for some seconds.
  const ranges: ReadRanges = (topic) =>
    retry(() => asked(async () => readRanges(await admin.client(), named(topic))), { ...LEADER_WAIT, clock, signal: closed.signal, retryable: hasNoLeaderYet })
  const open = opener(kafka, config, log)
  const delivery = { clock, log, publishRejects: (rejects: readonly TopicValue<'rejects.v1'>[]) => publish('rejects.v1', rejects) }
  const shared = { clock, log, delivery, open, ranges, explain, waiting, answering, stalled_after_ms: config.stalled_after }
  return {
    prepare: async (signal) => {
      await retry(() => asked(async () => createTopics(await admin.client(), config)), { clock, log, signal, what: 'Kafka', cap_ms: 5_000 })
      // A broker names a leader before that leader serves: whoever goes on earlier is refused, or writes twice. All topics, because
      // another process, or a try of ours that failed, may have made them a moment ago. One that has lost its leader for good, or
      // that this user may not look at, is the trouble of those who use it, not of every start.
      const serves = (topic: TopicName) =>
        ranges(topic).catch((error: unknown) => log.warn('a topic does not serve yet; going on without waiting for it', { topic: named(topic), error: messageOf(error) }))
      await untilAborted(Promise.all(topicNames.map(serves)), signal).catch((error: unknown) => {
        if (!signal.aborted) throw error
      })
    },
    publish,
    consume: async (topics, group, consumer, signal, { max_records = MAX_RECORDS, members = 1 } = {}) => {
      const one = (until: AbortSignal) => consumeKafka({ topics, group, consumer, max_records }, shared, until)
      const run = allOrNone(
        Array.from({ length: members }, () => one),
        AbortSignal.any([signal, closed.signal]),
      )
      const settled = run.catch(() => {})
      consuming.add(settled)
      await run.finally(() => consuming.delete(settled))
    },
    replay: (topic, visit, signal) => replayKafka(topic, visit, shared, AbortSignal.any([signal, closed.signal])),
    members: (group) => asked(async () => countMembers(await admin.client(), groupName(config, group))),
    lag: (group) => asked(async () => readLag(await admin.client(), config, group, ranges)),
    end_offsets: async (topics) => {
      const all = await Promise.all(topics.map(async (topic) => [...(await ranges(topic))].map(([partition, { high }]) => ({ topic, partition, offset: high }))))
      return all.flat()
    },
    ping: (signal) => asked(async () => untilAborted((await admin.client()).describeCluster(), signal)).then(() => undefined),
    close: async () => {
      closed.abort()
      await Promise.all(consuming)
      await Promise.all([producer.close(), admin.close()])
    },
  }
}

/** The first that ends by an error ends the others. */
async function allOrNone(loops: readonly ((until: AbortSignal) => Promise<void>)[], signal: AbortSignal): Promise<void> {
  const failed = new AbortController()
  const until = AbortSignal.any([signal, failed.signal])
  const settled = await Promise.allSettled(loops.map((loop) => loop(until).finally(() => failed.abort())))
  for (const result of settled) if (result.status === 'rejected') throw result.reason
}

function clientConfig(config: KafkaConfig, { log, env = process.env }: KafkaDeps): ClientConfig {
  const { tls, sasl } = config
  const secret = (ref: Parameters<typeof resolveSecret>[0] | undefined) => (ref === undefined ? undefined : resolveSecret(ref, env))
  const certificates = typeof tls === 'boolean' ? {} : { ca: secret(tls.ca), cert: secret(tls.cert), key: secret(tls.key) }
  const given = Object.fromEntries(Object.entries(certificates).filter(([, value]) => value !== undefined))
  return {
    brokers: config.brokers,
    clientId: config.client_id,
    connectionTimeout: config.connect_timeout,
    requestTimeout: config.request_timeout,
    retry: RETRY,
    logLevel: logLevel.WARN,
    // The client reports each failed attempt as an error; what a person should know is said by our loops, once.
    logCreator: () => (entry) => log.debug(`kafkajs: ${entry.log.message}`, { namespace: entry.namespace, error: String(entry.log['error'] ?? '') }),
    ...(tls === false ? {} : { ssl: tls === true ? true : given }),
    ...(sasl === undefined ? {} : { sasl: { mechanism: sasl.mechanism as 'plain', username: sasl.username, password: resolveSecret(sasl.password, env) } }),
  }
}

/** Says once that Kafka is away and once that it is back. */
function availability(brokers: readonly string[], log: Logger) {
  let away = false
  return {
    waiting: (error: unknown) => {
      if (!away) log.warn('waiting for Kafka', { brokers: brokers.join(','), error: messageOf(error) })
      away = true
    },
    answering: () => {
      if (away) log.info('Kafka answers again', { brokers: brokers.join(',') })
      away = false
    },
  }
}

/** Connects once, at the first use, and again after a failure. */
function connecting<C extends Admin | Producer>(client: C, closed: AbortSignal) {
  let connected: Promise<void> | undefined
  return {
    client: async (): Promise<C> => {
      if (closed.aborted) throw new PermanentError('the bus is closed')
      connected ??= client.connect()
      try {
        await connected
      } catch (error) {
        connected = undefined
        throw error
      }
      return client
    },
    close: () => client.disconnect().catch(() => {}),
  }
}

interface Sendable {
  key: string
  value: Buffer
  headers: IHeaders
}

/** Cuts a publish into requests that a broker takes. */
function* sends<T extends TopicName>(topic: T, values: readonly TopicValue<T>[]): Generator<Sendable[]> {
  const { key } = registry[topic] as { key: (value: TopicValue<T>) => string }
  const headers = { schema: topic }
  let records: Sendable[] = []
  let bytes = 0
  for (const value of values) {
    const record = { key: key(value), value: Buffer.from(encode(topic, value)), headers }
    if (records.length > 0 && bytes + record.value.length > SEND_BYTES) {
      yield records
      records = []
      bytes = 0
    }
    records.push(record)
    bytes += record.value.length
  }
  if (records.length > 0) yield records
}

async function send(producer: Producer, topic: string, messages: Sendable[], compression: kafkajs.CompressionTypes): Promise<void> {
  await producer.send({ topic, messages, acks: -1, compression })
}

async function createTopics(admin: Admin, config: KafkaConfig): Promise<void> {
  const { prefix, replication, partitions } = config.topics
  const existing = new Set(await admin.listTopics())
  const missing = topicNames.filter((topic) => !existing.has(prefix + topic))
  if (missing.length === 0) return
  const insync = Math.min(config.topics.min_insync_replicas, replication)
  // False says that another process was faster, which is as good.
  await admin.createTopics({
    waitForLeaders: true,
    timeout: config.request_timeout,
    topics: missing.map((topic) => ({
      topic: prefix + topic,
      numPartitions: partitions[topic] ?? registry[topic].partitions,
      replicationFactor: replication,
      configEntries: [
        { name: 'cleanup.policy', value: registry[topic].cleanup },
        { name: 'retention.ms', value: String(config.retention[topic] ?? registry[topic].retention_ms) },
        { name: 'min.insync.replicas', value: String(insync) },
        { name: 'unclean.leader.election.enable', value: 'false' },
      ],
    })),
  })
}

async function readRanges(admin: Admin, topic: string): Promise<Map<number, Range>> {
  const found = await admin.fetchTopicOffsets(topic)
  return new Map(found.sort((a, b) => a.partition - b.partition).map(({ partition, low, high }) => [partition, { low: BigInt(low), high: BigInt(high) }]))
}

async function countMembers(admin: Admin, group: string): Promise<number> {
  const { groups } = await admin.describeGroups([group])
  return groups.reduce((sum, { members }) => sum + members.length, 0)
}

const groupName = (config: KafkaConfig, group: string): string => `${config.topics.prefix}tokenwatch.${group}`

async function readLag(admin: Admin, config: KafkaConfig, group: string, ranges: ReadRanges) {
  const offsets = await admin.fetchOffsets({ groupId: groupName(config, group) })
  const known = new Map(topicNames.map((topic) => [config.topics.prefix + topic, topic]))
  const lags = offsets.map(async ({ topic: name, partitions }) => {
    const topic = known.get(name)
    if (topic === undefined) return []
    const ends = await ranges(topic)
    return partitions
      .map(({ partition, offset }) => ({ topic, partition, committed: offset.startsWith('-') ? null : BigInt(offset), end: ends.get(partition)?.high ?? 0n }))
      .sort((a, b) => a.partition - b.partition)
  })
  return (await Promise.all(lags)).flat()
}

function opener(kafka: KafkaClient, config: KafkaConfig, log: Logger): OpenGroup {
  return (group, topics, events) => {
    const { prefix } = config.topics
    const known = new Map(topics.map((topic) => [prefix + topic, topic]))
    const consumer = kafka.consumer({
      groupId: groupName(config, group),
      sessionTimeout: config.session_timeout,
      rebalanceTimeout: config.rebalance_timeout,
      heartbeatInterval: Math.min(3_000, Math.floor(config.session_timeout / 3)),
      maxBytesPerPartition: FETCH_PARTITION_BYTES,
      maxBytes: FETCH_BYTES,
      maxWaitTimeInMs: FETCH_WAIT_MS,
      allowAutoTopicCreation: false,
      // A crashed client is replaced by a fresh one: restarting itself it may go on for ever without a broker.
      retry: { ...RETRY, restartOnFailure: () => Promise.resolve(false) },
    })
    const { GROUP_JOIN, REBALANCING, FETCH, HEARTBEAT, CRASH, END_BATCH_PROCESS } = consumer.events
    const partitionOfName = (name: string, partition: number) => ({ topic: known.get(name) ?? topics[0] ?? 'usage.v1', partition }) as const
    consumer.on(GROUP_JOIN, ({ payload }) => {
      const share = Object.entries(payload.memberAssignment).flatMap(([name, partitions]) => partitions.map((partition) => partitionOfName(name, partition)))
      events.joined(payload.memberId, share)
    })
    consumer.on(REBALANCING, () => events.rebalancing())
    consumer.on(FETCH, () => events.alive())
    consumer.on(HEARTBEAT, () => events.alive())
    consumer.on(CRASH, ({ payload }) => events.crashed(payload.error))
    consumer.on(END_BATCH_PROCESS, ({ payload }) => {
      if (payload.batchSize === 0) events.passed(partitionOfName(payload.topic, payload.partition), BigInt(payload.lastOffset))
    })
    // The client forgets its group when it crashes; what is asked of it then has no meaning any more.
    const quietly = (work: () => void) => {
      try {
        work()
      } catch (error) {
        log.debug('kafkajs: the consumer is not running', { error: messageOf(error) })
      }
    }
    return {
      start: async () => {
        await consumer.connect()
        await consumer.subscribe({ topics: topics.map((topic) => prefix + topic), fromBeginning: true })
        await consumer.run({
          autoCommit: false,
          eachBatchAutoResolve: false,
          partitionsConsumedConcurrently: CONCURRENT_PARTITIONS,
          eachBatch: (payload) => passOn(payload, events, partitionOfName(payload.batch.topic, payload.batch.partition).topic),
        })
      },
      seek: ({ topic, partition }, offset) => quietly(() => consumer.seek({ topic: prefix + topic, partition, offset: String(offset) })),
      pause: ({ topic, partition }) => quietly(() => consumer.pause([{ topic: prefix + topic, partitions: [partition] }])),
      resume: ({ topic, partition }) => quietly(() => consumer.resume([{ topic: prefix + topic, partitions: [partition] }])),
      close: () => consumer.disconnect().catch((error: unknown) => log.debug('kafkajs: disconnecting failed', { error: messageOf(error) })),
    } satisfies GroupClient
  }
}

function passOn(payload: EachBatchPayload, events: GroupEvents, topic: TopicName): Promise<void> {
  const { batch } = payload
  const { partition } = batch
  // Not in the type, but a field of the client's Batch: the offset that the fetch asked for.
  const { fetchedOffset } = batch as unknown as { fetchedOffset: string }
  const records = batch.messages.map(({ offset, value, headers }) => ({ offset: BigInt(offset), value, schema: headers?.['schema']?.toString() }))
  return events.batch(
    { topic, partition, asked: BigInt(fetchedOffset), records },
    {
      heartbeat: () => payload.heartbeat(),
      commit: (next) => payload.commitOffsetsIfNecessary({ topics: [{ topic: batch.topic, partitions: [{ partition, offset: String(next) }] }] }),
      resolve: (last) => payload.resolveOffset(String(last)),
    },
  )
}

async function untilAborted<R>(work: Promise<R>, signal: AbortSignal): Promise<R> {
  const stopped = Promise.withResolvers<never>()
  const stop = () => stopped.reject(signal.reason)
  if (signal.aborted) stop()
  signal.addEventListener('abort', stop, { once: true })
  try {
    return await Promise.race([work, stopped.promise])
  } catch (error) {
    work.catch(() => {})
    throw error
  } finally {
    signal.removeEventListener('abort', stop)
  }
}

/** gzip is built in; zstd comes from Node; the others are refused with a reason instead of a dead consumer without one. */
function registerCodecs(): void {
  const refuse = (name: string) => () => {
    throw new UsageError(
      `records on the bus are compressed with ${name}, which is not supported: let producers use gzip or zstd, or set compression.type of the topic to gzip or zstd`,
    )
  }
  CompressionCodecs[CompressionTypes.ZSTD] = () => ({
    // At once, not in the thread pool: a batch takes 0.1 ms (the largest, 900 kB, 1 to 3 ms), half of what streams, threads and their garbage cost.
    compress: async ({ buffer }: { buffer: Buffer }) => zstdCompressSync(buffer, { ...ZSTD, chunkSize: chunkFor(buffer.length / 4) }),
    decompress: async (buffer: Buffer) => zstdDecompressSync(buffer, { chunkSize: chunkFor(buffer.length * 10) }),
  })
  CompressionCodecs[CompressionTypes.Snappy] = refuse('snappy')
  CompressionCodecs[CompressionTypes.LZ4] = refuse('lz4')
}

/**
 * The whole of most results in one piece: put together from pieces of 16 kB, which is what Node takes by itself, unpacking a batch of
 * 460 kB takes 0.6 ms instead of 0.15, and leaves its size in garbage. Events pack to an eighth.
 */
const chunkFor = (expected_bytes: number): number => Math.min(1_048_576, Math.max(16_384, Math.ceil(expected_bytes)))

/**
 * kafkajs 2.2.4 sets a timer after every answer even if no request waits; Node 24 makes 1 ms of its negative delay, so that each
 * idle connection wakes up a thousand times a second. With nothing pending there is nothing to look for.
 */
function stopIdleTimers(): void {
  const RequestQueue = createRequire(import.meta.url)('kafkajs/src/network/requestQueue') as {
    prototype: { pending: unknown[]; scheduleCheckPendingRequests: (() => void) & { quiet?: true } }
  }
  const { prototype } = RequestQueue
  const original = prototype.scheduleCheckPendingRequests
  if (original.quiet === true) return
  prototype.scheduleCheckPendingRequests = Object.assign(
    function scheduleCheckPendingRequests(this: typeof prototype) {
      if (this.pending.length > 0) original.call(this)
    },
    { quiet: true as const },
  )
}
