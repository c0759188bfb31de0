import * as fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { monotonicMs } from '../runtime/clock.ts'
import { seededRandom } from '../runtime/random.ts'
import { plainText } from '../runtime/text.ts'
import { createCleaner, redactText } from './redact.ts'

// Made here, at random, in the shapes of the providers: no key of anybody.
const random = seededRandom(7)
const pick = (alphabet: string, length: number): string => Array.from({ length }, () => alphabet[Math.floor(random() * alphabet.length)] ?? 'x').join('')
const alnum = (length: number): string => pick('abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789', length)
const hex = (length: number): string => pick('0123456789abcdef', length)
const upper = (length: number): string => pick('ABCDEFGHIJKLMNOPQRSTUVWXYZ234567', length)
const base64url = (value: unknown): string => Buffer.from(JSON.stringify(value)).toString('base64url')

const secrets: Readonly<Record<string, string>> = {
  'OpenAI project key': `sk-proj-${alnum(74)}T3BlbkFJ${alnum(74)}`,
  'OpenAI project key with dashes': `sk-proj-${alnum(20)}-${alnum(20)}_${alnum(16)}T3BlbkFJ${alnum(58)}`,
  'OpenAI service account key': `sk-svcacct-${alnum(58)}T3BlbkFJ${alnum(58)}`,
  'OpenAI admin key': `sk-admin-${alnum(58)}T3BlbkFJ${alnum(58)}`,
  'OpenAI legacy key': `sk-${alnum(20)}T3BlbkFJ${alnum(20)}`,
  'OpenAI key of 48 characters': `sk-${alnum(48)}`,
  'OpenAI session': `sess-${alnum(40)}`,
  'Anthropic key': `sk-ant-api03-${alnum(93)}AA`,
  'OpenRouter key': `sk-or-v1-${hex(64)}`,
  'generic sk- key': `sk-${alnum(24)}`,
  'AWS access key id': `AKIA${upper(16)}`,
  'AWS temporary key id': `ASIA${upper(16)}`,
  'AWS session token': `IQoJ${alnum(200)}==`,
  'Bedrock API key': `ABSK${alnum(100)}=`,
  'GitHub token': `ghp_${alnum(36)}`,
  'GitHub fine-grained token': `github_pat_${alnum(22)}_${alnum(59)}`,
  'GitLab token': `glpat-${alnum(20)}`,
  'Slack bot token': `xoxb-${pick('0123456789', 12)}-${pick('0123456789', 12)}-${alnum(24)}`,
  'Slack app token': `xapp-1-A${upper(10)}-${pick('0123456789', 13)}-${hex(64)}`,
  'Slack webhook': `https://hooks.slack.com/services/T${upper(8)}/B${upper(8)}/${alnum(24)}`,
  'Google API key': `AIza${alnum(35)}`,
  'Google OAuth token': `ya29.${alnum(60)}`,
  'Google client secret': `GOCSPX-${alnum(28)}`,
  'Stripe live key': `sk_live_${alnum(24)}`,
  'Stripe restricted key': `rk_live_${alnum(24)}`,
  'webhook secret': `whsec_${alnum(32)}`,
  'Hugging Face token': `hf_${alnum(34)}`,
  'npm token': `npm_${alnum(36)}`,
  'PyPI token': `pypi-${alnum(80)}`,
  'SendGrid key': `SG.${alnum(22)}.${alnum(43)}`,
  'Databricks token': `dapi${hex(32)}`,
  'DigitalOcean token': `dop_v1_${hex(64)}`,
  'Groq key': `gsk_${alnum(52)}`,
  'xAI key': `xai-${alnum(80)}`,
  'Perplexity key': `pplx-${alnum(48)}`,
  'Vault token': `hvs.${alnum(90)}`,
  'Linear key': `lin_api_${alnum(40)}`,
  'Notion token': `ntn_${alnum(46)}`,
  'Shopify token': `shpat_${hex(32)}`,
  'Telegram token': `${pick('123456789', 10)}:AA${alnum(33)}`,
  'Mailgun key': `key-${hex(32)}`,
  'Twilio key': `SK${hex(32)}`,
  'Azure client secret': `${alnum(3)}8Q~${alnum(34)}`,
  'Azure storage key': `${alnum(86)}==`,
  JWT: `${base64url({ alg: 'HS256', typ: 'JWT' })}.${base64url({ sub: 'u-1', exp: 1 })}.${alnum(43)}`,
  'PEM private key': `-----BEGIN RSA PRIVATE KEY-----\n${alnum(64)}\n${alnum(64)}\n-----END RSA PRIVATE KEY-----`,
  'encrypted PEM private key': `-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-128-CBC,${hex(32)}\n\n${alnum(64)}\n-----END RSA PRIVATE KEY-----`,
  'Azure key of 84 characters': `${alnum(52)}JQQJ99BAACYeBjFXJ3w3AAABACOG${alnum(4)}`,
  'cut PEM private key': `-----BEGIN PRIVATE KEY----- ${alnum(64)} ${alnum(64)}`,
}

