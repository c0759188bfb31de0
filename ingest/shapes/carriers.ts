/**
 * What carries an application's log line: Lambda's JSON format ({timestamp, level, requestId, message}), Lambda's text format
 * (time, request id, level and text between tabs, newlines written as CR; Python's has another order), Powertools (flat: the
 * record itself), and any other short prefix before an object that ends the line.
 */
import { asObject, objectAt, parseObject } from './json.ts'
import type { Json } from './json.ts'

export interface Payload {
  /** What the application logged. */
  payload: Json
  /** The wrapper, for its time and service; null where the line is the payload. */
  carrier: Json | null
}

export type Unwrapped = { kind: 'payload'; payload: Payload } | { kind: 'none'; why: 'platform-line' | 'not-json' | 'foreign-shape' }

const PREFIX_TIME = /\d{4}-\d{2}-\d{2}[T ]\d{2}:\d{2}:\d{2}(?:[.,]\d{1,9})?(?:Z|[+-]\d{2}:?\d{2})?/
const MAX_PREFIX = 200
const PLATFORM = /^(START|END|REPORT|INIT_START|INIT_REPORT|EXTENSION|TELEMETRY|XRAY) /

/** `json` is the body as the collector parsed it. Total: anything that holds no object is `none` with the reason. */
export function unwrapCarrier(body: string, json: unknown): Unwrapped {
  const line = asObject(json)
  if (line !== null) return { kind: 'payload', payload: ofObject(line) }
  if (json !== undefined) return { kind: 'none', why: 'foreign-shape' }
  const payload = objectAtEnd(body)
  if (payload !== null) {
    const time = PREFIX_TIME.exec(body.slice(0, body.indexOf('{')))
    return { kind: 'payload', payload: { payload, carrier: time === null ? null : { timestamp: time[0] } } }
  }
  return { kind: 'none', why: PLATFORM.test(body) ? 'platform-line' : 'not-json' }
}

/** The object that ends a text, behind a short prefix or none. */
function objectAtEnd(text: string): Json | null {
  const start = text.indexOf('{')
  if (start === -1 || start > MAX_PREFIX || !/\}\s*$/.test(text.slice(-16))) return null
  return parseObject(text.slice(start).replaceAll('\r', '\n'))
}

function ofObject(line: Json): Payload {
  const isLambda = typeof line['timestamp'] === 'string' && typeof line['level'] === 'string' && Object.hasOwn(line, 'message')
  if (!isLambda) return { payload: line, carrier: null }
  const message = line['message']
  const inner = objectAt(line, 'message') ?? (typeof message === 'string' ? objectAtEnd(message) : null)
  return inner === null ? { payload: line, carrier: null } : { payload: inner, carrier: line }
}
