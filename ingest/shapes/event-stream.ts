/**
 * The raw text of a server-sent event stream, as proxies log it: which response it was and its usage. Only the first events, the last
 * one and the one with a usage are parsed; the text of the answer, which is nearly all of it, is skipped unread.
 */
import { MAX_EMBEDDED_CHARS, asObject, objectAt, parseObject } from './json.ts'
import type { Json } from './json.ts'

const STARTS = ['data:', 'event:', 'id:', 'retry:', ':']
const FIRST_EVENTS = 4
const USAGE_CANDIDATES = 8

export const looksLikeEventStream = (text: string): boolean => STARTS.some((start) => text.startsWith(start)) && text.includes('data:')

/**
 * A body as if the call had not been streamed: id, object, model, created, service_tier, status, usage, error of the stream; null where
 * no event could be read. A stream that was cut has no terminal event and thus no usage.
 */
export function readEventStream(text: string): Json | null {
  const bounded = text.length > MAX_EMBEDDED_CHARS * 4 ? text.slice(0, MAX_EMBEDDED_CHARS * 4) : text
  const first = firstEvent(bounded)
  const last = lastEvent(bounded)
  if (first === null && last === null) return null
  const withUsage = last !== null && asObject(last['usage']) !== null ? last : usageEvent(bounded)
  const body: Json = {}
  for (const part of [first, last, withUsage]) if (part !== null) merge(body, part)
  return body
}

const KEPT = [
  'id',
  'object',
  'model',
  'created',
  'created_at',
  'service_tier',
  'system_fingerprint',
  'status',
  'background',
  'usage',
  'error',
  'incomplete_details',
  'last_error',
  'user',
  'safety_identifier',
]

/** Later events win, but never with an empty value: Azure's first chunk has an empty id and created 0, its last no service tier. */
function merge(into: Json, part: Json): void {
  for (const key of KEPT) {
    const value = part[key]
    if (value !== undefined && value !== null && value !== '' && value !== 0) into[key] = value
  }
  if (part['prompt_filter_results'] !== undefined) into['prompt_filter_results'] = true
  if (objectAt(part, 'x_groq') !== null) into['x_groq'] = true
  const choice = Array.isArray(part['choices']) ? asObject(part['choices'][0]) : null
  if (choice !== null && typeof choice['finish_reason'] === 'string') into['finish_reason'] = choice['finish_reason']
}

/** Responses events carry the response inside; chat chunks and runs are it. Steps and messages of a run are not. */
function payloadOf(line: string): Json | null {
  const data = parseObject(line.slice(line.indexOf('data:') + 5))
  if (data === null) return null
  // The responses API writes an error in mid-stream without an object around it.
  if (data['type'] === 'error' && objectAt(data, 'error') === null && typeof data['message'] === 'string') {
    return { error: { message: '', code: data['code'] ?? null, type: null, param: null } }
  }
  return objectAt(data, 'response') ?? data
}

function firstEvent(text: string): Json | null {
  let from = 0
  let found: Json | null = null
  for (let seen = 0; seen < FIRST_EVENTS; seen += 1) {
    const start = lineStart(text, 'data:', from)
    if (start === -1) return found
    const end = lineEnd(text, start)
    const payload = payloadOf(text.slice(start, end))
    if (payload !== null) {
      if (found === null) found = payload
      else merge(found, payload)
      if (typeof payload['id'] === 'string' && payload['id'] !== '') return found
    }
    from = end
  }
  return found
}

function lastEvent(text: string): Json | null {
  let at = text.length
  for (let tries = 0; tries < 3; tries += 1) {
    at = text.lastIndexOf('data:', at - 1)
    while (at > 0 && text[at - 1] !== '\n' && text[at - 1] !== '\r') at = text.lastIndexOf('data:', at - 1)
    if (at < 0) return null
    const line = text.slice(at, lineEnd(text, at))
    if (!line.includes('[DONE]') || line.length > 20) {
      const payload = payloadOf(line)
      if (payload !== null) return payload
    }
    if (at === 0) return null
  }
  return null
}

/** The last event whose `usage` is an object. The quote before the name keeps text of the answer out: there it is escaped. */
function usageEvent(text: string): Json | null {
  let at = text.length
  for (let tries = 0; tries < USAGE_CANDIDATES;) {
    at = text.lastIndexOf('"usage"', at - 1)
    if (at <= 0) return null
    if (!/^"usage"\s*:\s*\{/.test(text.slice(at, at + 20))) continue
    tries += 1
    const start = Math.max(text.lastIndexOf('\n', at), text.lastIndexOf('\r', at)) + 1
    const line = text.slice(start, lineEnd(text, at))
    const payload = line.startsWith('data:') ? payloadOf(line) : null
    if (payload !== null && asObject(payload['usage']) !== null) return payload
  }
  return null
}

function lineStart(text: string, prefix: string, from: number): number {
  let at = text.indexOf(prefix, from)
  while (at > 0 && text[at - 1] !== '\n' && text[at - 1] !== '\r') at = text.indexOf(prefix, at + 1)
  return at
}

function lineEnd(text: string, from: number): number {
  const newline = text.indexOf('\n', from)
  const end = newline === -1 ? text.length : newline
  return text[end - 1] === '\r' ? end - 1 : end
}
