import * as fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { usageEvent } from '../../../schemas/usage.ts'
import type { ParsedUsage, Verdict } from '../../format.ts'
import type { OpenAiHttpConfig } from './index.ts'
import { openAiHttp } from './index.ts'

const NOW = Date.parse('2026-06-01T00:00:00Z')
const usage = { prompt_tokens: 10, completion_tokens: 4, total_tokens: 14 }
const chat = {
  id: 'chatcmpl-1',
  object: 'chat.completion',
  created: 1_772_445_600,
  model: 'gpt-4o-2024-08-06',
  choices: [{ message: { content: 'hi' }, finish_reason: 'stop' }],
  usage,
}
const call = { method: 'POST', url: 'https://api.openai.com/v1/chat/completions', status: 200 }

function parse(line: unknown, config: Partial<OpenAiHttpConfig> = {}, at = 0): Verdict {
  const seen = new Map<string, number>()
  const body = typeof line === 'string' ? line : JSON.stringify(line)
  const json: unknown = typeof line === 'string' ? undefined : JSON.parse(body)
  const occurrence = (key: string): number => (seen.set(key, (seen.get(key) ?? -1) + 1), seen.get(key) ?? 0)
  const record = { id: '1', at, ingested_at: null, body, origin: { source: 'file', stream: 's' } }
  return openAiHttp.create(openAiHttp.config.parse(config)).parse(record, { json, now: NOW, occurrence })
}

function accepted(verdict: Verdict): ParsedUsage['event'] {
  const [first] = verdict.kind === 'accept' ? verdict.events : []
  if (first?.topic !== 'usage.v1') throw new Error(JSON.stringify(verdict))
  return first.event
}

/** What the later steps stamp, so that the whole event can be held against its contract. */
const stamped = {
  observed_time: NOW,
  delivered_time: null,
  source: 'file',
  source_stream: 's',
  format: 'openai-http',
  run_id: null,
  team_id: null,
  client_country: null,
  client_asn: null,
  client_as_name: null,
  ctx: 'std',
  cost_usd: null,
  list_cost_usd: null,
  cost_source: 'none',
  price_version: null,
}
const checkContract = (verdict: Verdict): void => {
  if (verdict.kind !== 'accept') {
    expect(verdict.why).toMatch(/^[a-z]+(-[a-z]+)*$/)
    return
  }
  for (const { event } of verdict.events) usageEvent.parse({ client_ip_prefix: null, ...event, ...stamped, owner_ref: 'key:x' })
}

describe('identity of a call', () => {
  it('is the same in every copy of the record, whichever way it came', () => {
    const plain = accepted(parse({ ...call, response: chat }))
    const lambda = accepted(parse({ timestamp: '2026-03-02T11:00:00Z', level: 'INFO', requestId: 'r', message: { ...call, response: JSON.stringify(chat) } }, {}, NOW))
    expect([lambda.event_id, lambda.event_time]).toEqual([plain.event_id, plain.event_time])
  })
  it('differs between calls that have no response id', () => {
    const embed = (id: string | undefined, at: string) => ({
      ...call,
      url: 'https://api.openai.com/v1/embeddings',
      headers: { date: at, ...(id === undefined ? {} : { 'x-request-id': id }) },
      response: { object: 'list', data: [{ object: 'embedding' }], model: 'text-embedding-3-large', usage: { prompt_tokens: 4, total_tokens: 4 } },
    })
    const date = 'Mon, 02 Mar 2026 10:00:00 GMT'
    const ids = [embed('req_1', date), embed('req_2', date), embed('trace', date), embed('trace', 'Mon, 02 Mar 2026 10:00:01 GMT'), embed(undefined, date)].map(
      (line) => accepted(parse(line)).event_id,
    )
    expect(new Set(ids).size).toBe(5)
    expect(accepted(parse(embed(undefined, date))).event_id).toBe(ids[4])
  })
  it('counts identical records of one page apart', () => {
    const seen = new Map<string, number>()
    const occurrence = (key: string): number => (seen.set(key, (seen.get(key) ?? -1) + 1), seen.get(key) ?? 0)
    const body = JSON.stringify({ time: '2026-03-02T10:00:00Z', status: 502, method: 'POST', url: call.url })
    const format = openAiHttp.create(openAiHttp.config.parse({}))
    const record = { id: '1', at: 0, ingested_at: null, body, origin: { source: 'file', stream: 's' } }
    const twice = [0, 1].map(() => accepted(format.parse(record, { json: JSON.parse(body), now: NOW, occurrence })).event_id)
    expect(new Set(twice).size).toBe(2)
  })
  it('is told by the end of a long id, too', () => {
    // LiteLLM wraps the id of the provider: the same 200 characters in front of every call of one deployment.
    const wrapped = (id: string): string => `resp_${Buffer.from(`litellm:custom_llm_provider:azure;model_id:${'0'.repeat(110)};response_id:resp_${id}`).toString('base64')}`
    const ids = ['1a', '2b'].map((id) => accepted(parse({ ...call, response: { ...chat, id: wrapped(id) } })))
    expect(ids[0]?.event_id).not.toBe(ids[1]?.event_id)
    expect(ids[0]?.response_id).toBe(wrapped('1a'))
  })
})