/** Secrets without a shape: the words around them give them away. The part to be hidden comes second. */
const inContext: Readonly<Record<string, [text: string, secret: string]>> = Object.fromEntries(
  (
    [
      ['AWS secret access key', (s) => `aws_secret_access_key = ${s}`, alnum(40)],
      ['connection string', (s) => `postgres://app:${s}@db.internal:5432/app`, alnum(16)],
      ['Redis URL without a user', (s) => `redis://:${s}@cache:6379/0`, alnum(16)],
      ['Azure connection string', (s) => `Endpoint=sb://x.servicebus.windows.net/;SharedAccessKey=${s};EntityPath=q`, alnum(43)],
      ['SAS signature', (s) => `https://x.blob.core.windows.net/c/b?sv=2024-01-01&sig=${s}`, alnum(43)],
      ['bearer token', (s) => `Authorization: Bearer ${s}`, alnum(40)],
      ['basic credentials', (s) => `authorization: Basic ${s}`, Buffer.from(`app:${alnum(12)}`).toString('base64')],
      ['api-key header', (s) => `api-key: ${s}`, hex(32)],
      ['subscription key header', (s) => `Ocp-Apim-Subscription-Key: ${s}`, hex(32)],
      ['password in JSON', (s) => `{"password":"${s}"}`, alnum(12)],
      ['password in escaped JSON', (s) => `{\\"db_password\\":\\"${s}\\"}`, alnum(12)],
      ['client secret in a form', (s) => `grant_type=client_credentials&client_secret=${s}&scope=x`, alnum(20)],
      ['URL-encoded token', (s) => `access_token%3D${s}`, alnum(30)],
      ['environment variable', (s) => `export OPENAI_API_KEY=${s}`, hex(24)],
      ['Azure OpenAI key in the environment', (s) => `AZURE_OPENAI_KEY=${s}`, hex(32)],
      ['Azure key in a sentence', (s) => `Access denied: API key '${s}' is wrong`, hex(32)],
      ['Azure key after its name', (s) => `invalid subscription key ${s}`, hex(32)],
      ['key that is told', (s) => `the key is ${s}`, hex(32)],
      ['AWS secret by its word', (s) => `aws secret: ${s}`, `${alnum(19)}a/B7${alnum(17)}`],
      ['token in JSON', (s) => `{"token":"${s}"}`, `a1B${alnum(37)}`],
      ['token in escaped JSON', (s) => `{\\"token\\":\\"${s}\\"}`, `a1B${alnum(37)}`],
      ['URL-encoded bearer', (s) => `Authorization%3A%20Bearer%20${s}`, alnum(40)],
      ['key that was cut off', (s) => `agent ${s}…`, `sk-proj-${alnum(8)}`],
      ['URL that was cut off', (s) => `postgres://app:${s}…`, alnum(12)],
      ['sentence', (s) => `the password is ${s}`, alnum(14)],
    ] as const satisfies readonly (readonly [string, (secret: string) => string, string])[]
  ).map(([name, make, secret]) => [name, [make(secret), secret]]),
)

