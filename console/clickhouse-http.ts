/**
 * `/query`: the reading half of ClickHouse's HTTP interface over Store.read, so that Grafana and ClickHouse clients can look into the
 * embedded store. Reading only; settings in the URL are not taken; an answer that breaks in the middle ends in a broken connection,
 * never in a shorter result.
 */
import { createGunzip, createGzip } from 'node:zlib'
import { pipeline, Readable } from 'node:stream'
import { isAbort, messageOf, PermanentError, TransientError } from '../runtime/errors.ts'
import { Refusal } from '../runtime/http-guard.ts'
import type { HttpAnswer, HttpRequest, Route } from '../runtime/http.ts'
import { freshUuid } from '../runtime/ids.ts'
import { codeOfError } from '../store/errors.ts'
import type { Store } from '../store/store.ts'
import { nativeOfVersion } from './native.ts'

const MAX_SQL_BYTES = 1_048_576

/** `/query` and, for clients that cannot be told a path, POST on `/`; `/ping` beside each. */
export function clickhouseRoutes(store: Pick<Store, 'database' | 'read'>): Route[] {
  const handler = (request: HttpRequest) => answerQuery(store, request)
  const options = { max_body_bytes: MAX_SQL_BYTES }
  const ping = () => ({ headers: { 'content-type': 'text/html; charset=UTF-8' }, body: 'Ok.\n' })
  return [
    { method: 'GET', path: '/query', handler },
    { method: 'GET', path: '/query/', handler },
    { method: 'POST', path: '/query', handler, options },
    { method: 'POST', path: '/query/', handler, options },
    { method: 'POST', path: '/', handler, options },
    { method: 'GET', path: '/ping', handler: ping },
    { method: 'GET', path: '/query/ping', handler: ping },
  ]
}

async function answerQuery(store: Pick<Store, 'database' | 'read'>, request: HttpRequest): Promise<HttpAnswer> {
  const base = {
    'x-clickhouse-query-id':
      request.query
        .get('query_id')
        ?.replace(/[^\w.:-]/g, '_')
        .slice(0, 200) || freshUuid(),
    'x-clickhouse-server-display-name': 'tokenwatch',
    'x-clickhouse-timezone': 'UTC',
  }
  try {
    checkDatabase(store.database, request)
    checkCompression(request)
    const sql = await statementOf(request)
    const format = request.query.get('default_format') ?? headerOf(request, 'x-clickhouse-format')
    const result = await store.read(sql, { format: format ?? 'TabSeparated', fields: fieldsOf(request.query), signal: request.signal })
    const version = Number(request.query.get('client_protocol_version') ?? 0)
    const body = await started(result.format === 'Native' && version > 0 ? inVersion(result.body, version) : result.body)
    const headers = { ...base, 'content-type': result.content_type, 'x-clickhouse-format': result.format }
    if (!wantsGzip(request)) return { headers, body }
    return { headers: { ...headers, 'content-encoding': 'gzip' }, body: through(body, createGzip({ level: 1 })) }
  } catch (error) {
    if (error instanceof Refusal || isAbort(error)) throw error
    return exception(error, base)
  }
}

const fieldsOf = (query: URLSearchParams): Record<string, string> =>
  Object.fromEntries([...query].flatMap(([name, value]) => (name.startsWith('param_') ? [[name.slice('param_'.length), value]] : [])))

/** URL parameter and body together are the statement, as in ClickHouse. */
async function statementOf(request: HttpRequest): Promise<string> {
  const raw = request.method === 'POST' ? await request.body() : Buffer.alloc(0)
  const body = request.headers['content-encoding'] === 'gzip' ? await gunzip(raw) : raw
  const parts = [request.query.get('query') ?? '', body.toString('utf8')].filter((part) => part.trim() !== '')
  if (parts.length === 0) throw new PermanentError('Code: 62. DB::Exception: Empty query: send SQL as the body, or as ?query=')
  return parts.join('\n')
}

async function gunzip(raw: Buffer): Promise<Buffer> {
  const chunks: Buffer[] = []
  let size = 0
  try {
    for await (const chunk of through([raw], createGunzip()) as AsyncIterable<Buffer>) {
      size += chunk.length
      if (size > MAX_SQL_BYTES) throw new Refusal(413, `the unpacked body is longer than ${MAX_SQL_BYTES} bytes`)
      chunks.push(chunk)
    }
  } catch (error) {
    if (error instanceof Refusal) throw error
    throw new PermanentError(`Code: 354. DB::Exception: the body is no whole gzip: ${messageOf(error)}`, { cause: error })
  }
  return Buffer.concat(chunks)
}

