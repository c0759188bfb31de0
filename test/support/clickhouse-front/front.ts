/**
 * A stand-in for a ClickHouse server: its HTTP interface over the embedded engine, in a process of its own. Written from
 * ClickHouse's documentation of the HTTP interface; good enough for the official client. Every request gets a connection of
 * its own with its settings, so that nothing sticks and nothing poisons.
 *
 *   node test/support/clickhouse-front/front.ts --port 0 --directory DIR [--user U --password P] [--with-parent]
 *
 * --with-parent: ends when its standard input closes, so that a killed test leaves no server behind.
 */
import { randomUUID } from 'node:crypto'
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import { parseArgs } from 'node:util'
import { createGzip, gunzipSync } from 'node:zlib'
import { Session } from 'chdb'
import { systemClock } from '../../../runtime/clock.ts'
import { type Fault, faultList } from './faults.ts'

const { values: args } = parseArgs({
  options: { port: { type: 'string', default: '0' }, directory: { type: 'string' }, user: { type: 'string' }, password: { type: 'string' }, 'with-parent': { type: 'boolean' } },
})
if (args.directory === undefined) throw new Error('--directory is missing')
const directory = args.directory
const MAX_BODY = 256_000_000

// Parameters of the interface itself; everything else in the address is a setting or param_<name>.
const RESERVED = new Set([
  'query',
  'database',
  'query_id',
  'user',
  'password',
  'default_format',
  'session_id',
  'session_timeout',
  'session_check',
  'role',
  'compress',
  'decompress',
  'wait_end_of_query',
  'buffer_size',
  'quota_key',
  'stacktrace',
  'enable_http_compression',
  'http_zlib_compression_level',
  'client_protocol_version',
  'send_progress_in_http_headers',
  'http_headers_progress_interval_ms',
])

const anchor = new Session(directory, { connectionArgs: ['--mark_cache_size=16777216', '--max_server_memory_usage=1500000000'] })
const version = anchor.query('SELECT version()', 'TSVRaw').trim()
const faults = faultList()

interface Request {
  sql: string
  url: URL
  method: string
  id: string
}

class HttpError extends Error {
  readonly code: number
  constructor(code: number, text: string, name: string) {
    super(`Code: ${code}. DB::Exception: ${text}. (${name})`)
    this.code = code
  }
}

const server = createServer((request, response) => {
  serve(request, response).catch((error: unknown) => sendError(response, error))
})
server.listen(Number(args.port), '127.0.0.1', () => {
  const address = server.address()
  process.stdout.write(`listening ${typeof address === 'object' ? address?.port : ''}\n`)
})

async function serve(message: IncomingMessage, response: ServerResponse): Promise<void> {
  const url = new URL(message.url ?? '/', 'http://front')
  if (url.pathname === '/__control') return faults.control(message, response)
  if (url.pathname === '/ping') return void response.end('Ok.\n')
  if (url.pathname !== '/') return void response.writeHead(404).end('There is no handle for this path\n')
  const body = await readBody(message)
  const asked = url.searchParams.get('query') ?? ''
  const sql = asked === '' ? body.toString() : body.length === 0 ? asked : `${asked}\n${body.toString()}`
  const request: Request = { sql, url, method: message.method ?? 'GET', id: url.searchParams.get('query_id') ?? randomUUID() }
  checkLogin(message, url)
  const fault = faults.next(asked === '' ? sql : asked)
  if (fault?.kind === 'delay') await systemClock.sleep(fault.ms ?? 1000)
  if (fault?.kind === 'refuse') return void response.writeHead(503, { 'content-type': 'text/plain' }).end('Service Unavailable\n')
  if (fault?.kind === 'drop-before') return void message.socket.destroy()
  await answer(request, message, response, fault)
}

async function answer(request: Request, message: IncomingMessage, response: ServerResponse, fault: Fault | undefined): Promise<void> {
  const session = openFor(request)
  try {
    if (request.sql.trim() === '') throw new HttpError(62, 'Syntax error: empty query', 'SYNTAX_ERROR')
    const format = /\bFORMAT\s+(\w+)\s*;?\s*$/i.exec(request.sql)?.[1] ?? request.url.searchParams.get('default_format') ?? 'TabSeparated'
    const binding = bindings(request)
    const streamable =
      /^\s*(SELECT|WITH)\b/i.test(request.sql) && /EachRow$|^CSV$|^T(SV|abSeparated)(Raw)?$/.test(format) && request.url.searchParams.get('wait_end_of_query') !== '1'
    // On their own: a streamed query may be one statement only.
    if (binding !== '') await session.queryAsync(binding)
    if (streamable) return await stream(session, format, request, message, response, fault)
    const result = await session.queryAsync(request.sql, { format })
    if (fault?.kind === 'drop-after') return void message.socket.destroy()
    const out = start(request, message, response, format, { read_rows: String(result.rowsRead), read_bytes: String(result.bytesRead) })
    const bytes = result.bytes()
    if (fault?.kind === 'mid-stream') {
      out.write(bytes.subarray(0, bytes.length >> 1))
      await systemClock.sleep(20)
      return void message.socket.destroy()
    }
    out.end(bytes)
  } finally {
    session.close()
  }
}

