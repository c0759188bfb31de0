/**
 * Queries from people: one statement that reads, nothing outside the database. The engine's read-only mode is the wall for
 * everything that writes; this is the fence for what it lets through: INTO OUTFILE, USE, the scalar function file(), s3().
 */
import { PermanentError } from '../runtime/errors.ts'
import { codeOf } from './sql.ts'
import type { ParameterFields, Store } from './store.ts'

const DEFAULT_FORMAT = 'JSONEachRow'
// USE and SET would change the connection for the next person; everything that writes is refused by readonly=1 as well.
const READS = /^\s*\(*\s*(SELECT|WITH|SHOW|DESCRIBE|DESC|EXPLAIN|EXISTS)\b/i

// Table functions that only make rows or look at tables of this database. Every other one reaches for files or the network.
const HARMLESS = [
  'numbers',
  'numbers_mt',
  'zeros',
  'zeros_mt',
  'primes',
  'generateseries',
  'generate_series',
  'generaterandom',
  'values',
  'null',
  'view',
  'merge',
  'format',
  'dictionary',
]
// Scalar functions that read files, models or the request, or call out.
const OUTSIDE = /^(file|catboostevaluate|getclienthttpheader|filesystem\w*|ai[a-z]+|sleep|sleepeachrow|addresstoline\w*|addresstosymbol)$/

export interface PersonsQuery {
  format?: string
  fields?: ParameterFields
}

interface Outside {
  /** Dangerous where they are called. */
  table: ReadonlySet<string>
  /** Dangerous wherever they are named: arrayMap(file, …) and `* APPLY file` call them without a bracket. */
  scalar: ReadonlySet<string>
}

/**
 * Gives the check: text in, the statement without comments and FORMAT clause and the format to use out (the one in the text
 * wins). It throws PermanentError with what is wrong. The text is taken apart by ClickHouse's own parser, never by ours:
 * wrapping it in a sub-select would let `SELECT 1) ; SELECT (2` through, and a name can be quoted in four ways.
 */
export function personsQueryCheck(store: () => Pick<Store, 'query'>): (sql: string, options: PersonsQuery) => Promise<{ sql: string; format: string }> {
  let functions: Promise<Outside> | undefined
  const refused = () =>
    (functions ??= outsideFunctions(store()).catch((error: unknown) => {
      functions = undefined
      throw error
    }))
  return async (sql, options) => {
    const checked = await singleStatement(store(), sql, options.format)
    const select = selectInside(checked.sql)
    if (select === undefined) return checked
    const outside = await refused()
    checkNames(select, outside, options.fields ?? {})
    // EXPLAIN AST only parses: nothing of the statement runs.
    const tree = await store().query<{ explain: string }>(`SELECT explain FROM (EXPLAIN AST ${select})`, { fields: options.fields ?? {} })
    for (const { explain } of tree) {
      const name = /^\s*Function (.+?)(?: \(alias .*)?(?: \(children \d+\))?$/.exec(explain)?.[1]?.toLowerCase()
      if (name !== undefined && (outside.table.has(name) || outside.scalar.has(name))) throw reachesOutside(name)
    }
    return checked
  }
}

async function outsideFunctions(store: Pick<Store, 'query'>): Promise<Outside> {
  const rows = await store.query<{ name: string; kind: string }>(
    `SELECT DISTINCT lower(name) AS name, 'table' AS kind FROM system.table_functions UNION ALL SELECT DISTINCT lower(name), 'scalar' FROM system.functions`,
  )
  const of = (kind: string) => rows.filter((row) => row.kind === kind).map((row) => row.name)
  return { table: new Set(of('table').filter((name) => !HARMLESS.includes(name))), scalar: new Set(of('scalar').filter((name) => OUTSIDE.test(name))) }
}

// Literals are taken first, so that what stands in them is no name. The text is the parser's own: no comments, no other quotes.
const NAME = /'(?:[^'\\]|\\[\s\S]|'')*'|`((?:[^`\\]|\\[\s\S]|``)*)`|"((?:[^"\\]|\\[\s\S]|"")*)"|([A-Za-z_]\w*)/g
const IDENTIFIER_PARAMETER = /\{\s*(\w+)\s*:\s*Identifier\s*\}/gi

