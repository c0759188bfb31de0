/** The Store over the official client: on a server's HTTP interface (here) and on embedded connections (embedded.ts gives them). */
import { Readable } from 'node:stream'
import { type ClickHouseClient, ClickHouseLogLevel, createClient } from '@clickhouse/client'
import type { Clock } from '../runtime/clock.ts'
import { messageOf, PermanentError, TransientError } from '../runtime/errors.ts'
import type { Logger } from '../runtime/log.ts'
import { retry } from '../runtime/retry.ts'
import { resolveSecret } from '../runtime/secrets.ts'
import type { ClickHouseStoreConfig, ReadLimits } from './config.ts'
import { codeOfError, EngineError, storeError } from './errors.ts'
import { contentTypeOf, personsQueryCheck } from './read.ts'
import { quoteIdentifier, settingsList, withSettings } from './sql.ts'
import { createStateStore } from './state.ts'
import type { ParameterFields, QueryOptions, ReadResult, Store } from './store.ts'

export interface StoreDeps {
  clock: Clock
  log: Logger
  /** Ends the waiting for a server that does not answer yet. */
  signal?: AbortSignal
}

/** What differs between a server and the embedded engine. */
export interface StoreBackend {
  readonly database: string
  /** Our own statements. */
  readonly operations: ClickHouseClient
  /** `body` holds JSONCompactEachRow lines; resolves when they are durable. */
  insert(table: string, columns: readonly string[], body: Buffer, settings: InsertSettings, signal?: AbortSignal): Promise<void>
  /** Runs a checked, read-only statement under the limits of people. */
  read(sql: string, format: string, fields: ParameterFields, signal?: AbortSignal): Promise<AsyncIterable<Uint8Array>>
  close(): Promise<void>
}
export type InsertSettings = Readonly<Record<string, string | number>>

/**
 * Stated on every insert, never inherited from a server's profile: no buffering that acknowledges early, no deduplication by
 * block (the tables deduplicate by key; a token that repeats would drop data), null is never turned into a default, and a bad
 * row fails the insert instead of being skipped.
 */
export const insertSettings: InsertSettings = {
  async_insert: 0,
  insert_deduplicate: 0,
  max_partitions_per_insert_block: 100,
  optimize_on_insert: 0,
  input_format_null_as_default: 0,
  input_format_allow_errors_num: 0,
  input_format_allow_errors_ratio: 0,
  input_format_parallel_parsing: 0,
  date_time_input_format: 'basic',
}

/** Numbers that JSON cannot hold leave as strings. */
export const quotingSettings = { output_format_json_quote_64bit_integers: 1, output_format_json_quote_decimals: 1 } as const

/** The client escapes what it is given as parameters; settings travel as they are, and a parameter is one called param_<name>. */
const asSettings = (fields: ParameterFields): Record<string, string> => Object.fromEntries(Object.entries(fields).map(([name, value]) => [`param_${name}`, value]))

/** The Store of a backend. */
export function createStore(backend: StoreBackend, deps: StoreDeps): Store {
  const { database, operations } = backend
  const calls = (options: QueryOptions) => ({
    ...(options.parameters === undefined ? {} : { query_params: { ...options.parameters } }),
    ...(options.fields === undefined ? {} : { clickhouse_settings: asSettings(options.fields) }),
    ...(options.signal === undefined ? {} : { abort_signal: options.signal }),
  })
  const checkQuery = personsQueryCheck(() => store)
  const store: Store = {
    database,
    async query<R = Record<string, unknown>>(sql: string, options: QueryOptions = {}): Promise<R[]> {
      try {
        const result = await operations.query({ query: withSettings(sql, options.settings), format: 'JSONEachRow', ...calls(options) })
        return await result.json<R>()
      } catch (error) {
        throw storeError(error, 'query')
      }
    },
    async command(sql, options = {}) {
      try {
        await operations.command({ query: withSettings(sql, options.settings), ...calls(options) })
      } catch (error) {
        throw storeError(error, 'query')
      }
    },
    async insert(table, columns, rows, options = {}) {
      if (rows.length === 0) return
      try {
        await backend.insert(`${database}.${table}`, columns, Buffer.from(rows.join('\n')), insertSettings, options.signal)
      } catch (error) {
        throw storeError(error, 'insert')
      }
    },
    async read(sql, options = {}): Promise<ReadResult> {
      const checked = await checkQuery(sql, options)
      try {
        const body = await backend.read(checked.sql, checked.format, options.fields ?? {}, options.signal)
        return { format: checked.format, content_type: contentTypeOf(checked.format), body }
      } catch (error) {
        throw storeError(error, 'read')
      }
    },
    state: createStateStore(() => store, deps.clock),
    async ping(signal) {
      await store.query('SELECT 1', signal ? { signal } : {})
    },
    close: () => backend.close(),
  }
  return store
}

/** The client over a connection of our own: how the embedded engine speaks the same language. `connection` has the client's Connection shape. */
export const clientOver = (connection: unknown): ClickHouseClient => createClient({ connection: connection as never, log: { level: ClickHouseLogLevel.OFF } })

