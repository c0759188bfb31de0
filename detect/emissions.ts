/** When a finding is told again: early while its bucket is open, often enough to stay true, seldom enough to be read. */
import type { Severity } from '../schemas/scalars.ts'

/** What a bucket has told of itself; part of its state. */
export interface Emissions {
  /** Emissions so far: the revision. */
  emitted: number
  /** How large it was at the last one. */
  emitted_at: number
  emitted_severity: Severity | null
}

export const nothingTold: Emissions = { emitted: 0, emitted_at: 0, emitted_severity: null }

const RANK: Record<Severity, number> = { info: 0, low: 1, medium: 2, high: 3, critical: 4 }

/**
 * True, and noted, if there is news: the first sight, twice the size of the last time, a higher severity at once (nobody may
 * wait for the end of a bucket to hear that it became critical), or any change at the close.
 */
export function hasNews(bucket: Emissions, size: number, severity: Severity, closing: boolean): boolean {
  const { emitted, emitted_at, emitted_severity } = bucket
  const worse = emitted_severity === null || RANK[severity] > RANK[emitted_severity]
  if (!worse && (closing ? size === emitted_at && severity === emitted_severity : size < 2 * emitted_at)) return false
  bucket.emitted = emitted + 1
  bucket.emitted_at = size
  bucket.emitted_severity = severity
  return true
}
