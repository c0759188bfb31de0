/** Store.read(): what people may ask and what they get. */
import { existsSync } from 'node:fs'
import { describe, expect, it } from 'vitest'
import { systemClock } from '../../runtime/clock.ts'
import type { Store } from '../../store/store.ts'

export async function readText(store: Store, sql: string, options: Parameters<Store['read']>[1] = {}): Promise<string> {
  const result = await store.read(sql, options)
  const chunks: Uint8Array[] = []
  for await (const chunk of result.body) chunks.push(chunk)
  return Buffer.concat(chunks).toString()
}

const REFUSED = [
  "SELECT 1 INTO OUTFILE '/tmp/tokenwatch-outfile'",
  "SELECT 1 /* x */ INTO /* y */ OUTFILE '/tmp/tokenwatch-outfile' FORMAT CSV",
  'SELECT 1; SELECT 2',
  'SELECT 1; DROP TABLE state',
  'SELECT 1) ; SELECT (2',
  'SET max_threads = 1',
  'USE system',
  "INSERT INTO state VALUES ('a', 'b', 'c', 1, 0)",
  'DROP TABLE state',
  'ALTER TABLE state DELETE WHERE 1',
  'TRUNCATE TABLE state',
  'CREATE TEMPORARY TABLE t (a Int8)',
  'SYSTEM FLUSH LOGS',
  'KILL QUERY WHERE 1',
  "BACKUP TABLE state TO File('x')",
  "SELECT * FROM file('/etc/passwd', 'LineAsString')",
  "SELECT file('/etc/passwd')",
  "SELECT `file`('/etc/passwd')",
  'SELECT "FILE"(\'/etc/passwd\')',
  "SELECT 1 WHERE (SELECT count() FROM (SELECT file('/etc/passwd'))) > 0",
  "EXPLAIN SELECT file('/etc/passwd')",
  "DESCRIBE (SELECT file('/etc/passwd'))",
  "DESCRIBE TABLE s3('http://127.0.0.1:1/bucket/x.csv')",
  "SHOW TABLES WHERE name = file('/etc/passwd')",
  "SELECT * APPLY(file) FROM (SELECT '/etc/passwd' AS a)",
  "SELECT * APPLY file FROM (SELECT '/etc/passwd' AS a)",
  "SELECT COLUMNS('a') APPLY(x -> `file`(x)) FROM (SELECT '/etc/passwd' AS a)",
  "EXPLAIN SYNTAX SELECT * APPLY(file) FROM (SELECT '/etc/passwd' AS a)",
  "SELECT arrayMap(file, ['/etc/passwd'])",
  "SELECT arrayMap(`file`, ['/etc/passwd'])",
  "SELECT sum(x) OVER (ORDER BY x ROWS BETWEEN length(file('/etc/passwd')) PRECEDING AND CURRENT ROW) FROM (SELECT 1 AS x)",
  "SELECT * APPLY(x -> (SELECT count() FROM file('/etc/passwd', 'LineAsString'))) FROM (SELECT 1 AS a)",
  'SELECT * APPLY sleep FROM (SELECT 1 AS a)',
  "SELECT * FROM url('http://127.0.0.1:1/', 'CSV', 'a String')",
  "SELECT * FROM s3('http://127.0.0.1:1/bucket/x.csv', 'CSV', 'a String')",
  "SELECT * FROM remote('127.0.0.1', 'system', 'one')",
  "SELECT * FROM mysql('127.0.0.1:1', 'a', 'b', 'c', 'd')",
  "SELECT * FROM executable('ls', 'CSV', 'a String')",
  "SELECT 1 IN (SELECT a FROM sqlite('/tmp/x', 't'))",
  'SELECT 1 SETTINGS max_execution_time = 10000',
  'SELECT 1 SETTINGS readonly = 0',
  'SELECT sleep(3)',
  '',
  '-- nothing',
  'SELECT 1 FORMAT NoSuchFormat',
]