describe('a user', () => {
  it.each([
    [{ user: 'u-17' }, 'u-17'],
    [{ user: 'jo.doe@corp.example' }, 'jo.doe@corp.example'],
    [{ user: 17 }, '17'],
    [{ user_id: 'Jo Doe' }, 'Jo Doe'],
  ])('is %j', (fields, user) => expect(accepted(parse({ ...call, ...fields, response: chat })).user_id).toBe(user))
  it.each([[{ system: 'Be brief', user: 'Where is my parcel?' }], [{ request: { model: 'gpt-4o', user: 'Where is my parcel?' } }], [{ user: 'Where\nis' }]])(
    'is not what the user said: %j',
    (fields) => expect(accepted(parse({ ...call, ...fields, response: chat })).user_id).toBeNull(),
  )
})

describe('a stream of the Responses API', () => {
  const stream = (...events: unknown[]): string => events.map((event) => `event: x\ndata: ${JSON.stringify(event)}\n\n`).join('')
  const created = { type: 'response.created', response: { id: 'resp_1', object: 'response', created_at: 1_772_445_600, model: 'gpt-4o', status: 'in_progress', usage: null } }
  it('that breaks off with an error is no success', () => {
    const event = accepted(parse({ ...call, response: stream(created, { type: 'error', code: 'server_error', message: 'x', param: null }) }))
    expect([event.outcome, event.error_code, event.response_id, event.flags]).toEqual(['server_error', 'server_error', 'resp_1', []])
  })
  it('that the filter cut says so', () => {
    const end = {
      type: 'response.incomplete',
      response: { ...created.response, status: 'incomplete', incomplete_details: { reason: 'content_filter' }, usage: { input_tokens: 5, output_tokens: 6 } },
    }
    const event = accepted(parse({ ...call, response: stream(created, end) }))
    expect([event.outcome, event.input_tokens, event.flags]).toEqual(['success', 5, ['content-filtered']])
  })
})