/**
 * A server by HTTP. Waits until it answers (says so once) and creates the database if the user may.
 * Throws UsageError for a missing secret, PermanentError for a refused login.
 */
export async function connectClickHouse(config: ClickHouseStoreConfig, deps: StoreDeps): Promise<Store> {
  const backend = httpBackend(config)
  try {
    await retry(() => createDatabase(config), {
      clock: deps.clock,
      signal: deps.signal ?? new AbortController().signal,
      what: `ClickHouse at ${config.url}`,
      log: deps.log,
      cap_ms: 10_000,
    })
  } catch (error) {
    await backend.close()
    throw error
  }
  return createStore(backend, deps)
}

function httpBackend(config: ClickHouseStoreConfig): StoreBackend {
  const operations = httpClient(config, config.database, { ...quotingSettings, wait_end_of_query: 1 })
  const reader = httpClient(config, config.database, {
    ...quotingSettings,
    ...readerSettings(config.limits),
    cancel_http_readonly_queries_on_client_close: 1,
    wait_end_of_query: 1,
  })
  return {
    database: config.database,
    operations,
    async insert(table, columns, body, settings, signal) {
      const query = `INSERT INTO ${table} (${columns.map(quoteIdentifier).join(', ')}) SETTINGS ${settingsList(settings)} FORMAT JSONCompactEachRow`
      // exec, because insert() of the client would encode every line once more; errors raw, because the client cuts the number
      // of the row out of them. The answer must be drained to free the socket.
      const options = { query, values: Readable.from([body], { objectMode: false }), ignore_error_response: true, ...(signal ? { abort_signal: signal } : {}) }
      const answer = await operations.exec(options)
      checkAnswer(await textOf(answer.stream), answer.http_status_code ?? 200)
    },
    async read(sql, format, fields, signal) {
      const result = await reader.exec({ query: `${sql}\nFORMAT ${format}`, clickhouse_settings: asSettings(fields), ...(signal ? { abort_signal: signal } : {}) })
      return result.stream
    },
    async close() {
      await Promise.all([operations.close(), reader.close()])
    },
  }
}

/** Limits of people's queries as settings of the request. readonly=1 is last: nothing can be changed after it. */
export const readerSettings = (limits: ReadLimits) => ({
  max_execution_time: Math.max(1, Math.ceil(limits.execution_time / 1000)),
  max_memory_usage: String(limits.memory_bytes),
  max_result_rows: String(limits.result_rows),
  max_result_bytes: String(limits.result_bytes),
  readonly: '1' as const,
})

function httpClient(config: ClickHouseStoreConfig, database: string, settings: Record<string, string | number>): ClickHouseClient {
  return createClient({
    url: config.url,
    database,
    username: config.username,
    password: config.password === undefined ? '' : resolveSecret(config.password),
    application: 'tokenwatch',
    request_timeout: config.request_timeout,
    max_open_connections: config.max_connections,
    compression: { request: config.compression, response: config.compression },
    // A server closes idle sockets after 3 s (before 24.x) or 10 s: ours go earlier, so that a request rarely meets a dead one.
    keep_alive: { enabled: true, idle_socket_ttl: 1500 },
    clickhouse_settings: settings,
    // It would write every refused connection to stderr; we say it once, in our own words.
    log: { level: ClickHouseLogLevel.OFF },
  })
}

/** With the server's default database, because a request that names a database which does not exist is refused altogether. */
async function createDatabase(config: ClickHouseStoreConfig): Promise<void> {
  const client = httpClient(config, 'default', {})
  const cluster = config.cluster === undefined ? '' : ` ON CLUSTER ${quoteIdentifier(config.cluster)}`
  try {
    await client.command({ query: `CREATE DATABASE IF NOT EXISTS ${quoteIdentifier(config.database)}${cluster}` })
  } catch (error) {
    if (codeOfError(error) !== 497) throw storeError(error, 'query')
    await client
      .query({ query: 'SELECT 1 FROM system.databases WHERE name = {name:String}', query_params: { name: config.database }, format: 'JSONEachRow' })
      .then((result) => result.json())
      .then((rows) => {
        if (rows.length === 0) throw new PermanentError(`the database ${config.database} does not exist and the user may not create it: ${messageOf(error)}`)
      })
  } finally {
    await client.close()
  }
}

/** The first part of an answer that should be empty; the rest is read and dropped. */
async function textOf(stream: AsyncIterable<unknown>): Promise<string> {
  let text = ''
  for await (const chunk of stream) if (text.length < 10_000) text += String(chunk)
  return text
}

/** Text behind a status 200 is an error that came too late for the status. */
function checkAnswer(text: string, status: number): void {
  const code = /Code: (\d+)\. DB::Exception/.exec(text)?.[1]
  if (code !== undefined) throw new EngineError(text, Number(code))
  if (status >= 400) throw new TransientError(`the store answered with the status ${status}: ${text.slice(0, 300)}`)
}
