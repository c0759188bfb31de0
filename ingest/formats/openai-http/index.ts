/** Responses and errors of OpenAI and Azure OpenAI, as applications and proxies log them. Names and rules: docs/formats.md. */
import { z } from 'zod'
import { asObject, objectAt } from '../../shapes/json.ts'
import type { Json } from '../../shapes/json.ts'
import { unwrapCarrier } from '../../shapes/carriers.ts'
import { instantOf, isPlausible } from '../../shapes/time.ts'
import type { Format, FormatSpec, Verdict } from '../../format.ts'
import type { RawRecord } from '../../source.ts'
import type { Context } from './context.ts'
import { logTime, readContext } from './context.ts'
import { usageEventOf } from './event.ts'
import type { Exchange } from './exchange.ts'
import { findExchange } from './exchange.ts'
import { providerOf } from './provider.ts'

const config = z
  .strictObject({
    extra_hosts: z
      .record(z.string().min(1), z.string().min(1).max(64))
      .default({})
      .describe('hosts of proxies or vendors that speak the same API, each with the provider id to file their usage under'),
    time_pointers: z.array(z.string().startsWith('/')).max(8).default([]).describe('JSON pointers to the time of the line, tried before the usual names'),
    client_ip_fields: z.array(z.string().min(1)).max(8).default([]).describe('more names of the field that holds the client address, tried first'),
  })
  .describe('OpenAI and Azure OpenAI responses and errors in JSON log lines')
export type OpenAiHttpConfig = z.infer<typeof config>

export const openAiHttp: FormatSpec<OpenAiHttpConfig> = {
  id: 'openai-http',
  summary: 'OpenAI and Azure OpenAI responses, errors and event streams in JSON log lines',
  config,
  example: { extra_hosts: { 'llm-proxy.corp.example': 'openai' } },
  create: (config) => new OpenAiHttp(config),
}

class OpenAiHttp implements Format {
  readonly id = 'openai-http'
  readonly #config: OpenAiHttpConfig
  readonly #hosts: ReadonlyMap<string, string>

  constructor(config: OpenAiHttpConfig) {
    this.#config = config
    this.#hosts = new Map(Object.entries(config.extra_hosts).map(([host, provider]) => [host.toLowerCase(), provider]))
  }

  parse(record: RawRecord, { json, now, occurrence }: Parameters<Format['parse']>[1]): Verdict {
    const unwrapped = unwrapCarrier(record.body, json)
    if (unwrapped.kind === 'none') {
      if (unwrapped.why === 'not-json' && OURS_BUT_CUT.test(record.body.slice(0, 8192)))
        return { kind: 'reject', why: 'invalid-json', detail: 'a model call whose line is cut or no JSON' }
      return { kind: 'skip', why: unwrapped.why }
    }
    const { payload, carrier } = unwrapped.payload
    const exchange = exchangeIn(payload, carrier)
    const context = readContext(exchange, this.#hosts)
    const why = notUsage(exchange, context)
    const provider = providerOf(exchange, context, this.#hosts)
    if (provider.kind === 'other') return { kind: 'skip', why: provider.why === 'foreign-shape' ? provider.why : (why ?? provider.why) }
    if (why !== null) return { kind: 'skip', why }
    const time = eventTime(exchange, context, this.#config.time_pointers, payload, record.at)
    if (time === null) return { kind: 'reject', why: 'no-time', detail: 'neither the response nor the line nor the source says when; name the field in time_pointers' }
    if (!isPlausible(time.ms, now)) return { kind: 'reject', why: 'bad-time', detail: `event time ${time.ms} is before 2015 or more than a day ahead of this machine's clock` }
    return usageEventOf({ exchange, context, provider: provider.id, time, occurrence, clientIpFields: this.#config.client_ip_fields })
  }
}

/** Loggers that write fields beside a message look like Lambda's wrapper: the call may stand there, whatever the message is. */
function exchangeIn(payload: Json, carrier: Json | null): Exchange {
  const inside = findExchange(payload, carrier)
  if (inside.strong || carrier === null) return inside
  const beside = findExchange(carrier, null)
  return beside.strong ? beside : inside
}

/** The start of an object that names the API or one of its responses: a line that the logging cut, not a foreign text. */
const OURS_BUT_CUT = /^[^{]{0,120}\{.*(\/\/api\.openai\.com\/|\.openai\.azure\.com\/|"object"\s*:\s*"(chat\.completion|response|text_completion)")/s

/** Reads of what is stored, management calls and unfinished work: counted as skipped, because the tokens come (or came) with another record. */
function notUsage(exchange: Exchange, context: Context): string | null {
  const { kind, body } = exchange
  const endpoint = context.target?.endpoint ?? null
  const isPost = context.method === null || context.method === 'POST'
  if (kind === 'management' || endpoint?.kind === 'management') return 'not-usage'
  // An endpoint that is not known yet: a response with usage is believed, anything else is not.
  if (context.target !== null && endpoint === null && (kind === null || !isPost)) return 'not-usage'
  const hasUsage = body !== null && objectAt(body, 'usage') !== null
  if (endpoint?.kind === 'stored-response') {
    // A background response gives its usage to whoever polls it, under the id of the call: that one read is the usage.
    return kind === 'responses' && body?.['background'] === true && hasUsage ? null : 'not-usage'
  }
  if (endpoint?.kind === 'call' && !isPost) return 'not-usage'
  if (kind === 'run' && body !== null) return hasUsage || isFailedRun(body) ? null : 'not-finished'
  if (endpoint?.kind === 'run') return kind === 'error' && isPost ? null : 'not-usage'
  if (kind === 'responses' && !hasUsage && !exchange.stream && isUnfinished(body)) return 'not-finished'
  if (kind === 'chat' && !exchange.stream && !hasUsage && isOpenChunk(body)) return 'not-finished'
  if (kind === null) return endpoint?.kind === 'call' && context.status !== null ? null : 'foreign-shape'
  return null
}

const isFailedRun = (run: Json): boolean => run['status'] === 'failed' && objectAt(run, 'last_error') !== null
const isUnfinished = (body: Json | null): boolean => body !== null && (body['status'] === 'queued' || body['status'] === 'in_progress')

/** One chunk of a stream on a line of its own; where usage was asked for, every chunk but the last says `usage: null`. */
function isOpenChunk(body: Json | null): boolean {
  if (body?.['object'] !== 'chat.completion.chunk') return false
  const choice: unknown = Array.isArray(body['choices']) ? body['choices'][0] : undefined
  return body['usage'] === null || asObject(choice)?.['finish_reason'] == null
}

interface EventTime {
  ms: number
  /** The line says no time at all, so the source's had to do. */
  isFromSource: boolean
}

/** The response's own time first: it is the same in every copy of the record, whichever way it came. */
function eventTime(exchange: Exchange, context: Context, pointers: readonly string[], payload: Json, at: number): EventTime | null {
  const { body, kind } = exchange
  if (body !== null && kind !== 'error') {
    const created = instantOf(body['created'] ?? body['created_at'])
    if (created !== null) return { ms: created, isFromSource: false }
  }
  const written = logTime(context, pointers, payload)
  if (written !== null) return { ms: written, isFromSource: false }
  return at > 0 ? { ms: at, isFromSource: true } : null
}
