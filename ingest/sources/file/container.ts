/** What a file is made of, told by its first bytes, and envelopes that hold several records. */
import { gunzipSync } from 'node:zlib'
import { delimiterOf, looksLikeHeader, parseCsvLine, rowBody } from '../../csv.ts'

export type Container = { kind: 'lines' } | { kind: 'json'; records: boolean } | { kind: 'csv'; delimiter: string; header: readonly string[] | null }

export const containerKinds = ['auto', 'lines', 'json', 'csv'] as const
export type ContainerChoice = (typeof containerKinds)[number]

/** `head`: the first bytes without a byte order mark (64 kB are enough); `name`: of the file, its ending only helps for CSV. */
export function detectContainer(head: string, name: string, choice: ContainerChoice = 'auto'): Container {
  const records = /^\s*\{\s*"(?:Records|records)"\s*:\s*\[/.test(head)
  if (choice === 'lines') return { kind: 'lines' }
  if (choice === 'json') return { kind: 'json', records }
  const [first = '', second = ''] = head.split(/\r?\n/, 2)
  if (choice === 'csv' || /\.(?:csv|tsv)(?:\.gz)?$/i.test(name)) return csv(first)
  const trimmed = head.trimStart()
  if (records) return { kind: 'json', records: true }
  if (/^\[\s*[[{\]"]/.test(trimmed)) return { kind: 'json', records: false }
  if (trimmed.startsWith('{')) return /[{[,]\s*$/.test(first) ? { kind: 'json', records: false } : { kind: 'lines' }
  const delimiter = delimiterOf(first)
  const cells = parseCsvLine(first, delimiter)
  if (
    cells.length > 1 &&
    cells.every((cell) => /^[\w .\-/#]{1,64}$/.test(cell)) &&
    looksLikeHeader(cells) &&
    (second === '' || parseCsvLine(second, delimiter).length === cells.length)
  )
    return csv(first)
  return { kind: 'lines' }
}

function csv(first: string): Container {
  const delimiter = delimiterOf(first)
  const cells = parseCsvLine(first, delimiter).map((cell) => cell.trim())
  return { kind: 'csv', delimiter, header: looksLikeHeader(cells) ? cells : null }
}

/** One record of a piece; `stream` and the times are set where the envelope says them. */
export interface Unpacked {
  id: string | null
  at: number
  body: string
  stream: string | null
}

/** null: the header of a CSV file. */
export function unpack(text: string, container: Container): Unpacked[] {
  if (container.kind !== 'csv') return expand(text, 0)
  const cells = parseCsvLine(text, container.delimiter)
  const { header } = container
  // The header stands again where files were put one behind the other.
  if (header !== null && cells.length === header.length && cells.every((cell, column) => cell.trim() === header[column])) return []
  return [plain(rowBody(cells, header))]
}

const plain = (body: string): Unpacked => ({ id: null, at: 0, body, stream: null })

const MAX_UNPACKED = 64_000_000 // bytes out of one gzip envelope: CloudWatch cuts at some MB, a bomb does not

/** Envelopes: CloudWatch subscriptions (plain, or gzip in base64), Kinesis and Firehose batches, `{"Records":[…]}` on one line. */
function expand(text: string, depth: number): Unpacked[] {
  if (depth > 3) return [plain(text)]
  if (text.startsWith('H4sI')) {
    const inner = gunzipText(text)
    return inner === undefined ? [plain(text)] : expand(inner, depth + 1)
  }
  if (!/"(?:logEvents|Records|records|awslogs|kinesis)"|"data"\s*:\s*"H4sI/.test(text.length > 2_000 ? text.slice(0, 2_000) : text)) return [plain(text)]
  const value = parseObject(text)
  if (value === undefined) return [plain(text)]
  if (Array.isArray(value['logEvents'])) return logEvents(value)
  const awslogs = value['awslogs']
  if (isObject(awslogs) && typeof awslogs['data'] === 'string') return expand(awslogs['data'], depth + 1)
  const list = value['Records'] ?? value['records']
  if (Array.isArray(list)) return list.flatMap((item: unknown) => (isObject(item) ? carried(item, depth) : undefined) ?? [plain(JSON.stringify(item))])
  return carried(value, depth) ?? [plain(text)]
}

/** What a record of Kinesis or Firehose carries in base64; undefined: it is none. */
function carried(item: Record<string, unknown>, depth: number): Unpacked[] | undefined {
  const { kinesis } = item
  const data = isObject(kinesis) ? kinesis['data'] : item['data']
  if (typeof data !== 'string' || data.length < 8) return undefined
  if (data.startsWith('H4sI')) return expand(data, depth + 1)
  return isObject(kinesis) || Object.hasOwn(item, 'recordId') ? expand(Buffer.from(data, 'base64').toString('utf8'), depth + 1) : undefined
}

/** CONTROL_MESSAGE is CloudWatch asking whether anybody is there: no record. */
function logEvents(envelope: Record<string, unknown>): Unpacked[] {
  if (envelope['messageType'] === 'CONTROL_MESSAGE') return []
  const stream = [envelope['logGroup'], envelope['logStream']].filter((name) => typeof name === 'string').join(' ')
  return (envelope['logEvents'] as unknown[]).map((event) => {
    const { id, timestamp, message } = isObject(event) ? event : {}
    return {
      id: typeof id === 'string' ? id : null,
      at: typeof timestamp === 'number' && Number.isSafeInteger(timestamp) && timestamp >= 0 ? timestamp : 0,
      body: typeof message === 'string' ? message : (JSON.stringify(event) ?? ''),
      stream: stream === '' ? null : stream,
    }
  })
}

const isObject = (value: unknown): value is Record<string, unknown> => typeof value === 'object' && value !== null && !Array.isArray(value)

function parseObject(text: string): Record<string, unknown> | undefined {
  try {
    const value: unknown = JSON.parse(text)
    return isObject(value) ? value : undefined
  } catch {
    return undefined
  }
}

function gunzipText(base64: string): string | undefined {
  try {
    return gunzipSync(Buffer.from(base64, 'base64'), { maxOutputLength: MAX_UNPACKED }).toString('utf8')
  } catch {
    return undefined
  }
}
