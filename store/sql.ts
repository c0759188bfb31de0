/** SQL as text: what may be pasted into a statement, and how to look at a statement without being fooled by its literals. */
import { PermanentError } from '../runtime/errors.ts'

/** A string literal. */
export const quoteString = (text: string): string => `'${text.replaceAll('\\', '\\\\').replaceAll("'", "\\'")}'`

/** An identifier in backticks. */
export const quoteIdentifier = (name: string): string => `\`${name.replaceAll('\\', '\\\\').replaceAll('`', '\\`')}\``

const SETTING_NAME = /^[a-z][a-z0-9_]*$/

/** "a=1, b='x'"; throws on a name that is no setting, so that nothing else can be smuggled in. */
export function settingsList(settings: Readonly<Record<string, string | number>>): string {
  return Object.entries(settings)
    .map(([name, value]) => {
      if (!SETTING_NAME.test(name)) throw new PermanentError(`"${name}" is not the name of a ClickHouse setting`)
      return `${name}=${typeof value === 'number' ? value : quoteString(value)}`
    })
    .join(', ')
}

/** The statement with a SETTINGS clause at its end: there it holds for this statement only and never sticks to a connection. */
export function withSettings(sql: string, settings: Readonly<Record<string, string | number>> | undefined): string {
  if (settings === undefined || Object.keys(settings).length === 0) return sql
  return `${sql.trim().replace(/;+$/, '')}\nSETTINGS ${settingsList(settings)}`
}

/** The text of the same length in which literals, quoted names and comments are blanks, so that a search finds code only. */
export function codeOf(sql: string): string {
  let code = ''
  let at = 0
  while (at < sql.length) {
    const end = skipAt(sql, at)
    if (end === at) code += sql[at++]
    else {
      code += sql.slice(at, end).replaceAll(/[^\n]/g, ' ')
      at = end
    }
  }
  return code
}

/** Where the literal, quoted name or comment that starts at `at` ends; `at` itself if none starts there. */
function skipAt(sql: string, at: number): number {
  const char = sql[at]
  if (char === "'" || char === '"' || char === '`') return closingQuote(sql, at, char)
  const two = sql.slice(at, at + 2)
  if (two === '--' || two === '#!' || two === '# ') return endOf(sql, '\n', at, 0)
  if (two === '/*') return endOf(sql, '*/', at + 2, 2)
  if (char === '$') {
    const tag = /^\$\w*\$/.exec(sql.slice(at, at + 66))?.[0]
    if (tag !== undefined) return endOf(sql, tag, at + tag.length, tag.length)
  }
  return at
}

function closingQuote(sql: string, start: number, quote: string): number {
  for (let at = start + 1; at < sql.length; at++) {
    if (sql[at] === '\\') at++
    else if (sql[at] === quote && sql[at + 1] === quote) at++
    else if (sql[at] === quote) return at + 1
  }
  return sql.length
}

function endOf(sql: string, mark: string, from: number, length: number): number {
  const found = sql.indexOf(mark, from)
  return found < 0 ? sql.length : found + length
}

/** The statements of a file: split at semicolons that are neither in a literal nor in a comment; empty ones are left out. */
export function splitStatements(sql: string): string[] {
  const code = codeOf(sql)
  const statements: string[] = []
  let start = 0
  for (let at = 0; at <= code.length; at++) {
    if (at < code.length && code[at] !== ';') continue
    if (code.slice(start, at).trim() !== '') statements.push(sql.slice(start, at).trim())
    start = at + 1
  }
  return statements
}

/** The names of the {name:Type} placeholders. */
export function placeholders(sql: string): Set<string> {
  return new Set([...codeOf(sql).matchAll(/\{\s*([A-Za-z_]\w*)\s*:/g)].map((match) => match[1] ?? ''))
}

type Parameter = string | number | boolean | null | readonly (string | number)[]

/**
 * `SET param_a='…', …; ` in front of a statement; `fields` are escaped already. Refuses a placeholder without a value: an older
 * value may still be set on the connection.
 */
export function bindParameters(sql: string, parameters: Readonly<Record<string, Parameter>>, fields: Readonly<Record<string, string>> = {}): string {
  const wanted = placeholders(sql)
  const missing = [...wanted].filter((name) => !Object.hasOwn(parameters, name) && !Object.hasOwn(fields, name))
  if (missing.length > 0) throw new PermanentError(`Code: 456. DB::Exception: the query names parameters without a value: ${missing.join(', ')}`)
  const sets = [...wanted].map((name) => `param_${name}=${quoteString(fields[name] ?? parameterText(parameters[name] ?? null))}`)
  return sets.length === 0 ? sql : `SET ${sets.join(', ')}; ${sql}`
}

const ESCAPES: Record<string, string> = { '\\': '\\\\', '\t': '\\t', '\n': '\\n', '\r': '\\r', '\b': '\\b', '\f': '\\f', '\0': '\\0' }

/** A parameter is read as a field of TabSeparated: control characters and the backslash are escaped, NULL is \N. */
function parameterText(value: Parameter): string {
  if (value === null) return '\\N'
  // oxlint-disable-next-line no-control-regex
  if (typeof value === 'string') return value.replaceAll(/[\\\t\n\r\u0008\f\u0000]/g, (char) => ESCAPES[char] ?? char)
  if (typeof value === 'object') return `[${value.map((item) => (typeof item === 'number' ? item : quoteString(item))).join(',')}]`
  return String(value)
}
