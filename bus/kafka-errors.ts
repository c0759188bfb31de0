/** Errors of the Kafka client, turned into what our loops and people understand. */
import { messageOf, PermanentError, TransientError, UsageError } from '../runtime/errors.ts'

interface ClientError {
  name?: unknown
  type?: unknown
  code?: unknown
  message?: unknown
  cause?: unknown
  originalError?: unknown
  errors?: unknown
}

/** TransientError: the loops try again. UsageError and PermanentError: trying again does not help; the text says what does. */
export function explainKafka(error: unknown, brokers: readonly string[]): Error {
  if (error instanceof TransientError || error instanceof PermanentError || error instanceof UsageError) return error
  const chain = causes(error)
  const own = chain.find((link) => link instanceof UsageError || link instanceof PermanentError)
  if (own instanceof Error) return own
  const types = new Set(chain.flatMap((link) => [link.type, link.name, link.code].map(String)))
  const where = `Kafka at ${brokers.join(', ')}`
  const what = messageOf(chain.at(-1) instanceof Error ? chain.at(-1) : error)
  for (const [marks, text] of HOPELESS) {
    if (marks.some((mark) => types.has(mark))) return new UsageError(`${where}: ${text} (${what})`)
  }
  if (types.has('MESSAGE_TOO_LARGE')) return new PermanentError(`${where} does not take a record of this size: raise max.message.bytes of the topic (${what})`, { cause: error })
  const hint = types.has('UNKNOWN_TOPIC_OR_PARTITION')
    ? 'a topic is missing; it is created at start, or by hand where auto-creation is not allowed'
    : 'it does not answer or is busy'
  return new TransientError(`${where}: ${hint} (${what})`, { cause: error })
}

const HOPELESS: readonly (readonly [readonly string[], string])[] = [
  [
    ['KafkaJSSASLAuthenticationError', 'SASL_AUTHENTICATION_FAILED', 'ILLEGAL_SASL_STATE', 'UNSUPPORTED_SASL_MECHANISM'],
    'the sign-in failed: check bus.sasl (mechanism, username, password)',
  ],
  [['TOPIC_AUTHORIZATION_FAILED'], 'this user may not use a topic: allow Read, Write and Describe on the topics'],
  [['GROUP_AUTHORIZATION_FAILED'], 'this user may not use a consumer group: allow Read on the groups that begin with the prefix and "tokenwatch."'],
  [['CLUSTER_AUTHORIZATION_FAILED'], 'this user may not create topics: allow Create on the cluster or make the topics by hand'],
  [['INVALID_REPLICATION_FACTOR'], 'topics cannot have that many replicas: set bus.topics.replication to the number of brokers at most (1 for a single broker)'],
  [['POLICY_VIOLATION', 'INVALID_CONFIG'], 'the cluster refuses the settings of a topic: make the topics by hand'],
  [
    [
      'DEPTH_ZERO_SELF_SIGNED_CERT',
      'SELF_SIGNED_CERT_IN_CHAIN',
      'UNABLE_TO_VERIFY_LEAF_SIGNATURE',
      'UNABLE_TO_GET_ISSUER_CERT_LOCALLY',
      'CERT_HAS_EXPIRED',
      'ERR_TLS_CERT_ALTNAME_INVALID',
    ],
    "the broker's certificate is not trusted: set bus.tls.ca",
  ],
  [['KafkaJSNotImplemented'], 'the records use something that the client does not know'],
  [['UNSUPPORTED_VERSION', 'KafkaJSServerDoesNotSupportApiKey'], 'the brokers are too old or too new for this client'],
]

/** A partition is just being made, or its leader moves: asking again soon helps. */
export const hasNoLeaderYet = (error: unknown): boolean => causes(error).some(({ type }) => LEADERLESS.includes(String(type)))

const LEADERLESS = ['NOT_LEADER_FOR_PARTITION', 'LEADER_NOT_AVAILABLE', 'FENCED_LEADER_EPOCH', 'UNKNOWN_LEADER_EPOCH', 'UNKNOWN_TOPIC_OR_PARTITION']

/** The error and everything that it wraps, outermost first. */
function causes(error: unknown): ClientError[] {
  const found: ClientError[] = []
  const queue: unknown[] = [error]
  while (queue.length > 0 && found.length < 20) {
    const link = queue.shift()
    if (typeof link !== 'object' || link === null || found.includes(link)) continue
    const next = link as ClientError
    found.push(next)
    queue.push(next.cause, next.originalError, ...(Array.isArray(next.errors) ? (next.errors as unknown[]) : []))
  }
  return found
}
