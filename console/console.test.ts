import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { ClickHouseError, createClient } from '@clickhouse/client'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { systemClock } from '../runtime/clock.ts'
import { createHttpServer, type HttpServer } from '../runtime/http.ts'
import { silentLogger } from '../runtime/log.ts'
import { openStore } from '../store/index.ts'
import type { Store } from '../store/store.ts'
import { append, emptyLedger } from '../alert/chain.ts'
import { nameUuid } from '../runtime/ids.ts'
import { storedTables } from '../store/tables.ts'
import { notificationOf } from '../test/contract/sink.ts'
import { consoleRoutes } from './index.ts'
import { createStatus } from './status.ts'

// The real embedded engine behind the real server: what Grafana and the official client meet.
const data_dir = mkdtempSync(join(tmpdir(), 'tokenwatch-console-'))
let store: Store
let server: HttpServer

beforeAll(async () => {
  store = await openStore(
    { kind: 'embedded', database: 'tokenwatch', limits: { execution_time: 30_000, memory_bytes: 300_000_000, result_rows: 1_000_000, result_bytes: 200_000_000 } },
    { data_dir, clock: systemClock, log: silentLogger },
  )
  server = await createHttpServer({ listen: '127.0.0.1:0', own_token: 'token-of-this-run', log: silentLogger, clock: systemClock })
  consoleRoutes(server, { store, clock: systemClock, roles: ['console'] })
}, 60_000)

afterAll(async () => {
  await server.close()
  await store.close()
  rmSync(data_dir, { recursive: true, force: true })
})

const PROPOSED = {
  response_id: nameUuid('console', 'response'),
  step: 'proposed',
  at: 1_795_000_000_000,
  who: 'policy',
  why: 'cost-spike',
  action: 'disable-key',
  target: { kind: 'api-key', id: 'fp_1', provider: 'openai' },
  dry_run: false,
  policy: 'approve',
  expires_at: null,
  command_id: null,
  responder: null,
  blast_radius: null,
  detail: null,
} as const

const sql = (path: string, init?: RequestInit) => fetch(`${server.url}${path}`, init)

describe('the official client on /query', () => {
  const open = (path: string, more = {}) => createClient({ url: server.url, pathname: path, ...more })

  it.each(['/query', ''])('pings and reads with the path %j', async (path) => {
    const client = open(path)
    expect(await client.ping()).toEqual({ success: true })
    const rows = await (await client.query({ query: 'SELECT number, toString(number * 2) AS twice FROM numbers(3)', format: 'JSONEachRow' })).json()
    expect(rows).toEqual([
      { number: '0', twice: '0' },
      { number: '1', twice: '2' },
      { number: '2', twice: '4' },
    ])
    await client.close()
  })

  it('binds parameters, whatever they hold', async () => {
    const client = open('/query')
    const evil = `it's "quoted" \\ {x:String}; DROP TABLE usage_events -- \n\t`
    const result = await client.query({
      query: 'SELECT {text:String} AS text, {n:UInt64} AS n, {list:Array(Nullable(String))} AS list, {deep:Map(String, Array(String))} AS deep, {none:Nullable(String)} AS none',
      query_params: { text: evil, n: '18446744073709551615', list: ['a', 'b c', evil, null], deep: { "it's": ["o'clock"] }, none: null },
      format: 'JSONEachRow',
    })
    expect(await result.json()).toEqual([{ text: evil, n: '18446744073709551615', list: ['a', 'b c', evil, null], deep: { "it's": ["o'clock"] }, none: null }])
    await client.close()
  })

  it('packs and unpacks with gzip', async () => {
    const client = open('/query', { compression: { request: true, response: true } })
    const result = await client.query({ query: 'SELECT number FROM numbers(20000)', format: 'JSONCompactEachRow' })
    expect(await result.json()).toHaveLength(20_000)
    await client.close()
  })

  it('gets the engine’s own errors, with their codes', async () => {
    const client = open('/query')
    for (const [query, code] of [
      ['SELECT * FROM nothing_like_it', '60'],
      ['SELECT unknown_column FROM usage', '47'],
      ['SELECT (1', '62'],
      ['SELECT {forgotten:String}', '456'],
    ] as const) {
      const error: unknown = await client.query({ query }).catch((thrown: unknown) => thrown)
      expect(error).toBeInstanceOf(ClickHouseError)
      expect((error as ClickHouseError).code).toBe(code)
    }
    await client.close()
  })

  it.each([
    'INSERT INTO usage_events (event_id) VALUES (generateUUIDv4())',
    'DROP TABLE usage_events',
    'SELECT 1; SELECT 2',
    "SELECT 1 INTO OUTFILE '/tmp/x'",
    "SELECT * FROM file('/etc/passwd', 'LineAsString')",
    'SET max_threads = 1',
  ])('reads only: %s', async (query) => {
    const client = open('/query')
    await expect(client.query({ query })).rejects.toThrow(ClickHouseError)
    await client.close()
  })
})