/** Rows as they come, so that an error may arrive when the status has been sent: ClickHouse then writes it behind the rows. */
async function stream(session: Session, format: string, request: Request, message: IncomingMessage, response: ServerResponse, fault: Fault | undefined): Promise<void> {
  let out: NodeJS.WritableStream | undefined
  const tag = randomUUID().replaceAll('-', '').slice(0, 16)
  try {
    for await (const chunk of session.queryStream(request.sql, { format })) {
      out ??= start(request, message, response, format, {}, tag)
      if (!out.write(chunk.raw())) await new Promise((resolve) => out?.once('drain', resolve))
      if (fault?.kind === 'mid-stream') throw new HttpError(241, 'Query memory limit exceeded', 'MEMORY_LIMIT_EXCEEDED')
    }
    if (fault?.kind === 'drop-after') return void message.socket.destroy()
    ;(out ?? start(request, message, response, format, {}, tag)).end()
  } catch (error) {
    if (out === undefined) throw error
    const text = `${(error as Error).message}\n`
    out.write(`\r\n__exception__\r\n${tag}\n${text}${Buffer.byteLength(text)} ${tag}\r\n__exception__\r\n`)
    out.end()
  }
}

function openFor({ url, method }: Request): Session {
  const settings = [...url.searchParams].filter(([name]) => !RESERVED.has(name) && !name.startsWith('param_'))
  // GET must not change anything.
  if (method === 'GET' && !settings.some(([name]) => name === 'readonly')) settings.push(['readonly', '2'])
  let session: Session
  try {
    session = new Session(directory, { connectionArgs: settings.map(([name, value]) => `--${name}=${value}`) })
  } catch {
    throw new HttpError(115, `Unknown or wrong setting among: ${settings.map(([name]) => name).join(', ')}`, 'UNKNOWN_SETTING')
  }
  const database = url.searchParams.get('database') ?? 'default'
  try {
    session.query(`USE \`${database.replaceAll('`', '')}\``)
  } catch {
    session.close()
    throw new HttpError(81, `Database ${database} does not exist`, 'UNKNOWN_DATABASE')
  }
  return session
}

/** Values arrive escaped as TabSeparated fields, as SET param_… wants them. */
function bindings({ url }: Request): string {
  const sets = [...url.searchParams].filter(([name]) => name.startsWith('param_')).map(([name, value]) => `${name}='${value.replaceAll('\\', '\\\\').replaceAll("'", "\\'")}'`)
  return sets.length === 0 ? '' : `SET ${sets.join(', ')}`
}

function start(request: Request, message: IncomingMessage, response: ServerResponse, format: string, summary: Record<string, string>, tag?: string): NodeJS.WritableStream {
  response.setHeader('X-ClickHouse-Query-Id', request.id)
  response.setHeader('X-ClickHouse-Format', format)
  response.setHeader('X-ClickHouse-Timezone', 'UTC')
  response.setHeader('X-ClickHouse-Server-Display-Name', 'front')
  response.setHeader('X-ClickHouse-Summary', JSON.stringify({ read_rows: '0', read_bytes: '0', written_rows: '0', written_bytes: '0', result_rows: '0', ...summary }))
  if (tag !== undefined) response.setHeader('X-ClickHouse-Exception-Tag', tag)
  const zipped = request.url.searchParams.get('enable_http_compression') === '1' && /\bgzip\b/.test(message.headers['accept-encoding'] ?? '')
  if (!zipped) return response
  response.setHeader('Content-Encoding', 'gzip')
  const gzip = createGzip()
  gzip.pipe(response)
  return gzip
}

function sendError(response: ServerResponse, error: unknown): void {
  const text = (error as Error).message
  const code = Number(/^Code: (\d+)\./.exec(text)?.[1] ?? 1002)
  if (response.headersSent) return void response.destroy()
  const status = code === 516 ? 403 : [47, 60, 81].includes(code) ? 404 : [62, 115, 27, 117, 456].includes(code) ? 400 : 500
  response.removeHeader('Content-Encoding')
  response.writeHead(status, { 'content-type': 'text/plain; charset=UTF-8', 'X-ClickHouse-Exception-Code': String(code) })
  response.end(`${text} (version ${version} (official build))\n`)
}

function checkLogin(message: IncomingMessage, url: URL): void {
  if (args.user === undefined) return
  const basic = /^Basic (.+)$/.exec(message.headers.authorization ?? '')?.[1]
  const [user = '', password = ''] =
    basic === undefined ? [url.searchParams.get('user') ?? '', url.searchParams.get('password') ?? ''] : Buffer.from(basic, 'base64').toString().split(/:(.*)/s)
  if (user !== args.user || password !== (args.password ?? ''))
    throw new HttpError(516, `${user}: Authentication failed: password is incorrect, or there is no user with such name`, 'AUTHENTICATION_FAILED')
}

async function readBody(message: IncomingMessage): Promise<Buffer> {
  const chunks: Buffer[] = []
  let size = 0
  for await (const chunk of message as AsyncIterable<Buffer>) {
    size += chunk.length
    if (size > MAX_BODY) throw new HttpError(307, 'Limit for the size of a request exceeded', 'TOO_MANY_BYTES')
    chunks.push(chunk)
  }
  const body = Buffer.concat(chunks)
  return message.headers['content-encoding'] === 'gzip' ? gunzipSync(body) : body
}

const end = () => {
  anchor.close()
  process.exit(0)
}
process.on('SIGTERM', end)
if (args['with-parent'] === true) process.stdin.on('end', end).resume()
