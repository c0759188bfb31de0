/** One exchange as a usage.v1 event. Named fields only: no message, no prompt, no completion is ever read into it. */
import { nameUuid, sha256Hex } from '../../../runtime/ids.ts'
import type { UsageOutcome } from '../../../schemas/event.ts'
import type { ParsedUsage, Verdict } from '../../format.ts'
import type { Json } from '../../shapes/json.ts'
import { asLabel, objectAt, pickLabel } from '../../shapes/json.ts'
import type { CallError } from '../../shapes/openai-error.ts'
import { readError } from '../../shapes/openai-error.ts'
import { noCounts, readUsage } from '../../shapes/usage-counts.ts'
import type { Context } from './context.ts'
import { clientAddress, durationMs, rawKey, serviceOf } from './context.ts'
import type { BodyKind, Exchange } from './exchange.ts'

interface Parts {
  exchange: Exchange
  context: Context
  provider: string
  time: { ms: number; isFromSource: boolean }
  occurrence: (key: string) => number
  clientIpFields: readonly string[]
}

type Event = ParsedUsage['event']

export function usageEventOf(parts: Parts): Verdict {
  const { exchange, context } = parts
  const body = exchange.body ?? {}
  const reading = exchange.kind === 'error' ? ({ kind: 'absent' } as const) : readUsage(body['usage'])
  if (reading.kind === 'broken') return { kind: 'reject', why: 'bad-usage', detail: `usage field ${reading.field} is not a count` }
  const error = errorOf(exchange, context)
  const operation = operationOf(exchange.kind, context)
  const counts = reading.kind === 'counts' ? reading.counts : noCounts
  // An embedding has no output: its missing count is no gap.
  const flags: string[] = reading.kind === 'counts' ? reading.flags.filter((flag) => operation !== 'embeddings' || flag !== 'tokens-missing') : []
  const images = operation === 'image_generation' && Array.isArray(body['data']) ? body['data'].length : null
  const audio = counts.audio_duration_ms ?? spokenMs(body, operation)
  const isMetered = reading.kind === 'counts' || images !== null || audio !== null
  // A call that failed before a model ran used no tokens; that the log has none is then not a gap.
  if (!isMetered && error === null) flags.push('tokens-missing')
  const address = clientAddress(context, parts.clientIpFields)
  if (address.isBad) flags.push('bad-address')
  if (parts.time.isFromSource) flags.push('time-from-source')
  if (finishReason(body) === 'content_filter') flags.push('content-filtered')
  if (error !== null) flags.push(...error.flags)
  const key = rawKey(context)
  const { account_id, region, service, user_agent, project_id, org_id, api_key_id, user_id } = caller(context, body)
  const { model, request_model, deployment } = modelsOf(exchange, context, body)
  const { request_id, response_id } = idsOf(exchange, context, body)
  // Written out, not spread: that is a third of this function's time. The order is part of the ids of records without an id (see eventId).
  const event: Event = {
    event_id: '',
    event_time: parts.time.ms,
    revision: 0,
    account_id,
    region,
    owner_ref: null,
    service,
    user_agent,
    project_id,
    org_id,
    api_key_id,
    user_id,
    client_ip: address.ip,
    client_ip_prefix: address.prefix,
    flags,
    provider: parts.provider,
    operation,
    model,
    request_model,
    deployment,
    tier: tierOf(body, context),
    stream: streamOf(exchange, context),
    input_tokens: counts.input_tokens,
    cache_read_input_tokens: counts.cache_read_input_tokens,
    cache_write_input_tokens: counts.cache_write_input_tokens,
    audio_input_tokens: counts.audio_input_tokens,
    image_input_tokens: counts.image_input_tokens,
    output_tokens: counts.output_tokens,
    reasoning_output_tokens: counts.reasoning_output_tokens,
    audio_output_tokens: counts.audio_output_tokens,
    image_output_tokens: counts.image_output_tokens,
    audio_duration_ms: audio,
    images,
    requests: 1,
    usage_source: isMetered ? 'provider' : 'absent',
    status_code: context.status ?? error?.status ?? null,
    outcome: error?.outcome ?? ('success' satisfies UsageOutcome),
    error_type: error?.error_type ?? null,
    error_code: error?.error_code ?? null,
    duration_ms: durationMs(context),
    request_id,
    response_id,
  }
  if (key !== null) event.api_key = key
  event.event_id = eventId(event, parts.occurrence)
  return { kind: 'accept', events: [{ topic: 'usage.v1', event }] }
}

/** The provider's own id is the same in every copy of the record and in every re-read of a stored response or a run. */
function eventId(event: Event, occurrence: (key: string) => number): string {
  if (event.response_id !== null) return nameUuid('openai', 'response', event.response_id)
  if (event.request_id?.startsWith('req_') === true) return nameUuid('openai', 'request', event.request_id)
  // Gateways echo a client's own request id, which may stand for several calls: the time and the endpoint tell them apart.
  if (event.request_id !== null) return nameUuid('openai', 'request', event.request_id, event.operation, event.event_time)
  const key = sha256Hex(JSON.stringify(event))
  return nameUuid('openai', 'record', key, occurrence(key))
}

function errorOf(exchange: Exchange, context: Context): CallError | null {
  const { body } = exchange
  const error = body === null ? null : (objectAt(body, 'error') ?? objectAt(body, 'last_error'))
  if (error !== null) return readError(error, context.status)
  return context.status !== null && context.status >= 400 ? readError(null, context.status) : null
}

const OPERATIONS: Partial<Record<BodyKind, string>> = {
  chat: 'chat',
  responses: 'responses',
  text_completion: 'text_completion',
  embeddings: 'embeddings',
  image_generation: 'image_generation',
  transcription: 'transcription',
  run: 'assistant_run',
}

