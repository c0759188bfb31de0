import { describe, expect, it } from 'vitest'
import { TransientError } from '../../../runtime/errors.ts'
import { config } from './config.ts'
import { answerOfFailure, ThrottledError } from './failure.ts'
import { rowsQuery, surveyQuery } from './kql.ts'
import { tableConfig, tableQuery } from './tables.ts'

const WORKSPACE = '11111111-2222-4333-8444-555555555555'

describe('tables', () => {
  it('takes names and own KQL, on several lines, with pipes in texts and comments', () => {
    expect(tableQuery('AzureDiagnostics').steps).toEqual(['where ResourceProvider == "MICROSOFT.KEYVAULT"', 'where Category == "AuditEvent"'])
    const own = tableConfig.parse({ table: 'AZKVAuditLogs', kql: '| where OperationName has "a|b" // not | this\n  and HttpStatusCode > 200\n| project-away Tlsversion' })
    expect(tableQuery(own)).toEqual({ table: 'AZKVAuditLogs', steps: ['where OperationName has "a|b" and HttpStatusCode > 200', 'project-away Tlsversion'] })
  })

  it.each(['| summarize count()', '| where x == 1 | take 10', '| mv-expand y', '| join (T) on k', '| project a, b', '| union T', 'T | where 1 == 1', '| extend tw_id = "x"'])(
    'refuses %s',
    (kql) => expect(tableConfig.safeParse({ table: 'T', kql }).success).toBe(false),
  )

  it.each(['T | where true', 'T;drop', '', '1T'])('refuses %j as a name', (name) => expect(tableConfig.safeParse(name).success).toBe(false))
})

describe('statements', () => {
  const query = { table: 'AZKVAuditLogs', steps: ['where HttpStatusCode == 200'] }
  const from = Date.UTC(2026, 2, 2, 12)

  it('are as documented', () => {
    expect(surveyQuery(query, { from, to: from + 60_000 }, { bin: 60_000, measure: false }, true)).toBe(`AZKVAuditLogs
| where ingestion_time() >= datetime(2026-03-02T12:00:00.000Z) and ingestion_time() < datetime(2026-03-02T12:01:00.000Z)
| extend tw_ingested = ingestion_time(), tw_time = TimeGenerated, tw_id = _ItemId
| where HttpStatusCode == 200
| summarize tw_rows = count(), tw_bytes = sum(0) by tw_bin = bin(tw_ingested, 60000ms)
| project tw_bin = tostring(tw_bin), tw_rows, tw_bytes`)
    expect(rowsQuery(query, { from, to: from + 1000, part: { of: 2, index: 1 } }, false)).toContain(
      '| where hash(strcat(tostring(tw_ingested), tostring(tw_time)), 2) == 1\n| project tw_ingested',
    )
  })
})

describe('config', () => {
  it('has defaults that are documented', () => {
    expect(config.parse({ workspaces: [{ id: WORKSPACE }], tables: ['AZKVAuditLogs'] })).toMatchObject({
      client: 'monitor-query',
      cloud: 'public',
      overlap: 600_000,
      settle: 300_000,
      requests_per_30s: 120,
      credential: { kind: 'default' },
    })
    expect(config.safeParse({ workspaces: [{ id: 'prod' }], tables: ['AZKVAuditLogs'] }).success).toBe(false)
    expect(
      config.safeParse({
        workspaces: [{ id: WORKSPACE }],
        tables: ['AZKVAuditLogs'],
        credential: { kind: 'client-secret', tenant_id: 't', client_id: 'c', client_secret: 'in the clear' },
      }).success,
    ).toBe(false)
  })
})

describe('failures', () => {
  const thrown = (status: number, body: unknown, retry_after: string | null = null): Error => {
    try {
      answerOfFailure({ status, retry_after, body: body === null ? null : JSON.stringify(body) }, 0)
    } catch (error) {
      if (error instanceof Error) return error
    }
    throw new Error('nothing was thrown')
  }

  it('reads Retry-After in seconds and as a date, and does not believe in days', () => {
    expect(thrown(503, null, '12')).toMatchObject({ retry_after_ms: 12_000 })
    expect(thrown(503, null, new Date(9000).toUTCString())).toMatchObject({ retry_after_ms: 9000 })
    expect(thrown(503, null, '86400')).toMatchObject({ retry_after_ms: 300_000 })
    expect((thrown(503, null, 'soon') as TransientError).retry_after_ms).toBeUndefined()
  })

  it('takes an answer that is too large for a window that failed', () => {
    const error = { message: 'x', code: 'BadArgumentError', innererror: { code: 'ResponseSizeError', message: 'too big' } }
    expect(answerOfFailure({ status: 400, retry_after: null, body: JSON.stringify({ error }) }, 0)).toMatchObject({ kind: 'partial', why: 'too-large' })
  })

  it('rests after a 429, whatever limit it speaks of: it never splits the window', () => {
    const error = { code: 'ThrottledError', message: 'The request exceeded the limit of concurrent queries' }
    expect(thrown(429, { error }, '7')).toMatchObject({ constructor: ThrottledError, retry_after_ms: 7000 })
  })

  it('tells a token that is not accepted from a role that is missing, both 403', () => {
    for (const code of ['InvalidAuthenticationToken', 'InvalidAuthenticationTokenAudience', 'InvalidTokenError'])
      expect(thrown(403, { error: { code, message: 'The provided authentication is not valid for this resource' } }).message).toMatch(/token.*`credential`.*`cloud`/)
    expect(thrown(403, { error: { code: 'InsufficientAccessError', message: 'x' } }).message).toMatch(/Log Analytics Data Reader/)
  })

  it('says what the service says, cut and made safe', () => {
    const { message } = thrown(400, { error: { code: 'BadArgumentError', message: 'bad\u001b[31m', innererror: { code: 'SyntaxError', message: 'x'.repeat(9000) } } })
    expect(message).toMatch(/kql/)
    expect(message).not.toContain('\u001b')
    expect(message.length).toBeLessThan(800)
  })
})
