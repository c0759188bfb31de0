/** Both client libraries of Microsoft against a local stand-in of the Logs query API: what one does, the other must do. */
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { createLogsApi } from '../../ingest/sources/azure-monitor/adapter.ts'
import type { LogsApi } from '../../ingest/sources/azure-monitor/api.ts'
import { config } from '../../ingest/sources/azure-monitor/config.ts'
import { openCredential } from '../../ingest/sources/azure-monitor/credential.ts'
import { ThrottledError } from '../../ingest/sources/azure-monitor/failure.ts'
import { azureMonitor, azureSources } from '../../ingest/sources/azure-monitor/index.ts'
import { rowsQuery } from '../../ingest/sources/azure-monitor/kql.ts'
import type { Page } from '../../ingest/source.ts'
import { systemClock } from '../../runtime/clock.ts'
import { isAbort, PermanentError, TransientError } from '../../runtime/errors.ts'
import { silentLogger } from '../../runtime/log.ts'
import { type LogsServer, serveLogs } from '../simulate/azure/http.ts'
import { LogAnalytics, type Reply } from '../simulate/azure/model.ts'
import { ManualClock } from '../support/ingest.ts'

const WORKSPACE = '11111111-2222-4333-8444-555555555555'
const TABLE = 'AZKVAuditLogs'
const TOKEN = 'a-token-for-tests-only'
const NOW = Date.UTC(2026, 2, 2, 12)
const [MINUTE, HOUR] = [60_000, 3_600_000]
const QUERY = { table: TABLE, steps: [] }
const never = new AbortController().signal