export function describeRead(name: string, store: () => Store): void {
  describe(`queries from people: ${name}`, () => {
    for (const sql of REFUSED) {
      it(`refuses ${sql === '' ? 'nothing' : sql}`, async () => {
        await expect(readText(store(), sql)).rejects.toThrow(/./)
        expect(existsSync('/tmp/tokenwatch-outfile')).toBe(false)
        expect(await readText(store(), 'SELECT 5')).toBe('{"5":5}\n')
      })
    }

    it('refuses such a function also as the value of a parameter, and takes its name in a text', async () => {
      const sql = "SELECT arrayMap({f:Identifier}, ['/etc/passwd']) AS a"
      for (const f of ['file', '`file`', '\\x66ile']) await expect(readText(store(), sql, { fields: { f } })).rejects.toThrow(/outside|backslashes/)
      expect(await readText(store(), sql, { fields: { f: 'length' } })).toBe('{"a":["11"]}\n')
      expect(await readText(store(), "SELECT 'file' AS a, 'it''s \\'file\\'' AS profile, 1 AS `a file` FROM system.one")).toBe(
        '{"a":"file","profile":"it\'s \'file\'","a file":1}\n',
      )
    })

    it('takes comments, parameters, sub-queries, WITH, SHOW, DESCRIBE and EXPLAIN', async () => {
      expect(await readText(store(), '-- hi\nSELECT /* x */ {a:String} AS a, 2 AS b;', { fields: { a: "q'\\t;" } })).toBe('{"a":"q\'\\t;","b":2}\n')
      expect(await readText(store(), "SELECT 'INTO OUTFILE ; SELECT 2' AS a")).toBe('{"a":"INTO OUTFILE ; SELECT 2"}\n')
      expect(await readText(store(), 'WITH 3 AS x SELECT x FROM (SELECT 1)')).toBe('{"x":3}\n')
      expect(await readText(store(), 'FROM system.one SELECT dummy')).toBe('{"dummy":0}\n')
      expect(await readText(store(), 'SELECT 1 AS format')).toBe('{"format":1}\n')
      expect(await readText(store(), 'SHOW TABLES')).toContain('usage_events')
      expect(await readText(store(), 'DESCRIBE usage_events')).toContain('event_id')
      expect(await readText(store(), 'EXPLAIN SELECT count() FROM usage_events')).toContain('explain')
    })

    it('answers in the format that was asked for; the one in the text wins', async () => {
      const sql = "SELECT 1 AS a, 'x' AS b, toUInt64(18446744073709551615) AS c, toDecimal128('0.000000000001', 12) AS d"
      expect(await readText(store(), sql)).toBe('{"a":1,"b":"x","c":"18446744073709551615","d":"0.000000000001"}\n')
      expect(await readText(store(), sql, { format: 'CSVWithNames' })).toBe('"a","b","c","d"\n1,"x",18446744073709551615,0.000000000001\n')
      expect(await readText(store(), sql, { format: 'TSV' })).toBe('1\tx\t18446744073709551615\t0.000000000001\n')
      expect(await readText(store(), `${sql} FORMAT TSVWithNames`, { format: 'CSV' })).toContain('a\tb\tc\td\n')
      expect(await readText(store(), sql, { format: 'Pretty' })).toContain('┃')
      expect(JSON.parse(await readText(store(), sql, { format: 'JSON' }))).toMatchObject({ data: [{ a: 1, c: '18446744073709551615', d: '0.000000000001' }] })
      expect((await store().read(sql, { format: 'JSON' })).content_type).toContain('application/json')
      await expect(readText(store(), sql, { format: "CSV' x" })).rejects.toThrow(/format/)
    })

    it('holds the limits of rows and time', async () => {
      expect((await readText(store(), 'SELECT number FROM numbers(50000)', { format: 'TSV' })).split('\n').length).toBe(50_001)
      await expect(readText(store(), 'SELECT number FROM numbers(200000)')).rejects.toThrow(/Limit for result/)
      const start = systemClock.now()
      await expect(readText(store(), 'SELECT max(sipHash64(number)) FROM numbers(100000000000)')).rejects.toThrow(/Timeout|time/i)
      expect(systemClock.now() - start).toBeLessThan(10_000)
      expect(await readText(store(), 'SELECT 6')).toBe('{"6":6}\n')
    })

    it('can be aborted', async () => {
      const attempt = async (): Promise<unknown> => {
        const abort = new AbortController()
        const ended = readText(store(), 'SELECT max(sipHash64(number)) FROM numbers(100000000000)', { signal: abort.signal }).catch((error: unknown) => error)
        await systemClock.sleep(100)
        abort.abort()
        return ended
      }
      // On a machine under load the time limit of the query may be over before our timer fires: that says nothing, so once more.
      let error = await attempt()
      for (let tries = 0; tries < 5 && /Timeout/.test(String(error)); tries++) error = await attempt()
      expect(String(error)).toMatch(/abort/i)
      expect(await readText(store(), 'SELECT 8')).toBe('{"8":8}\n')
    })
  })
}
