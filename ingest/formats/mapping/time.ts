/** Instants as exports write them, with up to nanoseconds kept beside the millisecond. */

export const timeFormats = ['iso', 'epoch-s', 'epoch-ms'] as const
export type TimeFormat = (typeof timeFormats)[number]

export interface Instant {
  /** Whole milliseconds since 1970, cut, not rounded: a rounded one may lie in the next day. */
  ms: number
  /** Nanoseconds within the millisecond: rows that differ only in 100 ns are different events. */
  ns: number
}

const ISO = /^(\d{4})-(\d{2})-(\d{2})(?:[T ](\d{2}):(\d{2})(?::(\d{2})(?:[.,](\d{1,9})\d{0,9})?)?)?\s?(Z|UTC|[+-]\d{2}:?\d{2})?$/i

/** undefined: no instant. Without a zone it is UTC. */
export function parseInstant(value: string | number, format: TimeFormat): Instant | undefined {
  if (format === 'iso') return typeof value === 'string' ? parseIso(value.trim()) : undefined
  const match = /^(\d{1,16})(?:\.(\d{1,12}))?$/.exec(String(value).trim())
  if (!match) return undefined
  const digits = 9 - (format === 'epoch-ms' ? 3 : 0)
  const fraction = (match[2] ?? '').slice(0, digits).padEnd(digits, '0')
  const whole = Number(match[1]) * (format === 'epoch-s' ? 1000 : 1)
  const ms = whole + (format === 'epoch-s' ? Number(fraction.slice(0, 3)) : 0)
  return Number.isSafeInteger(ms) ? { ms, ns: Number(format === 'epoch-s' ? fraction.slice(3) : fraction) } : undefined
}

function parseIso(text: string): Instant | undefined {
  const match = ISO.exec(text)
  if (!match) return undefined
  const [, year, month, day, hour = '0', minute = '0', second = '0', fraction = '', zone] = match
  const digits = fraction.padEnd(9, '0')
  const seconds = Date.UTC(Number(year), Number(month) - 1, Number(day), Number(hour), Number(minute), Math.min(Number(second), 59))
  if (!isDay(Number(year), Number(month), Number(day)) || Number(hour) > 23 || Number(minute) > 59 || Number(second) > 60) return undefined
  return { ms: seconds - offsetMs(zone) + Number(digits.slice(0, 3)), ns: Number(digits.slice(3)) }
}

/** Date.UTC lets the 31st of February pass as a day of March. */
const isDay = (year: number, month: number, day: number): boolean => (day >= 1 && day <= 28) || new Date(Date.UTC(year, month - 1, day)).getUTCDate() === day

function offsetMs(zone: string | undefined): number {
  const match = /^([+-])(\d{2}):?(\d{2})$/.exec(zone ?? '')
  if (!match) return 0
  return (match[1] === '-' ? -1 : 1) * (Number(match[2]) * 60 + Number(match[3])) * 60_000
}
