import * as fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { addressOf } from './address.ts'
import { bedrockModel } from './bedrock.ts'
import { unwrapCarrier } from './carriers.ts'
import { readIdentity } from './cloudtrail-identity.ts'
import { readHeaders } from './headers.ts'
import type { Json } from './json.ts'
import { asLabel, atPointer, pickLabel } from './json.ts'
import { targetOf, providerOfHost } from './openai-endpoint.ts'
import { readError } from './openai-error.ts'
import { instantOf, isPlausible } from './time.ts'

describe('instants', () => {
  it.each([
    ['2026-03-02T10:00:00Z', '2026-03-02T10:00:00.000Z'],
    ['2026-03-02 10:00:00.123456', '2026-03-02T10:00:00.123Z'],
    ['2026-03-02T10:00:00.5+02:00', '2026-03-02T08:00:00.500Z'],
    ['2026-03-02T10:00:00-0530', '2026-03-02T15:30:00.000Z'],
    ['Mon, 02 Mar 2026 10:00:00 GMT', '2026-03-02T10:00:00.000Z'],
    [1_772_445_600, '2026-03-02T10:00:00.000Z'],
    [1_772_445_600_123, '2026-03-02T10:00:00.123Z'],
    ['1772445600123456789', '2026-03-02T10:00:00.123Z'],
  ])('%s', (written, iso) => expect(instantOf(written)).toBe(Date.parse(iso)))
  it.each([['2026'], ['yesterday'], ['2026-13-45T00:00:00Z'], [0], [42], [Number.NaN], [null], [{}], ['1e12']])('%s is none', (written) => expect(instantOf(written)).toBeNull())
  it('knows a clock that is years off', () => {
    const now = Date.parse('2026-03-02T10:00:00Z')
    expect([isPlausible(Date.parse('2014-12-31T23:59:59Z'), now), isPlausible(now + 80_000_000, now), isPlausible(now + 90_000_000, now)]).toEqual([false, true, false])
  })
})

describe('addresses', () => {
  it.each([
    ['203.0.113.7', '203.0.113.7', 32],
    ['203.0.113.7:443', '203.0.113.7', 32],
    ['203.0.113.7, 10.0.0.1', '203.0.113.7', 32],
    ['::ffff:203.0.113.7', '203.0.113.7', 32],
    ['[2001:DB8::1]:443', '2001:db8::1', 128],
    ['81.2.69.***', '81.2.69.0', 24],
  ])('%s', (written, ip, prefix) => expect(addressOf(written)).toEqual({ kind: 'address', ip, prefix }))
  it.each([['035.20.30.40'], ['203.01.00.7'], ['1.2.3.999'], ['1.2.3.4.5']])('%s looks like one and is none', (written) => expect(addressOf(written)).toEqual({ kind: 'bad' }))
  it.each([['secretsmanager.amazonaws.com'], ['AWS Internal'], ['unknown']])('%s is a name', (written) => expect(addressOf(written)?.kind).toBe('name'))
  it('is total', () => fc.assert(fc.property(fc.anything(), (value) => void addressOf(value))))
})

describe('OpenAI URLs', () => {
  it.each([
    ['https://api.openai.com/v1/chat/completions?x=1', 'api.openai.com', { kind: 'call', operation: 'chat' }, null],
    ['https://acme.openai.azure.com/openai/deployments/my%20chat/chat/completions?api-version=1', 'acme.openai.azure.com', { kind: 'call', operation: 'chat' }, 'my chat'],
    ['https://acme.openai.azure.com/openai/v1/responses', 'acme.openai.azure.com', { kind: 'call', operation: 'responses' }, null],
    ['https://acme.services.ai.azure.com/models/chat/completions', 'acme.services.ai.azure.com', { kind: 'call', operation: 'chat' }, null],
    ['/v1/embeddings/', null, { kind: 'call', operation: 'embeddings' }, null],
    ['api.openai.com/v1/audio/speech', 'api.openai.com', { kind: 'call', operation: 'speech' }, null],
    ['https://api.openai.com/v1/responses/resp_1', 'api.openai.com', { kind: 'stored-response' }, null],
    ['https://api.openai.com/v1/chat/completions/chatcmpl-1', 'api.openai.com', { kind: 'management' }, null],
    ['https://api.openai.com/v1/responses/resp_1/input_items', 'api.openai.com', { kind: 'management' }, null],
    ['https://api.openai.com/v1/responses/input_tokens', 'api.openai.com', { kind: 'management' }, null],
    ['https://api.openai.com/v1/threads/t/runs/r', 'api.openai.com', { kind: 'run' }, null],
    ['https://api.openai.com/v1/threads/t/messages', 'api.openai.com', { kind: 'management' }, null],
    ['https://acme.cognitiveservices.azure.com/openai/deployments/d/chat/completions', 'acme.cognitiveservices.azure.com', { kind: 'call', operation: 'chat' }, 'd'],
    ['https://acme.cognitiveservices.azure.com/vision/v3.2/analyze', 'acme.cognitiveservices.azure.com', { kind: 'management' }, null],
    ['/api/orders', null, null, null],
    ['https://shop.example/', 'shop.example', null, null],
  ])('%s', (url, host, endpoint, deployment) => expect(targetOf(url)).toEqual({ host, endpoint, deployment }))
  it('trusts no look-alike host', () => {
    expect(providerOfHost('api.openai.com.evil.example')).toBeNull()
    expect(providerOfHost('evil-api.openai.com.example')).toBeNull()
    expect(targetOf('https://api.openai.com@evil.example/v1/embeddings').host).toBe('evil.example')
  })
  it('is total', () => fc.assert(fc.property(fc.oneof(fc.string(), fc.webUrl()), (url) => void targetOf(url))))
})