describe('finding the response', () => {
  it.each([1, 2, 3])('at a nesting of %i', (depth) => {
    let line: unknown = chat
    for (let level = 0; level < depth; level += 1) line = { [`level${level}`]: line }
    expect(accepted(parse(line)).input_tokens).toBe(10)
  })
  it.each([['{"order":7}'], ['placed {"order":7}'], [{ order: 7 }], ['{"error":{"message":"x","code":"E1"}}'], ['placed']])(
    "beside a message, as Powertools' fields are: %j",
    (message) => expect(accepted(parse({ level: 'INFO', timestamp: '2026-03-02T10:00:00Z', service: 's', message, call: chat })).response_id).toBe('chatcmpl-1'),
  )
  it('not deeper', () => expect(parse({ a: { b: { c: { d: chat } } } })).toEqual({ kind: 'skip', why: 'foreign-shape' }))
  it('never in what a user wrote', () => {
    const forged = JSON.stringify({ ...chat, id: 'chatcmpl-forged', usage: { prompt_tokens: 9_999_999, completion_tokens: 1, total_tokens: 10_000_000 } })
    const request = { model: 'gpt-4o', messages: [{ role: 'user', content: forged }], response: JSON.parse(forged) as unknown }
    expect(parse({ request, input: JSON.parse(forged) as unknown, prompt: forged })).toEqual({ kind: 'skip', why: 'foreign-shape' })
    expect(accepted(parse({ ...call, request, response: chat })).response_id).toBe('chatcmpl-1')
  })
  it("takes an application's own URL and method for its own", () =>
    expect(accepted(parse({ method: 'GET', url: 'https://shop.example/api/chat', status: 200, llm: chat })).provider).toBe('openai'))
  it('reads a docker line and a line with model and usage only', () => {
    expect(accepted(parse({ log: JSON.stringify(chat), stream: 'stdout', time: '2026-03-02T10:00:00Z' })).response_id).toBe('chatcmpl-1')
    expect(accepted(parse({ time: '2026-03-02T10:00:00Z', model: 'gpt-4o', usage })).input_tokens).toBe(10)
    expect(parse({ time: '2026-03-02T10:00:00Z', model: 'claude-x', usage: { input_tokens: 1, output_tokens: 2 } })).toEqual({ kind: 'skip', why: 'other-provider' })
  })
})

describe('bodies without a name', () => {
  it('images whose bytes were not logged keep their usage', () => {
    const response = {
      created: 1_772_445_600,
      data: [{}, {}],
      usage: { input_tokens: 50, output_tokens: 4160, total_tokens: 4210, input_tokens_details: { text_tokens: 10, image_tokens: 40 } },
    }
    const event = accepted(parse({ ...call, url: 'https://api.openai.com/v1/images/edits', response }))
    expect([event.input_tokens, event.image_input_tokens, event.output_tokens, event.images, event.usage_source]).toEqual([50, 40, 4160, 2, 'provider'])
  })
  it.each([
    ['transcribe', 'audio/transcriptions', 'transcription', 8.47, 8470],
    ['translate', 'audio/translations', 'translation', '61.5', 61_500],
  ])("Whisper's verbose answer is priced by its duration: %s", (task, path, operation, duration, ms) => {
    const response = { task, language: 'english', duration, text: 'words', segments: [] }
    const event = accepted(parse({ ...call, time: '2026-03-02T10:00:00Z', url: `https://api.openai.com/v1/${path}`, response }))
    expect([event.operation, event.audio_duration_ms, event.usage_source, event.flags]).toEqual([operation, ms, 'provider', []])
  })
})

describe('provider', () => {
  it.each([
    [{ ...call, response: chat }, 'openai'],
    [{ ...call, url: 'https://acme.openai.azure.com/openai/deployments/d/chat/completions', response: chat }, 'azure.ai.openai'],
    [{ headers: { 'apim-request-id': 'a', 'x-ms-region': 'Sweden Central' }, response: chat }, 'azure.ai.openai'],
    [{ ...call, url: 'https://proxy.example/v1/chat/completions', headers: { 'openai-organization': 'acme' }, response: chat }, 'openai'],
    [{ response: { ...chat, prompt_filter_results: [] } }, 'azure.ai.openai'],
    [{ response: { ...chat, model: 'gpt-35-turbo' } }, 'azure.ai.openai'],
  ])('of %j', (line, provider) => expect(accepted(parse(line)).provider).toBe(provider))
  it('leaves other vendors alone unless the config names them', () => {
    const line = { ...call, url: 'https://api.vendor.example/v1/chat/completions', response: chat }
    expect(parse(line)).toEqual({ kind: 'skip', why: 'other-host' })
    expect(accepted(parse(line, { extra_hosts: { 'API.vendor.example': 'vendor' } })).provider).toBe('vendor')
  })
})