describe('Native for drivers of the binary protocol (clickhouse-go, Grafana)', () => {
  const native = async (query: string, version: number): Promise<Buffer> =>
    Buffer.from(await (await sql(`/query?default_format=Native&client_protocol_version=${version}`, { method: 'POST', body: query })).arrayBuffer())
  // One expression per way of writing a column, with 70,001 rows, so that there are several blocks.
  const expressions = [
    'toUInt8(1)',
    'number',
    'toInt256(number)',
    'toFloat32(1.5)',
    'toString(number)',
    "toFixedString('ab', 2)",
    "toDecimal128('1.5', 12)",
    'toDecimal32(1, 2)',
    'toDate(number % 9)',
    "toDateTime64(number, 3, 'UTC')",
    'reinterpretAsUUID(number)',
    "toIPv6('::1')",
    "CAST('b, (c', 'Enum8(\\'a\\' = 1, \\'b, (c\\' = 2)')",
    'if(number % 3 = 0, NULL, toString(number))',
    'range(number % 4)',
    'arrayMap(x -> [toString(x)], range(number % 3))',
    'map(toString(number), [number])',
    "CAST((1, 'x', [2]), 'Tuple(a UInt8, `b c` String, d Array(UInt16))')",
    'toLowCardinality(toString(number % 700))',
    'CAST(if(number % 3 = 0, NULL, toString(number % 5)) AS LowCardinality(Nullable(String)))',
    'arrayMap(x -> toLowCardinality(toString(x)), range(number % 3))',
    "CAST([], 'Array(LowCardinality(String))')",
    'NULL',
  ]
  const query = `SELECT ${expressions.map((expression, index) => `${expression} AS column_${index}_`).join(', ')} FROM numbers(70001)`
  const count = (bytes: Buffer, text: string | Buffer): number => {
    let found = 0
    for (let at = bytes.indexOf(text); at >= 0; at = bytes.indexOf(text, at + 1)) found++
    return found
  }

  it('has the header of each block and the flag of each column, and nothing else is touched', async () => {
    const plain = await native(query, 0)
    expect(plain.toString('latin1', 0, 5)).not.toBe('Code:')
    const blocks = count(plain, 'column_0_')
    expect(blocks).toBeGreaterThan(1)
    const { meta } = (await (await sql('/query?default_format=JSON', { method: 'POST', body: `${query} LIMIT 0` })).json()) as { meta: { type: string }[] }
    const types = meta.map(({ type }) => type)
    expect(types).toHaveLength(expressions.length)
    for (const [version, flag] of [
      [54_460, 1],
      [54_400, 0],
    ] as const) {
      const converted = await native(query, version)
      expect(converted.length).toBe(plain.length + blocks * (8 + flag * expressions.length))
      expect(count(converted, Buffer.from([1, 0, 2, 0xff, 0xff, 0xff, 0xff, 0, expressions.length]))).toBe(blocks)
      for (const [index, type] of types.entries()) {
        const head = Buffer.concat([Buffer.from(`column_${index}_`), Buffer.from([type.length]), Buffer.from(type), Buffer.from(flag === 1 ? [0] : [])])
        expect(count(converted, head), `${type} in version ${version}`).toBe(blocks)
      }
    }
  }, 30_000)

  it('says so where it cannot', async () => {
    const variant = await sql('/query?default_format=Native&client_protocol_version=54460', { method: 'POST', body: 'SELECT sumState(number) AS s FROM numbers(3)' })
    expect(await variant.text()).toMatch(/^Code: 50\. DB::Exception: a column of the type AggregateFunction .*toString/)
    const framed = await sql('/query?compress=1&default_format=Native', { method: 'POST', body: 'SELECT 1' })
    expect([framed.status, framed.headers.get('x-clickhouse-exception-code')]).toEqual([400, '36'])
  })
})

