/** Nothing of a prompt, a completion, a secret value or a key may come out, wherever a log put it. */
import { readdirSync, readFileSync } from 'node:fs'
import { describe, expect, it } from 'vitest'
import { noPrices } from '../test/support/ingest.ts'
import { fieldData, needs } from '../test/support/needs.ts'
import { createFormats } from './formats/index.ts'
import { createPipeline } from './pipeline.ts'

const NOW = Date.UTC(2026, 2, 2, 12)
const pipeline = createPipeline({
  formats: createFormats(),
  hash_key: 'a-key-for-tests-only',
  attribution: [],
  rater: noPrices,
  privacy: { truncate_ip: 'none', user_ids: 'keep' },
})

function outputOf(body: string): { kind: string; text: string } {
  const outcome = pipeline.process(
    { id: '1', at: NOW - 60_000, ingested_at: null, body, origin: { source: 'file', stream: 'x.jsonl' } },
    { now: NOW, run_id: null, occurrence: () => 0 },
  )
  return { kind: outcome.kind, text: JSON.stringify(outcome) }
}

const CANARY = 'zq7-canary'
const KEY = `sk-proj-${'Zq7'.repeat(10)}T3BlbkFJ${'Qz9'.repeat(10)}`

const usage = { prompt_tokens: 12, completion_tokens: 3, total_tokens: 15 }
const chat = {
  id: 'chatcmpl-1',
  object: 'chat.completion',
  created: 1772445600,
  model: 'gpt-4o-2024-08-06',
  choices: [
    {
      index: 0,
      message: { role: 'assistant', content: CANARY, refusal: CANARY, tool_calls: [{ function: { name: CANARY, arguments: CANARY } }] },
      logprobs: { content: [{ token: CANARY }] },
    },
  ],
  usage,
}
const line = {
  method: 'POST',
  url: `https://api.openai.com/v1/chat/completions?api_key=${KEY}&q=${CANARY}`,
  status: 200,
  headers: { 'x-request-id': 'req_00ff', 'set-cookie': CANARY },
  request_headers: { Authorization: `Bearer ${KEY}`, 'User-Agent': 'parcels/1.4' },
  request: {
    model: 'gpt-4o',
    messages: [
      { role: 'system', content: CANARY },
      { role: 'user', content: [{ type: 'text', text: CANARY }] },
    ],
    metadata: { note: CANARY },
    tools: [{ function: { description: CANARY } }],
  },
  response: chat,
}
const cloudtrail = {
  eventVersion: '1.09',
  userIdentity: {
    type: 'AssumedRole',
    principalId: 'AROAEXAMPLE:api-7',
    arn: 'arn:aws:sts::111122223333:assumed-role/api/api-7',
    accountId: '111122223333',
    accessKeyId: 'ASIAEXAMPLEKEY00002',
  },
  eventTime: '2026-03-02T10:00:00Z',
  eventSource: 'secretsmanager.amazonaws.com',
  eventName: 'PutSecretValue',
  awsRegion: 'eu-west-1',
  sourceIPAddress: '203.0.113.9',
  userAgent: 'aws-sdk-js/3',
  requestParameters: { secretId: 'prod/db', secretString: CANARY, secretBinary: CANARY, clientRequestToken: CANARY },
  responseElements: { secretString: CANARY },
  requestID: 'aaaaaaaa-0000-4000-8000-000000000001',
  eventID: 'bbbbbbbb-0000-4000-8000-000000000014',
  recipientAccountId: '111122223333',
}

