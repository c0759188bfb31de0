/** The `bus` section of the config. */
import { z } from 'zod'
import { duration } from '../runtime/duration.ts'
import { secretRef } from '../runtime/secrets.ts'
import { topicNames } from '../schemas/topics.ts'

const topicName = z.enum(topicNames)
const retention = z
  .partialRecord(topicName, duration)
  .prefault({})
  .describe(
    'How long records of a topic are kept, where it is to differ from the built-in time, e.g. {"usage.v1": 3d}; longer than the longest outage of the store that you want to survive',
  )

const embedded = z
  .strictObject({
    kind: z.literal('embedded').describe('One SQLite file in data_dir: nothing to install, one host'),
    retention,
  })
  .describe('The built-in bus')

const tls = z
  .union([
    z.boolean(),
    z.strictObject({
      ca: secretRef.optional().describe('Certificate authority in PEM; default: the public ones'),
      cert: secretRef.optional().describe('Client certificate in PEM, for mutual TLS'),
      key: secretRef.optional().describe('Key of the client certificate in PEM'),
    }),
  ])
  .prefault(false)
  .describe('Encrypt the connection: true, or the certificates')

const sasl = z
  .strictObject({
    mechanism: z.enum(['plain', 'scram-sha-256', 'scram-sha-512']).prefault('scram-sha-512').describe('How the client proves who it is'),
    username: z.string().min(1).describe('Name of the user'),
    password: secretRef.describe('Password of the user: {env: NAME} or {file: PATH}'),
  })
  .describe('Sign in at the brokers; default: no sign-in')

const kafkaTopics = z
  .strictObject({
    prefix: z
      .string()
      .max(100)
      .regex(/^[a-zA-Z0-9._-]*$/)
      .prefault('')
      .describe('Put before every topic and group name, e.g. "acme.", where the cluster is shared'),
    replication: z.int().min(1).max(10).prefault(3).describe('Copies of each record; 1 for a single broker'),
    min_insync_replicas: z.int().min(1).max(10).prefault(2).describe('Copies that must be written before a record counts as durable; never more than replication'),
    partitions: z.partialRecord(topicName, z.int().min(1).max(1000)).prefault({}).describe('Partitions of a topic at its creation, where it is to differ from the built-in number'),
  })
  .prefault({})
  .describe('How missing topics are created')

const kafka = z
  .strictObject({
    kind: z.literal('kafka').describe('An Apache Kafka cluster (2.1 to 4.x) or what speaks its protocol'),
    brokers: z
      .array(z.string().regex(/^.+:\d{1,5}$/, 'host:port'))
      .min(1)
      .describe('Brokers to start from, as host:port'),
    client_id: z.string().min(1).max(200).prefault('tokenwatch').describe('Name that the brokers see in their logs and quotas'),
    tls,
    sasl: sasl.optional(),
    topics: kafkaTopics,
    retention,
    compression: z.enum(['none', 'gzip', 'zstd']).prefault('zstd').describe('How records are packed; all three are read'),
    session_timeout: duration.prefault('10s').describe('A consumer that is silent for so long loses its partitions'),
    rebalance_timeout: duration.prefault('60s').describe('Time that consumers have to finish a batch when partitions move'),
    request_timeout: duration.prefault('30s').describe('A request to a broker is given up after this time'),
    connect_timeout: duration.prefault('5s').describe('A connection attempt is given up after this time'),
    stalled_after: duration.prefault('2m').describe('A consumer that neither fetched nor reached its group for so long stops the role, so that it is started anew'),
  })
  .describe('An outside Kafka')

export const busConfig = z.discriminatedUnion('kind', [embedded, kafka]).prefault({ kind: 'embedded' }).describe('Where events travel: `embedded` (default) or `kafka`')
export type BusConfig = z.infer<typeof busConfig>
export type KafkaConfig = Extract<BusConfig, { kind: 'kafka' }>
