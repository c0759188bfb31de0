/** UTC days as ClickHouse's Date counts them: days since 1970-01-01, 0 … 65535 (2149-06-06). */

export const LAST_DAY = 65_535
const DAY_MS = 86_400_000

export const dayText = (day: number): string => new Date(day * DAY_MS).toISOString().slice(0, 10)

/** `from` inclusive, `until` exclusive, null open: first and last day, both inclusive. */
export const inclusiveDays = (from: string | null, until: string | null): { from: number; last: number } => ({
  from: from === null ? 0 : Date.parse(from) / DAY_MS,
  last: until === null ? LAST_DAY : Date.parse(until) / DAY_MS - 1,
})
