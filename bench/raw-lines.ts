/** Made-up log lines for lane B: as varied as real ones in keys, addresses, models and ids, because caches live on repetition. */
import { createHash } from 'node:crypto'
import { chatLine, madeUpKey } from '../test/e2e/log-lines.ts'

export interface Lane {
  /** Line `n`, of an event at `at` (epoch ms). */
  line: (n: number, at: number) => string
  extension: 'jsonl' | 'csv'
  head?: string
  formats: readonly unknown[]
  topic: 'usage.v1' | 'secret-access.v1'
}

/** The two of 500 bytes are the size that the goal names; the longer ones carry prompt and answer, or all of CloudTrail's fields. */
export const lanes = {
  'openai-http-500': { extension: 'jsonl', formats: ['openai-http'], topic: 'usage.v1', line: proxyLine },
  'cloudtrail-500': { extension: 'jsonl', formats: ['cloudtrail'], topic: 'secret-access.v1', line: (n, at) => JSON.stringify(secretRead(n, at)) },
  'openai-http': {
    extension: 'jsonl',
    formats: ['openai-http'],
    topic: 'usage.v1',
    line: (n, at) =>
      chatLine({
        id: hex(`chat ${n}`, 32),
        at,
        key: madeUpKey(`bench-${n % 40}`),
        model: modelOf(n),
        input_tokens: 500 + (n % 900),
        output_tokens: 20 + (n % 700),
        ip: addressOf(n),
      }),
  },
  cloudtrail: { extension: 'jsonl', formats: ['cloudtrail'], topic: 'secret-access.v1', line: cloudTrailLine },
  mapping: {
    extension: 'csv',
    head: 'time,key,input,output\n',
    formats: [
      {
        mapping: {
          match: { columns: ['time', 'key', 'input', 'output'] },
          fields: {
            provider: { constant: 'openai' },
            operation: { constant: 'chat' },
            event_time: { column: 'time', format: 'iso' },
            api_key_id: { column: 'key' },
            model: { constant: 'gpt-4o-2024-08-06' },
            input_tokens: { column: 'input' },
            output_tokens: { column: 'output' },
          },
        },
      },
    ],
    topic: 'usage.v1',
    line: (n, at) => `${new Date(at).toISOString()},key_${n % 40},${500 + (n % 900)},${40 + (n % 70)}`,
  },
} as const satisfies Record<string, Lane>

const MODELS = ['gpt-4o-mini-2024-07-18', 'gpt-4o-2024-08-06', 'gpt-4.1-2025-04-14', 'o3-2025-04-16', 'gpt-4.1-mini-2025-04-14'] as const
const modelOf = (n: number): string => MODELS[n % MODELS.length] ?? MODELS[0]
const hex = (text: string, length: number): string => createHash('sha256').update(text).digest('hex').slice(0, length)
/** Thousands of clients, a few of which call more often than all others together. */
function addressOf(n: number): string {
  const client = Math.floor(40_000 * (((n * 7919) % 10_007) / 10_007) ** 4)
  return `52.${20 + (client % 16)}.${(client * 7) % 256}.${Math.floor(client / 256)}`
}

/** A gateway that logs the answer without its text. */
function proxyLine(n: number, at: number): string {
  const [input, output] = [200 + ((n * 7919) % 3000), 20 + ((n * 104_729) % 900)]
  return JSON.stringify({
    time: new Date(at).toISOString(),
    service: `svc-${n % 25}`,
    url: 'https://api.openai.com/v1/chat/completions',
    client_ip: addressOf(n),
    status: 200,
    api_key_id: `key_${hex(`key ${n % 40}`, 16)}`,
    latency_ms: 200 + (n % 900),
    response: {
      id: `chatcmpl-${hex(`chat ${n}`, 29)}`,
      object: 'chat.completion',
      created: Math.floor(at / 1000),
      model: modelOf(n),
      usage: {
        prompt_tokens: input,
        completion_tokens: output,
        total_tokens: input + output,
        prompt_tokens_details: { cached_tokens: 0 },
        completion_tokens_details: { reasoning_tokens: 0 },
      },
    },
  })
}

function secretRead(n: number, at: number) {
  const user = `svc-${n % 30}`
  return {
    eventVersion: '1.09',
    userIdentity: { type: 'IAMUser', arn: `arn:aws:iam::111122223333:user/${user}`, accountId: '111122223333', userName: user },
    eventTime: new Date(at).toISOString().replace(/\.\d+Z$/, 'Z'),
    eventSource: 'secretsmanager.amazonaws.com',
    eventName: 'GetSecretValue',
    awsRegion: 'eu-central-1',
    sourceIPAddress: addressOf(n),
    userAgent: `aws-sdk-js/3.900.${n % 9}`,
    requestParameters: { secretId: `prod/llm-${n % 9}` },
    requestID: uuidOf(`request ${n}`),
    eventID: uuidOf(`event ${n}`),
  }
}

function cloudTrailLine(n: number, at: number): string {
  const { userIdentity, requestParameters, ...record } = secretRead(n, at)
  return JSON.stringify({
    ...record,
    userIdentity: { ...userIdentity, principalId: `AIDA${n % 30}`, accessKeyId: `AKIA${String(n % 30).padStart(16, '0')}` },
    requestParameters: { secretId: `arn:aws:secretsmanager:eu-central-1:111122223333:secret:${requestParameters.secretId}` },
    responseElements: null,
    readOnly: true,
    eventType: 'AwsApiCall',
    managementEvent: true,
    recipientAccountId: '111122223333',
    eventCategory: 'Management',
  })
}

function uuidOf(text: string): string {
  const digits = hex(text, 32)
  return `${digits.slice(0, 8)}-${digits.slice(8, 12)}-4${digits.slice(13, 16)}-a${digits.slice(17, 20)}-${digits.slice(20)}`
}
