/** What the official client asks of a connection, answered by the embedded engine instead of HTTP. */
import { Readable } from 'node:stream'
import { isAbort } from '../runtime/errors.ts'
import { freshUuid } from '../runtime/ids.ts'
import { codeOfError, EngineError } from './errors.ts'
import type { SessionPool } from './embedded-pool.ts'
import { bindParameters } from './sql.ts'

interface Params {
  query: string
  query_params?: Record<string, unknown> | undefined
  clickhouse_settings?: Record<string, unknown> | undefined
  abort_signal?: AbortSignal | undefined
  query_id?: string | undefined
}

const result = (query_id: string | undefined) => ({ query_id: query_id ?? freshUuid(), response_headers: {}, http_status_code: 200 })

/**
 * Settings given to the client are not supported on purpose, but for param_<name>: they would stay on the session for ever. They
 * belong into a SETTINGS clause. Parameters become `SET param_…` in front of the statement, because bound queries wait for each other in
 * the whole process. Rows are inserted by StoreBackend.insert, not through the client.
 */
export class ClientConnection {
  readonly #pool: SessionPool

  constructor(pool: SessionPool) {
    this.#pool = pool
  }

  async query(params: Params) {
    const bytes = await this.#run(params)
    return { ...result(params.query_id), stream: Readable.from([bytes], { objectMode: false }) }
  }

  async exec(params: Params) {
    const bytes = await this.#run(params)
    return { ...result(params.query_id), stream: Readable.from([bytes], { objectMode: false }) }
  }

  async command(params: Params) {
    await this.#run(params)
    return result(params.query_id)
  }

  insert(): Promise<never> {
    return Promise.reject(new Error('the embedded store inserts by Store.insert'))
  }

  async ping() {
    try {
      await this.#run({ query: 'SELECT 1' })
      return { success: true as const }
    } catch (error) {
      return { success: false as const, error: error as Error }
    }
  }

  close(): Promise<void> {
    return this.#pool.close()
  }

  async #run(params: Params): Promise<Buffer> {
    const sql = bindParameters(params.query, (params.query_params ?? {}) as Parameters<typeof bindParameters>[1], fieldsOf(params.clickhouse_settings))
    try {
      const answer = await this.#pool.run((session, mark) => session.queryAsync(mark + sql), params.abort_signal)
      const bytes = answer.bytes()
      return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength)
    } catch (error) {
      if (isAbort(error)) throw error
      const code = codeOfError(error)
      throw code === undefined ? error : new EngineError((error as Error).message, code, { cause: error })
    }
  }
}

const fieldsOf = (settings: Record<string, unknown> = {}): Record<string, string> =>
  Object.fromEntries(Object.entries(settings).flatMap(([name, value]) => (name.startsWith('param_') ? [[name.slice('param_'.length), String(value)]] : [])))