describe('what must go', () => {
  it('knows at least thirty kinds', () => expect(Object.keys(secrets).length + Object.keys(inContext).length).toBeGreaterThanOrEqual(30))

  it.each(Object.entries(secrets))('%s', (_kind, secret) => {
    for (const text of [secret, `error: ${secret} was refused`, `"${secret}"`, `key=${secret}&x=1`, `(${secret})`, `a,${secret},b`]) {
      const cleaned = redactText(text)
      expect(cleaned, text).toContain('[redacted:')
      for (const part of partsOf(secret)) expect(cleaned, text).not.toContain(part)
      expect(redactText(cleaned), 'a second time changes nothing').toBe(cleaned)
    }
  })

  it.each(Object.entries(inContext))('%s', (_kind, [text, secret]) => {
    const cleaned = redactText(text)
    expect(cleaned).toContain('[redacted:')
    for (const part of partsOf(secret)) expect(cleaned).not.toContain(part)
    expect(redactText(cleaned)).toBe(cleaned)
  })

  it('finds every kind wherever it stands in a text', () => {
    const all = Object.values(secrets)
    fc.assert(
      fc.property(fc.constantFrom(...all), fc.string({ maxLength: 30 }), fc.constantFrom(' ', '\n', '"', "'", '=', ':', ',', '/', '(', '<'), (secret, before, gap) => {
        const cleaned = redactText(`${before}${gap}${secret}`)
        for (const part of partsOf(secret)) expect(cleaned).not.toContain(part)
      }),
    )
  })

  it('e-mail addresses only where that is wanted', () => {
    expect(redactText('mail jo.doe+x@corp.example now')).toBe('mail jo.doe+x@corp.example now')
    expect(redactText('mail jo.doe+x@corp.example now', { emails: true })).toBe('mail [redacted:e-mail] now')
  })

  it('keeps the last four characters of provider keys, nothing of passwords', () => {
    const key = `sk-proj-${alnum(40)}WXYZ`
    expect(redactText(key)).toBe('[redacted:api-key …WXYZ]')
    expect(redactText('password=hunter22')).toBe('password=[redacted:secret]')
  })
})

/** Any eight characters in a row are a leak. */
function partsOf(secret: string): string[] {
  const body = secret.replace(/^https?:\/\/[^/]+/, '').replace(/-----[A-Z ]+-----/g, '')
  const parts: string[] = []
  for (let at = 8; at + 8 <= body.length; at += 4) parts.push(body.slice(at, at + 8))
  return parts.filter((part) => !/^[-_\s]|^(?:services|live|proj)/.test(part))
}

describe('what must stay', () => {
  it.each([
    'arn:aws:iam::111122223333:role/service-role/token-service-role',
    'arn:aws:secretsmanager:eu-west-1:111122223333:secret:prod/db-password-AbCdEf',
    'arn:aws:bedrock:us-east-1::foundation-model/anthropic.claude-3-5-sonnet-20241022-v2:0',
    'arn:aws:sts::111122223333:assumed-role/risk-assessment-and-desk-booking/i-0123456789abcdef0',
    'arn:aws:secretsmanager:eu-west-1:111122223333:secret:Payments-Ledger-Database-2026-AbC1eF',
    '/prod/api/password',
    'https://vault-prod.vault.azure.net/secrets/api-key/0123456789abcdef0123456789abcdef',
    '3f2504e0-4f89-11d3-9a0c-0305e82c3301',
    'req_117038824b344edfaffa5937b681b853',
    'chatcmpl-CdxiIrlxetLzjuBRfsl3k1X7s1F9u',
    'resp_68a1b2c3d4e5f60718293a4b5c6d7e8f90a1b2c3d4e5f607',
    'gpt-4o-2024-08-06',
    'ft:gpt-4o-mini-2024-07-18:acme:parcels:AbCdEfGh',
    'text-embedding-3-large',
    'openai/gpt-oss-120b',
    'fp_0123456789abcdef0123456789abcdef',
    'key_AbCdEfGh0123456789',
    'proj_AbCdEfGhIjKlMnOp',
    'org-AbCdEfGhIjKlMnOpQrStUv',
    'Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/126.0.0.0 Safari/537.36',
    'OpenAI/Python 1.40.6',
    'aws-sdk-js/3.600.0 ua/2.0 os/linux#5.10 lang/js md/nodejs#20.11.0 api/secrets-manager#3.600.0',
    'aws-cli/2.15.30 md/prompt#off cfg/retry-mode#standard command/secretsmanager.get-secret-value',
    'context_length_exceeded',
    'insufficient_quota',
    'AccessDeniedException',
    'task-scheduler-service-production-eu',
    '/aws/lambda/chat 2026/03/02/[$LATEST]0123456789abcdef0123456789abcdef',
    '2026-03-02T10:00:00.123Z',
    'max_tokens: 4096, completion_tokens: 80',
    'the token limit is exceeded',
    'the API key is invalid',
    'secret prod/payments/database-password-of-the-ledger',
    'key partitioned-by-team-and-service-and-day',
    'credentials: same-origin',
    'a long sentence about everything and nothing…',
    'https://acme.example:8443/v1/chat/completions and so on…',
  ])('%s', (text) => {
    expect(redactText(text)).toBe(text)
    expect(redactText(text, { kind: 'id' })).toBe(text)
  })

  it('a key behind its word goes from names, too', () => {
    const key = hex(32)
    expect(redactText(`invalid subscription key '${key}'`, { kind: 'id' })).toBe("invalid subscription key '[redacted:secret]'")
    expect(redactText(`api-key: ${key}`, { kind: 'id' })).toBe('api-key: [redacted:secret]')
  })

  it('access key ids stay where they name a credential', () => {
    const id = `AKIA${upper(16)}`
    expect(redactText(id, { kind: 'id' })).toBe(id)
  })
})

