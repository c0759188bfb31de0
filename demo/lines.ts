/** Raw provider log lines: what an application writes when it logs the answer of OpenAI or Azure OpenAI. Shapes after docs/formats.md. */
import { isoTime } from '../runtime/clock.ts'
import type { Operation, Service } from './company.ts'
import { digits, guid, hex, token } from './made-up.ts'

export interface CallError {
  status: number
  type: string | null
  code: string | null
  message: string
  param?: string
}

/** One call to a model. `id` is unique text; every id in the line derives from it, so a line written twice is the same event. */
export interface Call {
  service: Service
  id: string
  /** Epoch ms at which the answer was complete. */
  at: number
  operation: Operation
  request_model: string
  response_model: string
  input_tokens: number
  output_tokens: number
  cached_tokens: number
  reasoning_tokens: number
  /** no-usage: a stream whose client did not ask for the usage chunk. */
  stream: 'no' | 'with-usage' | 'no-usage'
  address: string
  replica: string
  user_agent: string
  duration_ms: number
  error: CallError | null
}

/** One JSON line, without the line feed. */
export function logLine(call: Call): string {
  const ids = token(call.id)
  const exchange = {
    method: 'POST',
    url: urlOf(call),
    status: call.error?.status ?? 200,
    duration_ms: call.duration_ms,
    client_ip: call.address,
    request_headers: requestHeaders(call),
    headers: responseHeaders(call, ids),
    request: requestBody(call),
    response: call.error ? errorBody(call, call.error) : call.stream === 'no' ? answer(call, ids) : eventStream(call, ids),
  }
  return JSON.stringify(wrap(call, ids, exchange))
}

function wrap(call: Call, ids: string, exchange: object): object {
  const timestamp = isoTime(call.at)
  const level = call.error ? 'ERROR' : 'INFO'
  if (call.service.wrapper === 'lambda') return { timestamp, level, requestId: guid(call.id), message: { event: 'model-call', service: call.service.id, ...exchange } }
  if (call.service.wrapper === 'powertools') {
    return {
      level,
      message: 'model call',
      timestamp,
      service: call.service.id,
      cold_start: false,
      function_arn: `arn:aws:lambda:eu-west-1:${digits('account', 12)}:function:${call.replica}`,
      function_name: call.replica,
      function_memory_size: '1024',
      function_request_id: guid(call.id),
      xray_trace_id: `1-${hex(call.id, 8)}-${hex(`${call.id} trace`, 24)}`,
      ...exchange,
    }
  }
  return { timestamp, level, message: 'model call', service: call.service.id, pod: call.replica, span_id: ids.slice(30, 42), ...exchange }
}

function urlOf({ service, operation, request_model }: Call): string {
  const path = { chat: 'chat/completions', responses: 'responses', embeddings: 'embeddings', images: 'images/generations', transcription: 'audio/transcriptions' }[operation]
  if (service.provider === 'openai') return `https://api.openai.com/v1/${path}`
  const host = `https://kestrel-${service.team}.openai.azure.com/openai`
  return operation === 'responses' ? `${host}/v1/responses` : `${host}/deployments/${request_model}/${path}?api-version=2024-10-21`
}

function requestHeaders({ service, user_agent }: Call): Record<string, string> {
  const credential = service.provider === 'azure' ? { 'api-key': service.key } : { authorization: `Bearer ${service.key}` }
  return { 'user-agent': user_agent, ...credential }
}

function responseHeaders(call: Call, ids: string): Record<string, string> {
  const type = call.stream === 'no' || call.error ? 'application/json' : 'text/event-stream; charset=utf-8'
  if (call.service.provider === 'azure') {
    return { 'content-type': type, 'apim-request-id': guid(call.id), 'x-request-id': guid(`${call.id} x`), 'x-ms-region': call.service.region }
  }
  return {
    'content-type': type,
    'x-request-id': `req_${hex(call.id, 32)}`,
    'openai-organization': 'kestrel-parcel',
    'openai-project': `proj_${token(`project ${call.service.team}`).slice(0, 24)}`,
    'openai-processing-ms': String(Math.max(1, call.duration_ms - 12)),
    'x-ratelimit-remaining-requests': String(9000 + (ids.charCodeAt(0) % 900)),
  }
}

// The made-up texts are here to be dropped: no prompt and no completion may be found anywhere behind the collector.
const QUESTIONS = [
  'Where is parcel KP-48213 now?',
  'Summarise the complaint below in two sentences.',
  'Write a friendly reply about the late delivery.',
  'Which customs code fits the goods?',
]
const ANSWERS = [
  'The parcel left the Leipzig hub this morning.',
  'The customer asks for a refund of the express fee.',
  'We are sorry for the delay and have upgraded your delivery.',
  'Heading 6109 fits best.',
]
const textOf = (list: readonly string[], call: Call) => list[call.id.length % list.length] ?? ''

