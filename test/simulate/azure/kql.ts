/** As much of the Kusto Query Language as a collector needs; everything else is refused, so that a sloppy query does not pass. */
import type { ModelRow } from './model.ts'

const DAY_MS = 86_400_000

/** `code` is the innererror code of the service. */
export class KqlError extends Error {
  readonly code: string
  constructor(code: string, message: string) {
    super(message)
    this.code = code
  }
}

export type Statement =
  | { kind: 'print' }
  | {
      kind: 'table'
      table: string
      /** Bounds of ingestion_time(), epoch ms: from ≤ t < to. */
      from: number
      to: number
      names_item_id: boolean
      filters: ((columns: Record<string, unknown>, row: ModelRow) => boolean)[]
      /** Columns that own steps take away. */
      away: string[]
      shape: { kind: 'rows' } | { kind: 'survey'; bin: number; measure: boolean }
    }

const DATETIME = String.raw`datetime\(([^)]+)\)`
const WINDOW = new RegExp(`^where ingestion_time\\(\\) >= ${DATETIME} and ingestion_time\\(\\) < ${DATETIME}$`)
const SURVEY = /^summarize tw_rows = count\(\), tw_bytes = sum\((0|string_size\(tostring\(pack_all\(true\)\)\))\) by tw_bin = bin\(tw_ingested, (\d+)ms\)$/
const ROWS =
  /^project tw_ingested = tostring\(tw_ingested\), tw_time = tostring\(tw_time\), tw_id, tw_row = tostring\(bag_remove_keys\(pack_all\(true\), dynamic\(\["tw_ingested","tw_time","tw_id"\]\)\)\)$/

export function parseKql(text: string): Statement {
  if (text.trim() === 'print tw_now = tostring(now())') return { kind: 'print' }
  const [table = '', ...steps] = text.split('\n').map((line) => line.replace(/^\| /, '').trim())
  if (!/^[A-Za-z]\w*$/.test(table)) throw new KqlError('SyntaxError', 'Syntax Error')
  const found: Extract<Statement, { kind: 'table' }> = { kind: 'table', table, from: -Infinity, to: Infinity, names_item_id: false, filters: [], away: [], shape: { kind: 'rows' } }
  let shaped = false
  for (const step of steps) {
    const window = WINDOW.exec(step)
    const part = /^where hash\((tw_id|strcat\(tostring\(tw_ingested\), tostring\(tw_time\)\)), (\d+)\) == (\d+)$/.exec(step)
    const equals = /^where (\w+) (==|!=|startswith) "([^"]*)"$/.exec(step)
    const present = /^where isnotempty\((\w+)\)$/.exec(step)
    const survey = SURVEY.exec(step)
    if (window !== null) [found.from, found.to] = [instant(window[1]), instant(window[2])]
    else if (/^extend tw_ingested = ingestion_time\(\), tw_time = TimeGenerated, tw_id = (_ItemId|"")$/.test(step)) found.names_item_id = step.includes('_ItemId')
    else if (/^extend (\w+) = tostring\(\1\)$/.test(step)) continue
    else if (/^project-away [\w, ]+$/.test(step)) found.away.push(...step.slice('project-away '.length).split(/, */))
    else if (part !== null)
      found.filters.push(
        (_columns, row) => hash(part[1] === 'tw_id' ? row.item_id : datetime(row.ingested_at, row.ticks ?? 0) + datetime(storedTime(row), 0)) % Number(part[2]) === Number(part[3]),
      )
    else if (equals !== null) found.filters.push((columns) => compares(columns[equals[1] ?? ''], equals[2] ?? '', equals[3] ?? ''))
    else if (present !== null) found.filters.push((columns) => (columns[present[1] ?? ''] ?? '') !== '')
    else if (survey !== null) [found.shape, shaped] = [{ kind: 'survey', bin: Number(survey[2]), measure: survey[1] !== '0' }, true]
    else if (ROWS.test(step)) shaped = true
    else if (step !== 'project tw_bin = tostring(tw_bin), tw_rows, tw_bytes' && step !== 'order by tw_ingested asc, tw_id asc')
      throw new KqlError('SyntaxError', `Syntax Error: ${step}`)
  }
  if (!shaped) throw new KqlError('SyntaxError', 'Syntax Error: no shape')
  return found
}

