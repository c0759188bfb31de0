/**
 * A model of Azure Monitor Logs: workspaces, tables and the single-query call, as Microsoft documents them. No time of its own
 * and no chance of its own, so that a run can be repeated.
 *
 * How it is driven (a seeded runner needs nothing else):
 *   const model = new LogAnalytics({ clock })            // `clock.now()` is the true time of the service
 *   model.workspace('ws')                                // or { access: 'denied' } | { answers: 'nonsense' } …
 *   model.table('ws', 'AZKVAuditLogs', { item_ids: true, plan: 'analytics' })
 *   model.put('ws', 'AZKVAuditLogs', [{ item_id, event_time, ingested_at, visible_at, body }])
 *   model.fault = (request, n) => ({ kind: 'partial', keep: 0.5 })   // undefined: answered as it should be
 *   const api = inProcess(model, { around })             // in-process.ts: the port `LogsApi` of the source, no HTTP
 *   azureSources(api, config.parse({ workspaces: [{ id: <guid>, name: 'w' }], tables: ['AZKVAuditLogs'] }), { clock, log })
 *                                                        // ingest/sources/azure-monitor: one Source per workspace and table
 *   const server = await serveLogs(model, { token })     // http.ts: the same model behind a local HTTP server, for the real clients
 *   model.requests                                       // everything that was asked, with times: rate and amplification
 *   model.rows('ws', 'AZKVAuditLogs')                    // the oracle: every row, visible or not
 *
 * `ingested_at` is what ingestion_time() says; `visible_at` (same or later) is when a query can see the row: Microsoft says that
 * overlapping ingestions may become visible in any order. What becomes visible more than `deep_recount_over` (15 d) after its
 * ingested_at is beyond what the source promises; an event may be up to 14 days older than its ingestion. Both are epoch ms of
 * the service's clock. A collector with a skewed clock is a Clock that adds to this one. `body` is the row as a JSON object with the columns of the table.
 */
import type { Clock } from '../../../runtime/clock.ts'
import { evaluate, KqlError, parseKql, type Statement, storedTime } from './kql.ts'

export interface ModelRow {
  item_id: string
  /** TimeGenerated, epoch ms. Older than 2 days or more than a day ahead at ingestion: the service puts the arrival time there. */
  event_time: number
  ingested_at: number
  /** 100 ns units below the millisecond of ingested_at, 0 … 9999. */
  ticks?: number
  visible_at: number
  body: string
}

export interface ModelRequest {
  workspace: string
  query: string
  /** ISO 8601 interval of TimeGenerated; '' for none. */
  timespan: string
}

/** What goes wrong with one request. */
export type Fault =
  /** 429 and 5xx; retry_after in seconds. */
  | { kind: 'status'; status: number; retry_after?: number }
  /** 200 with a share of the rows and an `error`. */
  | { kind: 'partial'; keep: number }
  /** 200 with a share of the rows and no word about it. Not documented; a collector that counts first survives it. */
  | { kind: 'short'; keep: number }
  | { kind: 'no-content' }
  | { kind: 'nonsense'; body: string }
  /** No answer until the caller gives up. */
  | { kind: 'hang' }

export interface Reply {
  status: number
  headers: Readonly<Record<string, string>>
  /** null: no body. */
  body: string | null
  hangs?: boolean
}

export interface TableOptions {
  plan?: 'analytics' | 'basic' | 'auxiliary'
  /** false: the table has no _ItemId, a query that names it is refused. */
  item_ids?: boolean
  /** Each answer gives the columns of a packed row in another order, as documented; default: as they were put, for oracles that compare texts. */
  any_order?: boolean
}

export interface WorkspaceOptions {
  access?: 'granted' | 'denied'
  answers?: 'sense' | 'nonsense' | 'not-found'
}

/** The documented caps; tests make them small. */
export interface ModelLimits {
  rows: number
  bytes: number
  /** Requests in 30 s by one caller; the next one gets 429. */
  requests: number
  /** A query over more rows than this runs into the time-out (504). */
  slow_rows: number
}

interface Table extends Required<TableOptions> {
  rows: ModelRow[]
  sorted: boolean
}

const DEFAULT_LIMITS: ModelLimits = { rows: 500_000, bytes: 64_000_000, requests: 200, slow_rows: Infinity }