function requestBody(call: Call): object {
  const model = call.request_model
  const stream = call.stream === 'no' ? {} : { stream: true }
  if (call.operation === 'embeddings') return { model, input: textOf(QUESTIONS, call) }
  if (call.operation === 'images') return { model, prompt: 'A parcel van in the rain, flat colours', size: '1024x1024', n: 1 }
  if (call.operation === 'transcription') return { model, file: 'voice-note.ogg' }
  if (call.operation === 'responses') return { model, input: textOf(QUESTIONS, call), ...stream }
  return { model, messages: [{ role: 'user', content: textOf(QUESTIONS, call) }], ...stream, ...(call.stream === 'with-usage' ? { stream_options: { include_usage: true } } : {}) }
}

function answer(call: Call, ids: string): object {
  const { input_tokens, output_tokens, response_model: model } = call
  const created = Math.floor(call.at / 1000)
  const total_tokens = input_tokens + output_tokens
  const text = textOf(ANSWERS, call)
  if (call.operation === 'embeddings') {
    return {
      object: 'list',
      model,
      data: [{ object: 'embedding', index: 0, embedding: [0.0123, -0.0456, 0.0789] }],
      usage: { prompt_tokens: input_tokens, total_tokens: input_tokens },
    }
  }
  if (call.operation === 'images') {
    return {
      created,
      size: '1024x1024',
      quality: 'medium',
      data: [{ b64_json: '' }],
      usage: { input_tokens, output_tokens, total_tokens, input_tokens_details: { text_tokens: input_tokens, image_tokens: 0 } },
    }
  }
  if (call.operation === 'transcription') {
    return { text, usage: { type: 'tokens', input_tokens, output_tokens, total_tokens, input_token_details: { text_tokens: 0, audio_tokens: input_tokens } } }
  }
  if (call.operation === 'responses') return responseObject(call, ids, 'completed')
  const choices = [{ index: 0, message: { role: 'assistant', content: text, refusal: null }, logprobs: null, finish_reason: 'stop' }]
  return {
    id: `chatcmpl-${ids.slice(0, 29)}`,
    object: 'chat.completion',
    created,
    model,
    choices,
    usage: chatUsage(call),
    service_tier: 'default',
    system_fingerprint: `fp_${hex(model, 10)}`,
  }
}

const chatUsage = (call: Call): object => ({
  prompt_tokens: call.input_tokens,
  completion_tokens: call.output_tokens,
  total_tokens: call.input_tokens + call.output_tokens,
  prompt_tokens_details: { cached_tokens: call.cached_tokens, audio_tokens: 0 },
  completion_tokens_details: { reasoning_tokens: call.reasoning_tokens, audio_tokens: 0, accepted_prediction_tokens: 0, rejected_prediction_tokens: 0 },
})

function responseObject(call: Call, ids: string, status: string): object {
  return {
    id: `resp_${hex(ids, 48)}`,
    object: 'response',
    created_at: Math.floor(call.at / 1000),
    status,
    model: call.response_model,
    output: [{ type: 'message', role: 'assistant', content: [{ type: 'output_text', text: textOf(ANSWERS, call), annotations: [] }] }],
    service_tier: 'default',
    usage: {
      input_tokens: call.input_tokens,
      input_tokens_details: { cached_tokens: call.cached_tokens },
      output_tokens: call.output_tokens,
      output_tokens_details: { reasoning_tokens: call.reasoning_tokens },
      total_tokens: call.input_tokens + call.output_tokens,
    },
  }
}

function eventStream(call: Call, ids: string): string {
  if (call.operation === 'responses') {
    const delta = { type: 'response.output_text.delta', delta: textOf(ANSWERS, call) }
    const done = { type: 'response.completed', response: responseObject(call, ids, 'completed') }
    return `event: ${delta.type}\ndata: ${JSON.stringify(delta)}\n\nevent: ${done.type}\ndata: ${JSON.stringify(done)}\n\n`
  }
  const head = { id: `chatcmpl-${ids.slice(0, 29)}`, object: 'chat.completion.chunk', created: Math.floor(call.at / 1000), model: call.response_model, service_tier: 'default' }
  const chunks: object[] = [
    { ...head, choices: [{ index: 0, delta: { role: 'assistant', content: textOf(ANSWERS, call) }, finish_reason: null }] },
    { ...head, choices: [{ index: 0, delta: {}, finish_reason: 'stop' }] },
  ]
  if (call.stream === 'with-usage') chunks.push({ ...head, choices: [], usage: chatUsage(call) })
  return `${chunks.map((chunk) => `data: ${JSON.stringify(chunk)}\n\n`).join('')}data: [DONE]\n\n`
}

function errorBody(call: Call, { message, type, code, param, status }: CallError): object {
  if (call.service.provider === 'azure' && code === 'content_filter') {
    return { error: { message, type: null, param: 'prompt', code, status, innererror: { code: 'ResponsibleAIPolicyViolation' } } }
  }
  return { error: { message, type, param: param ?? null, code } }
}
