/** Asks for the counts and the rows of windows, and makes a window smaller until its answer is whole. */
import { sha256Hex } from '../../../runtime/ids.ts'
import { PermanentError, TransientError } from '../../../runtime/errors.ts'
import type { Logger } from '../../../runtime/log.ts'
import { counter } from '../../../runtime/metrics.ts'
import { asObject } from '../../shapes/json.ts'
import { instantOf } from '../../shapes/time.ts'
import type { Answer, LogsApi } from './api.ts'
import { nonsense, QueryRefused, ThrottledError } from './failure.ts'
import { rowsQuery, surveyQuery, type TableQuery } from './kql.ts'
import { type Bin, type Caps, exceeds, split, type Window } from './planner.ts'

const queriesTotal = counter('tokenwatch_azure_queries_total', 'queries to Azure Monitor by what came back', ['table', 'outcome'] as const)
const splitsTotal = counter('tokenwatch_azure_splits_total', 'windows that were asked again in two halves', ['table', 'why'] as const)

export interface Row {
  /** _ItemId, or a hash of the row where the table has none. */
  id: string
  /** TimeGenerated, epoch ms; 0 where the answer has none. */
  time: number
  /** ingestion_time(), epoch ms. */
  ingested: number
  /** The row as a JSON object, as the service wrote it. */
  body: string
}

interface ReaderOptions {
  api: LogsApi
  workspace: { id: string; name: string }
  query: TableQuery
  caps: Caps
  /** How far TimeGenerated may be from the ingestion, ms: a row outside is not found. */
  span_back: number
  span_ahead: number
  log: Logger
}

type Cut = Answer & { kind: 'partial' }
interface Size {
  rows: number
  /** 0: not measured. */
  bytes: number
}
/** Answers in part that one window may have before the loop takes a rest. */
interface Failures {
  left: number
}

const DAY_MS = 86_400_000
const MOST_FAILURES = 60
/** A thousand rows of the usual size are far below the byte cap; if not, the answer is cut, which is seen. */
const MEASURED_ABOVE = 1000

export class Reader {
  readonly #options: ReaderOptions
  /** False as soon as the table says that it has no _ItemId. */
  #item_ids = true
  #told_too_large = false

  constructor(options: ReaderOptions) {
    this.#options = options
  }

  /** How many rows the service counts in each bin of ingestion time that holds any, in order; not how many bytes. */
  survey(window: Window, size: number, signal: AbortSignal): Promise<Bin[]> {
    return this.#survey(window, { bin: size, measure: false }, { left: MOST_FAILURES }, signal)
  }

  /**
   * All rows of the window, in pieces that each came whole. `rows`: how many the service counted in it before; an answer with fewer
   * is not whole, whatever it says of itself.
   */
  async *rows(window: Window, rows: number, signal: AbortSignal): AsyncGenerator<Row[]> {
    yield* this.#rows(window, { rows, bytes: 0 }, { left: MOST_FAILURES }, signal)
  }

