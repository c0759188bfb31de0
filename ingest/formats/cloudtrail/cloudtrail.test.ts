import * as fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { credentialChangeEvent } from '../../../schemas/credential-change.ts'
import { secretAccessEvent } from '../../../schemas/secret-access.ts'
import { usageEvent } from '../../../schemas/usage.ts'
import type { ParsedEvent, Verdict } from '../../format.ts'
import { cloudTrail } from './index.ts'

const NOW = Date.parse('2026-06-01T00:00:00Z')
const user = { type: 'IAMUser', arn: 'arn:aws:iam::1:user/u', accountId: '1', accessKeyId: 'AKIA1', userName: 'u' }
const base = {
  eventVersion: '1.09',
  userIdentity: user,
  eventTime: '2026-03-02T10:00:00Z',
  awsRegion: 'eu-west-1',
  sourceIPAddress: '203.0.113.9',
  requestID: 'r-1',
  eventID: 'e-1',
  recipientAccountId: '1',
}
const record = (source: string, eventName: string, parameters: unknown = null, more: object = {}) => ({
  ...base,
  eventSource: `${source}.amazonaws.com`,
  eventName,
  requestParameters: parameters,
  ...more,
})

const format = cloudTrail.create({})
const parse = (json: unknown, body = ''): Verdict =>
  format.parse({ id: '1', at: 0, ingested_at: null, body, origin: { source: 'file', stream: 's' } }, { json, now: NOW, occurrence: () => 0 })
function first(json: unknown): ParsedEvent {
  const verdict = parse(json)
  const event = verdict.kind === 'accept' ? verdict.events[0] : undefined
  if (event === undefined) throw new Error(JSON.stringify(verdict))
  return event
}

const header = {
  observed_time: NOW,
  delivered_time: null,
  source: 'file',
  source_stream: 's',
  format: 'cloudtrail',
  run_id: null,
  team_id: null,
  client_country: null,
  client_asn: null,
  client_as_name: null,
  owner_ref: 'role:x',
}
const price = { ctx: 'std', cost_usd: null, list_cost_usd: null, cost_source: 'none', price_version: null }
function checkContract(verdict: Verdict): void {
  if (verdict.kind !== 'accept') return
  for (const { topic, event } of verdict.events) {
    if (topic === 'usage.v1') usageEvent.parse({ ...event, ...header, ...price })
    else if (topic === 'secret-access.v1') secretAccessEvent.parse({ ...event, ...header })
    else credentialChangeEvent.parse({ ...event, ...header })
  }
}