describe.each(['monitor-query', 'monitor-query-logs'] as const)('client %s', (client) => {
  let model: LogAnalytics
  let server: LogsServer
  let api: LogsApi
  const clock = new ManualClock(NOW)
  const standIn = { current: undefined as LogAnalytics | undefined, reply: undefined as Reply | undefined }

  beforeAll(async () => {
    process.env['TW_TEST_AZURE_TOKEN'] = TOKEN
    const shell = { query: (request: Parameters<LogAnalytics['query']>[0]) => standIn.reply ?? standIn.current?.query(request) } as LogAnalytics
    server = await serveLogs(shell, { token: TOKEN })
    api = await open()
  })
  afterAll(() => server.close())
  beforeEach(() => {
    model = new LogAnalytics({ clock })
    model.workspace(WORKSPACE)
    standIn.current = model
    standIn.reply = undefined
  })

  const open = async (token = TOKEN): Promise<LogsApi> =>
    createLogsApi({
      client,
      credential: { getToken: () => Promise.resolve({ token, expiresOnTimestamp: Number.MAX_SAFE_INTEGER }) },
      endpoint: server.url,
      audience: server.url,
      query_timeout_s: 60,
      allow_insecure: true,
      clock,
    })
  const ask = (signal = never) => api.queryWindow(WORKSPACE, rowsQuery(QUERY, { from: NOW - HOUR, to: NOW }, true), { from: NOW - 24 * HOUR, to: NOW + 24 * HOUR }, signal)
  const put = (count: number): void => {
    model.table(WORKSPACE, TABLE)
    model.put(WORKSPACE, TABLE, rowsAt(count, NOW - 30 * MINUTE))
  }

  it('gives a table as text: 100 ns and 64 bit are not damaged', async () => {
    model.table(WORKSPACE, TABLE)
    const body = '{"ticks":638412345678901234,"Identity":{"claim":{"oid":"x"}},"at":"2026-03-02T11:00:00.1234567Z"}'
    model.put(WORKSPACE, TABLE, [{ item_id: 'a', event_time: NOW - HOUR / 2, ingested_at: NOW - HOUR / 2, ticks: 4567, visible_at: 0, body }])
    expect(await ask()).toEqual({
      kind: 'table',
      columns: ['tw_ingested', 'tw_time', 'tw_id', 'tw_row'],
      rows: [['2026-03-02T11:30:00.0004567Z', '2026-03-02T11:30:00.0000000Z', 'a', body]],
    })
    expect(server.lastHeaders()).toMatchObject({ prefer: 'wait=60', authorization: `Bearer ${TOKEN}` })
  })

  it('takes 204 for an empty workspace', async () => {
    expect(await ask()).toEqual({ kind: 'empty' })
  })

  it('gives no row of a partial result', async () => {
    put(10)
    model.fault = () => ({ kind: 'partial', keep: 0.5 })
    expect(await ask()).toMatchObject({ kind: 'partial', why: 'partial' })
  })

  it('tells a time-out of the service', async () => {
    put(10)
    model.fault = () => ({ kind: 'status', status: 504 })
    expect(await ask()).toMatchObject({ kind: 'partial', why: 'timeout' })
  })

  it('passes on how long to wait, and never asks again by itself', async () => {
    put(10)
    model.fault = () => ({ kind: 'status', status: 429, retry_after: 7 })
    const error: unknown = await ask().catch((thrown: unknown) => thrown)
    expect(error).toBeInstanceOf(ThrottledError)
    expect(error).toMatchObject({ retry_after_ms: 7000 })
    model.fault = () => ({ kind: 'status', status: 503 })
    await expect(ask()).rejects.toThrow(TransientError)
    expect(model.requests.length).toBe(2)
  })

  it('ends a query when the signal aborts, on both sides of the wire', async () => {
    put(10)
    model.fault = () => ({ kind: 'hang' })
    const stop = new AbortController()
    const asked = ask(stop.signal).catch((error: unknown) => error)
    await eventually(() => model.requests.length === 1)
    stop.abort()
    expect(isAbort(await asked)).toBe(true)
    await eventually(() => server.aborted() > 0)
    model.fault = undefined
    expect(await ask()).toMatchObject({ kind: 'table' })
  })

  it('ends a query when the signal aborts while a token is awaited that never comes', async () => {
    const asked = Promise.withResolvers<void>()
    const credential = { getToken: () => (asked.resolve(), new Promise<never>(() => undefined)) }
    const waiting = await createLogsApi({ client, credential, endpoint: server.url, audience: server.url, query_timeout_s: 60, allow_insecure: true, clock })
    const stop = new AbortController()
    const answer = waiting.queryWindow(WORKSPACE, 'print 1', { from: 0, to: NOW }, stop.signal).catch((error: unknown) => error)
    await asked.promise
    stop.abort()
    expect(isAbort(await answer)).toBe(true)
  }, 5_000)

  it.each<[string, Partial<Reply>]>([
    ['a login page', { body: '<html>Sign in</html>', headers: { 'content-type': 'text/html' } }],
    ['a 200 without a body', { body: null }],
    ['JSON of something else', { body: '{"value":[]}' }],
    ['a table without rows', { body: '{"tables":[{"name":"PrimaryResult","columns":[]}]}' }],
    ['tables that are none', { body: '{"tables":"no"}' }],
    ['null', { body: 'null' }],
    ['a cut body', { body: '{"tables":[{"name":"Prim' }],
  ])('calls nonsense nonsense: %s', async (_name, reply) => {
    standIn.reply = { status: 200, headers: { 'content-type': 'application/json' }, body: null, ...reply }
    const error: unknown = await ask().catch((thrown: unknown) => thrown)
    expect(error).toBeInstanceOf(PermanentError)
    expect(String(error)).toMatch(/nonsense.*proxy/)
  })

  it('reads failures without a body that it knows', async () => {
    standIn.reply = { status: 502, headers: { 'content-type': 'text/html' }, body: '<html>Bad Gateway</html>' }
    await expect(ask()).rejects.toThrow(TransientError)
    standIn.reply = { status: 401, headers: {}, body: null }
    await expect(ask()).rejects.toThrow(/credential/)
    standIn.reply = { status: 401, headers: { 'www-authenticate': 'Bearer error="invalid_token"' }, body: null }
    await expect(ask()).rejects.toThrow(/credential/)
  })

  it('names a token that is not accepted, a missing role and a missing workspace', async () => {
    put(1)
    const other = await open('another-token')
    await expect(other.queryWindow(WORKSPACE, 'print tw_now = tostring(now())', { from: 0, to: NOW }, never)).rejects.toThrow(/token.*credential.*cloud/)
    model.workspace(WORKSPACE, { access: 'denied' })
    await expect(ask()).rejects.toThrow(/role "Log Analytics Data Reader"/)
    model.workspace(WORKSPACE, { answers: 'not-found' })
    await expect(ask()).rejects.toThrow(/Workspace ID/)
  })

  it('tells an expired secret from an authority that is away', async () => {
    const failing = (name: string, message: string, statusCode?: number): Promise<LogsApi> =>
      createLogsApi({
        client,
        credential: { getToken: () => Promise.reject(Object.assign(new Error(message), { name, statusCode })) },
        endpoint: server.url,
        audience: server.url,
        query_timeout_s: 60,
        allow_insecure: true,
        clock,
      })
    const query = async (failed: LogsApi): Promise<unknown> => failed.queryWindow(WORKSPACE, 'print 1', { from: 0, to: NOW }, never).catch((error: unknown) => error)
    const expired = await query(await failing('AuthenticationError', 'AADSTS7000222: The provided client secret keys are expired.\nTrace ID: x', 401))
    expect(expired).toBeInstanceOf(PermanentError)
    expect(String(expired)).toMatch(/AADSTS7000222.*`credential`.*expired/)
    expect(await query(await failing('CredentialUnavailableError', 'no identity found'))).toBeInstanceOf(PermanentError)
    expect(await query(await failing('AuthenticationError', 'busy', 503))).toBeInstanceOf(TransientError)
    expect(await query(await failing('AuthenticationError', 'network_error: getaddrinfo ENOTFOUND login.microsoftonline.com'))).toBeInstanceOf(TransientError)
  })

  it('is transient when nobody listens', async () => {
    const gone = await createLogsApi({
      client,
      credential: { getToken: () => Promise.resolve({ token: TOKEN, expiresOnTimestamp: Number.MAX_SAFE_INTEGER }) },
      endpoint: 'http://127.0.0.1:9',
      audience: 'http://127.0.0.1:9',
      query_timeout_s: 5,
      allow_insecure: true,
      clock,
    })
    await expect(gone.queryWindow(WORKSPACE, 'print 1', { from: 0, to: NOW }, never)).rejects.toThrow(TransientError)
  })

  it('reads a large answer without walking through every letter of it', async () => {
    model.table(WORKSPACE, TABLE)
    const pad = 'x'.repeat(400)
    model.put(
      WORKSPACE,
      TABLE,
      rowsAt(20_000, NOW - 30 * MINUTE).map((row) => ({ ...row, body: JSON.stringify({ pad }) })),
    )
    const before = process.cpuUsage()
    expect(await ask()).toMatchObject({ kind: 'table', rows: { length: 20_000 } })
    const { user, system } = process.cpuUsage(before)
    // The service included; the older library alone took 7 s.
    expect((user + system) / 1e6).toBeLessThan(3)
  })

  it('collects a table through storms of faults: every row, late ones too', async () => {
    const time = new ManualClock(NOW)
    const stormy = new LogAnalytics({ clock: time, limits: { rows: 300 } })
    stormy.workspace(WORKSPACE)
    stormy.table(WORKSPACE, TABLE)
    stormy.put(
      WORKSPACE,
      TABLE,
      rowsAt(1500, NOW - HOUR).map((row, n) => ({ ...row, visible_at: row.ingested_at + (n % 7) * 5 * MINUTE })),
    )
    const kinds = [
      { kind: 'partial', keep: 0.5 },
      { kind: 'status', status: 429, retry_after: 1 },
      { kind: 'status', status: 503 },
      { kind: 'no-content' },
      { kind: 'status', status: 504 },
    ] as const
    stormy.fault = (_request, n) => (n % 3 === 0 ? kinds[(n / 3) % kinds.length] : undefined)
    standIn.current = stormy
    const options = config.parse({
      workspaces: [{ id: WORKSPACE, name: 'prod' }],
      tables: [TABLE],
      client,
      endpoint: server.url,
      allow_insecure: true,
      credential: { kind: 'token', token: { env: 'TW_TEST_AZURE_TOKEN' } },
      max_rows: 250,
    })
    const [source] = await azureMonitor.create(options, { clock: time, log: silentLogger })
    const ids = new Set<string>()
    let next: unknown
    while (time.now() < NOW + 2 * HOUR) {
      try {
        for await (const page of source?.read(next, never) ?? []) {
          for (const { id } of page.records) ids.add(id)
          next = page.next
          if (time.now() >= NOW + 2 * HOUR) break
        }
      } catch (error) {
        if (!(error instanceof TransientError)) throw error
        time.advance(3000)
      }
    }
    expect(ids.size).toBe(1500)
  })
})

