import { describe, expect, it } from 'vitest'
import { Reconciliation } from './reconcile.ts'
import { MINUTE_MS } from './scan.ts'

const NOW = Date.UTC(2026, 2, 2, 12)
const SETTLE = 5 * MINUTE_MS
const minutes = (from: number, ...counts: number[]): Map<number, number> => new Map(counts.map((n, index) => [from + index * MINUTE_MS, n]))

describe('events held against events counted', () => {
  it('asks for what has settled, and for late datapoints again', () => {
    const reconciliation = new Reconciliation(NOW)
    expect(reconciliation.due(NOW + SETTLE, SETTLE)).toBe(undefined)
    expect(reconciliation.due(NOW + SETTLE + 90_000, SETTLE)).toEqual({ from: NOW, to: NOW + MINUTE_MS })
    reconciliation.compare(new Map(), NOW + 60 * MINUTE_MS, new Map())
    expect(reconciliation.due(NOW + 61 * MINUTE_MS + SETTLE, SETTLE)).toEqual({ from: NOW + 30 * MINUTE_MS, to: NOW + 61 * MINUTE_MS })
  })

  it('tells a share, null where nothing was counted, and never more than all', () => {
    const reconciliation = new Reconciliation(NOW)
    expect(reconciliation.completeness).toBe(null)
    reconciliation.compare(minutes(NOW, 10, 10), NOW + 2 * MINUTE_MS, minutes(NOW, 10, 5))
    expect(reconciliation.completeness).toBe(0.75)
    reconciliation.compare(new Map(), NOW + 3 * MINUTE_MS, minutes(NOW, 12, 10))
    expect(reconciliation.completeness).toBe(1)
  })

  it('answers a shortfall with longer and longer scans, from its first minute on, then leaves it at that until it is gone', () => {
    const reconciliation = new Reconciliation(NOW)
    reconciliation.compare(minutes(NOW, 1, 2, 3), NOW + 3 * MINUTE_MS, minutes(NOW, 1, 1, 1))
    const first = NOW + MINUTE_MS
    expect([1, 2, 3, 4].map(() => reconciliation.answer())).toEqual([{ tier: 'warm', first }, { tier: 'cold', first }, { tier: 'deep', first }, undefined])
    reconciliation.compare(new Map(), NOW + 4 * MINUTE_MS, minutes(NOW, 1, 2, 3))
    expect(reconciliation.answer()).toBe(undefined)
    reconciliation.compare(minutes(NOW + 4 * MINUTE_MS, 1), NOW + 5 * MINUTE_MS, new Map())
    expect(reconciliation.answer()?.tier).toBe('warm')
  })

  it('agrees from the last minute on that does not, as far as minutes were compared', () => {
    const reconciliation = new Reconciliation(NOW)
    const to = NOW + 3 * MINUTE_MS
    expect(reconciliation.agreed_since).toBe(null)
    reconciliation.compare(minutes(NOW, 1, 2, 3), to, minutes(NOW, 1, 2, 3))
    expect(reconciliation.agreed_since).toBe(NOW)
    reconciliation.compare(new Map(), to, minutes(NOW, 1, 1, 3))
    expect(reconciliation.agreed_since).toBe(NOW + 2 * MINUTE_MS)
    reconciliation.compare(new Map(), to, minutes(NOW, 1, 2, 2))
    expect(reconciliation.agreed_since).toBe(null)
    // What was missing is found; what has not settled says nothing.
    reconciliation.compare(new Map(), to, minutes(NOW, 1, 2, 3, 7))
    expect(reconciliation.agreed_since).toBe(NOW)
    // Held, and the metric knows nothing of it: the datapoint is missing, so nothing is proved.
    reconciliation.compare(new Map(), to + MINUTE_MS, minutes(NOW, 1, 2, 3, 7))
    expect(reconciliation.agreed_since).toBe(null)
  })

  it('does not forget that a minute never agreed, nor that nobody compared one, nor what was known before a restart', () => {
    const day = 1_440 * MINUTE_MS
    const short = new Reconciliation(NOW)
    short.compare(minutes(NOW, 1, 5, 1), NOW + 3 * MINUTE_MS, minutes(NOW, 1, 4, 1))
    short.compare(new Map(), NOW + day + 3 * MINUTE_MS, minutes(NOW, 1, 4, 1))
    short.compare(new Map(), NOW + 2 * day, new Map())
    expect(short.agreed_since).toBe(NOW + 2 * MINUTE_MS)
    const away = new Reconciliation(NOW)
    away.compare(minutes(NOW, 1), NOW + MINUTE_MS, minutes(NOW, 1))
    const due = away.due(NOW + 3 * day, SETTLE)
    away.compare(new Map(), due?.to ?? 0, new Map())
    expect(away.agreed_since).toBe(NOW + 2 * day - SETTLE)
    const restarted = new Reconciliation(NOW, NOW - 9 * day)
    restarted.compare(minutes(NOW, 3), NOW + MINUTE_MS, minutes(NOW - MINUTE_MS, 8, 3))
    expect(restarted.agreed_since).toBe(NOW - 9 * day)
    restarted.compare(new Map(), NOW + MINUTE_MS, minutes(NOW, 2))
    expect(restarted.agreed_since).toBe(null)
    // Nobody knows whether a new process has found what the old one missed.
    const doubtful = new Reconciliation(NOW, null, 2)
    doubtful.compare(minutes(NOW, 3), NOW + MINUTE_MS, minutes(NOW, 3))
    expect([restarted.completeness, doubtful.completeness]).toEqual([2 / 3, null])
    doubtful.compare(minutes(NOW + day, 3), NOW + day + MINUTE_MS, minutes(NOW + day, 3))
    expect(doubtful.completeness).toBe(1)
  })
})