describe('which call is what', () => {
  it.each([
    ['secretsmanager', 'GetSecretValue', { secretId: 's' }, 'read'],
    ['secretsmanager', 'DescribeSecret', { secretId: 's' }, 'list'],
    ['secretsmanager', 'PutSecretValue', { secretId: 's' }, 'write'],
    ['secretsmanager', 'RotateSecret', { secretId: 's' }, 'rotate'],
    ['secretsmanager', 'DeleteSecret', { secretId: 's' }, 'delete'],
    ['secretsmanager', 'RestoreSecret', { secretId: 's' }, 'restore'],
    ['ssm', 'GetParameter', { name: '/k', withDecryption: true }, 'read'],
    ['ssm', 'GetParametersByPath', { path: '/llm', withDecryption: true }, 'read'],
    ['ssm', 'PutParameter', { name: '/k', type: 'SecureString' }, 'write'],
    ['kms', 'Decrypt', { encryptionContext: { app: 'x' } }, 'decrypt'],
  ])('%s %s', (source, name, parameters, action) => {
    const event = first(record(source, name, parameters))
    expect(event.topic === 'secret-access.v1' && event.event.action).toBe(action)
  })
  it.each([
    ['iam', 'CreateAccessKey', { userName: 'b' }, 'access-key', 'created'],
    ['iam', 'UpdateAccessKey', { accessKeyId: 'AKIA2', status: 'Active' }, 'access-key', 'activated'],
    ['iam', 'DeleteAccessKey', { accessKeyId: 'AKIA2' }, 'access-key', 'deleted'],
    ['iam', 'CreateServiceSpecificCredential', { userName: 'b', serviceName: 'bedrock.amazonaws.com' }, 'service-specific-credential', 'created'],
    ['bedrock', 'PutFoundationModelEntitlement', { modelId: 'm' }, 'model-access', 'created'],
    ['bedrock', 'ListFoundationModels', null, 'model-access', 'listed'],
    ['bedrock', 'PutModelInvocationLoggingConfiguration', {}, 'logging', 'updated'],
  ])('%s %s', (source, name, parameters, kind, change) => expect(first(record(source, name, parameters)).event).toMatchObject({ target_kind: kind, change }))
  it.each([
    [record('ssm', 'GetParameter', { name: '/k' }), 'plain-parameter'],
    [record('ssm', 'GetParameters', { names: ['/k'], withDecryption: false }), 'plain-parameter'],
    [record('kms', 'GenerateDataKey'), 'not-watched'],
    [record('kms', 'Decrypt', { encryptionContext: { 'aws:s3:arn': 'x' } }, { sourceIPAddress: 's3.amazonaws.com' }), 'not-watched'],
    [record('iam', 'ListUsers'), 'not-watched'],
    [{ ...record('s3', 'GetObject'), eventTime: 5 }, 'not-watched'],
    [{ eventSource: 'me', eventName: 'x' }, 'foreign-shape'],
  ])('%j is skipped', (json, why) => expect(parse(json)).toEqual({ kind: 'skip', why }))
})

describe('who, from where, how it ended', () => {
  it('knows a call that a service made for somebody', () => {
    for (const more of [{ sourceIPAddress: 'AWS Internal' }, { userIdentity: { ...user, invokedBy: 'cloudformation.amazonaws.com' } }]) {
      expect(first(record('secretsmanager', 'GetSecretValue', { secretId: 's' }, more)).event).toMatchObject({ is_child: true, actor_id: user.arn })
    }
    expect(first(record('secretsmanager', 'GetSecretValue', { secretId: 's' })).event).toMatchObject({ is_child: false, client_ip: '203.0.113.9' })
  })
  it('keeps a scrambled address as unknown, and the call as a direct one', () => {
    expect(first(record('secretsmanager', 'ListSecrets', {}, { sourceIPAddress: '035.1.1.1' })).event).toMatchObject({ client_ip: null, is_child: false, flags: ['bad-address'] })
  })
  it.each([
    ['AccessDeniedException', 'denied'],
    ['Client.UnauthorizedOperation', 'denied'],
    ['ResourceNotFoundException', 'not_found'],
    ['ParameterNotFound', 'not_found'],
    ['ThrottlingException', 'throttled'],
    ['InternalServiceError', 'error'],
    [undefined, 'success'],
  ])('%s is %s', (errorCode, outcome) => expect(first(record('secretsmanager', 'GetSecretValue', {}, { errorCode })).event.outcome).toBe(outcome))
  it.each([
    ['AccessDeniedException', 'auth_failure'],
    ['ThrottlingException', 'rate_limited'],
    ['ServiceQuotaExceededException', 'quota'],
    ['ValidationException', 'client_error'],
    ['ModelTimeoutException', 'server_error'],
  ])('of a model call %s is %s', (errorCode, outcome) => expect(first(record('bedrock', 'Converse', { modelId: 'm' }, { errorCode })).event.outcome).toBe(outcome))
  it('never carries a value of a secret', () => {
    const json = record('secretsmanager', 'CreateSecret', { name: 'n', secretString: 'hunter2hunter2' }, { responseElements: { arn: 'arn:x', secretString: 'hunter2hunter2' } })
    expect(JSON.stringify(parse(json))).not.toContain('hunter2')
  })
})