describe('what the config opens', () => {
  it('refuses a token in the clear, and a real cloud without TLS', async () => {
    const base = { workspaces: [{ id: WORKSPACE }], tables: [TABLE] }
    const context = { clock: new ManualClock(NOW), log: silentLogger }
    const opened = (more: object) => azureMonitor.create(config.parse({ ...base, ...more }), context)
    await expect(opened({ credential: { kind: 'token', token: { env: 'TW_TEST_AZURE_TOKEN' } } })).rejects.toThrow('allow_insecure')
    await expect(opened({ endpoint: 'http://127.0.0.1:1' })).rejects.toThrow('allow_insecure')
    await expect(opened({ endpoint: 'https://api.loganalytics.io', allow_insecure: true })).rejects.toThrow('allow_insecure')
    await expect(opened({ credential: { kind: 'client-secret', tenant_id: 'not a tenant!', client_id: 'c', client_secret: { env: 'TW_TEST_AZURE_TOKEN' } } })).rejects.toThrow(
      'credential',
    )
    expect((await opened({ cloud: 'us-government' })).map(({ stream }) => stream)).toEqual([`${WORKSPACE}/${TABLE}`])
  })

  it('one bad table never stops another', async () => {
    const clock = new ManualClock(NOW)
    const model = new LogAnalytics({ clock })
    model.workspace(WORKSPACE)
    model.table(WORKSPACE, TABLE)
    model.table(WORKSPACE, 'ApiManagementGatewayLogs', { plan: 'auxiliary' })
    model.put(WORKSPACE, TABLE, rowsAt(40, NOW - HOUR))
    const { inProcess } = await import('../simulate/azure/in-process.ts')
    const options = config.parse({ workspaces: [{ id: WORKSPACE, name: 'prod' }], tables: ['ApiManagementGatewayLogs', TABLE] })
    const [bad, good] = azureSources(inProcess(model), options, { clock, log: silentLogger })
    await expect(first(bad?.read(undefined, never))).rejects.toThrow(/prod.*ApiManagementGatewayLogs.*Auxiliary/)
    expect((await first(good?.read(undefined, never)))?.records.length).toBe(40)
  })

  it('takes the authority of the cloud for the token', async () => {
    const credential = await openCredential(
      { kind: 'client-secret', tenant_id: WORKSPACE, client_id: WORKSPACE, client_secret: { env: 'TW_TEST_AZURE_TOKEN' } },
      'https://127.0.0.1:9',
    )
    const error: unknown = await credential.getToken('https://api.loganalytics.us/.default', { requestOptions: { timeout: 2000 } }).catch((thrown: unknown) => thrown)
    expect(String(error)).toMatch(/127\.0\.0\.1|ECONNREFUSED|endpoints_resolution/)
  }, 20_000)
})

/** The first page with records. */
async function first(pages: AsyncIterable<Page<unknown>> | undefined): Promise<Page<unknown> | undefined> {
  for await (const page of pages ?? []) if (page.records.length > 0) return page
  return undefined
}

const rowsAt = (count: number, from: number) =>
  Array.from({ length: count }, (_, n) => ({
    item_id: `row-${n}`,
    event_time: from - MINUTE,
    ingested_at: from + Math.floor((n * 20 * MINUTE) / count),
    visible_at: 0,
    body: JSON.stringify({ n }),
  }))

/** By the clock, not by turns of the event loop: a busy machine takes many for one request. */
async function eventually(done: () => boolean): Promise<void> {
  const until = systemClock.now() + 20_000
  while (!done() && systemClock.now() < until) await systemClock.sleep(5)
  expect(done()).toBe(true)
}