  async *#rows(window: Window, counted: Size, failures: Failures, signal: AbortSignal): AsyncGenerator<Row[]> {
    if (counted.rows === 0) return
    const { caps } = this.#options
    const known = counted.bytes > 0 || counted.rows <= MEASURED_ABOVE || exceeds(counted, caps) ? counted : await this.#measure(window, failures, signal)
    let halves: [Window, Window]
    if (exceeds(known, caps)) halves = this.#halves(window, 'too-large', `${known.rows} rows, ${known.bytes} bytes`)
    else {
      const answer = await this.#ask((item_ids) => rowsQuery(this.#options.query, window, item_ids), window, signal)
      const rows = answer.kind === 'table' ? this.#rowsOf(answer) : []
      if (answer.kind !== 'partial' && rows.length >= known.rows) {
        yield rows
        return
      }
      const why: Cut = answer.kind === 'partial' ? answer : { kind: 'partial', why: 'partial', message: `${rows.length} rows of ${known.rows}` }
      halves = this.#afterFailure(window, why, failures)
    }
    for (const half of halves) yield* this.#rows(half, await this.#measure(half, failures, signal), failures, signal)
  }

  async #measure(window: Window, failures: Failures, signal: AbortSignal): Promise<Size> {
    // A window may not begin where a bin does: the sum is what counts.
    const bins = await this.#survey(window, { bin: DAY_MS, measure: true }, failures, signal)
    return bins.reduce((sum, bin) => ({ rows: sum.rows + bin.rows, bytes: sum.bytes + bin.bytes }), { rows: 0, bytes: 0 })
  }

  async #survey(window: Window, shape: { bin: number; measure: boolean }, failures: Failures, signal: AbortSignal): Promise<Bin[]> {
    const answer = await this.#ask((item_ids) => surveyQuery(this.#options.query, window, shape, item_ids), window, signal)
    if (answer.kind === 'empty') return []
    if (answer.kind === 'partial') {
      const bins: Bin[] = []
      // Halves may cut a bin in two.
      for (const half of this.#afterFailure(window, answer, failures)) for (const bin of await this.#survey(half, shape, failures, signal)) add(bins, bin)
      return bins
    }
    const [from, rows, bytes] = columnsOf(answer, ['tw_bin', 'tw_rows', 'tw_bytes'])
    const bins = answer.rows.map((row) => binOf(row[from ?? -1], row[rows ?? -1], row[bytes ?? -1], shape.bin))
    return bins.sort((a, b) => a.from - b.from)
  }

  #afterFailure(window: Window, { why, message }: Cut, failures: Failures): [Window, Window] {
    // Smaller windows help against their size, not against a service that is unwell: halving on and on would be a storm of queries.
    if (failures.left-- <= 0) throw new TransientError(this.#named(`the service keeps answering in part: ${message}`))
    return this.#halves(window, why, message)
  }

  #halves(window: Window, why: string, message: string): [Window, Window] {
    splitsTotal.inc({ table: this.#options.query.table, why })
    const halves = split(window)
    // Asked again from the start of the window: a service that cannot give a thousandth of a second has another trouble.
    if (halves === undefined) throw new TransientError(this.#named(`even the smallest part of a second does not come whole: ${message}`))
    return halves
  }

  async #ask(kql: (item_ids: boolean) => string, window: Window, signal: AbortSignal): Promise<Answer> {
    const { api, workspace, query, span_back, span_ahead, log } = this.#options
    const timespan = { from: window.from - span_back, to: window.to + span_ahead }
    try {
      const answer = await api.queryWindow(workspace.id, kql(this.#item_ids), timespan, signal)
      queriesTotal.inc({ table: query.table, outcome: answer.kind })
      return answer
    } catch (error) {
      signal.throwIfAborted()
      queriesTotal.inc({ table: query.table, outcome: error instanceof ThrottledError ? 'throttled' : 'error' })
      if (error instanceof QueryRefused && this.#item_ids && error.detail.includes('_ItemId')) {
        this.#item_ids = false
        log.info('the table has no _ItemId: its rows are told apart by their content', { table: query.table })
        return this.#ask(kql, window, signal)
      }
      throw this.#withName(error)
    }
  }

  #rowsOf(answer: Answer & { kind: 'table' }): Row[] {
    const [ingestedAt = -1, timeAt = -1, idAt = -1, bodyAt = -1] = columnsOf(answer, ['tw_ingested', 'tw_time', 'tw_id', 'tw_row'])
    const twins = new Map<string, number>()
    return answer.rows.map((row) => {
      const [ingested, time, id, body] = [row[ingestedAt], row[timeAt], row[idAt], row[bodyAt]]
      const at = instantOf(ingested)
      if (at === null || typeof body !== 'string') throw nonsense('a row without its time of ingestion')
      return {
        id: typeof id === 'string' && id !== '' ? id : hashId(`${String(ingested)} ${canonical(body)}`, twins),
        time: instantOf(time) ?? 0,
        ingested: at,
        body: this.#body(body),
      }
    })
  }

  /** The service packs at most a megabyte into one value; what is longer comes empty. */
  #body(body: string): string {
    if (body !== '' && body !== '{}') return body
    if (!this.#told_too_large) this.#options.log.warn('a row is too large to be packed and cannot be read: project its largest columns away', { table: this.#options.query.table })
    this.#told_too_large = true
    return '{"tw_too_large":true}'
  }

  #named(message: string): string {
    const { workspace, query } = this.#options
    return `workspace ${workspace.name}, table ${query.table}: ${message}`
  }

  #withName(error: unknown): unknown {
    if (error instanceof TransientError) {
      const wait = error.retry_after_ms === undefined ? {} : { retry_after_ms: error.retry_after_ms }
      return new TransientError(this.#named(error.message), { cause: error, ...wait })
    }
    return error instanceof PermanentError ? new PermanentError(this.#named(error.message), { cause: error }) : error
  }
}

/** The service promises no order of the columns of a packed row: the same row may come as another text the next time. */
function canonical(body: string): string {
  try {
    return JSON.stringify(sorted(JSON.parse(body)))
  } catch {
    return body
  }
}

function sorted(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(sorted)
  const object = asObject(value)
  return object === null
    ? value
    : Object.fromEntries(
        Object.entries(object)
          .sort(([a], [b]) => (a < b ? -1 : 1))
          .map(([name, part]) => [name, sorted(part)]),
      )
}

/** Rows that agree in everything are two rows; numbered, each keeps its id when they are read again together. */
function hashId(text: string, twins: Map<string, number>): string {
  const hash = sha256Hex(text)
  const n = twins.get(hash) ?? 0
  twins.set(hash, n + 1)
  return n === 0 ? hash : `${hash}#${n}`
}

function columnsOf({ columns }: Answer & { kind: 'table' }, names: readonly string[]): number[] {
  const places = names.map((name) => columns.indexOf(name))
  if (places.includes(-1)) throw nonsense(`no column ${names[places.indexOf(-1)] ?? ''}`)
  return places
}

function binOf(from: unknown, rows: unknown, bytes: unknown, size: number): Bin {
  const at = instantOf(from)
  const [count, sum] = [Number(rows), Number(bytes)]
  if (at === null || !Number.isSafeInteger(count) || count < 0 || !(sum >= 0)) throw nonsense('a count that is none')
  return { from: at, to: at + size, rows: count, bytes: sum }
}

function add(bins: Bin[], bin: Bin): void {
  const last = bins.at(-1)
  if (last?.from === bin.from) Object.assign(last, { rows: last.rows + bin.rows, bytes: last.bytes + bin.bytes })
  else bins.push(bin)
}
