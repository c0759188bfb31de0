/** Envelopes around log records: CloudWatch subscriptions (plain, or gzip in base64), Kinesis and Firehose batches, `{"Records":[…]}`, a list in one line. */
import { gunzipSync } from 'node:zlib'
import { messageOf } from '../../runtime/errors.ts'

/** One record of an envelope; `stream` and the times are set where the envelope says them. */
export interface Unpacked {
  id: string | null
  at: number
  body: string
  stream: string | null
}

interface ExpandOptions {
  /** Most bytes out of one gzip. */
  max_bytes?: number
  /** Told of what cannot be unpacked, which is then left out; absent: it is given as it is. */
  broken?: (why: 'too-large' | 'bad-gzip', detail: string) => void
}

const MAX_UNPACKED = 64_000_000 // bytes out of one gzip envelope: CloudWatch cuts at some MB, a bomb does not

/** What the text carries; the text itself where it is no envelope. CONTROL_MESSAGE gives nothing. */
export const expandEnvelope = (text: string, options: ExpandOptions = {}): Unpacked[] => expand(text, 0, options)

function expand(text: string, depth: number, options: ExpandOptions): Unpacked[] {
  if (depth > 3) return [plain(text)]
  if (text.startsWith('H4sI')) {
    const inner = gunzipText(text, options)
    if (inner === undefined) return options.broken === undefined ? [plain(text)] : []
    return expand(inner, depth + 1, options)
  }
  if (/^\s{0,64}\[\s{0,64}\{/.test(text)) return batch(text, depth, options)
  if (!/"(?:logEvents|Records|records|awslogs|kinesis)"|"data"\s*:\s*"H4sI/.test(text.length > 2_000 ? text.slice(0, 2_000) : text)) return [plain(text)]
  const value = parsed(text)
  if (!isObject(value)) return [plain(text)]
  if (Array.isArray(value['logEvents'])) return logEvents(value) ?? [plain(text)]
  const awslogs = value['awslogs']
  if (isObject(awslogs) && typeof awslogs['data'] === 'string') return expand(awslogs['data'], depth + 1, options)
  const list = value['Records'] ?? value['records']
  if (Array.isArray(list) && Object.keys(value).every((key) => AROUND_RECORDS.has(key)))
    return each(list, (item) => (isObject(item) ? carried(item, depth, options) : undefined)) ?? [plain(text)]
  return carried(value, depth, options) ?? [plain(text)]
}

/** What stands beside the list in batches of CloudTrail, Kinesis, Firehose and Event Hubs. Any other name: an application's line that has records, too. */
const AROUND_RECORDS = new Set(['Records', 'records', 'requestId', 'timestamp', 'invocationId', 'deliveryStreamArn', 'sourceKinesisStreamArn', 'region'])

const plain = (body: string): Unpacked => ({ id: null, at: 0, body, stream: null })

/** Shippers batch: Fluent Bit's `json` puts a whole array into one body. A list of anything but objects is somebody's own value. */
function batch(text: string, depth: number, options: ExpandOptions): Unpacked[] {
  const list = parsed(text)
  if (!Array.isArray(list) || !list.every(isObject)) return [plain(text)]
  return each(list, (item) => carried(item as Record<string, unknown>, depth, options)) ?? [plain(text)]
}

/** One body for each item; undefined where one is nested too deeply to be written out: one hostile line must not end the reading. */
function each(list: readonly unknown[], open: (item: unknown) => Unpacked[] | undefined): Unpacked[] | undefined {
  const all: Unpacked[] = []
  for (const item of list) {
    const inside = open(item)
    if (inside !== undefined) {
      for (const one of inside) all.push(one)
      continue
    }
    const body = written(item)
    if (body === undefined) return undefined
    all.push(plain(body))
  }
  return all
}

/** undefined: deeper than JSON.stringify can go. */
function written(value: unknown): string | undefined {
  try {
    return JSON.stringify(value)
  } catch {
    return undefined
  }
}

/** What a record of Kinesis or Firehose carries in base64; undefined: it is none. */
function carried(item: Record<string, unknown>, depth: number, options: ExpandOptions): Unpacked[] | undefined {
  const { kinesis } = item
  const data = isObject(kinesis) ? kinesis['data'] : item['data']
  if (typeof data !== 'string' || data.length < 8) return undefined
  if (data.startsWith('H4sI')) return expand(data, depth + 1, options)
  return isObject(kinesis) || Object.hasOwn(item, 'recordId') ? expand(Buffer.from(data, 'base64').toString('utf8'), depth + 1, options) : undefined
}

/** CONTROL_MESSAGE is CloudWatch asking whether anybody is there: no record. */
function logEvents(envelope: Record<string, unknown>): Unpacked[] | undefined {
  if (envelope['messageType'] === 'CONTROL_MESSAGE') return []
  const stream = [envelope['logGroup'], envelope['logStream']].filter((name) => typeof name === 'string').join(' ')
  const events: Unpacked[] = []
  for (const event of envelope['logEvents'] as unknown[]) {
    const { id, timestamp, message } = isObject(event) ? event : {}
    const body = typeof message === 'string' ? message : written(event)
    if (body === undefined) return undefined
    events.push({
      id: typeof id === 'string' ? id : null,
      at: typeof timestamp === 'number' && Number.isSafeInteger(timestamp) && timestamp >= 0 ? timestamp : 0,
      body,
      stream: stream === '' ? null : stream,
    })
  }
  return events
}

const isObject = (value: unknown): value is Record<string, unknown> => typeof value === 'object' && value !== null && !Array.isArray(value)

function parsed(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
}

function gunzipText(base64: string, { max_bytes = MAX_UNPACKED, broken }: ExpandOptions): string | undefined {
  try {
    return gunzipSync(Buffer.from(base64, 'base64'), { maxOutputLength: max_bytes }).toString('utf8')
  } catch (error) {
    const is_bomb = (error as { code?: unknown }).code === 'ERR_BUFFER_TOO_LARGE'
    broken?.(is_bomb ? 'too-large' : 'bad-gzip', is_bomb ? `unpacks to more than ${max_bytes} bytes` : `cannot be unpacked: ${messageOf(error)}`)
    return undefined
  }
}
