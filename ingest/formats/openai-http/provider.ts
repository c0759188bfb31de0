/** Who answered: by the host, else by headers that only one provider sends, else by the shape of the body. */
import type { Json } from '../../shapes/json.ts'
import { objectAt } from '../../shapes/json.ts'
import { providerOfHost } from '../../shapes/openai-endpoint.ts'
import type { Context } from './context.ts'
import type { Exchange } from './exchange.ts'

export type Provider = { kind: 'provider'; id: string } | { kind: 'other'; why: 'other-host' | 'other-provider' | 'foreign-shape' }

export function providerOf(exchange: Exchange, context: Context, hosts: ReadonlyMap<string, string>): Provider {
  const host = context.target?.host ?? null
  const byHost = host === null ? null : (hosts.get(host) ?? providerOfHost(host))
  if (byHost !== null) return { kind: 'provider', id: byHost }
  const byHeaders = providerOfHeaders(context)
  if (byHeaders !== null) return { kind: 'provider', id: byHeaders }
  // Another host with the same API: a proxy, or another vendor whose tokens are not OpenAI's. Only the config may say which.
  if (host !== null) return { kind: 'other', why: exchange.kind === null ? 'foreign-shape' : 'other-host' }
  if (exchange.kind === null || exchange.body === null || !exchange.strong) return { kind: 'other', why: 'foreign-shape' }
  return providerOfShape(exchange.kind === 'error', exchange.body, context)
}

function providerOfHeaders({ headers }: Context): string | null {
  if (headers['x-ms-deployment-name'] !== undefined || (headers['apim-request-id'] !== undefined && headers['x-ms-region'] !== undefined)) return 'azure.ai.openai'
  return headers['openai-organization'] !== undefined || headers['openai-project'] !== undefined ? 'openai' : null
}

const MODEL_FAMILY = /^(ft:)?(gpt-|chatgpt-|o\d|text-(embedding|davinci|curie|babbage|ada|moderation)|davinci|babbage|curie|ada\b|dall-e|whisper|tts-|codex|computer-use|omni-)/

function providerOfShape(isError: boolean, body: Json, context: Context): Provider {
  if (objectAt(body, 'x_groq') !== null || body['x_groq'] !== undefined) return { kind: 'other', why: 'other-provider' }
  const error = isError ? objectAt(body, 'error') : null
  if (error !== null) return { kind: 'provider', id: objectAt(error, 'innererror') !== null || error['code'] === 'DeploymentNotFound' ? 'azure.ai.openai' : 'openai' }
  if (Array.isArray(body['prompt_filter_results']) || body['prompt_filter_results'] === true || context.target?.deployment) return { kind: 'provider', id: 'azure.ai.openai' }
  const model = body['model'] ?? context.request?.['model']
  // Azure's own spelling of gpt-3.5.
  if (typeof model === 'string' && model.startsWith('gpt-35-')) return { kind: 'provider', id: 'azure.ai.openai' }
  if (typeof model === 'string' && MODEL_FAMILY.test(model)) return { kind: 'provider', id: 'openai' }
  const print = body['system_fingerprint']
  if (typeof body['service_tier'] === 'string' || (typeof print === 'string' && print.startsWith('fp_'))) return { kind: 'provider', id: 'openai' }
  return { kind: 'other', why: 'other-provider' }
}