describe('errors', () => {
  const error = (code: unknown, type: unknown = null) => ({ message: 'm', type, param: null, code })
  it.each([
    [error('unknown_parameter', 'invalid_request_error'), 400, 'client_error'],
    [error('model_not_found', 'invalid_request_error'), 404, 'client_error'],
    [error('model_not_found', 'invalid_request_error'), 400, 'client_error'],
    [{ code: '401', message: 'm' }, 401, 'auth_failure'],
    [error('invalid_api_key', 'invalid_request_error'), 401, 'auth_failure'],
    [error('unsupported_country_region_territory', 'request_forbidden'), 403, 'auth_failure'],
    [error('insufficient_quota', 'insufficient_quota'), 429, 'quota'],
    [error('rate_limit_exceeded', 'tokens'), 429, 'rate_limited'],
    [error(null, 'requests'), 429, 'rate_limited'],
    [{ code: 'content_filter', message: 'm', status: 400, innererror: { code: 'ResponsibleAIPolicyViolation' } }, 200, 'blocked'],
    [error(null, 'server_error'), 500, 'server_error'],
    [error(null, null), 503, 'server_error'],
    [null, 401, 'auth_failure'],
    [null, null, 'client_error'],
    [error('__proto__', 'constructor'), 418, 'client_error'],
  ])('%j with %s is %s', (body, status, outcome) => expect(readError(body, status).outcome).toBe(outcome))
  it('marks a refused country', () => expect(readError(error('unsupported_country_region_territory'), 403).flags).toEqual(['country-refused']))
  it('never gives the message', () => expect(JSON.stringify(readError({ message: 'Incorrect API key provided: sk-abc', code: 'invalid_api_key' }, 401))).not.toContain('sk-abc'))
})

describe('carriers', () => {
  it.each([['openai {"a":1}'], ['{"a":1}'], ['answer of gpt-4o: {"a":1}\n']])("open the text of Lambda's JSON format: %s", (message) => {
    const line = { timestamp: '2026-03-02T10:00:00.000Z', level: 'INFO', requestId: 'r', message }
    expect(unwrapCarrier(JSON.stringify(line), line)).toEqual({ kind: 'payload', payload: { payload: { a: 1 }, carrier: line } })
  })
  it('takes the object of a Lambda line, as object and as text', () => {
    for (const message of [{ a: 1 }, '{"a":1}']) {
      const unwrapped = unwrapCarrier('', { timestamp: '2026-03-02T10:00:00Z', level: 'INFO', requestId: 'r', message })
      expect(unwrapped.kind === 'payload' && unwrapped.payload.payload).toEqual({ a: 1 })
    }
  })
  it('splits a Lambda text line whose newlines became CR', () => {
    const unwrapped = unwrapCarrier('2026-03-02T10:00:00.000Z\tr-1\tINFO\t{\r"a":1}', undefined)
    expect(unwrapped).toMatchObject({ kind: 'payload', payload: { payload: { a: 1 }, carrier: { timestamp: '2026-03-02T10:00:00.000Z' } } })
  })
  it.each([
    ['[INFO]\t2026-03-02T10:00:00.000Z\tr-1\t{"a":1}\n', '2026-03-02T10:00:00.000Z'],
    ['2026-03-02 10:00:00,123 INFO app: {"a":1}', '2026-03-02 10:00:00,123'],
  ])('takes the object after the prefix of %j', (body, timestamp) =>
    expect(unwrapCarrier(body, undefined)).toEqual({ kind: 'payload', payload: { payload: { a: 1 }, carrier: { timestamp } } }),
  )
  it('drops platform lines and plain text', () => {
    expect(unwrapCarrier('REPORT RequestId: 1 Duration: 3 ms', undefined)).toEqual({ kind: 'none', why: 'platform-line' })
    expect(unwrapCarrier('2026-03-02T10:00:00.000Z\tr\tINFO\thello', undefined)).toEqual({ kind: 'none', why: 'not-json' })
    expect(unwrapCarrier('[]', [])).toEqual({ kind: 'none', why: 'foreign-shape' })
  })
})