describe('/query by hand', () => {
  it('takes SQL in the URL, in the body, with a format in either', async () => {
    expect(await (await sql('/query?query=SELECT%201')).text()).toBe('1\n')
    expect(await (await sql('/query', { method: 'POST', body: 'SELECT 1 AS x FORMAT JSONEachRow' })).text()).toBe('{"x":1}\n')
    const answer = await sql('/query?default_format=CSVWithNames&query_id=mine', { method: 'POST', body: 'SELECT 1 AS x' })
    expect(await answer.text()).toBe('"x"\n1\n')
    expect(answer.headers.get('x-clickhouse-query-id')).toBe('mine')
    expect(answer.headers.get('x-clickhouse-format')).toBe('CSVWithNames')
    expect(answer.headers.get('content-type')).toContain('text/csv')
  })

  it('says what is wrong in ClickHouse’s own words', async () => {
    const empty = await sql('/query', { method: 'POST', body: ' ' })
    expect([empty.status, empty.headers.get('x-clickhouse-exception-code')]).toEqual([400, '62'])
    const broken = await sql('/query?query=SELEKT%201')
    expect(broken.headers.get('x-clickhouse-exception-code')).not.toBeNull()
    expect(await broken.text()).toMatch(/^Code: \d+\. DB::Exception: /)
    expect((await sql('/query?database=other&query=SELECT%201')).status).toBe(404)
    const no_gzip = await sql('/query', { method: 'POST', body: 'SELECT 1', headers: { 'content-encoding': 'gzip' } })
    expect([no_gzip.status, no_gzip.headers.get('x-clickhouse-exception-code')]).toEqual([400, '354'])
  })

  it('knows the token of this run and refuses another', async () => {
    const ask = (token: string) => sql('/query?query=SELECT%201', { headers: { authorization: `Bearer ${token}` } })
    expect((await ask('token-of-this-run')).status).toBe(200)
    expect((await ask('another-token')).status).toBe(401)
  })
})

