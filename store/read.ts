/**
 * Queries from people: one statement that reads, nothing outside the database. The engine's read-only mode is the wall for
 * everything that writes; this is the fence for what it lets through: INTO OUTFILE, USE, the scalar function file(), s3().
 */
import { PermanentError } from '../runtime/errors.ts'
import { codeOf } from './sql.ts'
import type { Store } from './store.ts'

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
  parameters?: Readonly<Record<string, string>>
}

/**
 * Gives the check: text in, the statement without comments and FORMAT clause and the format to use out (the one in the text
 * wins). It throws PermanentError with what is wrong. The text is taken apart by ClickHouse's own parser, never by ours:
 * wrapping it in a sub-select would let `SELECT 1) ; SELECT (2` through, and a name can be quoted in four ways.
 */
export function personsQueryCheck(store: () => Pick<Store, 'query'>): (sql: string, options: PersonsQuery) => Promise<{ sql: string; format: string }> {
  let tableFunctions: Promise<Set<string>> | undefined
  const refused = () =>
    (tableFunctions ??= store()
      .query<{ name: string }>('SELECT DISTINCT lower(name) AS name FROM system.table_functions')
      .then((rows) => new Set(rows.map((row) => row.name).filter((name) => !HARMLESS.includes(name))))
      .catch((error: unknown) => {
        tableFunctions = undefined
        throw error
      }))
  return async (sql, options) => {
    const checked = await singleStatement(store(), sql, options.format)
    const select = selectInside(checked.sql)
    if (select === undefined) return checked
    // EXPLAIN AST only parses: nothing of the statement runs.
    const tree = await store().query<{ explain: string }>(`SELECT explain FROM (EXPLAIN AST ${select})`, { parameters: options.parameters ?? {} })
    const outside = await refused()
    for (const { explain } of tree) {
      const name = /^\s*Function (.+?)(?: \(alias .*)?(?: \(children \d+\))?$/.exec(explain)?.[1]?.toLowerCase()
      if (name !== undefined && (outside.has(name) || OUTSIDE.test(name)))
        throw new PermanentError(`the function ${name}() reaches outside the database and is not allowed in queries of people`)
    }
    return checked
  }
}

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
