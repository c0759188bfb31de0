/** When the next attempt is made: full jitter under the configured longest waits, or what the receiver asked for. */
import type { Random } from '../runtime/random.ts'
import type { AlertsConfig } from './config.ts'
import type { Receipt } from './sink.ts'

/** Epoch milliseconds of the attempt after number `attempt` (from 1); null: the schedule has ended. */
export function nextAttemptAt(receipt: Receipt, attempt: number, now: number, config: AlertsConfig['delivery'], random: Random): number | null {
  if (receipt.outcome !== 'retry' && receipt.outcome !== 'unknown') return null
  const longest = config.retries[attempt - 1]
  if (longest === undefined) return null
  const wished = Math.min(receipt.retry_after_ms ?? 0, config.retry_after_max)
  return now + Math.max(wished, Math.round(random() * longest))
}
