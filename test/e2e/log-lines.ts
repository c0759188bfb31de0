/** Made-up application log lines in the shape that the openai-http format recognises, with ids that tell runs apart. */

export interface LineOptions {
  id: string
  /** Epoch ms. */
  at: number
  key: string
  model?: string
  input_tokens?: number
  output_tokens?: number
  ip?: string
}

/** A successful chat completion. */
export function chatLine({ id, at, key, model = 'gpt-4o-mini-2024-07-18', input_tokens = 900, output_tokens = 120, ip = '52.29.14.9' }: LineOptions): string {
  return JSON.stringify({
    time: new Date(at).toISOString(),
    method: 'POST',
    url: 'https://api.openai.com/v1/chat/completions',
    client_ip: ip,
    status: 200,
    request_headers: { authorization: `Bearer ${key}` },
    headers: { 'x-request-id': `req_${id}`, 'openai-processing-ms': '420' },
    request: { model: 'gpt-4o-mini', messages: [{ role: 'user', content: 'not to be stored: the quarterly numbers' }] },
    response: {
      id: `chatcmpl-${id}`,
      object: 'chat.completion',
      created: Math.floor(at / 1000),
      model,
      choices: [{ index: 0, message: { role: 'assistant', content: 'not to be stored either' }, finish_reason: 'stop' }],
      usage: {
        prompt_tokens: input_tokens,
        completion_tokens: output_tokens,
        total_tokens: input_tokens + output_tokens,
        prompt_tokens_details: { cached_tokens: 0 },
        completion_tokens_details: { reasoning_tokens: 0 },
      },
      service_tier: 'default',
    },
  })
}

const ERRORS = [
  { status: 404, type: 'invalid_request_error', code: 'model_not_found' },
  { status: 401, type: 'invalid_request_error', code: 'invalid_api_key' },
  { status: 400, type: 'invalid_request_error', code: 'unsupported_value' },
  { status: 403, type: 'request_forbidden', code: 'unsupported_country_region_territory' },
]

/** A refused call; `n` walks through models and codes as a checker of stolen keys does. */
export function refusedLine({ id, at, key, n, ip }: { id: string; at: number; key: string; n: number; ip: string }): string {
  const { status, type, code } = ERRORS[n % ERRORS.length] ?? ERRORS[0]!
  return JSON.stringify({
    time: new Date(at).toISOString(),
    method: 'POST',
    url: 'https://api.openai.com/v1/chat/completions',
    client_ip: ip,
    status,
    request_headers: { authorization: `Bearer ${key}` },
    headers: { 'x-request-id': `req_${id}`, date: new Date(at).toUTCString() },
    request: { model: `model-${n % 9}`, messages: [{ role: 'user', content: 'hi' }] },
    response: { error: { message: 'refused', type, param: null, code } },
  })
}

/** A key as OpenAI makes them, made up from a name. */
export const madeUpKey = (name: string): string => `sk-proj-${Buffer.from(name.padEnd(40, '-')).toString('base64url')}`
