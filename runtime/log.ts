/** Structured logs: one JSON object a line on stderr. Messages are constants; values go into fields, cleaned. */
import { type Clock, isoTime, systemClock } from './clock.ts'
import { plainText } from './text.ts'

export type LogLevel = 'debug' | 'info' | 'warn' | 'error'
type Fields = Record<string, unknown>

export interface Logger {
  debug(message: string, fields?: Fields): void
  info(message: string, fields?: Fields): void
  warn(message: string, fields?: Fields): void
  error(message: string, fields?: Fields): void
  /** A logger that adds these fields to each line. */
  with(fields: Fields): Logger
}

const ORDER: Record<LogLevel, number> = { debug: 10, info: 20, warn: 30, error: 40 }

interface LogOptions {
  level?: LogLevel
  clock?: Clock
  write?: (line: string) => void
  /** The second net: key and token patterns are cut out of every string (see runtime/secrets-pattern). */
  redact?: (text: string) => string
}

/** `write` gets whole lines with the line feed. */
export function createLogger(options: LogOptions = {}, bound: Fields = {}): Logger {
  const { level = 'info', clock = systemClock, write = (line) => process.stderr.write(line), redact = (text) => text } = options
  const clean = (value: unknown): unknown => {
    if (typeof value === 'string') return redact(plainText(value, 2000))
    if (typeof value === 'bigint') return value.toString()
    if (value instanceof Error) return redact(plainText(value.message, 2000))
    return value
  }
  const emit = (at: LogLevel, message: string, fields: Fields = {}) => {
    if (ORDER[at] < ORDER[level]) return
    const line: Fields = { time: isoTime(clock.now()), level: at, message }
    for (const [name, value] of Object.entries({ ...bound, ...fields })) line[name] = clean(value)
    write(`${JSON.stringify(line, (_, value: unknown) => (typeof value === 'bigint' ? value.toString() : value))}\n`)
  }
  return {
    debug: (message, fields) => emit('debug', message, fields),
    info: (message, fields) => emit('info', message, fields),
    warn: (message, fields) => emit('warn', message, fields),
    error: (message, fields) => emit('error', message, fields),
    with: (fields) => createLogger(options, { ...bound, ...fields }),
  }
}

export const silentLogger: Logger = createLogger({ level: 'error', write: () => {} })