function operationOf(kind: BodyKind | null, context: Context): string | null {
  const endpoint = context.target?.endpoint
  if (endpoint?.kind === 'call') return endpoint.operation
  if (endpoint?.kind === 'run') return 'assistant_run'
  return kind === null ? null : (OPERATIONS[kind] ?? null)
}

/** Verbose transcriptions write the length of the audio in seconds, as a number or as text. */
function spokenMs(body: Json, operation: string | null): number | null {
  if (operation !== 'transcription' && operation !== 'translation') return null
  const value = body['duration']
  const seconds = typeof value === 'string' && /^\d{1,9}(\.\d+)?$/.test(value) ? Number(value) : value
  return typeof seconds === 'number' && seconds >= 0 && seconds < 1e9 ? Math.round(seconds * 1000) : null
}

function modelsOf(exchange: Exchange, context: Context, body: Json): Pick<Event, 'model' | 'request_model' | 'deployment'> {
  const { request, target, headers } = context
  const deployment = asLabel(target?.deployment ?? headers['x-ms-deployment-name'], 200)
  const asked = request === null ? null : asLabel(request['model'], 200)
  const answered = exchange.kind === 'error' ? null : asLabel(body['model'], 200)
  const beside = pickLabel(context.scopes, ['request_model', 'requested_model', 'model'], 200)
  return { model: answered ?? asLabel(headers['openai-model'], 200), request_model: asked ?? deployment ?? (beside === answered ? null : beside), deployment }
}

/** The tier that served the call, not the one that was asked for. Lines of a batch's output file say so by their id. */
function tierOf(body: Json, context: Context): string {
  const isBatch = context.scopes.some((scope) => typeof scope['id'] === 'string' && scope['id'].startsWith('batch_req_') && Object.hasOwn(scope, 'custom_id'))
  return isBatch ? 'batch' : (asLabel(body['service_tier'], 32) ?? 'default')
}

function streamOf(exchange: Exchange, context: Context): boolean | null {
  if (exchange.stream || exchange.body?.['object'] === 'chat.completion.chunk') return true
  const asked = context.request?.['stream']
  if (typeof asked === 'boolean') return asked
  return exchange.kind === null || exchange.kind === 'error' ? null : false
}

function finishReason(body: Json): unknown {
  if (body['finish_reason'] !== undefined) return body['finish_reason']
  const choices = body['choices']
  const first: unknown = Array.isArray(choices) ? choices[0] : undefined
  if (typeof first === 'object' && first !== null) return (first as Json)['finish_reason']
  return objectAt(body, 'incomplete_details')?.['reason']
}

type Caller = Pick<Event, 'account_id' | 'region' | 'service' | 'user_agent' | 'project_id' | 'org_id' | 'api_key_id' | 'user_id'>

function caller(context: Context, body: Json): Caller {
  const { headers, request, scopes, target } = context
  const host = target?.host ?? null
  return {
    // An Azure OpenAI resource is the first label of its host; its subscription is not in the log.
    account_id: host !== null && /\.azure\.(com|us|cn)$/.test(host) ? asLabel(host.slice(0, host.indexOf('.'))) : null,
    region: asLabel(headers['x-ms-region'], 64),
    service: serviceOf(context),
    user_agent: asLabel(headers['user-agent'], 512) ?? pickLabel(scopes, ['user_agent', 'userAgent'], 512),
    project_id: unmasked(headers['openai-project']) ?? pickLabel(scopes, ['project_id', 'openai_project']),
    org_id: unmasked(headers['openai-organization']) ?? pickLabel(scopes, ['org_id', 'openai_organization']),
    api_key_id: trackingId(scopes),
    user_id: userOf(request, body) ?? pickLabel(scopes, ['user_id', 'userId']) ?? nameIn(scopes),
  }
}

/** A masked name would make one owner of everybody's spend. */
const unmasked = (value: string | undefined): string | null => (value === undefined || /redacted|\*{3}|^[*x]+$/i.test(value) ? null : asLabel(value))

const trackingId = (scopes: readonly Json[]): string | null => {
  const id = pickLabel(scopes, ['api_key_id', 'apiKeyId'], 128)
  return id !== null && /^[\w-]{4,64}$/.test(id) && !id.startsWith('sk-') ? id : null
}

function userOf(request: Json | null, body: Json): string | null {
  for (const from of [request, body]) {
    const user = from === null ? null : (asLabel(from['safety_identifier']) ?? nameIn([from]))
    if (user !== null) return user
  }
  return null
}

/** Applications also write what the user said under `user`, beside `system`: a text with blanks in it is taken for a prompt, not for an id. */
function nameIn(scopes: readonly Json[]): string | null {
  for (const scope of scopes) {
    const user = scope['user']
    if (typeof user === 'number' || (typeof user === 'string' && user.length <= 256 && !/\s/.test(user))) return asLabel(user)
  }
  return null
}

/** As long as a label may be: gateways (LiteLLM) wrap the provider's id in their own of 240 characters, and only its end tells two calls apart. */
const MAX_ID = 1024

function idsOf(exchange: Exchange, context: Context, body: Json): Pick<Event, 'request_id' | 'response_id'> {
  const { headers, scopes } = context
  const written = pickLabel(scopes, ['x_request_id', 'openai_request_id', 'request_id', '_request_id'], 128)
  const isProviders = written !== null && /^(req_|[0-9a-f]{32}$)/.test(written)
  const isError = exchange.kind === 'error'
  return {
    request_id: headers['x-request-id'] ?? headers['apim-request-id'] ?? asLabel(body['_request_id'], 128) ?? (isProviders ? written : null),
    response_id: isError || exchange.kind === null ? null : asLabel(body['id'], MAX_ID),
  }
}