describe('the page', () => {
  it('is whole on its own: no foreign content, no inline script or style', async () => {
    const page = await (await sql('/')).text()
    expect(page).toContain('<title>Tokenwatch</title>')
    expect(page).not.toMatch(/https?:\/\//)
    expect(page).not.toMatch(/<script>|style="|onclick/)
    for (const path of page.matchAll(/(?:href|src)="(\/assets\/[^"]+)"/g)) expect((await sql(path[1] ?? '')).status).toBe(200)
  })

  it('reads every part of its status from the real views', async () => {
    const status = (await (await sql('/api/status')).json()) as Record<string, unknown>
    expect(status).toMatchObject({ problems: [], alerts: [], collectors: [], hours: [], teams: [], month: [], roles: ['console'] })
    expect(await (await sql('/api/alerts')).json()).toEqual({ alerts: [] })
    expect(await (await sql('/api/spend?days=7')).json()).toEqual({ days: [] })
    expect((await sql('/api/spend?days=0')).status).toBe(400)
  })

  it('counts every open alert, shows open ones before newer ones that are over, and has a page for each', async () => {
    const { alert } = notificationOf({ summary: 'says <b>what</b> it saw' })
    const made = Array.from({ length: 31 }, (_, n) => ({
      ...alert,
      alert_id: nameUuid('console', n),
      opened_at: alert.opened_at + n,
      // The two oldest go on; what came later is over.
      ...(n < 2 ? {} : { state: 'resolved' as const, resolved_at: alert.opened_at + n }),
    }))
    const proposal = append(emptyLedger(), { ...PROPOSED, alert_id: nameUuid('console', 0) })
    const refused = { ...proposal, step: 'refused' as const, who: 'mallory', seq: 1, at: proposal.at + 1, hash: 'x', detail: 'approve 1: mallory is not in responses.people' }
    const { 'alerts.v1': alerts, 'responses.v1': responses } = storedTables
    await store.insert(alerts.table, alerts.columns, made.map(alerts.toRow))
    await store.insert(responses.table, responses.columns, [proposal, refused].map(responses.toRow))
    await systemClock.sleep(1600)
    const status = (await (await sql('/api/status')).json()) as { alerts: { alert_id: string }[]; open: unknown }
    expect(status.open).toEqual({ alerts: '2', spend_usd_per_minute: '25' })
    expect(status.alerts).toHaveLength(25)
    expect(status.alerts.slice(-2).map(({ alert_id }) => alert_id)).toEqual([nameUuid('console', 1), nameUuid('console', 0)])

    const id = nameUuid('console', 0)
    const page = await sql(`/alerts/${id}`)
    expect([page.status, page.headers.get('content-type')]).toEqual([200, 'text/html; charset=utf-8'])
    const found = (await (await sql(`/api/alerts/${id}`)).json()) as { alert: Record<string, unknown> & { evidence: string } }
    expect(found.alert).toMatchObject({ alert_id: id, summary: 'says <b>what</b> it saw', reason: alert.reason, attack: alert.attack, opened_at: String(alert.opened_at) })
    expect(JSON.parse(found.alert.evidence)).toEqual(alert.evidence)
    // A stranger's try leaves the proposal as it stands.
    expect(found.alert).toMatchObject({ response: { state: 'proposed', action: 'disable-key', dry_run: false, detail: null } })
    expect((await sql(`/api/alerts/${nameUuid('console', 99)}`)).status).toBe(404)
    expect((await sql("/api/alerts/x'%20OR%201")).status).toBe(404)
  })

  it('shows what it can when a part cannot be read', async () => {
    await store.command('RENAME TABLE tokenwatch.alerts TO tokenwatch.alerts_away')
    try {
      await systemClock.sleep(1600)
      const status = (await (await sql('/api/status')).json()) as { alerts: unknown; collectors: unknown; problems: string[] }
      expect(status.alerts).toBeNull()
      expect(status.collectors).toEqual([])
      expect(status.problems[0]).toMatch(/^alerts: /)
    } finally {
      await store.command('RENAME TABLE tokenwatch.alerts_away TO tokenwatch.alerts')
    }
  })

  it('goes on saying that sums cannot be read while it shows the kept ones', async () => {
    let reads = 0
    const broken = { database: 'tokenwatch', query: async () => (reads++ < 3 ? [] : Promise.reject(new Error('gone'))) } as unknown as Pick<Store, 'database' | 'query'>
    let now = 1_000_000
    const status = createStatus({ store: broken, clock: { ...systemClock, now: () => now }, roles: [] })
    expect((await status()).problems).toEqual(['spend by hour: gone', 'spend by team: gone', 'spend of the month: gone'])
    reads = 0
    now += 2_000
    expect((await status()).problems).toEqual(['spend by hour: gone', 'spend by team: gone', 'spend of the month: gone'])
  })
})