describe('identity of an event', () => {
  it('is the eventID, and one for both accounts of a shared event', () => {
    const one = first(record('kms', 'Decrypt', {}, { eventID: 'a', sharedEventID: 's' })).event.event_id
    expect(first(record('kms', 'Decrypt', {}, { eventID: 'b', sharedEventID: 's', recipientAccountId: '2' })).event.event_id).toBe(one)
    expect(first(record('kms', 'Decrypt', {}, { eventID: 'b' })).event.event_id).not.toBe(one)
  })
  it('of a model call is request and operation, as in the invocation log', () => {
    const one = first(record('bedrock', 'Converse', { modelId: 'm' }, { eventID: 'a' })).event.event_id
    expect(first(record('bedrock', 'Converse', { modelId: 'm' }, { eventID: 'b' })).event.event_id).toBe(one)
    expect(first(record('bedrock', 'InvokeModel', { modelId: 'm' }, { eventID: 'a' })).event.event_id).not.toBe(one)
  })
})

describe('envelopes and broken records', () => {
  const good = record('secretsmanager', 'ListSecrets', {})
  it('unwraps Records and EventBridge', () => {
    expect(parse({ Records: [good, record('s3', 'GetObject')] })).toMatchObject({ kind: 'accept', events: [{ topic: 'secret-access.v1' }] })
    expect(parse({ 'detail-type': 'AWS API Call via CloudTrail', detail: good })).toMatchObject({ kind: 'accept' })
    expect(parse({ Records: [good, { ...good, eventTime: null }] })).toMatchObject({ kind: 'accept', events: [{ event: { flags: ['partial-envelope'] } }] })
    expect(parse({ Records: [{ ...good, eventTime: null }] })).toMatchObject({ kind: 'reject', why: 'no-time', detail: 'Records[0]: eventTime is missing' })
    expect(parse({ Records: [] })).toEqual({ kind: 'skip', why: 'foreign-shape' })
  })
  it.each([
    [{ ...good, eventTime: undefined }, 'no-time'],
    [{ ...good, eventTime: 1_772_445_600 }, 'bad-time'],
    [{ ...good, eventTime: '1999-01-01T00:00:00Z' }, 'bad-time'],
    [{ ...good, userIdentity: 'u' }, 'bad-shape'],
    [{ ...good, requestParameters: [] }, 'bad-shape'],
    [{ ...good, eventName: 7 }, 'bad-shape'],
  ])('%j is rejected', (json, why) => expect(parse(json)).toMatchObject({ kind: 'reject', why }))
  it('rejects a cut line of its own and no other', () => {
    expect(parse(undefined, '{"eventSource":"ssm.amazonaws.com","eventNa')).toMatchObject({ kind: 'reject', why: 'invalid-json' })
    expect(parse(undefined, 'hello')).toEqual({ kind: 'skip', why: 'foreign-shape' })
  })
  it('is total, and its events hold their contracts', () => {
    const name = fc.constantFrom('GetSecretValue', 'BatchGetSecretValue', 'GetParameters', 'Decrypt', 'CreateAccessKey', 'Converse', 'PutUseCaseForModelAccess', 'constructor')
    const source = fc.constantFrom('secretsmanager', 'ssm', 'kms', 'iam', 'bedrock')
    const parameters = fc.dictionary(
      fc.constantFrom('secretId', 'secretIdList', 'filters', 'names', 'withDecryption', 'encryptionContext', 'modelId', 'status', 'userName', '__proto__'),
      fc.jsonValue(),
    )
    const more = fc.dictionary(
      fc.constantFrom('userIdentity', 'sourceIPAddress', 'errorCode', 'eventID', 'requestID', 'resources', 'tlsDetails', 'recipientAccountId', 'responseElements'),
      fc.jsonValue(),
    )
    fc.assert(fc.property(source, name, parameters, more, (from, called, asked, other) => checkContract(parse(record(from, called, asked, other)))))
    fc.assert(fc.property(fc.anything(), (json) => void parse(json)))
  })
})
