/** What the log says around a body: URL, method, status, headers, request, caller, time. The names that are looked for are in docs/formats.md. */
import { addressOf } from '../../shapes/address.ts'
import type { Headers } from '../../shapes/headers.ts'
import { readHeaders } from '../../shapes/headers.ts'
import type { Json } from '../../shapes/json.ts'
import { asLabel, asObject, atPointer, objectAt, parseObject, pickLabel, pickNumber } from '../../shapes/json.ts'
import type { Target } from '../../shapes/openai-endpoint.ts'
import { providerOfHost, targetOf } from '../../shapes/openai-endpoint.ts'
import { instantOf } from '../../shapes/time.ts'
import type { Exchange } from './exchange.ts'

const URL_KEYS = ['url', 'request_url', 'requestUrl', 'uri', 'request_uri', 'requestUri', 'endpoint', 'path', 'request_path', 'url.full', 'http.url', 'http.target']
const METHOD_KEYS = ['method', 'http_method', 'httpMethod', 'request_method', 'http.method', 'http.request.method']
const STATUS_KEYS = ['status', 'status_code', 'statusCode', 'http_status', 'httpStatus', 'response_status', 'responseCode', 'http.status_code']
const DURATION_KEYS = ['duration_ms', 'durationMs', 'latency_ms', 'latencyMs', 'elapsed_ms', 'elapsedMs', 'response_time_ms', 'responseTimeMs']
const TIME_KEYS = ['timestamp', '@timestamp', 'time', 'ts', 'datetime', 'event_time', 'eventTime', 'logged_at', 'TimeGenerated', 'date']
const ADDRESS_KEYS = [
  'client_ip',
  'clientIp',
  'client_address',
  'client.address',
  'ClientIP',
  'callerIpAddress',
  'CallerIpAddress',
  'ip',
  'ip_address',
  'remote_addr',
  'remoteAddr',
  'remote_ip',
  'source_ip',
  'sourceIp',
  'x_forwarded_for',
  'x-forwarded-for',
]
const REQUEST_KEYS = ['request', 'req', 'request_body', 'requestBody', 'http', 'httpRequest']
const RESPONSE_KEYS = ['response', 'res', 'httpResponse']
const RESPONSE_HEADER_KEYS = ['response_headers', 'responseHeaders', 'res_headers', 'headers']
const REQUEST_HEADER_KEYS = ['request_headers', 'requestHeaders', 'req_headers', 'headers']
const MAX_REQUEST_CHARS = 262_144
const DAY_MS = 86_400_000

export interface Context {
  target: Target | null
  method: string | null
  status: number | null
  headers: Headers
  /** The request body, for its model, stream and user; null where the log has none. */
  request: Json | null
  scopes: readonly Json[]
}

export function readContext(exchange: Exchange, hosts: ReadonlyMap<string, string>): Context {
  const { scopes } = exchange
  const requests = childrenOf(scopes, REQUEST_KEYS, exchange.body)
  const around = requests.length === 0 ? scopes : [...scopes, ...requests]
  const answers = childrenOf(scopes, RESPONSE_KEYS, exchange.body)
  const headerObjects: Json[] = []
  for (const scope of answers) pushChildren(headerObjects, scope, RESPONSE_HEADER_KEYS)
  for (const scope of scopes) pushChildren(headerObjects, scope, RESPONSE_HEADER_KEYS)
  for (const scope of around) pushChildren(headerObjects, scope, REQUEST_HEADER_KEYS)
  const status = pickNumber(answers.length === 0 ? scopes : [...answers, ...scopes], STATUS_KEYS)
  return {
    target: findTarget(around, hosts),
    method: pickLabel(around, METHOD_KEYS, 16)?.toUpperCase() ?? null,
    status: status !== null && Number.isInteger(status) && status >= 100 && status <= 599 ? status : null,
    headers: readHeaders(headerObjects),
    request: requestBody(scopes, requests),
    scopes,
  }
}

/** The log's own time: pointers of the config, the provider's `date` header, the usual names, the carrier's time. Null: none is written. */
export function logTime(context: Context, pointers: readonly string[], payload: Json): number | null {
  for (const pointer of pointers) {
    const at = instantOf(atPointer(payload, pointer))
    if (at !== null) return at
  }
  const served = instantOf(context.headers.date)
  if (served !== null) return served
  for (const scope of context.scopes) {
    for (const key of TIME_KEYS) {
      const at = instantOf(scope[key])
      if (at !== null) return at
    }
  }
  return null
}