describe('what is no usage', () => {
  const response = {
    id: 'resp_1',
    object: 'response',
    created_at: 1_772_445_600,
    status: 'completed',
    model: 'gpt-5',
    usage: { input_tokens: 1, output_tokens: 1, total_tokens: 2 },
  }
  it.each([
    ['a read', { method: 'GET', url: 'https://api.openai.com/v1/responses/resp_1', status: 200, response }, 'not-usage'],
    ['a read of a stored completion', { method: 'GET', url: 'https://api.openai.com/v1/chat/completions/chatcmpl-1', status: 200, response: chat }, 'not-usage'],
    ['a list', { method: 'GET', url: 'https://api.openai.com/v1/chat/completions', status: 200, response: { object: 'list', data: [chat] } }, 'not-usage'],
    [
      'a delete',
      { method: 'DELETE', url: 'https://api.openai.com/v1/responses/resp_1', status: 200, response: { id: 'resp_1', object: 'response.deleted', deleted: true } },
      'not-usage',
    ],
    ['a file', { method: 'POST', url: 'https://api.openai.com/v1/files', status: 200, response: { id: 'file-1', object: 'file' } }, 'not-usage'],
    [
      'background work that has begun',
      { ...call, url: 'https://api.openai.com/v1/responses', response: { ...response, status: 'queued', background: true, usage: null } },
      'not-finished',
    ],
    ['a chunk in the middle of a stream', { ...chat, object: 'chat.completion.chunk', usage: null, choices: [{ delta: {}, finish_reason: null }] }, 'not-finished'],
    ['its last chunk, where another brings the usage', { ...chat, object: 'chat.completion.chunk', usage: null, choices: [{ delta: {}, finish_reason: 'stop' }] }, 'not-finished'],
    ['a request that has begun', { method: 'POST', url: 'https://api.openai.com/v1/chat/completions', msg: 'sending' }, 'foreign-shape'],
  ])('%s', (_name, line, why) => expect(parse(line)).toEqual({ kind: 'skip', why }))
  it('but the chunk with the usage is, and the last one of a stream that was not asked for it', () => {
    const chunk = { ...chat, object: 'chat.completion.chunk', choices: [] }
    expect(accepted(parse(chunk))).toMatchObject({ input_tokens: 10, stream: true })
    expect(accepted(parse({ ...chunk, usage: undefined, choices: [{ delta: {}, finish_reason: 'stop' }] }))).toMatchObject({ input_tokens: null, flags: ['tokens-missing'] })
  })
  it('and a response of an endpoint that is not known yet is', () =>
    expect(accepted(parse({ ...call, url: 'https://api.openai.com/v1/answers', response: chat })).input_tokens).toBe(10))
  it('but the poll that brings the usage of background work is', () => {
    expect(accepted(parse({ method: 'GET', url: 'https://api.openai.com/v1/responses/resp_1', status: 200, response: { ...response, background: true } })).response_id).toBe(
      'resp_1',
    )
  })
})