export class LogAnalytics {
  readonly limits: ModelLimits
  /** Every request with the time of its arrival and its answer. */
  readonly requests: (ModelRequest & { at: number; status: number; rows: number })[] = []
  fault: ((request: ModelRequest, n: number) => Fault | undefined) | undefined
  readonly #clock: Pick<Clock, 'now'>
  readonly #workspaces = new Map<string, { options: WorkspaceOptions; tables: Map<string, Table> }>()

  constructor(options: { clock: Pick<Clock, 'now'>; limits?: Partial<ModelLimits> }) {
    this.#clock = options.clock
    this.limits = { ...DEFAULT_LIMITS, ...options.limits }
  }

  /** Makes a workspace, or changes how one behaves (a role revoked, granted again). */
  workspace(id: string, options: WorkspaceOptions = {}): void {
    const there = this.#workspaces.get(id)
    if (there === undefined) this.#workspaces.set(id, { options, tables: new Map() })
    else there.options = options
  }

  table(workspace: string, name: string, options: TableOptions = {}): void {
    const { tables } = this.#there(workspace)
    const rows = tables.get(name)?.rows ?? []
    tables.set(name, { plan: options.plan ?? 'analytics', item_ids: options.item_ids ?? true, any_order: options.any_order ?? false, rows, sorted: false })
  }

  dropTable(workspace: string, name: string): void {
    this.#there(workspace).tables.delete(name)
  }

  put(workspace: string, name: string, rows: readonly ModelRow[]): void {
    const table = this.#there(workspace).tables.get(name)
    if (table === undefined) throw new Error(`no table ${name}`)
    for (const row of rows) table.rows.push(row)
    table.sorted = false
  }

  rows(workspace: string, name: string): readonly ModelRow[] {
    return this.#there(workspace).tables.get(name)?.rows ?? []
  }

  /** The true time of the service. */
  now(): number {
    return this.#clock.now()
  }

  /** One request, answered at the time of the clock. */
  query(request: ModelRequest): Reply {
    const at = this.#clock.now()
    const fault = this.fault?.(request, this.requests.length)
    const { reply, rows } = this.#answer(request, at, fault)
    this.requests.push({ ...request, at, status: reply.status, rows })
    return reply
  }

  #answer(request: ModelRequest, at: number, fault: Fault | undefined): { reply: Reply; rows: number } {
    const simple = (reply: Reply): { reply: Reply; rows: number } => ({ reply, rows: 0 })
    if (fault?.kind === 'hang') return simple({ status: 200, headers: {}, body: null, hangs: true })
    if (fault?.kind === 'status') return simple(statusReply(fault.status, fault.retry_after))
    if (this.#tooMany(at)) return simple(statusReply(429, 5))
    const workspace = this.#workspaces.get(request.workspace)
    if (workspace === undefined || workspace.options.answers === 'not-found')
      return simple(errorReply(404, 'WorkspaceNotFoundError', `The workspace could not be found: ${request.workspace}`))
    if (workspace.options.access === 'denied')
      return simple(errorReply(403, 'InsufficientAccessError', 'The provided credentials have insufficient access to perform the requested operation'))
    if (workspace.options.answers === 'nonsense') return simple({ status: 200, headers: { 'content-type': 'text/html' }, body: '<html><body>Sign in to the network</body></html>' })
    if (fault?.kind === 'nonsense') return simple({ status: 200, headers: JSON_TYPE, body: fault.body })
    if (fault?.kind === 'no-content') return simple({ status: 204, headers: {}, body: null })
    try {
      return this.#run(parseKql(request.query), workspace.tables, request.timespan, at, fault)
    } catch (error) {
      if (!(error instanceof KqlError)) throw error
      const inner = { code: error.code, message: error.message }
      // Errors of meaning are nested once more.
      const nested = error.code === 'SemanticError' ? { code: error.code, message: 'A semantic error occurred.', innererror: { ...inner, code: 'SEM0100' } } : inner
      return simple(errorReply(400, 'BadArgumentError', 'The request had some invalid properties', nested))
    }
  }