export function clientAddress(context: Context, more: readonly string[]): { ip: string | null; prefix: number | null; isBad: boolean } {
  let isBad = false
  for (const candidate of addressesOf(context, more)) {
    if (candidate === undefined) continue
    const address = addressOf(candidate)
    if (address?.kind === 'address') return { ip: address.ip, prefix: address.prefix, isBad: false }
    isBad ||= address?.kind === 'bad'
  }
  return { ip: null, prefix: null, isBad }
}

function* addressesOf({ scopes, headers }: Context, more: readonly string[]): Generator {
  if (more.length > 0) for (const scope of scopes) for (const key of more) yield scope[key]
  for (const scope of scopes) for (const key of ADDRESS_KEYS) yield scope[key]
  yield headers['x-forwarded-for']
  yield headers['x-real-ip']
  yield headers['x-client-ip']
}

/** A whole key, never a redacted form and never a token of Entra ID (those change by the hour and name nobody). */
export function rawKey(context: Context): string | null {
  const { headers } = context
  const bearer = /^Bearer\s+(\S+)$/i.exec(headers.authorization ?? '')?.[1]
  for (const candidate of [bearer, headers['api-key'], pickLabel(context.scopes, ['api_key', 'apiKey', 'openai_api_key'], 512)]) {
    if (candidate !== undefined && candidate !== null && isWholeKey(candidate)) return candidate
  }
  return null
}

/** Milliseconds: the provider's own figure if it gave one, else the log's. Negative and endless ones are unknown. */
export function durationMs(context: Context): number | null {
  const served = Number(context.headers['openai-processing-ms'] ?? Number.NaN)
  const duration = Number.isFinite(served) ? served : pickNumber(context.scopes, DURATION_KEYS)
  return duration !== null && duration >= 0 && duration <= DAY_MS ? Math.round(duration) : null
}

const isWholeKey = (text: string): boolean => /^[\w-]{20,256}$/.test(text) && !text.startsWith('eyJ') && !/x{6}|redacted|^key_/i.test(text)

function childrenOf(scopes: readonly Json[], keys: readonly string[], except: Json | null): Json[] {
  const found: Json[] = []
  for (const scope of scopes) {
    if (scope === except) continue
    for (const key of keys) {
      const child = scope[key]
      if (typeof child === 'object' && child !== null && child !== except && !Array.isArray(child) && !scopes.includes(child as Json)) found.push(child as Json)
    }
  }
  return found
}

function pushChildren(into: Json[], scope: Json, keys: readonly string[]): void {
  for (const key of keys) {
    const child = scope[key]
    if (typeof child === 'object' && child !== null && !Array.isArray(child)) into.push(child as Json)
  }
}

/** The URL of a known host, else the first whose path is a model endpoint; an application's own URLs say nothing. */
function findTarget(around: readonly Json[], hosts: ReadonlyMap<string, string>): Target | null {
  let found: Target | null = null
  for (const scope of around) {
    for (const key of URL_KEYS) {
      const value = scope[key]
      if (typeof value !== 'string' || value.length > 4096 || !value.includes('/')) continue
      const target = targetOf(value)
      if (target.host !== null && (hosts.has(target.host) || providerOfHost(target.host) !== null)) return target
      if (found === null && target.endpoint !== null && target.endpoint.kind !== 'management') found = target
    }
  }
  return found
}

function requestBody(scopes: readonly Json[], requests: readonly Json[]): Json | null {
  for (const request of requests) {
    if (typeof request['model'] === 'string') return request
    const body = objectAt(request, 'body') ?? embedded(request['body'])
    if (body !== null) return body
  }
  for (const scope of scopes) {
    const body = embedded(scope['request']) ?? embedded(scope['request_body']) ?? embedded(scope['requestBody'])
    if (body !== null) return body
  }
  return requests[0] ?? null
}

const embedded = (value: unknown): Json | null => (typeof value === 'string' && value.startsWith('{') ? asObject(parseObject(value, MAX_REQUEST_CHARS)) : null)

export const serviceOf = (context: Context): string | null => asLabel(context.scopes.find((scope) => typeof scope['service'] === 'string')?.['service'])