describe('fields', () => {
  it.each([['sk-…abcd'], ['sk-...abcd'], ['sk-****'], ['[redacted]'], ['eyJhbGciOiJSUzI1NiJ9.eyJhIjoxfQ.sig'], ['key_abcdefghijklmnopqrst']])('%s is no key', (key) => {
    expect(accepted(parse({ ...call, request: { headers: { authorization: `Bearer ${key}` }, body: { model: 'gpt-4o' } }, api_key: key, response: chat })).api_key).toBeUndefined()
  })
  it('takes a whole key from any of its places', () => {
    const key = 'sk-proj-abcdefghijklmnopqrstuvwx'
    for (const extra of [{ request: { headers: { Authorization: `Bearer ${key}` } } }, { request_headers: { 'api-key': key } }, { api_key: key }]) {
      expect(accepted(parse({ ...call, ...extra, response: chat })).api_key).toBe(key)
    }
  })
  it('finds the time in this order: body, pointers, date header, log, source; and refuses a record without', () => {
    const error = { error: { message: 'm', type: 'server_error', param: null, code: null }, status: 500 }
    const time = (line: object, pointers: string[] = [], at = 0) => accepted(parse({ ...call, ...line }, { time_pointers: pointers }, at)).event_time
    const iso = (text: string) => Date.parse(text)
    expect(time({ ...error, at: { when: '2026-03-02T10:00:01Z' }, headers: { date: 'Mon, 02 Mar 2026 10:00:02 GMT' } }, ['/at/when'])).toBe(iso('2026-03-02T10:00:01Z'))
    expect(time({ ...error, headers: { date: 'Mon, 02 Mar 2026 10:00:02 GMT' }, time: '2026-03-02T10:00:03Z' })).toBe(iso('2026-03-02T10:00:02Z'))
    expect(time({ ...error, time: '2026-03-02T10:00:03.5Z' })).toBe(iso('2026-03-02T10:00:03.500Z'))
    expect(accepted(parse({ ...call, ...error }, {}, 1_772_445_600_000)).flags).toContain('time-from-source')
    expect(parse({ ...call, ...error })).toMatchObject({ kind: 'reject', why: 'no-time' })
    expect(parse({ ...chat, created: 1_000_000_001 })).toMatchObject({ kind: 'reject', why: 'bad-time' })
  })
  it('takes no masked project for an owner', () => {
    expect(accepted(parse({ ...call, headers: { 'openai-project': 'REDACTED', 'openai-organization': '***' }, response: chat }))).toMatchObject({ project_id: null, org_id: null })
  })
  it('keeps only the address that is one', () => {
    expect(accepted(parse({ ...call, ip: '035.1.1.1', response: chat }))).toMatchObject({ client_ip: null, flags: ['bad-address'] })
    expect(accepted(parse({ ...call, from: '203.0.113.7', ip: '198.51.100.1', response: chat }, { client_ip_fields: ['from'] })).client_ip).toBe('203.0.113.7')
  })
})

describe('totality', () => {
  const key = fc.constantFrom(
    'response',
    'message',
    'error',
    'usage',
    'object',
    'id',
    'data',
    'headers',
    'request',
    'url',
    'status',
    'created',
    'model',
    'choices',
    'timestamp',
    'level',
    'prompt_tokens',
    'input_tokens',
    'code',
    'type',
    'param',
    '__proto__',
    'constructor',
  )
  const leaf = fc.oneof(
    fc.constantFrom<unknown>(
      'chat.completion',
      'response',
      'thread.run',
      'list',
      call.url,
      200,
      429,
      -1,
      1_772_445_600,
      null,
      'data: {"usage":{"prompt_tokens":-1}}\n\n',
      '{"error":{"message":"m","code":"invalid_api_key"}}',
      'gpt-4o',
      '\u0000\u202e',
    ),
    fc.jsonValue(),
  )
  const { tree } = fc.letrec<{ tree: unknown; node: Record<string, unknown> }>((tie) => ({
    tree: fc.oneof({ maxDepth: 6 }, leaf, tie('node'), fc.array(tie('tree'), { maxLength: 3 })),
    node: fc.dictionary(key, tie('tree'), { maxKeys: 8 }),
  }))

  it('gives a verdict for anything, and events that hold their contract', () =>
    fc.assert(fc.property(tree, (line) => checkContract(parse(typeof line === 'string' ? { message: line } : { ...call, response: line })))))
  it('for texts too', () => fc.assert(fc.property(fc.string(), (text) => checkContract(parse(text)))))
  it('looks at a bounded part of a huge line', () => {
    const wide = Object.fromEntries(Array.from({ length: 20_000 }, (_, index) => [`k${index}`, { a: { b: { c: {} } } }]))
    let deep: unknown = chat
    for (let level = 0; level < 5000; level += 1) deep = { response: deep }
    const begun = process.cpuUsage()
    const format = openAiHttp.create(openAiHttp.config.parse({}))
    for (const json of [wide, deep])
      expect(format.parse({ id: '', at: 0, ingested_at: null, body: '', origin: { source: 'file', stream: '' } }, { json, now: NOW, occurrence: () => 0 }).kind).toBe('skip')
    expect(process.cpuUsage(begun).user / 1000).toBeLessThan(200)
  })
})
