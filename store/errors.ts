/** ClickHouse's error codes, sorted by what a caller can do about them. Source: ErrorCodes.cpp of ClickHouse 26. */
import { isAbort, messageOf, PermanentError, TransientError } from '../runtime/errors.ts'

/** An error of the engine with its number, whichever way it came. */
export class EngineError extends Error {
  readonly code: number
  constructor(message: string, code: number, options: { cause?: unknown } = {}) {
    super(message, options)
    this.name = 'EngineError'
    this.code = code
  }
}

/** A row that cannot be stored; `row` counts from 1 inside the insert, undefined where the engine does not say. */
export class BadRowError extends PermanentError {
  readonly row: number | undefined
  constructor(message: string, row: number | undefined, options: { cause?: unknown } = {}) {
    super(message, options)
    this.name = 'BadRowError'
    this.row = row
  }
}

// Busy, overloaded, restarting, out of memory or disk, another replica's turn: waiting helps.
const TRANSIENT = new Set([
  3, 33, 74, 75, 76, 95, 96, 159, 160, 198, 202, 203, 209, 210, 225, 236, 241, 242, 243, 252, 279, 285, 286, 289, 290, 305, 319, 364, 394, 410, 415, 416, 425, 439, 473, 519, 529,
  571, 574, 659, 700, 722, 733, 735, 745, 999,
])

// Text that does not fit the type of its column.
const BAD_ROW = new Set([6, 25, 26, 27, 38, 41, 53, 69, 70, 72, 117, 130, 131, 190, 321, 349, 376, 407, 441, 467, 469, 675, 676, 691])

interface Coded {
  code?: unknown
  clickhouseCode?: unknown
}

/** The engine's number of an error, however it is wrapped. */
export function codeOfError(error: unknown): number | undefined {
  const { code, clickhouseCode } = (error ?? {}) as Coded
  for (const candidate of [clickhouseCode, code]) {
    if (typeof candidate === 'number' && candidate > 0) return candidate
    if (typeof candidate === 'string' && /^\d+$/.test(candidate)) return Number(candidate)
  }
  const match = /^Code: (\d+)\. /.exec(messageOf(error))
  return match ? Number(match[1]) : undefined
}

/** Turns what a client or the engine threw into the words of the port. Aborts pass through unchanged. */
export function storeError(error: unknown, what: 'query' | 'insert' | 'read'): Error {
  if (error instanceof TransientError || error instanceof PermanentError) return error
  if (isAbort(error)) return error as Error
  const code = codeOfError(error)
  const message = engineMessage(error)
  if (what === 'insert' && (/\bat row \d+/.test(message) || (code !== undefined && BAD_ROW.has(code)))) {
    const row = /\bat row (\d+)/.exec(message)?.[1]
    return new BadRowError(withoutContents(message), row === undefined ? undefined : Number(row), { cause: error })
  }
  if (code === undefined) return new TransientError(`the store does not answer: ${message}`, { cause: error })
  // A person's query that runs into its own limits is not the store being away: trying again gives the same.
  if (TRANSIENT.has(code) && !(what === 'read' && (code === 159 || code === 160 || code === 241))) return new TransientError(message, { cause: error })
  return new PermanentError(message + hint(code), { cause: error })
}

function engineMessage(error: unknown): string {
  const text = messageOf(error) === '' ? nameOf(error) : messageOf(error)
  return (
    text
      .replace(/ \(version [^)]*\)/g, '')
      .replace(/^(Code: \d+\. DB::Exception: )\1+/, '$1')
      .replace(/( \([A-Z][A-Z0-9_]+\))(\.\1)+/, '$1')
      // How we take a person's statement apart is nothing that the person wrote.
      .replace(/\.?\s*:? ?In scope SELECT formatQuerySingleLine\(.*\) AS line/s, '')
      .trim()
  )
}

const nameOf = (error: unknown): string => (error as { errors?: unknown[] }).errors?.map(messageOf).join('; ') ?? (error instanceof Error ? error.name : 'unknown error')

function hint(code: number): string {
  if (code === 516 || code === 192 || code === 193 || code === 194) return ' — check store.username and store.password in the config'
  if (code === 497) return ' — grant the user of store.username what the message names'
  if (code === 81) return ' — run `tokenwatch start` once, or create the database of store.database'
  return ''
}

/** Without the quoted pieces of the row: what a caller sent does not belong into logs. */
const withoutContents = (message: string): string => {
  const line = message.split('\n', 1)[0] ?? message
  return line
    .replace(/ before: .*?(?=: \(at row|\(at row|$)/, '')
    .replace(/'[^']{40,}'/g, "'…'")
    .slice(0, 500)
}