function checkDatabase(database: string, request: HttpRequest): void {
  const asked = request.query.get('database') ?? headerOf(request, 'x-clickhouse-database')
  if (asked === null || asked === '' || [database, 'default', 'system', 'information_schema'].includes(asked)) return
  throw new PermanentError(`Code: 81. DB::Exception: Database ${asked.replace(/\W/g, '_')} does not exist; the tables are in ${database}`)
}

/** ClickHouse's own framing of compressed blocks: a client that asked for it cannot read anything else. */
function checkCompression(request: HttpRequest): void {
  if (request.query.get('compress') === '1')
    throw new PermanentError('Code: 36. DB::Exception: compress=1 (LZ4, ZSTD) is not offered here: choose gzip (enable_http_compression=1) or no compression in the client')
}

async function* inVersion(body: AsyncIterable<Uint8Array>, version: number): AsyncIterable<Uint8Array> {
  const chunks: Uint8Array[] = []
  for await (const chunk of body) chunks.push(chunk)
  yield nativeOfVersion(Buffer.concat(chunks), version)
}

/** Reads up to the first bytes, so that a statement that fails at once still gets an error status. */
async function started(body: AsyncIterable<Uint8Array>): Promise<AsyncIterable<Uint8Array>> {
  const iterator = body[Symbol.asyncIterator]()
  const first = await iterator.next()
  return (async function* () {
    try {
      for (let step = first; !step.done; step = await iterator.next()) yield step.value
    } finally {
      await iterator.return?.()
    }
  })()
}

const through = (body: AsyncIterable<Uint8Array> | Iterable<Uint8Array>, transform: ReturnType<typeof createGzip> | ReturnType<typeof createGunzip>): AsyncIterable<Uint8Array> =>
  // An error destroys the transform with that error, so whoever reads it gets it.
  pipeline(Readable.from(body), transform, () => {})

const wantsGzip = (request: HttpRequest): boolean => request.query.get('enable_http_compression') === '1' && /\bgzip\b/.test(request.headers['accept-encoding'] ?? '')

const headerOf = (request: HttpRequest, name: string): string | null => {
  const value = request.headers[name]
  return typeof value === 'string' ? value : null
}

// Which of ClickHouse's codes are the asker's doing. Everything else is 500, as there.
const STATUS: Record<number, number> = {
  36: 400,
  43: 400,
  46: 404,
  47: 404,
  60: 404,
  62: 400,
  81: 404,
  158: 400,
  159: 408,
  164: 403,
  241: 500,
  354: 400,
  396: 400,
  456: 400,
  497: 403,
}

const NAMES: Record<number, string> = {
  36: 'BAD_ARGUMENTS',
  62: 'SYNTAX_ERROR',
  81: 'UNKNOWN_DATABASE',
  164: 'READONLY',
  210: 'NETWORK_ERROR',
  354: 'ZLIB_INFLATE_FAILED',
  456: 'UNKNOWN_QUERY_PARAMETER',
}

function exception(error: unknown, base: Readonly<Record<string, string>>): HttpAnswer {
  const own = error instanceof PermanentError || error instanceof TransientError
  if (!own) throw error
  const message = messageOf(error).replace(/^Code: \d+\. (DB::Exception: )?/, '')
  // Our own fence in front of the engine has no number: 164 (READONLY) is what the engine would say.
  const code = codeOfError(error) ?? codeOfError(error.cause) ?? (error instanceof TransientError ? 210 : 164)
  // Clients take the message apart: without a name in brackets at its end it is no ClickHouse error to them.
  const named = /\([A-Z][A-Z0-9_]{2,}\)\s*$/.test(message) ? message : `${message}. (${NAMES[code] ?? 'UNKNOWN_EXCEPTION'})`
  return {
    status: error instanceof TransientError ? 503 : (STATUS[code] ?? 500),
    headers: { ...base, 'content-type': 'text/plain; charset=UTF-8', 'x-clickhouse-exception-code': String(code) },
    body: `Code: ${code}. DB::Exception: ${named}\n`,
  }
}