/** The tree below leaves parts out (what APPLY does, frames of windows), and takes a function that is handed over for a column: hence by name. */
function checkNames(statement: string, outside: Outside, fields: ParameterFields): void {
  for (const match of statement.matchAll(NAME)) {
    const name = (match[1] ?? match[2] ?? match[3])?.toLowerCase()
    if (name === undefined) continue
    const called = /^\s*\(/.test(statement.slice(match.index + match[0].length, match.index + match[0].length + 20))
    if (outside.scalar.has(name) || (called && outside.table.has(name))) throw reachesOutside(name)
  }
  for (const [, name = ''] of statement.matchAll(IDENTIFIER_PARAMETER)) {
    const value = fields[name] ?? ''
    // An escape could spell any name.
    if (value.includes('\\')) throw new PermanentError(`the parameter ${name} names a column or a table: no backslashes there`)
    const plain = value.replaceAll(/[`"\s]/g, '').toLowerCase()
    if (outside.scalar.has(plain)) throw reachesOutside(plain)
  }
}

const reachesOutside = (name: string): PermanentError => new PermanentError(`the function ${name}() reaches outside the database and is not allowed in queries of people`)

async function singleStatement(store: Pick<Store, 'query'>, sql: string, format: string | undefined): Promise<{ sql: string; format: string }> {
  const text = sql.trim().replace(/;+\s*$/, '')
  if (text === '') throw new PermanentError('the query is empty')
  if (text.length > 200_000) throw new PermanentError('the query is longer than 200,000 characters')
  const [row] = await store.query<{ line: string }>('SELECT formatQuerySingleLine({text:String}) AS line', { parameters: { text } })
  const line = row?.line ?? ''
  const code = codeOf(line)
  if (!READS.test(code)) throw new PermanentError('only queries that read are allowed here: SELECT, WITH, SHOW, DESCRIBE, EXPLAIN, EXISTS')
  if (/\bINTO\s+OUTFILE\b/i.test(code)) throw new PermanentError('INTO OUTFILE would write a file beside the database; choose a format and redirect the output instead')
  // A format that is also a keyword comes back in backticks (FORMAT `Null`), which are blanks in `code`.
  const clause = /\sFORMAT\s+\w*\s*$/i.exec(code)
  const named = clause === null ? undefined : /^\sFORMAT\s+`?(\w+)`?\s*$/i.exec(line.slice(clause.index))?.[1]
  return clause !== null && named !== undefined ? { sql: line.slice(0, clause.index), format: named } : { sql: line, format: checkedFormat(format ?? DEFAULT_FORMAT) }
}

/** The part that evaluates expressions; undefined for a statement that names tables only. */
function selectInside(line: string): string | undefined {
  const code = codeOf(line)
  const kind = READS.exec(code)?.[1]?.toUpperCase() ?? ''
  if (kind === 'SELECT' || kind === 'WITH') return line
  if (kind === 'EXPLAIN') {
    const start = code.search(/\b(SELECT|WITH)\b|\(/i)
    if (start < 0) throw new PermanentError('EXPLAIN needs a SELECT here')
    return line.slice(start)
  }
  if (code.includes('(')) throw new PermanentError(`${kind} takes names only here, no functions and no sub-queries`)
  return undefined
}

function checkedFormat(format: string): string {
  if (!/^[A-Za-z][A-Za-z0-9]*$/.test(format)) throw new PermanentError(`"${format}" is not the name of a format; try JSONEachRow, CSVWithNames, TSVWithNames or Pretty`)
  return format
}

export function contentTypeOf(format: string): string {
  if (/^(JSONEachRow|JSONCompactEachRow|JSONStringsEachRow|NDJSON|JSONLines)/.test(format)) return 'application/x-ndjson; charset=UTF-8'
  if (format.startsWith('JSON')) return 'application/json; charset=UTF-8'
  if (format.startsWith('CSV')) return `text/csv; charset=UTF-8; header=${format === 'CSV' ? 'absent' : 'present'}`
  if (/^(TSV|TabSeparated)/.test(format)) return 'text/tab-separated-values; charset=UTF-8'
  if (/^(Parquet|Arrow|ORC|Avro|Native|RowBinary|MsgPack|BSON|Npy|Protobuf)/.test(format)) return 'application/octet-stream'
  return 'text/plain; charset=UTF-8'
}
