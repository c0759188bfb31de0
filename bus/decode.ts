/** From bytes on the bus to checked values. What does not fit becomes a reject; a foreign body is never copied, only measured. */
import { createHash } from 'node:crypto'
import { yieldToEventLoop } from '../runtime/clock.ts'
import { messageOf } from '../runtime/errors.ts'
import { nameUuid } from '../runtime/ids.ts'
import { plainText } from '../runtime/text.ts'
import type { Reject } from '../schemas/rejects.ts'
import { type TopicName, topicNames, topics, type TopicValue } from '../schemas/topics.ts'
import { type Shape, shapeOf } from './shape.ts'

/** A record as it lies on the bus. `schema` is the header of that name, where the bus has headers. */
export interface StoredRecord {
  offset: bigint
  value: Uint8Array | string | null
  schema?: string | undefined
}

export interface Decoded<T extends TopicName> {
  records: TopicValue<T>[]
  rejects: Reject[]
}

const shapes: ReadonlyMap<TopicName, Shape | undefined> = new Map(topicNames.map((topic) => [topic, shapeOf(topics[topic].schema)]))
const YIELD_EVERY = 500 // 500 usage events take about 3 ms; heartbeats and HTTP run in between

/** Order is kept. `now` stamps the rejects. */
export async function decodeBatch<T extends TopicName>(topic: T, partition: number, stored: readonly StoredRecord[], now: number): Promise<Decoded<T>> {
  const decoded: Decoded<T> = { records: [], rejects: [] }
  for (let at = 0; at < stored.length; at++) {
    const record = stored[at]
    if (record === undefined) continue
    if (at > 0 && at % YIELD_EVERY === 0) await yieldToEventLoop()
    decodeOne(topic, partition, record, now, decoded)
  }
  return decoded
}

function decodeOne<T extends TopicName>(topic: T, partition: number, record: StoredRecord, now: number, into: Decoded<T>): void {
  const { value, schema } = record
  const refuse = (reason: string, detail: string) => void into.rejects.push(rejectOf(topic, partition, record, now, reason, detail))
  if (value === null) {
    // A record without a value is how a key is deleted from a compacted topic; elsewhere nobody of ours writes one.
    if (topics[topic].cleanup !== 'compact') refuse('empty-record', 'the record has no value')
    return
  }
  if (schema !== undefined && schema !== topic) return refuse('wrong-schema', `the header says ${plainText(schema, 100)}`)
  let json: unknown
  try {
    json = JSON.parse(textOf(value))
  } catch {
    // The message of JSON.parse quotes the text, so it is not passed on.
    return refuse('invalid-json', 'the value is not JSON')
  }
  if (shapes.get(topic)?.(json) === true) {
    into.records.push(json as TopicValue<T>)
    return
  }
  const parsed = topics[topic].schema.safeParse(json)
  if (parsed.success) into.records.push(parsed.data as TopicValue<T>)
  else refuse('schema-mismatch', describeIssues(parsed.error.issues))
}

const textOf = (value: Uint8Array | string): string => (typeof value === 'string' ? value : Buffer.from(value.buffer, value.byteOffset, value.byteLength).toString('utf8'))

/** Paths and kinds of the first problems; never a value. */
function describeIssues(issues: readonly { path: readonly PropertyKey[]; code?: string | undefined }[]): string {
  const shown = issues.slice(0, 5).map((issue) => `${issue.path.map(String).join('.') || 'record'}: ${issue.code ?? 'invalid'}`)
  const more = issues.length > shown.length ? ` and ${issues.length - shown.length} more` : ''
  return plainText(shown.join(', ') + more, 1000)
}

function rejectOf(topic: TopicName, partition: number, record: StoredRecord, now: number, reason: string, detail: string): Reject {
  const body = record.value ?? ''
  const sha256 = createHash('sha256').update(body).digest('hex')
  const source_stream = `${topic}/${partition}`
  return {
    reject_id: nameUuid('bus', source_stream, reason, sha256),
    received_at: now,
    source: 'bus',
    source_stream,
    stage: 'bus',
    plugin: null,
    run_id: null,
    reason,
    detail: `${detail} (offset ${record.offset})`,
    size_bytes: typeof body === 'string' ? Buffer.byteLength(body) : body.byteLength,
    sha256,
    topic,
    payload: null,
  }
}

/** The JSON that goes on the bus. Throws for what JSON cannot say (a circle, a bigint), naming the topic. */
export function encode(topic: TopicName, value: unknown): string {
  try {
    return JSON.stringify(value)
  } catch (error) {
    throw new TypeError(`a value for ${topic} cannot be written as JSON: ${messageOf(error)}`, { cause: error })
  }
}
