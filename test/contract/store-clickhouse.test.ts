/** The store contract over HTTP, and what only a network can do: broken connections, a server that restarts, a refused login. */
import { mkdtempSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { systemClock } from '../../runtime/clock.ts'
import { PermanentError, TransientError } from '../../runtime/errors.ts'
import { createLogger, silentLogger } from '../../runtime/log.ts'
import { connectClickHouse } from '../../store/clickhouse.ts'
import { type ClickHouseStoreConfig, storeConfig } from '../../store/config.ts'
import { migrate } from '../../store/migrate.ts'
import type { Store } from '../../store/store.ts'
import { type ClickHouseFront, startClickHouseFront } from '../support/clickhouse-front/index.ts'
import { describeStoreContract } from './store.ts'
import { describeRead, readText } from './store-read.ts'
import { describeWriter } from './store-writer.ts'

const directory = mkdtempSync(join(tmpdir(), 'front-'))
const deps = { clock: systemClock, log: silentLogger }
const opened: Store[] = []
let front: ClickHouseFront

const config = (database: string, more: object = {}): ClickHouseStoreConfig =>
  storeConfig.parse({
    kind: 'clickhouse',
    url: front.url,
    database,
    username: 'watch',
    password: { env: 'TOKENWATCH_TEST_PASSWORD' },
    limits: { execution_time: '2s', result_rows: 100_000 },
    ...more,
  }) as ClickHouseStoreConfig
const open = async (database: string, more: object = {}): Promise<Store> => {
  const store = await connectClickHouse(config(database, more), deps)
  opened.push(store)
  return store
}

beforeAll(async () => {
  process.env['TOKENWATCH_TEST_PASSWORD'] = 'se:cret'
  front = await startClickHouseFront({ directory, user: 'watch', password: 'se:cret' })
})
afterAll(async () => {
  for (const store of opened) await store.close()
  await front.stop()
})

describeStoreContract('ClickHouse by HTTP', { open, close: async () => {} })

describe('a ClickHouse server', () => {
  let store: Store
  const rows = Array.from({ length: 2000 }, (_, id) => JSON.stringify(['drops', `key ${id}`, '', '1', 0]))
  const columns = ['scope', 'key', 'value', 'version', 'deleted']
  const count = async () => (await store.query<{ n: string }>("SELECT count() AS n FROM state FINAL WHERE scope = 'drops'"))[0]?.n

  beforeAll(async () => {
    store = await open('people')
    await migrate(store, {}, deps)
  })

  describeRead('ClickHouse by HTTP', () => store)
  describeWriter('ClickHouse by HTTP', () => store)

  it('calls every break of the connection transient; the repeat is idempotent', async () => {
    for (const kind of ['drop-before', 'drop-after', 'refuse', 'mid-stream'] as const) {
      await front.fault({ kind, match: 'INSERT INTO' })
      const error = await store.insert('state', columns, rows).catch((thrown: unknown) => thrown)
      // A break in the middle of the empty answer to an insert may look like its end; the insert has happened then.
      if (kind !== 'mid-stream') expect(error, kind).toBeInstanceOf(TransientError)
      await store.insert('state', columns, rows)
      expect(await count(), kind).toBe('2000')
    }
    await front.fault({ kind: 'drop-before' })
    await expect(store.query('SELECT 1')).rejects.toThrow(TransientError)
    await front.fault({ kind: 'mid-stream' })
    await expect(store.query('SELECT number FROM numbers(100000)')).rejects.toThrow(TransientError)
    expect(await store.query('SELECT 2 AS two')).toEqual([{ two: 2 }])
  })

  it('gives up on an answer that takes too long', async () => {
    const hasty = await open('people', { request_timeout: '500ms' })
    await front.fault({ kind: 'delay', ms: 1500 })
    await expect(hasty.query('SELECT 1')).rejects.toThrow(TransientError)
    expect(await hasty.query('SELECT 4 AS four')).toEqual([{ four: 4 }])
  })

  it('keeps what it acknowledged over kill -9 and a restart', async () => {
    await store.state.put('killed', new Map([['k', Buffer.from('v')]]))
    await front.kill()
    await expect(store.ping()).rejects.toThrow(TransientError)
    await front.restart()
    expect(await store.state.get('killed', 'k')).toEqual(Buffer.from('v'))
    expect(await readText(store, 'SELECT 1 AS one')).toBe('{"one":1}\n')
  })

  it('waits at the start for a server that does not answer yet, and says so once', async () => {
    const lines: string[] = []
    await front.kill()
    const opening = connectClickHouse(config('later'), { clock: systemClock, log: createLogger({ write: (line) => lines.push(line) }) })
    while (!lines.some((line) => line.includes('waiting for ClickHouse at'))) await systemClock.sleep(20)
    await systemClock.sleep(700)
    await front.restart()
    opened.push(await opening)
    expect(lines.filter((line) => line.includes('waiting for ClickHouse at')).length).toBe(1)
  })

  it('does not wait for a refused login, and names the setting', async () => {
    process.env['TOKENWATCH_TEST_WRONG'] = 'wrong'
    const refused = connectClickHouse(config('people', { password: { env: 'TOKENWATCH_TEST_WRONG' } }), deps)
    await expect(refused).rejects.toThrow(PermanentError)
    await expect(refused).rejects.toThrow(/store.password/)
  })
})
