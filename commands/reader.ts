/**
 * Reading the store from a command. Embedded stores have one owner process: while it lives its HTTP API answers, else the
 * command opens the directory itself. A ClickHouse server is asked directly.
 */
import { claimInput } from '../ingest/sources/file/stdin.ts'
import { PermanentError, TransientError, UsageError } from '../runtime/errors.ts'
import { openStore } from '../store/index.ts'
import { readRunFile } from '../store/owner.ts'
import type { Store } from '../store/store.ts'
import type { Context } from './context.ts'

/** A person waits at the terminal: better an error that says what is away than silence. */
const WAIT_FOR_STORE_MS = 10_000

export interface Reader {
  /** Rows of a statement of ours. */
  rows<R>(sql: string): Promise<R[]>
  /** What people ask, as bytes in the wanted format. */
  read(sql: string, format: string): AsyncIterable<Uint8Array>
  close(): Promise<void>
}

export async function openReader(context: Context): Promise<Reader> {
  const owner = context.config.store.kind === 'embedded' ? readRunFile(context.data_dir) : undefined
  return owner ? remoteReader(owner.url, owner.token) : localReader(context)
}

async function localReader({ config, data_dir, clock, log }: Context): Promise<Reader> {
  claimInput(false)
  const store = await openStore(config.store, { data_dir, clock, log, signal: AbortSignal.timeout(WAIT_FOR_STORE_MS) })
  return { ...storeReader(store), close: () => store.close() }
}

/** A reader over a store that this process has open already; close() leaves the store alone. */
export function storeReader(store: Store): Reader {
  async function* read(sql: string, format: string): AsyncIterable<Uint8Array> {
    try {
      yield* (await store.read(sql, { format })).body
    } catch (error) {
      // A statement that the store refuses is wrong use, here as from the owner's HTTP API.
      throw error instanceof PermanentError ? new UsageError(error.message) : error
    }
  }
  return { rows: (sql) => parseRows(read(sql, 'JSONEachRow')), read, close: async () => {} }
}

function remoteReader(url: string, token: string): Reader {
  async function* read(sql: string, format: string): AsyncIterable<Uint8Array> {
    const answer = await fetch(`${url}/query?default_format=${encodeURIComponent(format)}`, { method: 'POST', body: sql, headers: { authorization: `Bearer ${token}` } }).catch(
      (error: unknown) => {
        throw new TransientError(`the running tokenwatch at ${url} does not answer`, { cause: error })
      },
    )
    if (!answer.ok) throw new UsageError((await answer.text()).trim())
    if (answer.body) yield* answer.body
  }
  return { rows: (sql) => parseRows(read(sql, 'JSONEachRow')), read, close: async () => {} }
}

async function parseRows<R>(body: AsyncIterable<Uint8Array>): Promise<R[]> {
  const chunks: Uint8Array[] = []
  for await (const chunk of body) chunks.push(chunk)
  return Buffer.concat(chunks)
    .toString('utf8')
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => JSON.parse(line) as R)
}
