/** What every store promises (store/store.ts), run over the embedded engine and over HTTP. */
import { cpSync, mkdtempSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { systemClock } from '../../runtime/clock.ts'
import { PermanentError } from '../../runtime/errors.ts'
import { silentLogger } from '../../runtime/log.ts'
import { topics } from '../../schemas/topics.ts'
import { BadRowError } from '../../store/errors.ts'
import { migrate } from '../../store/migrate.ts'
import type { Store } from '../../store/store.ts'
import { type StoredTable, type StoredTopic, storedTables, storedTopics } from '../../store/tables.ts'
import { readText } from './store-read.ts'
import { AT, samples } from './store-samples.ts'

export interface StoreHarness {
  /** A store on this database, not migrated. Limits: 2 s, 100,000 rows. */
  open(database: string): Promise<Store>
  close(): Promise<void>
}

const deps = { clock: systemClock, log: silentLogger }
const migrations = join(import.meta.dirname, '../../store/migrations')

export function describeStoreContract(name: string, harness: StoreHarness): void {
  describe(`store contract: ${name}`, () => {
    let store: Store
    beforeAll(async () => {
      store = await harness.open('contract')
      await migrate(store, {}, deps)
      await store.command(
        "CREATE TABLE IF NOT EXISTS contract.probe (id UInt64, big UInt128, amount Nullable(Decimal(38, 12)), at DateTime64(3, 'UTC'), text String) ENGINE = ReplacingMergeTree ORDER BY id",
      )
    })
    afterAll(() => harness.close())

    describeQueries(() => store)
    describeInserts(() => store)
    describeState(() => store)
    describeMigrations(harness)
    describeTables(() => store)
  })
}

function describeQueries(store: () => Store): void {
  it('gives a clean result after a query that failed in the middle', async () => {
    await expect(store().query('SELECT throwIf(number = 300000) FROM numbers(1000000)')).rejects.toThrow(PermanentError)
    expect(await store().query('SELECT 7 AS seven')).toEqual([{ seven: 7 }])
  })

  it('mixes up no answers when many queries run and some fail', async () => {
    const answers = await Promise.allSettled(
      Array.from({ length: 60 }, (_, i) => store().query(i % 3 === 0 ? `SELECT throwIf(number = 90000, 'no ${i}') FROM numbers(100000)` : `SELECT ${i} AS i FROM numbers(3)`)),
    )
    for (const [i, answer] of answers.entries()) {
      if (i % 3 === 0) expect(answer.status).toBe('rejected')
      else expect(answer).toEqual({ status: 'fulfilled', value: [{ i }, { i }, { i }] })
    }
  })

  it('forgets the settings of a statement, also of one that failed', async () => {
    await store().query('SELECT 1', { settings: { max_block_size: 77, readonly: 2 } })
    await expect(store().query('SELECT throwIf(1)', { settings: { max_block_size: 78 } })).rejects.toThrow(PermanentError)
    for (let i = 0; i < 4; i++) {
      const [row] = await store().query<{ size: string; readonly: string }>("SELECT toString(getSetting('max_block_size')) AS size, toString(getSetting('readonly')) AS readonly")
      expect(['77', '78']).not.toContain(row?.size)
      expect(row?.readonly).toBe('0')
    }
    await expect(store().query('SELECT 1', { settings: { 'max_threads=1 --': 1 } })).rejects.toThrow(/not the name/)
  })

  it('passes parameters unharmed and refuses a missing one', async () => {
    const awkward = "it's \\ a\ttab,\nline {x:String} é网 \u0001"
    const parameters = { text: awkward, list: ["a'b", 'c\\d'], big: '18446744073709551615', none: null, flag: true, at: '2026-11-22 16:00:00.123' }
    const [row] = await store().query(
      "SELECT {text:String} AS text, {list:Array(String)} AS list, {big:UInt64} AS big, {none:Nullable(String)} AS none, {flag:Bool} AS flag, toString({at:DateTime64(3, 'UTC')}) AS at",
      { parameters },
    )
    expect(row).toEqual(parameters)
    await expect(store().query('SELECT {nobody:String}')).rejects.toThrow(/nobody/)
  })

  it('says bad SQL with the words of ClickHouse', async () => {
    await expect(store().query('SELEKT 1')).rejects.toThrow(/Syntax error/)
    await expect(store().query('SELECT * FROM no_such_table')).rejects.toThrow(PermanentError)
    expect(await store().query('SELECT 1 AS one WHERE 0')).toEqual([])
  })

  it('rejects at once when aborted, and the next answer is its own', async () => {
    const abort = new AbortController()
    const running = store().query('SELECT max(sipHash64(number)) FROM numbers(20000000000)', { signal: abort.signal })
    const refused = expect(running).rejects.toThrow(/abort/i)
    await systemClock.sleep(100)
    abort.abort()
    await refused
    expect(await store().query('SELECT 3 AS three')).toEqual([{ three: 3 }])
  })

  it('answers a ping', async () => {
    await expect(store().ping()).resolves.toBeUndefined()
  })
}

function describeInserts(store: () => Store): void {
  const columns = ['id', 'big', 'amount', 'at', 'text']

  it('keeps 64-bit integers, decimals and milliseconds exactly, both ways', async () => {
    const rows = [
      ['18446744073709551615', '340282366920938463463374607431768211455', '12345678901234567890123456.123456789012', AT, 'a'],
      ['9007199254740993', '0', '-0.000000000001', 123, 'b\n"\\\u0001é'],
      [1, 2, null, AT + 1, ''],
    ]
    await store().insert(
      'probe',
      columns,
      rows.map((row) => JSON.stringify(row)),
    )
    const found = await store().query('SELECT id, big, amount, toUnixTimestamp64Milli(at) AS at, text FROM probe FINAL ORDER BY id DESC')
    expect(found).toEqual([
      { id: '18446744073709551615', big: '340282366920938463463374607431768211455', amount: '12345678901234567890123456.123456789012', at: String(AT), text: 'a' },
      { id: '9007199254740993', big: '0', amount: '-0.000000000001', at: '123', text: 'b\n"\\\u0001é' },
      { id: '1', big: '2', amount: null, at: String(AT + 1), text: '' },
    ])
    expect(await store().query('SELECT toString(at) AS at FROM probe FINAL WHERE id = 1')).toEqual([{ at: '2025-11-22 08:26:40.124' }])
    await store().command('TRUNCATE TABLE probe')
  })

  it('stores all rows or none, and names the bad one', async () => {
    const good = (id: number) => JSON.stringify([id, 0, null, 0, ''])
    const error = await store()
      .insert('probe', columns, [good(1), good(2), '[3, 0, "no number", 0, ""]', good(4)])
      .catch((thrown: unknown) => thrown)
    expect(error).toBeInstanceOf(BadRowError)
    expect((error as BadRowError).row).toBe(3)
    expect(await store().query('SELECT count() AS n FROM probe')).toEqual([{ n: '0' }])
  })

  it('never turns an unknown value into a default', async () => {
    // ClickHouse itself reads null as 0 for a plain number column; the schemas allow no null where such a column is.
    await expect(store().insert('probe', columns, ['[1, 0, null, 0, null]'])).rejects.toThrow(BadRowError)
  })

  it('takes the same rows again without counting them twice', async () => {
    const rows = Array.from({ length: 1000 }, (_, id) => JSON.stringify([id, 1, '0.1', AT, 'x']))
    await store().insert('probe', columns, rows)
    await store().insert('probe', columns, rows.slice(500))
    expect(await store().query('SELECT count() AS n, sum(amount) AS amount FROM probe FINAL')).toEqual([{ n: '1000', amount: '100' }])
    await store().command('TRUNCATE TABLE probe')
  })

  it('tells a missing table from a bad row, and does nothing for no rows', async () => {
    const error = await store()
      .insert('no_such_table', ['a'], ['[1]'])
      .catch((thrown: unknown) => thrown)
    expect(error).toBeInstanceOf(PermanentError)
    expect(error).not.toBeInstanceOf(BadRowError)
    await expect(store().insert('no_such_table', ['a'], [])).resolves.toBeUndefined()
  })
}

function describeState(store: () => Store): void {
  const bytes = (...values: number[]) => Buffer.from(values)

  it('keeps values by scope and key, byte for byte; the newest wins; undefined deletes', async () => {
    const { state } = store()
    const key = "a'b\\c\té"
    await state.put(
      'one',
      new Map([
        [key, bytes(0, 255, 10, 39)],
        ['empty', bytes()],
      ]),
    )
    await state.put('two', new Map([[key, bytes(2)]]))
    expect(await state.get('one', key)).toEqual(bytes(0, 255, 10, 39))
    expect(await state.get('one', 'empty')).toEqual(bytes())
    expect(await state.get('one', 'nobody')).toBeUndefined()
    for (let i = 0; i < 20; i++) await state.put('one', new Map([[key, bytes(i)]]))
    expect(await state.get('one', key)).toEqual(bytes(19))
    await state.put(
      'one',
      new Map([
        ['empty', undefined],
        ['third', bytes(3)],
      ]),
    )
    expect(await state.list('one')).toEqual(
      new Map([
        [key, bytes(19)],
        ['third', bytes(3)],
      ]),
    )
    expect(await state.get('two', key)).toEqual(bytes(2))
    await state.put('one', new Map([['empty', bytes(4)]]))
    expect(await state.get('one', 'empty')).toEqual(bytes(4))
  })

  it('writes thousands of large entries as one part', async () => {
    const { state } = store()
    const entries = new Map(Array.from({ length: 3000 }, (_, i) => [`key ${i}`, Buffer.alloc(3000, i)]))
    await state.put('large', entries)
    const parts = await store().query("SELECT count() AS n FROM system.parts WHERE database = 'contract' AND table = 'state' AND rows >= 3000 AND active")
    expect(parts).toEqual([{ n: '1' }])
    expect((await state.list('large')).size).toBe(3000)
  })
}

function describeMigrations(harness: StoreHarness): void {
  it('applies each migration once, also when two processes start at once', async () => {
    const [a, b] = await Promise.all([harness.open('twice'), harness.open('twice')])
    const both = await Promise.all([migrate(a, {}, deps), migrate(b, {}, deps)])
    expect(both.flat().length).toBeGreaterThan(0)
    expect(await migrate(a, {}, deps)).toEqual([])
    const journal = await a.query<{ n: string }>('SELECT count() AS n FROM twice.schema_migrations FINAL')
    expect(Number(journal[0]?.n)).toBe(Math.max(both[0].length, both[1].length))
    await Promise.all([a.close(), b.close()])
  })

  it('refuses a migration that was changed after it had been applied, and names a statement that fails', async () => {
    const directory = mkdtempSync(join(tmpdir(), 'migrations-'))
    const file = join(directory, 'store-0001-first.sql')
    const store = await harness.open('changed')
    writeFileSync(
      file,
      "-- one; two\nCREATE TABLE IF NOT EXISTS {database}.first (a String DEFAULT ';' COMMENT 'a;b') ENGINE = MergeTree ORDER BY a;\nCREATE VIEW IF NOT EXISTS {database}.second AS SELECT a FROM {database}.first;",
    )
    expect(await migrate(store, { directory }, deps)).toEqual(['store-0001-first.sql'])
    writeFileSync(file, 'SELECT 1')
    await expect(migrate(store, { directory }, deps)).rejects.toThrow(/store-0001-first.sql was changed/)
    const broken = mkdtempSync(join(tmpdir(), 'migrations-'))
    writeFileSync(join(broken, 'store-0002-broken.sql'), 'SELECT 1; CREATE NONSENSE;')
    await expect(migrate(store, { directory: broken }, deps)).rejects.toThrow(/store-0002-broken.sql, statement 2/)
    cpSync(migrations, directory, { recursive: true })
    writeFileSync(join(directory, 'notes.sql'), '')
    await expect(migrate(store, { directory }, deps)).rejects.toThrow(/notes.sql/)
    await store.close()
  })
}

/** What interface.md demands of each view of this room. */
const VIEWS: Record<string, string> = {
  secret_access:
    'event_id event_time store secret_id action provider_operation actor_id actor_type credential_id outcome error_code client_ip client_service client_country client_asn user_agent is_child source',
  credential_changes: 'event_id event_time target_id change actor_id client_ip source',
  alerts: 'alert_id state severity reason evidence',
  findings: 'finding_id severity reason evidence',
  deliveries: 'notification_id alert_id sink state severity reason evidence',
  responses: 'response_id alert_id state severity reason evidence',
  keys: 'fingerprint owner_ref created_at last_used_at rotated_at environments',
  rejects: 'reason source size_bytes sha256 received_at detail',
  collector_status: 'source source_stream lag_seconds last_event_time completeness blind late late_histogram cloud_delay_seconds own_delay_seconds',
}

function describeTables(store: () => Store): void {
  it('stores every topic as its schema says, every column a field or computed', async () => {
    for (const topic of storedTopics) {
      const table = storedTables[topic] as unknown as StoredTable<StoredTopic>
      const value = topics[topic].schema.parse(samples[topic])
      const row = JSON.parse(table.toRow(value)) as unknown[]
      expect(row.length, topic).toBe(table.columns.length)
      const missing = table.columns.filter(
        (column, i) => row[i] === null && (samples[topic] as Record<string, unknown>)[column] === undefined && !/^(in|out)_|notification_|images|blast_radius|target_/.test(column),
      )
      expect(missing, topic).toEqual([])
      await store().insert(table.table, table.columns, [table.toRow(value), table.toRow(value)])
      expect(await store().query(`SELECT count() AS n FROM ${table.table} FINAL`), topic).toEqual([{ n: '1' }])
      const described = await store().query<{ name: string }>('SELECT name FROM system.columns WHERE database = {database:String} AND table = {table:String}', {
        parameters: { database: 'contract', table: table.table },
      })
      expect(new Set(described.map(({ name }) => name)), topic).toEqual(
        new Set([...table.columns, ...(described.some(({ name }) => name === 'inserted_at') ? ['inserted_at'] : [])]),
      )
    }
  })

  it('shows one documented row in every view, with the columns that the interface demands', async () => {
    for (const [view, columns] of Object.entries(VIEWS)) {
      const rows = await store().query(`SELECT ${columns.replaceAll(' ', ', ')} FROM ${view}`)
      expect(rows.length, view).toBe(view === 'keys' ? 2 : 1)
      const undocumented = await store().query('SELECT name FROM system.columns WHERE database = {database:String} AND table = {view:String} AND comment = {none:String}', {
        parameters: { database: 'contract', view, none: '' },
      })
      expect(undocumented, view).toEqual([])
    }
    expect(await store().query('SELECT fingerprint, kind, created_by, environments FROM keys ORDER BY kind DESC')).toEqual([
      { fingerprint: 'fp_1', kind: 'api-key', created_by: 'user-1', environments: ['openai/123456789012/eu-west-1'] },
      { fingerprint: 'ASIAEXAMPLE', kind: 'access-key', created_by: null, environments: ['123456789012/eu-west-1'] },
    ])
    expect(await store().query("SELECT state, steps, severity, JSONExtractInt(evidence, 'callers') AS callers FROM responses")).toEqual([
      { state: 'proposed', steps: ['proposed'], severity: 'high', callers: '3' },
    ])
    expect(await store().query('SELECT state, severity FROM deliveries')).toEqual([{ state: 'accepted', severity: 'high' }])
    expect(await store().query("SELECT JSONExtractString(evidence, 'text') AS text FROM alerts")).toEqual([{ text: 'it\'s "so"\n' }])
    expect(await store().query('SELECT toString(cost_usd) AS cost, output_tokens, in_uncached, client_asn, service FROM usage_events FINAL')).toEqual([
      { cost: '0.000004200001', output_tokens: String(Number.MAX_SAFE_INTEGER), in_uncached: '900', client_asn: 4_294_967_295, service: "o'hara\\service" },
    ])
  })

  it('gives the rows of a view to a person too', async () => {
    expect(await readText(store(), 'SELECT source, blind, late, late_histogram, cloud_delay_seconds, own_delay_seconds FROM collector_status', { format: 'TSV' })).toBe(
      'file\ttrue\t3\t[0,0,1,0,0,0,0,0,2]\t1.5\t0.7\n',
    )
  })
}