describe('identity', () => {
  const role = {
    type: 'AssumedRole',
    arn: 'arn:aws:sts::1:assumed-role/api/s1',
    accountId: '1',
    accessKeyId: 'ASIA1',
    sessionContext: { sessionIssuer: { arn: 'arn:aws:iam::1:role/api', userName: 'api' }, attributes: { mfaAuthenticated: 'true' } },
  }
  it.each([
    ['a role by its issuer', role, { actor_id: 'arn:aws:iam::1:role/api', session_name: 's1', mfa: true, invoked_by: null }],
    ['a call for a role', { ...role, invokedBy: 'cloudformation.amazonaws.com' }, { actor_id: 'arn:aws:iam::1:role/api', invoked_by: 'cloudformation.amazonaws.com' }],
    ['a service', { type: 'AWSService', invokedBy: 'ec2.amazonaws.com' }, { actor_id: 'ec2.amazonaws.com', actor_type: 'AWSService', invoked_by: null }],
    ['a service event without a type', { accountId: '1', invokedBy: 'kms.amazonaws.com' }, { actor_id: 'kms.amazonaws.com', actor_type: 'AWSService' }],
    ['root by its account', { type: 'Root', arn: 'arn:aws:iam::1:root', accountId: '1' }, { actor_id: '1', actor_type: 'Root' }],
    ['a user whose ARN is missing', { type: 'IAMUser', principalId: 'AIDA1', userName: 'u' }, { actor_id: 'AIDA1' }],
    ['another account', { type: 'AWSAccount', principalId: 'AROA1:s', accountId: '2' }, { actor_id: 'AROA1:s', account_id: '2' }],
    ['a person of Identity Center', { type: 'IdentityCenterUser', accountId: '1', onBehalfOf: { userId: 'p-1' } }, { actor_id: 'p-1' }],
    ['nobody', null, { actor_id: 'unknown', actor_type: 'Unknown', mfa: null }],
  ])('%s', (_name, identity, expected) => expect(readIdentity(identity as Json | null)).toMatchObject(expected))
  it('is total', () =>
    fc.assert(
      fc.property(
        fc.dictionary(fc.constantFrom('type', 'arn', 'sessionContext', 'invokedBy', 'onBehalfOf', 'accountId'), fc.jsonValue()),
        (identity) => void readIdentity(identity),
      ),
    ))
})

describe('small readers', () => {
  it('finds headers in any case and in lists, and nothing else', () => {
    expect(readHeaders([{ 'X-Request-ID': ['req_1'], Cookie: 'secret', DATE: 'd' }, { 'x-request-id': 'req_2' }])).toEqual({ 'x-request-id': 'req_1', date: 'd' })
  })
  it('takes geography and ARN off a Bedrock model', () => {
    expect(bedrockModel('arn:aws:bedrock:us-east-1:1:inference-profile/us.anthropic.claude-x-v1:0')).toBe('anthropic.claude-x-v1:0')
    expect(bedrockModel('amazon.nova-pro-v1:0')).toBe('amazon.nova-pro-v1:0')
    expect(bedrockModel({})).toBeNull()
  })
  it('reads own properties only and cleans what it reads', () => {
    expect(pickLabel([{}], ['constructor', 'toString'])).toBeNull()
    expect(atPointer({ a: { 'b/c': [5] } }, '/a/b~1c/0')).toBe(5)
    expect(atPointer({}, '/__proto__/toString')).toBeUndefined()
    expect(asLabel('a\u001b[31mb\u202e')).toBe('a [31mb')
    expect(asLabel('x'.repeat(5000), 10)).toHaveLength(10)
  })
})