interface Result {
  columns: { name: string; type: string }[]
  rows: unknown[][]
}

/** `rows` are those of the window that can be seen; `reverse`: packed columns in another order. */
export function evaluate(statement: Statement, rows: readonly ModelRow[], now: number, reverse = false): Result {
  if (statement.kind === 'print') return { columns: columnsOf(['tw_now']), rows: [[datetime(now, 0)]] }
  const kept = statement.filters.length === 0 ? rows : rows.filter((row) => statement.filters.every((filter) => filter(parsed(row.body), row)))
  if (statement.shape.kind === 'survey') return survey(kept, statement.shape)
  const values = kept.map((row) => [
    datetime(row.ingested_at, row.ticks ?? 0),
    datetime(storedTime(row), 0),
    statement.names_item_id ? row.item_id : '',
    bodyOf(row.body, statement.away, reverse),
  ])
  values.sort((a, b) => compare(a[0], b[0]) || compare(a[2], b[2]))
  return { columns: columnsOf(['tw_ingested', 'tw_time', 'tw_id', 'tw_row']), rows: values }
}

function survey(rows: readonly ModelRow[], { bin: size, measure }: { bin: number; measure: boolean }): Result {
  const bins = new Map<number, { rows: number; bytes: number }>()
  for (const row of rows) {
    const bin = row.ingested_at - (row.ingested_at % size)
    const sum = bins.get(bin) ?? { rows: 0, bytes: 0 }
    bins.set(bin, { rows: sum.rows + 1, bytes: sum.bytes + (measure ? row.body.length : 0) })
  }
  const columns = [...columnsOf(['tw_bin']), { name: 'tw_rows', type: 'long' }, { name: 'tw_bytes', type: 'long' }]
  return { columns, rows: [...bins].map(([bin, sum]) => [datetime(bin, 0), sum.rows, sum.bytes]) }
}

const columnsOf = (names: readonly string[]): { name: string; type: string }[] => names.map((name) => ({ name, type: 'string' }))

/** Seven digits after the point, as the service writes a datetime. */
const datetime = (ms: number, ticks: number): string => `${new Date(ms).toISOString().slice(0, -1)}${String(ticks).padStart(4, '0')}Z`

function instant(text: string | undefined): number {
  const at = Date.parse(text ?? '')
  if (Number.isNaN(at)) throw new KqlError('SemanticError', `not a datetime: ${text}`)
  return at
}

const parsed = (body: string): Record<string, unknown> => JSON.parse(body) as Record<string, unknown>
const compare = (a: unknown, b: unknown): number => (String(a) < String(b) ? -1 : String(a) > String(b) ? 1 : 0)

function compares(value: unknown, operator: string, wanted: string): boolean {
  if (operator === 'startswith') return String(value).toLowerCase().startsWith(wanted.toLowerCase())
  return (value === wanted) === (operator === '==')
}

/** pack_all(): documented as of any order, so it has another one each time (`reverse`). */
function bodyOf(body: string, away: readonly string[], reverse: boolean): string {
  if (away.length === 0 && !reverse) return body
  const columns = Object.entries(parsed(body)).filter(([name]) => !away.includes(name))
  return JSON.stringify(Object.fromEntries(reverse ? columns.toReversed() : columns))
}

/** FNV-1a: any hash will do, as long as it spreads. */
function hash(text: string): number {
  let value = 0x811c9dc5
  for (let n = 0; n < text.length; n++) value = Math.imul(value ^ text.charCodeAt(n), 0x01000193) >>> 0
  return value
}

/** The row as the service stores it: a TimeGenerated that is too far off becomes the time of arrival. */
export const storedTime = (row: ModelRow): number => (row.event_time < row.ingested_at - 2 * DAY_MS || row.event_time > row.ingested_at + DAY_MS ? row.ingested_at : row.event_time)