  #run(statement: Statement, tables: ReadonlyMap<string, Table>, timespan: string, at: number, fault: Fault | undefined): { reply: Reply; rows: number } {
    if (statement.kind === 'print') return { reply: tableReply(evaluate(statement, [], at)), rows: 1 }
    if (tables.size === 0) return { reply: { status: 204, headers: {}, body: null }, rows: 0 }
    const table = tables.get(statement.table)
    if (table === undefined) throw new KqlError('SemanticError', `'where' operator: Failed to resolve table expression named '${statement.table}'`)
    if (table.plan !== 'analytics')
      throw new KqlError('UnsupportedApiQueryValidationError', `Query of ${table.plan === 'basic' ? 'Basic' : 'Auxiliary'} Logs table is not supported with this API`)
    if (!table.item_ids && statement.names_item_id) throw new KqlError('SemanticError', "Failed to resolve scalar expression named '_ItemId'")
    const visible = inSpan(window(sorted(table), statement.from, statement.to), timespan).filter((row) => row.visible_at <= at)
    if (visible.length > this.limits.slow_rows) return { reply: statusReply(504), rows: 0 }
    const result = evaluate(statement, visible, at, table.any_order && this.requests.length % 2 === 1)
    const { rows } = result
    if (fault?.kind === 'partial') return { reply: tableReply({ ...result, rows: rows.slice(0, Math.floor(rows.length * fault.keep)) }, PARTIAL), rows: rows.length }
    if (fault?.kind === 'short') return { reply: tableReply({ ...result, rows: rows.slice(0, Math.floor(rows.length * fault.keep)) }), rows: rows.length }
    const kept = this.#capped(rows)
    return { reply: tableReply({ ...result, rows: kept }, kept.length < rows.length ? PARTIAL : undefined), rows: kept.length }
  }

  #capped(rows: unknown[][]): unknown[][] {
    const capped = rows.length > this.limits.rows ? rows.slice(0, this.limits.rows) : rows
    let bytes = 0
    const end = capped.findIndex((row) => {
      for (const cell of row) bytes += typeof cell === 'string' ? cell.length : 8
      return bytes > this.limits.bytes
    })
    return end === -1 ? capped : capped.slice(0, end)
  }

  #tooMany(at: number): boolean {
    let recent = 0
    for (let n = this.requests.length - 1; n >= 0; n--) {
      const request = this.requests[n]
      if (request === undefined || request.at <= at - 30_000) break
      recent++
    }
    return recent >= this.limits.requests
  }

  #there(id: string): { options: WorkspaceOptions; tables: Map<string, Table> } {
    const workspace = this.#workspaces.get(id)
    if (workspace === undefined) throw new Error(`no workspace ${id}`)
    return workspace
  }
}

const JSON_TYPE = { 'content-type': 'application/json; charset=utf-8' }
const PARTIAL = {
  code: 'PartialError',
  message: 'There were some errors when processing your query.',
  details: [{ code: 'EngineError', message: 'Something went wrong processing your query on the server.' }],
  innererror: { code: '-2133196797', message: 'The results of this query exceed the set limit of rows or bytes, so not all records were returned (E_QUERY_RESULT_SET_TOO_LARGE).' },
}

function sorted(table: Table): ModelRow[] {
  if (!table.sorted) table.rows.sort((a, b) => a.ingested_at - b.ingested_at)
  table.sorted = true
  return table.rows
}

/** ingestion_time() in [from, to), by binary search: a simulation asks some thousand times. */
function window(rows: readonly ModelRow[], from: number, to: number): ModelRow[] {
  const first = (time: number): number => {
    let [low, high] = [0, rows.length]
    while (low < high) {
      const middle = (low + high) >>> 1
      if ((rows[middle]?.ingested_at ?? Infinity) < time) low = middle + 1
      else high = middle
    }
    return low
  }
  return rows.slice(first(from), first(to))
}

function inSpan(rows: ModelRow[], timespan: string): ModelRow[] {
  const [from, to] = timespan.split('/').map((text) => Date.parse(text))
  if (from === undefined || to === undefined) return rows
  return rows.filter((row) => storedTime(row) >= from && storedTime(row) < to)
}

function tableReply({ columns, rows }: { columns: { name: string; type: string }[]; rows: unknown[][] }, error?: unknown): Reply {
  return { status: 200, headers: JSON_TYPE, body: JSON.stringify({ tables: [{ name: 'PrimaryResult', columns, rows }], ...(error === undefined ? {} : { error }) }) }
}

function statusReply(status: number, retry_after?: number): Reply {
  const code = { 429: 'ThrottledError', 504: 'GatewayTimeout', 503: 'ServiceUnavailable' }[status] ?? 'InternalServerError'
  const reply = errorReply(status, code, 'The service cannot answer now')
  return retry_after === undefined ? reply : { ...reply, headers: { ...reply.headers, 'retry-after': String(retry_after) } }
}

const errorReply = (status: number, code: string, message: string, innererror?: unknown): Reply => ({
  status,
  headers: JSON_TYPE,
  body: JSON.stringify({ error: { message, code, ...(innererror === undefined ? {} : { innererror }) } }),
})
