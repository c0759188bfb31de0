/**
 * The embedded engine (chdb) behind the client's connection. The only file that imports chdb.
 *
 * One thread of one process owns a data directory; a second process is refused. Every running query occupies a libuv thread,
 * so main sets UV_THREADPOOL_SIZE=16 before anything is imported; all sessions here together stay below that.
 */
import { mkdirSync } from 'node:fs'
import { resolve } from 'node:path'
import { drainPending, Session } from 'chdb'
import { PermanentError } from '../runtime/errors.ts'
import { clientOver, createStore, type StoreBackend, type StoreDeps } from './clickhouse.ts'
import { type ReadLimits, readLimits } from './config.ts'
import { ClientConnection } from './embedded-connection.ts'
import { SessionPool } from './embedded-pool.ts'
import { bindParameters, quoteIdentifier } from './sql.ts'
import type { Store } from './store.ts'

export interface EmbeddedOptions {
  directory: string
  database?: string
  limits?: ReadLimits
}

// Server-level values count only for the first session of a process. The defaults would take 5.4 GB for each mark cache.
const SERVER_ARGS = ['--mark_cache_size=16777216', '--index_mark_cache_size=8388608', '--max_server_memory_usage=1000000000']
const QUOTING_ARGS = ['--output_format_json_quote_64bit_integers=1', '--output_format_json_quote_decimals=1']
const LOW_MEMORY_ARGS = ['--max_threads=1', '--max_insert_threads=1', '--input_format_parallel_parsing=0']
const PURGE_AFTER_BYTES = 8_000_000
const OPERATION_SESSIONS = 3
const READER_SESSIONS = 2

/** Opens (and creates) the directory and the database. Throws PermanentError when another process has it open. */
export async function openEmbeddedStore(options: EmbeddedOptions, deps: StoreDeps): Promise<Store> {
  await drainPending()
  const { database = 'tokenwatch', limits = readLimits.parse({}) } = options
  const directory = resolve(options.directory)
  mkdirSync(directory, { recursive: true, mode: 0o700 })
  // Kept open as long as the store: when the last session of a directory closes, the engine shuts down.
  const anchor = open(directory, [...SERVER_ARGS, ...LOW_MEMORY_ARGS])
  if (Number(process.env['UV_THREADPOOL_SIZE'] ?? 4) < 8) deps.log.debug('UV_THREADPOOL_SIZE is below 8: long queries will hold up files and DNS')
  await anchor.queryAsync(`CREATE DATABASE IF NOT EXISTS ${quoteIdentifier(database)}`)
  const pool = (size: number, args: readonly string[]) =>
    new SessionPool(
      size,
      async () => {
        const session = open(directory, [...QUOTING_ARGS, ...args])
        await session.queryAsync(`USE ${quoteIdentifier(database)}`)
        return session
      },
      anchor,
    )
  const writer = pool(1, [...LOW_MEMORY_ARGS, '--max_memory_usage=200000000'])
  const operations = pool(OPERATION_SESSIONS, [...LOW_MEMORY_ARGS, '--max_memory_usage=400000000'])
  const readers = pool(READER_SESSIONS, readerArgs(limits))
  return createStore(embeddedBackend(database, { anchor, writer, operations, readers }), deps)
}

interface Sessions {
  anchor: Session
  writer: SessionPool
  operations: SessionPool
  readers: SessionPool
}

function embeddedBackend(database: string, { anchor, writer, operations, readers }: Sessions): StoreBackend {
  let unpurged = 0
  return {
    database,
    operations: clientOver(new ClientConnection(operations)),
    async insert(table, columns, body, settings, signal) {
      await writer.run((session) => session.insert({ table, columns, values: body, format: 'JSONCompactEachRow', settings: { ...settings } }), signal)
      unpurged += body.length
      if (unpurged < PURGE_AFTER_BYTES) return
      unpurged = 0
      // The engine keeps the memory of past inserts; giving it back takes about 10 ms. Not worth an error if it cannot.
      await anchor.queryAsync('SYSTEM JEMALLOC PURGE').catch(() => undefined)
    },
    async read(sql, format, fields, signal) {
      const text = bindParameters(sql, {}, fields)
      const result = await readers.run((session, mark) => session.queryAsync(mark + text, { format }), signal)
      return chunks(result.bytes())
    },
    async close() {
      await Promise.all([writer.close(), operations.close(), readers.close()])
      anchor.close()
      await drainPending()
    },
  }
}

/** Own session, own limits: `readonly` can never be taken back on a session. */
const readerArgs = (limits: ReadLimits): string[] => [
  '--readonly=1',
  '--max_threads=2',
  `--max_execution_time=${Math.max(1, Math.ceil(limits.execution_time / 1000))}`,
  `--max_memory_usage=${limits.memory_bytes}`,
  `--max_result_rows=${limits.result_rows}`,
  `--max_result_bytes=${limits.result_bytes}`,
]

function open(directory: string, args: readonly string[]): Session {
  try {
    return new Session(directory, { connectionArgs: args })
  } catch (error) {
    // The engine prints its reason (a lock on the file `status`) on stderr only; the exception carries none.
    throw new PermanentError(
      `the store in ${directory} cannot be opened: another process has it open, or this user may not write there. ` +
        'Only one process can own an embedded store: stop the other one, or let it answer (`tokenwatch query` asks it while it runs).',
      { cause: error },
    )
  }
}

async function* chunks(bytes: Uint8Array): AsyncIterable<Uint8Array> {
  const size = 65_536
  for (let at = 0; at < bytes.length; at += size) yield bytes.subarray(at, at + size)
}
