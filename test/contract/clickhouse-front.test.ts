/** The stand-in for a server, checked with the official client: a store that passes its contract over it must not pass by luck. */
import { mkdtempSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Readable } from 'node:stream'
import { type ClickHouseClient, ClickHouseLogLevel, createClient } from '@clickhouse/client'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { type ClickHouseFront, startClickHouseFront } from '../support/clickhouse-front/index.ts'

describe('the ClickHouse front', () => {
  let front: ClickHouseFront
  let client: ClickHouseClient
  beforeAll(async () => {
    front = await startClickHouseFront({ directory: mkdtempSync(join(tmpdir(), 'front-')) })
    client = createClient({ url: front.url, compression: { request: true, response: true }, log: { level: ClickHouseLogLevel.OFF } })
    await client.command({ query: 'CREATE DATABASE d' })
    await client.command({ query: 'CREATE TABLE d.t (a UInt64, b String) ENGINE = MergeTree ORDER BY a' })
  })
  afterAll(async () => {
    await client.close()
    await front.stop()
  })
  const rows = async (query: string, more: object = {}) => await (await client.query({ query, format: 'JSONEachRow', ...more })).json()

  it('answers both kinds of ping', async () => {
    expect(await client.ping()).toMatchObject({ success: true })
    expect(await client.ping({ select: true })).toMatchObject({ success: true })
  })

  it('takes a streamed insert, gzipped, and gives 100,000 rows back, gzipped', async () => {
    const values = Readable.from(Array.from({ length: 100_000 }, (_, i) => [i, `row ${i}`]))
    await client.insert({ table: 'd.t', values, format: 'JSONCompactEachRow' })
    expect((await rows('SELECT a, b FROM d.t')).length).toBe(100_000)
    expect(await rows('SELECT count() AS n, sum(a) AS s FROM d.t', { clickhouse_settings: { output_format_json_quote_64bit_integers: 1 } })).toEqual([
      { n: '100000', s: '4999950000' },
    ])
  })

  it('binds parameters, arrays and 64 bit too', async () => {
    const query_params = { text: "a'b\\\t\n", list: ["x'y", 'z'], big: '18446744073709551615' }
    expect(await rows('SELECT {text:String} AS text, {list:Array(String)} AS list, toString({big:UInt64}) AS big', { query_params })).toEqual([query_params])
  })

  it('applies settings to one request, and the database of the request', async () => {
    expect(await rows("SELECT getSetting('max_block_size') AS s", { clickhouse_settings: { max_block_size: '77' } })).toEqual([{ s: 77 }])
    expect(await rows("SELECT getSetting('max_block_size') = 77 AS s")).toEqual([{ s: 0 }])
    await expect(client.command({ query: 'INSERT INTO d.t VALUES (1, 1)', clickhouse_settings: { readonly: '1' } })).rejects.toMatchObject({ code: '164' })
    const other = createClient({ url: front.url, database: 'd' })
    expect(await (await other.query({ query: 'SELECT currentDatabase() AS d', format: 'JSONEachRow' })).json()).toEqual([{ d: 'd' }])
    await other.close()
  })

  it('gives typed errors before the rows and behind them', async () => {
    await expect(rows('SELECT * FROM nothing')).rejects.toMatchObject({ code: '60', type: 'UNKNOWN_TABLE' })
    const answer = await fetch(`${front.url}/?query=SELECT+nonsense`)
    expect([answer.status, answer.headers.get('x-clickhouse-exception-code')]).toEqual([404, '47'])
    await expect(rows('SELECT throwIf(number = 900000) AS x, number FROM numbers(1000000)')).rejects.toMatchObject({ code: '395' })
    await front.fault({ kind: 'mid-stream' })
    await expect(rows('SELECT number FROM numbers(300000)')).rejects.toMatchObject({ code: '241' })
    expect(await rows('SELECT 7 AS x')).toEqual([{ x: 7 }])
  })

  it('refuses to write on GET', async () => {
    const answer = await fetch(`${front.url}/?query=${encodeURIComponent('DROP TABLE d.t')}`)
    expect(answer.status).toBe(500)
    expect(await answer.text()).toContain('READONLY')
  })
})
