/** ApiManagementGatewayLogs: who called, through which subscription, from where, with what result; tokens only where bodies are logged. */
import { addressOf } from '../../shapes/address.ts'
import { looksLikeEventStream, readEventStream } from '../../shapes/event-stream.ts'
import { readHeaders } from '../../shapes/headers.ts'
import type { Json } from '../../shapes/json.ts'
import { asLabel, asObject, objectAt, parseObject } from '../../shapes/json.ts'
import { readError } from '../../shapes/openai-error.ts'
import { providerOfHost, type Target, targetOf } from '../../shapes/openai-endpoint.ts'
import { readUsage } from '../../shapes/usage-counts.ts'
import { type Fields, present } from './llm.ts'
import { countOf, objectOf, type Row, textOf, valueOf } from './row.ts'

const DAY_MS = 86_400_000

export function gatewayFields(row: Row): { fields: Fields } | { skip: string } | { broken: string } {
  const { scopes } = row
  const method = textOf(scopes, 'Method', 16)?.toUpperCase() ?? null
  if (method !== null && method !== 'POST') return { skip: 'not-usage' }
  const { target, host } = targetsOf(row)
  if (target?.endpoint?.kind === 'management' || target?.endpoint?.kind === 'stored-response') return { skip: 'not-usage' }
  const body = bodyOf(valueOf(scopes, 'BackendResponseBody')) ?? bodyOf(valueOf(scopes, 'ResponseBody'))
  const usage = readUsage(body?.json['usage'])
  if (usage.kind === 'broken') return { broken: usage.field }
  const is_call = target?.endpoint?.kind === 'call' || (usage.kind === 'counts' && body?.json['object'] !== undefined)
  const status = statusOf(scopes)
  const result = resultOf(body?.json ?? null, status, textOf(scopes, 'LastErrorReason', 128))
  const address = addressOf(valueOf(scopes, 'CallerIpAddress'))
  const headers = readHeaders([objectOf(scopes, 'RequestHeaders') ?? {}])
  const total = countOf(scopes, 'TotalTime') ?? countOf(scopes, 'DurationMs')
  const flags = [...(usage.kind === 'counts' ? usage.flags : []), ...(address?.kind === 'bad' ? ['bad-address'] : []), ...result.flags]
  const fields = present({
    account_id: row.account_id,
    region: row.region,
    subscription_id: textOf(scopes, 'ApimSubscriptionId', 200),
    user_id: textOf(scopes, 'UserId', 200),
    client_ip: address?.kind === 'address' ? address.ip : null,
    client_ip_prefix: address?.kind === 'address' ? address.prefix : null,
    user_agent: asLabel(headers['user-agent'], 512),
    provider: host === null ? null : providerOfHost(host),
    deployment: asLabel(target?.deployment, 200),
    operation: target?.endpoint?.kind === 'call' ? target.endpoint.operation : null,
    status_code: status,
    outcome: result.outcome,
    error_type: result.error_type,
    error_code: result.error_code,
    duration_ms: typeof total === 'number' && total <= DAY_MS ? total : null,
    flags: flags.length === 0 ? null : flags.join(','),
    call: is_call,
    ...(usage.kind === 'counts' ? usage.counts : {}),
    ...(body === null ? {} : bodyFields(body)),
  })
  // A refused call has no tokens to wait for, and it must be seen at once: bursts of them are what detectors look for.
  const told = usage.kind === 'counts' || (is_call && result.outcome !== 'success')
  return { fields: told ? { ...fields, told } : fields }
}

/** The backend's URL names the provider; the gateway's own path is what people call it. Either may be the one that is known. */
function targetsOf({ scopes }: Row): { target: Target | null; host: string | null } {
  const targets = ['BackendUrl', 'Url'].flatMap((column) => {
    const url = textOf(scopes, column, 4096)
    return url === null ? [] : [targetOf(url)]
  })
  return { target: targets.find((target) => target.endpoint !== null) ?? targets[0] ?? null, host: targets[0]?.host ?? null }
}

interface Body {
  json: Json
  stream: boolean
}

/** null: no body was logged, it was cut, or it is none of OpenAI's shapes. */
function bodyOf(value: unknown): Body | null {
  const object = asObject(value)
  if (object !== null) return { json: object, stream: false }
  if (typeof value !== 'string') return null
  if (value.startsWith('{')) {
    const json = parseObject(value)
    return json === null ? null : { json, stream: false }
  }
  const json = looksLikeEventStream(value) ? readEventStream(value) : null
  return json === null ? null : { json, stream: true }
}

const bodyFields = ({ json, stream }: Body): Fields => ({
  model: objectAt(json, 'error') === null ? asLabel(json['model'], 200) : null,
  tier: asLabel(json['service_tier'], 32),
  response_id: objectAt(json, 'error') === null ? asLabel(json['id'], 200) : null,
  stream: stream || json['object'] === 'chat.completion.chunk' ? true : null,
})

function statusOf(scopes: Row['scopes']): number | null {
  const status = countOf(scopes, 'ResponseCode')
  return typeof status === 'number' && status >= 100 && status <= 599 ? status : null
}

/** What the gateway itself refused has its reason in LastErrorReason; what the backend refused has an OpenAI error body. */
function resultOf(body: Json | null, status: number | null, reason: string | null): { outcome: string; error_type: string | null; error_code: string | null; flags: string[] } {
  const error = body === null ? null : objectAt(body, 'error')
  if (error === null && (status === null || status < 400)) return { outcome: 'success', error_type: null, error_code: null, flags: [] }
  const read = readError(error, status)
  const outcome = error === null && reason !== null && /quota/i.test(reason) ? 'quota' : read.outcome
  return { outcome, error_type: read.error_type, error_code: read.error_code ?? reason, flags: read.flags }
}
