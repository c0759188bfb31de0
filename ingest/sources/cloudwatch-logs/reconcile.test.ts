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

  it('agrees only where every minute since a mark was compared and is equal', () => {
    const reconciliation = new Reconciliation(NOW)
    const to = NOW + 3 * MINUTE_MS
    reconciliation.compare(minutes(NOW, 1, 2, 3), to, minutes(NOW, 1, 2, 3))
    expect(reconciliation.agreedSince(NOW - 1)).toBe(to)
    expect(reconciliation.agreedSince(NOW - MINUTE_MS)).toBe(undefined) // nobody compared that minute
    expect(reconciliation.agreedSince(to - 1)).toBe(undefined) // nothing new
    reconciliation.compare(new Map(), to, minutes(NOW, 1, 2, 2))
    expect(reconciliation.agreedSince(NOW - 1)).toBe(undefined)
    reconciliation.compare(new Map(), to, minutes(NOW, 0, 2, 3, 7))
    expect(reconciliation.agreedSince(NOW - 1)).toBe(undefined)
    // A minute that was short a day ago is forgotten, but it never agreed.
    const old = new Reconciliation(NOW)
    old.compare(minutes(NOW, 1), NOW + MINUTE_MS, new Map())
    old.compare(new Map(), NOW + 1_500 * MINUTE_MS, new Map())
    expect(old.agreedSince(NOW - 1)).toBe(undefined)
    // Held, and the metric knows nothing of it: the datapoint is missing, so nothing is proved.
    reconciliation.compare(new Map(), to + MINUTE_MS, minutes(NOW, 1, 2, 3, 7))
    expect(reconciliation.agreedSince(NOW - 1)).toBe(undefined)
  })
})
