/**
 * The two client libraries of Microsoft behind one function. `@azure/monitor-query` is the default; `@azure/monitor-query-logs`
 * supersedes it. They make the request, its address and its token; the answer is read here, by a step nearest to the wire, because
 * (measured) the successor 1.0.0 forgets the abort signal and fails on 204, the older 1.3.3 walks through every letter of every
 * cell (200,000 rows took 54 s of CPU, without it 2 s), and both turn datetime and large numbers into others. Nothing is tried
 * again inside the libraries.
 */
import { AsyncLocalStorage } from 'node:async_hooks'
import type { TokenCredential } from '@azure/identity'
import type { LogsQueryClientOptions } from '@azure/monitor-query'
import type { Clock } from '../../../runtime/clock.ts'
import { isAbort, messageOf, PermanentError, TransientError } from '../../../runtime/errors.ts'
import { plainText } from '../../../runtime/text.ts'
import { asLabel, asObject } from '../../shapes/json.ts'
import type { Answer, LogsApi, Span } from './api.ts'
import { answerOfFailure, type HttpFailure, nonsense } from './failure.ts'

type Policy = NonNullable<LogsQueryClientOptions['additionalPolicies']>[number]['policy']
type PolicyRequest = Parameters<Policy['sendRequest']>[0]
type PolicyResponse = Awaited<ReturnType<Policy['sendRequest']>>

export interface AdapterOptions {
  client: 'monitor-query' | 'monitor-query-logs'
  credential: TokenCredential
  /** Without path: https://api.loganalytics.io */
  endpoint: string
  audience: string
  /** Most seconds that the service works on one query, 1 to 600. */
  query_timeout_s: number
  /** For a stand-in without TLS: the token goes over the wire in the clear. */
  allow_insecure: boolean
  clock: Clock
}

export async function createLogsApi(options: AdapterOptions): Promise<LogsApi> {
  const calls = new AsyncLocalStorage<Call>()
  // The libraries refuse to send a token over plain HTTP; the policy behind them turns the address back.
  const endpoint = options.allow_insecure ? options.endpoint.replace(/^http:/, 'https:') : options.endpoint
  const clientOptions = {
    endpoint,
    retryOptions: { maxRetries: 0 },
    additionalPolicies: [{ policy: tidy(options, calls), position: 'perRetry' as const }],
  }
  const ask = await (options.client === 'monitor-query' ? openMonitorQuery(options, clientOptions) : openMonitorQueryLogs(options, clientOptions))
  return {
    queryWindow: async (workspace, kql, timespan, signal) => {
      const call: Call = { signal, challenge: undefined, body: undefined }
      try {
        await withinTime(
          calls.run(call, () => ask(workspace, kql, timespan, signal)),
          options.query_timeout_s + WIRE_S + TOKEN_S,
          signal,
        )
        return call.body === undefined ? { kind: 'empty' } : answerOf(call.body)
      } catch (error) {
        signal.throwIfAborted()
        return failed(call.challenge === undefined ? error : new HttpError(call.challenge), options.clock)
      }
    },
  }
}

/** Longer than the service may work: it answers 504 by itself, so this is for a wire that went dead. */
const WIRE_S = 30
/** For a token, which most calls have already. */
const TOKEN_S = 60

/**
 * The signal ends the request; what comes before it, the way to a token, hears of no signal (in both libraries), and an authority
 * that never answers would hold the stream for ever.
 */
async function withinTime<T>(work: Promise<T>, seconds: number, signal: AbortSignal): Promise<T> {
  const limit = AbortSignal.timeout(seconds * 1000)
  const end = AbortSignal.any([signal, limit])
  const { promise, reject } = Promise.withResolvers<never>()
  const stop = (): void => reject(limit.aborted ? new TransientError(`no token and no answer of the query service within ${seconds} s`) : end.reason)
  end.addEventListener('abort', stop, { once: true })
  try {
    signal.throwIfAborted()
    return await Promise.race([work, promise])
  } finally {
    end.removeEventListener('abort', stop)
    work.catch(() => undefined)
  }
}

/** What the policy must know of the call that it serves. */
interface Call {
  signal: AbortSignal
  /** The service asked for another token and got none. */
  challenge: HttpFailure | undefined
  /** Of a 200; undefined: there was none (204). */
  body: string | undefined
}

type Ask = (workspace: string, kql: string, timespan: Span, signal: AbortSignal) => Promise<unknown>
type ClientOptions = Pick<LogsQueryClientOptions, 'endpoint' | 'retryOptions' | 'additionalPolicies'>

async function openMonitorQuery({ credential, audience, query_timeout_s }: AdapterOptions, clientOptions: ClientOptions): Promise<Ask> {
  const { LogsQueryClient } = await import('@azure/monitor-query')
  const client = new LogsQueryClient(credential, { ...clientOptions, audience })
  return (workspace, kql, timespan, signal) => client.queryWorkspace(workspace, kql, intervalOf(timespan), { serverTimeoutInSeconds: query_timeout_s, abortSignal: signal })
}