describe('cleaner', () => {
  const cleaner = createCleaner({ emails: false })
  it('cuts control characters, lone surrogates and length; a key across the cut leaves nothing', () => {
    expect(cleaner.clean('a\u0000b\u001b[31mc\u2028d', 'free')).toBe('a b [31mc d')
    expect(cleaner.clean('x\ud800y', 'free').isWellFormed()).toBe(true)
    const key = `sk-proj-${alnum(80)}`
    const cleaned = cleaner.clean(`${'x '.repeat(505)}${key}`, 'free')
    expect(cleaned.length).toBeLessThanOrEqual(1024)
    expect(cleaned).not.toContain('sk-proj')
  })
  it('gives what fits, whatever it has seen before', () => {
    const id = `AKIA${upper(16)}`
    for (const max of [1024, 32, 1024, 20]) expect(cleaner.clean(id, 'free', max)).toBe(plainText(`[redacted:aws-access-key-id …${id.slice(-4)}]`, max))
  })
  it('gives what the patterns give, however quickly it looks', () => {
    // Words only, which take the shortest way: whole and cut secrets, starts of keys and what keys are made of, in any order.
    const words = [
      ...Object.values(secrets),
      'sk-',
      'sk_',
      'AKIA',
      'gl',
      'glpat-',
      'SK',
      'T3BlbkFJ',
      'key-',
      'do',
      '_v1_',
      'secret_',
      'password',
      'token',
      'req_',
      alnum(8),
      alnum(20),
      hex(32),
      '-',
      '_',
    ]
    const word = fc.tuple(fc.constantFrom(...words), fc.nat({ max: 60 })).map(([text, from]) => text.replace(/[^\w-]/g, '').slice(from % 3 === 0 ? from : 0))
    fc.assert(
      fc.property(fc.array(word, { minLength: 1, maxLength: 6 }), fc.constantFrom('', '-', '_', '.', ' ', ':'), (parts, between) => {
        const text = parts.join(between).slice(0, 1024)
        expect(cleaner.unique(text)).toBe(plainText(redactText(text), 1024))
        expect(cleaner.free(text)).toBe(plainText(redactText(text), 1024))
        expect(cleaner.id(text)).toBe(plainText(redactText(text, { kind: 'id' }), 1024))
      }),
      { numRuns: 2_000 },
    )
  })
  it('never gives more than it may, for any text', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'binary', maxLength: 3000 }), fc.integer({ min: 1, max: 200 }), (text, max) => {
        const cleaned = cleaner.clean(text, 'free', max)
        expect(cleaned.length).toBeLessThanOrEqual(max)
        expect(cleaned.isWellFormed()).toBe(true)
      }),
    )
  })
})

describe('time is linear in the length', () => {
  // The loops of a bad pattern show as minutes, so the bound is far above what is measured (10 to 60 ms for a megabyte here).
  it.each([
    ['one letter', 'a'],
    ['starts of keys', 'sk-'],
    ['starts of keys, never long enough', 'sk-aaa '],
    ['starts of JWTs', 'eyJ'],
    ['JWT after JWT, no dot', 'eyJhbGciOi '],
    ['dashes', '-----BEGIN PRIVATE KEY-----'],
    ['begin without end', '-----BEGIN '],
    ['schemes', 'a://'],
    ['users', 'a://b:'],
    ['names of secrets', 'password='],
    ['names of secrets, no value', 'api_key: '],
    ['prefixes of names', 'a_b_c_'],
    ['blanks', ' '],
    ['bearer', 'bearer '],
    ['mail', 'a@a.'],
    ['mail without a domain', 'a.'],
    ['base64', 'A+/='],
    ['markers', 'T3BlbkFJ'],
    ['half markers', 'T3BlbkF'],
    ['quotes', '\\"password\\":'],
    ['words for keys', 'key '],
    ['words for keys, and values', 'key:aB3aB3aB3aB3aB3aB3aB3aB3aB3aB3aB3'],
    ['begin and end', '-----BEGIN PRIVATE KEY----------END '],
    ['signatures of Azure', 'JQQJ9'],
  ])('%s', (_name, part) => {
    const text = part.repeat(Math.ceil(1_000_000 / part.length))
    const at = monotonicMs()
    redactText(text, { emails: true })
    expect(monotonicMs() - at).toBeLessThan(2_000)
  })
})
