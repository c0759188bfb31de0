import { readFileSync } from 'node:fs'
import { describe, expect, it } from 'vitest'
import type { ParsedSecretAccess, Verdict } from '../../format.ts'
import { azureKeyVault } from './index.ts'
import { actionOf } from './operations.ts'

const NOW = Date.parse('2026-03-02T11:00:00Z')
const format = azureKeyVault.create({})
const parse = (json: unknown): Verdict => {
  const body = JSON.stringify(json)
  return format.parse({ id: '1', at: 0, ingested_at: null, body, origin: { source: 'file', stream: 's' } }, { json, now: NOW, occurrence: () => 0 })
}
function first(json: unknown): ParsedSecretAccess['event'] {
  const verdict = parse(json)
  const event = verdict.kind === 'accept' ? verdict.events[0] : undefined
  if (event?.topic !== 'secret-access.v1') throw new Error(JSON.stringify(verdict))
  return event.event
}
const caseOf = (name: string): Record<string, unknown> =>
  JSON.parse((JSON.parse(readFileSync(new URL(`cases/${name}.json`, import.meta.url), 'utf8')) as { record: { body: string } }).record.body) as Record<string, unknown>

describe('one event in three shapes', () => {
  const shapes = ['raw-secret-get', 'diagnostics-secret-get', 'audit-logs-secret-get', 'diagnostics-overflow']

  it('is the same event whichever way it came', () => {
    const events = shapes.map((name) => first(caseOf(name)))
    for (const event of events) expect(event).toEqual(events[0])
  })

  it('comes from an export of the portal, too, which names its times otherwise', () => {
    const { TimeGenerated, ...row } = caseOf('audit-logs-secret-get')
    const exported = Object.fromEntries(Object.entries(row).map(([name, value]) => [name, typeof value === 'string' ? value : JSON.stringify(value)]))
    expect(first({ 'TimeGenerated [UTC]': TimeGenerated, ...exported })).toEqual(first(caseOf('audit-logs-secret-get')))
  })

  it('has an id that the client cannot choose', () => {
    const raw = caseOf('raw-secret-get')
    const id = first(raw).event_id
    expect(first({ ...raw, correlationId: 'another' }).event_id).toBe(id)
    expect(first({ ...raw, callerIpAddress: '203.0.113.10' }).event_id).not.toBe(id)
    expect(first({ ...raw, time: '2026-03-02T10:00:00.1244567Z' }).event_id).not.toBe(id)
    expect(first({ ...raw, operationName: 'SecretDelete' }).event_id).not.toBe(id)
  })
})

describe('outcome', () => {
  const raw = caseOf('raw-secret-get')
  const withStatus = (status: unknown, signature: string | null, type = 'Success') =>
    first({ ...raw, resultType: type, resultSignature: signature, properties: { ...(raw['properties'] as object), httpStatusCode: status } })

  it.each([
    [200, 'OK', 'Success', 'success'],
    [403, 'Forbidden', 'Success', 'denied'],
    [401, 'Unauthorized', 'Success', 'denied'],
    [404, 'Not Found', 'Success', 'not_found'],
    [429, null, 'Failed', 'throttled'],
    [500, null, 'Failed', 'error'],
    [409, 'Conflict', 'Success', 'error'],
    ['403', 'Forbidden', 'Success', 'denied'],
    [null, 'Forbidden', 'Success', 'denied'],
    [null, 'Not Found', 'Failed', 'not_found'],
    [null, null, 'Success', 'success'],
    [null, null, 'Failed', 'error'],
  ])('%s %s %s is %s', (status, signature, type, outcome) => expect(withStatus(status, signature, type).outcome).toBe(outcome))
})

describe('what an operation means', () => {
  it.each([
    ['SecretGet', 'read'],
    ['SecretBackup', 'read'],
    ['SecretListVersions', 'list'],
    ['SecretSet', 'write'],
    ['SecretPurge', 'delete'],
    ['SecretRecover', 'restore'],
    ['KeyGet', 'list'],
    ['KeyDecrypt', 'decrypt'],
    ['KeyUnwrap', 'decrypt'],
    ['KeyRotate', 'rotate'],
    ['CertificateImport', 'write'],
    ['VaultPatch', 'write'],
    ['Authentication', 'auth'],
  ])('%s: %s', (operation, action) => expect(actionOf(operation)).toBe(action))

  it.each(['KeySign', 'KeyEncrypt', 'constructor', 'Secretconstructor', 'secretget', ''])('%s is not kept', (operation) =>
    expect(actionOf(operation)).toEqual({ why: 'not-watched' }),
  )
})

describe('which secret', () => {
  const of = (requestUri: string) => {
    const raw = caseOf('raw-secret-get')
    const { secret_id, secret_version } = first({ ...raw, properties: { requestUri, httpStatusCode: 200 } })
    return [secret_id, secret_version]
  }
  it('is read from the request where no id is given', () => {
    expect(of('https://V.vault.azure.net/secrets/name/abc?api-version=7.5')).toEqual(['https://v.vault.azure.net/secrets/name', 'abc'])
    expect(of('https://v.vault.azure.net/secrets/name/versions?api-version=7.5')).toEqual(['https://v.vault.azure.net/secrets/name', null])
    expect(of('https://v.vault.azure.net/deletedsecrets/name/recover')).toEqual(['https://v.vault.azure.net/secrets/name', null])
    expect(of('https://v.vault.usgovcloudapi.net/keys/k/1/unwrapkey')).toEqual(['https://v.vault.usgovcloudapi.net/keys/k', '1'])
    expect(of('https://v.vault.azure.net/secrets/restore?api-version=7.5')).toEqual([null, null])
    expect(of('https://management.azure.com/subscriptions/x')).toEqual([null, null])
  })
})
