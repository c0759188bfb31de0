/** Instants as logs write them. A zone that is not written is UTC, because the machine's own zone would differ between collectors. */

const EARLIEST_MS = 1_420_070_400_000
const DAY_MS = 86_400_000
/** Smaller numbers are durations or counters, not instants (2001 in seconds). */
const SMALLEST_INSTANT = 1_000_000_000

const ISO = /^(\d{4}-\d{2}-\d{2})[T ](\d{2}:\d{2}(?::\d{2})?)([.,]\d{1,9})?\s*(Z|UTC|[+-]\d{2}:?\d{2})?$/i
const HTTP_DATE = /^[A-Za-z]{3}, \d{2} [A-Za-z]{3} \d{4} \d{2}:\d{2}:\d{2} GMT$/

/** Epoch ms; null for anything that is not an instant. Numbers are seconds, ms, µs or ns by their size. */
export function instantOf(value: unknown): number | null {
  if (typeof value === 'number') return ofNumber(value)
  if (typeof value !== 'string' || value.length > 40) return null
  if (/^\d{10,19}(\.\d+)?$/.test(value)) return ofNumber(Number(value))
  const iso = ISO.exec(value)
  if (iso !== null) return checked(Date.parse(`${iso[1]}T${iso[2]}${millis(iso[3])}${zone(iso[4])}`))
  return HTTP_DATE.test(value) ? checked(Date.parse(value)) : null
}

/** Outside 2015 … now + 1 day a clock is wrong or the value is not a time: such a record is rejected, never filed under a wrong month. */
export const isPlausible = (ms: number, now: number): boolean => ms >= EARLIEST_MS && ms <= now + DAY_MS

function ofNumber(value: number): number | null {
  if (!Number.isFinite(value) || value < SMALLEST_INSTANT) return null
  if (value < 1e11) return Math.round(value * 1000)
  if (value < 1e14) return Math.round(value)
  return value < 1e17 ? Math.round(value / 1000) : Math.round(value / 1e6)
}

const checked = (ms: number): number | null => (Number.isNaN(ms) ? null : ms)
const millis = (fraction: string | undefined): string => (fraction === undefined ? '' : `.${fraction.slice(1, 4).padEnd(3, '0')}`)

function zone(text: string | undefined): string {
  if (text === undefined || /^(z|utc)$/i.test(text)) return 'Z'
  return text.includes(':') ? text : `${text.slice(0, 3)}:${text.slice(3)}`
}
