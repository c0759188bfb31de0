/** The HTTP front of a process: roles register routes; who may ask, how much and how long is decided here, once. */
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { Readable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import type { Clock } from './clock.ts'
import { isAbort, messageOf, PermanentError, TransientError, UsageError } from './errors.ts'
import { createGuard, isLoopback, parseListen, Refusal } from './http-guard.ts'
import type { Logger } from './log.ts'
import { registry } from './metrics.ts'

export interface HttpRequest {
  method: string
  path: string
  /** Values of `:name` parts of the route. */
  params: Readonly<Record<string, string>>
  query: URLSearchParams
  headers: IncomingMessage['headers']
  /** The caller has shown the token (not merely that none is needed). */
  authenticated: boolean
  /** Reads the body once, up to the cap of the route; a longer one is answered with 413. */
  body: () => Promise<Buffer>
  /** Aborts when the caller goes away or the server closes. */
  signal: AbortSignal
}

/** One of `json` and `body`; neither: empty. */
export interface HttpAnswer {
  status?: number
  headers?: Readonly<Record<string, string>>
  json?: unknown
  body?: string | Uint8Array | AsyncIterable<Uint8Array>
}

export type HttpHandler = (request: HttpRequest) => HttpAnswer | Promise<HttpAnswer>

export interface RouteOptions {
  /** open: no token and no Host check (probes of an orchestrator); default: as `listen` asks; token: always needs the token. */
  access?: 'open' | 'default' | 'token'
  /** Other sites may link to it (a page, nothing that costs or changes anything). */
  linkable?: boolean
  max_body_bytes?: number
}

/** What a room that serves HTTP exports. `path` may hold `:name` parts. */
export interface Route {
  method: 'GET' | 'POST'
  path: string
  handler: HttpHandler
  options?: RouteOptions
}

type ReadinessCheck = (signal: AbortSignal) => void | Promise<void>

export interface HttpServer {
  /** Where it listens, such as http://127.0.0.1:8787. */
  readonly url: string
  route(method: Route['method'], path: string, handler: HttpHandler, options?: RouteOptions): void
  routes(routes: readonly Route[]): void
  /** `/readyz` answers 200 once every check resolves; one that throws, or takes longer than a few seconds, makes it 503. */
  readiness(name: string, check: ReadinessCheck): void
  /** Takes no new requests, lets the running ones end for a few seconds, then cuts them. */
  close(): Promise<void>
}

interface HttpServerOptions {
  /** host:port; port 0 takes a free one. Anything but a loopback address needs a token. */
  listen: string
  /** Tokens of people and programs, from the config. */
  tokens?: readonly string[]
  /** The token of this run, which other commands of the same user find in run.json. */
  own_token?: string
  /** Further names that the Host header may carry (a reverse proxy's public name), without port. */
  hosts?: readonly string[]
  log: Logger
  clock: Clock
}

interface Compiled extends Route {
  pattern: RegExp
}

const MAX_BODY_BYTES = 1_048_576
const CLOSE_GRACE_MS = 5_000
const CHECK_LIMIT_MS = 3_000

/** Listens at once; `/healthz`, `/readyz` and `/metrics` are there from the start. Throws UsageError when the address is taken, not ours or not safe. */
export async function createHttpServer(options: HttpServerOptions): Promise<HttpServer> {
  const { host, port } = parseListen(options.listen)
  const tokens = options.tokens ?? []
  if (!isLoopback(host) && tokens.length === 0) {
    throw new UsageError(`console.listen is ${options.listen}, which other machines can reach, so it needs console.token: {env: NAME} or {file: PATH}; or listen on 127.0.0.1`)
  }
  const guard = createGuard({ host, tokens: options.own_token === undefined ? tokens : [...tokens, options.own_token], hosts: options.hosts ?? [] })
  const table: Compiled[] = []
  const checks = new Map<string, ReadinessCheck>()
  const stopping = new AbortController()
  const server = createServer({ requestTimeout: 30_000, headersTimeout: 10_000, keepAliveTimeout: 5_000, maxHeaderSize: 65_536 }, (request, response) => {
    void answerRequest(request, response).catch((error: unknown) => {
      if (!isAbort(error)) options.log.warn('an HTTP answer broke off', { error })
      response.destroy()
    })
  })
  const answerRequest = async (request: IncomingMessage, response: ServerResponse): Promise<void> => {
    for (const [name, value] of Object.entries(SECURITY_HEADERS)) response.setHeader(name, value)
    const gone = new AbortController()
    response.on('close', () => gone.abort())
    const signal = AbortSignal.any([gone.signal, stopping.signal])
    const answer = await resolveAnswer(request, signal)
    // While we close, a connection that is kept alive would be waited for.
    if (!server.listening) response.setHeader('connection', 'close')
    await send(request, response, answer, signal)
  }

  const resolveAnswer = async (request: IncomingMessage, signal: AbortSignal): Promise<HttpAnswer> => {
    try {
      const target = URL.parse(request.url ?? '/', 'http://internal')
      if (!target) throw new Refusal(400, 'the request target is not a URL path')
      const { route, params } = find(table, request.method ?? 'GET', target.pathname)
      const authenticated = guard(request, route.options ?? {})
      const body = () => readBody(request, route.options?.max_body_bytes ?? MAX_BODY_BYTES)
      return await route.handler({
        method: request.method ?? 'GET',
        path: target.pathname,
        params,
        query: target.searchParams,
        headers: request.headers,
        authenticated,
        body,
        signal,
      })
    } catch (error) {
      return failure(error, options.log)
    }
  }

  await bind(server, host, port, options.listen)
  const front: HttpServer = {
    url: urlOf(host, (server.address() as AddressInfo).port),
    route: (method, path, handler, routeOptions = {}) => {
      table.push({ method, path, handler, options: routeOptions, pattern: new RegExp(`^${path.replace(/[.+*?^$()[\]{}|\\]/g, '\\$&').replace(/:(\w+)/g, '(?<$1>[^/]+)')}$`) })
    },
    routes: (routes) => routes.forEach((each) => front.route(each.method, each.path, each.handler, each.options)),
    readiness: (name, check) => void checks.set(name, check),
    close: () => shut(server, stopping),
  }
  front.route('GET', '/healthz', () => ({ json: { alive: true } }), { access: 'open' })
  front.route('GET', '/readyz', () => readyAnswer(checks, options), { access: 'open' })
  front.route('GET', '/metrics', async () => ({ headers: { 'content-type': registry.contentType }, body: await registry.metrics() }))
  return front
}

// Nothing foreign is ever loaded, framed, guessed or told where the reader came from.
const SECURITY_HEADERS = {
  'content-security-policy': "default-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'; object-src 'none'",
  'x-content-type-options': 'nosniff',
  'referrer-policy': 'no-referrer',
  'x-frame-options': 'DENY',
  'cross-origin-opener-policy': 'same-origin',
  'cross-origin-resource-policy': 'same-origin',
  'permissions-policy': 'camera=(), geolocation=(), microphone=()',
  'cache-control': 'no-store',
} as const

function find(table: readonly Compiled[], method: string, path: string): { route: Compiled; params: Record<string, string> } {
  const wanted = method === 'HEAD' ? 'GET' : method
  let known = false
  for (const route of table) {
    const match = route.pattern.exec(path)
    if (!match) continue
    known = true
    if (route.method !== wanted) continue
    return { route, params: Object.fromEntries(Object.entries(match.groups ?? {}).map(([name, value]) => [name, decode(value)])) }
  }
  if (known) throw new Refusal(405, `${method} is not possible on ${path}`)
  throw new Refusal(404, `there is no ${path} here; the console is at /`)
}

function decode(text: string): string {
  try {
    return decodeURIComponent(text)
  } catch {
    throw new Refusal(400, 'the path holds a broken percent escape')
  }
}

async function readBody(request: IncomingMessage, limit: number): Promise<Buffer> {
  const tooLong = () => new Refusal(413, `the body is longer than ${limit} bytes`)
  if (Number(request.headers['content-length'] ?? 0) > limit) throw tooLong()
  const chunks: Buffer[] = []
  let size = 0
  for await (const chunk of request as AsyncIterable<Buffer>) {
    size += chunk.length
    if (size > limit) throw tooLong()
    chunks.push(chunk)
  }
  return Buffer.concat(chunks)
}

/** The status says whose fault it is; the text says what to do. Unexpected errors are logged, not shown. */
function failure(error: unknown, log: Logger): HttpAnswer {
  if (error instanceof Refusal) return { status: error.status, headers: error.headers, json: { error: error.message } }
  if (error instanceof UsageError) return { status: 400, json: { error: error.message } }
  if (error instanceof PermanentError) return { status: 422, json: { error: error.message } }
  if (error instanceof TransientError) return { status: 503, headers: { 'retry-after': '2' }, json: { error: error.message } }
  if (isAbort(error)) return { status: 499 }
  log.error('an HTTP handler failed', { error })
  return { status: 500, json: { error: 'something went wrong in Tokenwatch; its log has the reason' } }
}

async function send(request: IncomingMessage, response: ServerResponse, answer: HttpAnswer, signal: AbortSignal): Promise<void> {
  const body = answer.json === undefined ? (answer.body ?? '') : `${JSON.stringify(answer.json)}\n`
  if (response.destroyed) return
  response.statusCode = answer.status ?? 200
  if (answer.json !== undefined) response.setHeader('content-type', 'application/json; charset=utf-8')
  for (const [name, value] of Object.entries(answer.headers ?? {})) response.setHeader(name, value)
  // A body that nobody read (a refusal) would otherwise be taken for the next request of this connection.
  if (!request.complete) response.setHeader('connection', 'close')
  if (request.method === 'HEAD') return void response.end()
  if (typeof body === 'string' || body instanceof Uint8Array) {
    response.setHeader('content-length', Buffer.byteLength(body))
    return void response.end(body)
  }
  await pipeline(Readable.from(body), response, { signal })
}

async function readyAnswer(checks: ReadonlyMap<string, ReadinessCheck>, { clock, log }: HttpServerOptions): Promise<HttpAnswer> {
  const states = await Promise.all(
    [...checks].map(async ([name, check]) => {
      const stop = new AbortController()
      const late = clock.sleep(CHECK_LIMIT_MS, stop.signal).then(() => Promise.reject(new Error('no answer in time')))
      late.catch(() => {})
      try {
        await Promise.race([Promise.resolve().then(() => check(stop.signal)), late])
        return [name, true] as const
      } catch (error) {
        log.debug('not ready', { check: name, error: messageOf(error) })
        return [name, false] as const
      } finally {
        stop.abort()
      }
    }),
  )
  const ready = states.every(([, ok]) => ok)
  return { status: ready ? 200 : 503, json: { ready, checks: Object.fromEntries(states) } }
}

// A wildcard address is reached from here by the loopback one.
const urlOf = (host: string, port: number): string => `http://${host === '0.0.0.0' || host === '::' ? '127.0.0.1' : host.includes(':') ? `[${host}]` : host}:${port}`

function bind(server: Server, host: string, port: number, listen: string): Promise<void> {
  return new Promise((resolve, reject) => {
    const fail = (error: NodeJS.ErrnoException) => {
      const why: Record<string, string> = {
        EADDRINUSE: 'another process listens there already: stop it, or choose another console.listen',
        EACCES: 'this port needs more rights: choose one above 1023 in console.listen',
        EADDRNOTAVAIL: 'this machine does not have that address: correct console.listen',
        ENOTFOUND: 'that host name is not known here: correct console.listen',
      }
      reject(new UsageError(`cannot listen on ${listen}: ${why[error.code ?? ''] ?? error.message}`))
    }
    server.once('error', fail)
    server.listen(port, host, () => {
      server.off('error', fail)
      resolve()
    })
  })
}

async function shut(server: Server, stopping: AbortController): Promise<void> {
  if (!server.listening) return
  const cut = setTimeout(() => {
    stopping.abort()
    server.closeAllConnections()
  }, CLOSE_GRACE_MS)
  await new Promise<void>((resolve) => {
    server.close(() => resolve())
    server.closeIdleConnections()
  })
  clearTimeout(cut)
}