describe('canaries', () => {
  it.each([
    ['a chat line', line, 'accept'],
    ['the same in a Lambda wrapper', { timestamp: '2026-03-02T10:00:00Z', level: 'INFO', requestId: 'r', message: line }, 'accept'],
    [
      'an event stream',
      { ...line, response: `data: ${JSON.stringify({ ...chat, object: 'chat.completion.chunk', choices: [{ delta: { content: CANARY } }] })}\n\ndata: [DONE]\n\n` },
      'accept',
    ],
    [
      'an error that repeats the key',
      {
        ...line,
        status: 401,
        response: { error: { message: `Incorrect API key provided: ${KEY}. ${CANARY}`, type: 'invalid_request_error', param: CANARY, code: 'invalid_api_key' } },
      },
      'accept',
    ],
    [
      'a response of the responses API',
      {
        ...line,
        url: 'https://api.openai.com/v1/responses',
        response: {
          id: 'resp_1',
          object: 'response',
          created_at: 1772445600,
          model: 'gpt-4o',
          status: 'completed',
          instructions: CANARY,
          output: [{ type: 'message', content: [{ type: 'output_text', text: CANARY }] }],
          usage: { input_tokens: 5, output_tokens: 6, total_tokens: 11 },
        },
      },
      'accept',
    ],
    ['a secret that was written', cloudtrail, 'accept'],
    [
      'a key that was made',
      {
        ...cloudtrail,
        eventSource: 'iam.amazonaws.com',
        eventName: 'CreateAccessKey',
        requestParameters: { userName: 'jo' },
        responseElements: { accessKey: { accessKeyId: 'AKIAEXAMPLEKEY000001', secretAccessKey: CANARY, status: 'Active', userName: 'jo' } },
      },
      'accept',
    ],
    [
      'a parameter that was written',
      {
        ...cloudtrail,
        eventSource: 'ssm.amazonaws.com',
        eventName: 'PutParameter',
        requestParameters: { name: '/prod/db', value: CANARY, type: 'SecureString', description: CANARY },
      },
      'accept',
    ],
    ['something that nobody knows', { message: CANARY, key: KEY }, 'skip'],
  ])('%s', (_name, value, kind) => {
    const output = outputOf(JSON.stringify(value))
    expect(output.kind).toBe(kind)
    expectClean(output.text)
  })

  it('lines that are cut anywhere', () => {
    for (const whole of [JSON.stringify(line), JSON.stringify(cloudtrail)]) for (let at = 20; at < whole.length; at += 37) expectClean(outputOf(whole.slice(0, at)).text)
  })

  it('keys in every text field that survives', () => {
    const everywhere = {
      ...line,
      headers: { 'x-request-id': KEY, 'openai-organization': KEY, 'openai-project': KEY },
      request_headers: { 'User-Agent': `app ${KEY}` },
      request: { model: KEY, user: KEY, service_tier: KEY },
      response: { ...chat, id: KEY, model: KEY, service_tier: KEY },
      service: KEY,
      team: KEY,
    }
    const output = outputOf(JSON.stringify(everywhere))
    expect(output.kind).toBe('accept')
    expectClean(output.text)
  })
})

function expectClean(text: string): void {
  expect(text).not.toContain(CANARY)
  expect(text).not.toContain(KEY)
  // Four characters at the end may stay, no more.
  for (let at = 10; at + 12 <= KEY.length; at += 6) expect(text).not.toContain(KEY.slice(at, at + 12))
}

describe.skipIf(!needs('field-data', 1))('recorded exchanges (FIELD_DATA)', () => {
  it('give nothing of their prompts and completions', () => {
    const folder = `${fieldData()}/openai-exchanges`
    const lines = readdirSync(folder).flatMap((name) =>
      readFileSync(`${folder}/${name}`, 'utf8')
        .split('\n')
        .filter((text) => text !== ''),
    )
    const texts = new Set<string>()
    let output = ''
    for (const text of lines) {
      collectTexts(JSON.parse(text), texts)
      output += outputOf(text).text
    }
    expect(texts.size).toBeGreaterThan(300)
    expect([...texts].filter((text) => output.includes(JSON.stringify(text).slice(1, -1)))).toEqual([])
  })
})

/** Whole sentences of people and models: texts under the names that carry them, long enough not to be a name or a number. */
function collectTexts(value: unknown, texts: Set<string>, name = ''): void {
  if (typeof value === 'string') {
    if (['content', 'text', 'input', 'prompt', 'instructions', 'output_text', 'arguments', 'output'].includes(name) && value.length >= 24 && value.includes(' '))
      texts.add(value.slice(0, 60))
  } else if (Array.isArray(value)) for (const part of value) collectTexts(part, texts, name)
  else if (typeof value === 'object' && value !== null) for (const [key, part] of Object.entries(value)) collectTexts(part, texts, key)
}