async function openMonitorQueryLogs({ credential, audience, query_timeout_s }: AdapterOptions, clientOptions: ClientOptions): Promise<Ask> {
  const { LogsQueryClient } = await import('@azure/monitor-query-logs')
  const client = new LogsQueryClient(credential, { ...clientOptions, endpoint: `${clientOptions.endpoint}/v1`, credentials: { scopes: [`${audience}/.default`] } })
  return (workspace, kql, timespan) => client.queryWorkspace(workspace, kql, intervalOf(timespan), { serverTimeoutInSeconds: query_timeout_s })
}

const intervalOf = ({ from, to }: Span): { startTime: Date; endTime: Date } => ({ startTime: new Date(from), endTime: new Date(to) })

/** An answer that is none, as it came from the wire. */
class HttpError extends Error {
  readonly failure: HttpFailure
  constructor(failure: HttpFailure) {
    super(`HTTP ${failure.status}`)
    this.failure = failure
  }
}

/** The step nearest to the wire: abort, 204, failures, the time-out of the socket. */
function tidy({ allow_insecure, query_timeout_s }: AdapterOptions, calls: AsyncLocalStorage<Call>): Policy {
  return {
    name: 'tokenwatch',
    sendRequest: async (request: PolicyRequest, next: Policy['sendRequest'] extends (request: never, next: infer N) => unknown ? N : never): Promise<PolicyResponse> => {
      const call = calls.getStore()
      if (call !== undefined) request.abortSignal = call.signal
      request.timeout = (query_timeout_s + WIRE_S) * 1000
      if (allow_insecure) {
        request.url = request.url.replace(/^https:/, 'http:')
        request.allowInsecureConnection = true
      }
      const response = await next(request)
      const { status, headers } = response
      const failure = status === 200 || status === 204 ? undefined : { status, retry_after: headers.get('retry-after') ?? null, body: response.bodyAsText ?? null }
      // The step that holds the token answers a challenge by itself.
      const challenged = status === 401 && headers.has('www-authenticate')
      if (call !== undefined) Object.assign(call, { challenge: challenged ? failure : undefined, body: status === 200 ? (response.bodyAsText ?? '') : undefined })
      if (challenged) return response
      if (failure === undefined) {
        headers.set('content-type', 'application/json')
        return { ...response, status: 200, bodyAsText: NO_TABLE }
      }
      throw new HttpError(failure)
    },
  }
}

/** What the libraries get to read. */
const NO_TABLE = '{"tables":[]}'

/** Checked as if it came from anybody: a proxy may have written it. */
function answerOf(body: string): Answer {
  const parsed = parse(body)
  const { tables, error } = asObject(parsed) ?? {}
  const table = Array.isArray(tables) ? asObject(tables[0]) : null
  const { columns, rows } = table ?? {}
  // Some of the rows beside an error, or the error alone: the window has failed.
  if (error !== undefined && error !== null) return partialOf(error)
  if (!Array.isArray(columns) || !Array.isArray(rows) || !rows.every((row) => Array.isArray(row))) throw nonsense('no table in the answer')
  return { kind: 'table', columns: columns.map((column) => String(asObject(column)?.['name'])), rows }
}

function partialOf(error: unknown): Answer {
  const { code, message } = asObject(error) ?? {}
  return { kind: 'partial', why: 'partial', message: [code, message].map((part) => asLabel(part, 200)).join(': ') }
}

function parse(body: string): unknown {
  try {
    return JSON.parse(body)
  } catch {
    throw nonsense('no JSON')
  }
}

const UNREACHABLE = /ENOTFOUND|EAI_AGAIN|ECONN|ETIMEDOUT|network_error|endpoints_resolution/

function failed(error: unknown, clock: Clock): Answer {
  const http = httpErrorOf(error)
  if (http !== undefined) return answerOfFailure(http.failure, clock.now())
  if (error instanceof PermanentError || error instanceof TransientError) throw error
  const { name = '', statusCode } = error as { name?: string; statusCode?: number }
  // Of @azure/identity: no credential, a secret that expired, a tenant that does not exist; or nobody there to ask.
  if (/CredentialUnavailable|AuthenticationRequired|AggregateAuthentication|^AuthenticationError/.test(name)) {
    // A chain that found no identity tells of each link, also of those that nobody answers.
    if (!/^Aggregate|^CredentialUnavailable/.test(name) && ((statusCode ?? 0) >= 500 || UNREACHABLE.test(messageOf(error))))
      throw new TransientError(`no token for the query service now: ${firstLine(error)}`, { cause: error })
    const said = plainText(messageOf(error), 400)
    throw new PermanentError(`no token for the query service: ${said}: check \`credential\` (and that a secret or certificate has not expired)`, { cause: error })
  }
  if (statusCode === 401) return answerOfFailure({ status: 401, retry_after: null, body: null }, clock.now())
  if (isAbort(error)) return { kind: 'partial', why: 'timeout', message: 'no answer within the time-out' }
  throw new TransientError(`the query service cannot be reached: ${firstLine(error)}`, { cause: error })
}

function httpErrorOf(error: unknown): HttpError | undefined {
  for (let at = error, depth = 0; at instanceof Error && depth < 4; at = at.cause, depth++) if (at instanceof HttpError) return at
  return undefined
}

const firstLine = (error: unknown): string => (messageOf(error).split('\n')[0] ?? '').slice(0, 300)
