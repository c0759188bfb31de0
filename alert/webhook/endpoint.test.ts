/** Retry-After as receivers write it, and what becomes of it in the schedule. */
import { expect, it } from 'vitest'
import { alertsConfig } from '../config.ts'
import { nextAttemptAt } from '../schedule.ts'
import { retryAfterMs } from './endpoint.ts'

const NOW = Date.UTC(2026, 10, 22, 12)

it.each<[string, string | undefined, number | undefined]>([
  ['none', undefined, undefined],
  ['seconds', '120', 120_000],
  ['seconds with blanks', ' 7 ', 7_000],
  ['a date', 'Sun, 22 Nov 2026 12:01:00 GMT', 60_000],
  ['a date that has passed', 'Sun, 22 Nov 2026 11:00:00 GMT', 0],
  ['words', 'soon', undefined],
  ['nothing', '', undefined],
])('%s', (_, header, expected) => {
  expect(retryAfterMs(header, NOW)).toBe(expected)
})

it.each(['-5', '0', '999999999', '99999999999', '9'.repeat(400), 'Fri, 31 Dec 9999 23:59:59 GMT'])('%s: never sooner than asked for, never later than the ceiling', (header) => {
  const { delivery } = alertsConfig.parse({ delivery: { retry_after_max: '6h' } })
  const wished = retryAfterMs(header, NOW)
  const at = nextAttemptAt({ outcome: 'retry', ...(wished === undefined ? {} : { retry_after_ms: wished }) }, 1, NOW, delivery, () => 0)
  expect(at).toBe(Number(header) <= 0 ? NOW : NOW + 6 * 3_600_000)
})
