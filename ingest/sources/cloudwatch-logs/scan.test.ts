import * as fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { dueHot, dueReread, finished, firstState, HOUR_MS, MINUTE_MS, type ScanSettings, type ScanState, slicesOf, type Tier } from './scan.ts'

const NOW = Date.UTC(2026, 2, 2, 12)
const settings: ScanSettings = {
  every: { hot: 15_000, warm: 10 * MINUTE_MS, cold: 6 * HOUR_MS, deep: 24 * HOUR_MS },
  overlap: { hot: 2 * MINUTE_MS, warm: HOUR_MS, cold: 25 * HOUR_MS, deep: 15 * 24 * HOUR_MS },
  holdback: 1_000,
}
const TIERS: readonly Tier[] = ['hot', 'warm', 'cold', 'deep']

const scanAll = (state: ScanState, now: number, last_run: number): { state: ScanState; scans: { tier: Tier; from: number; to: number; at: number }[] } => {
  const scans: { tier: Tier; from: number; to: number; at: number }[] = []
  for (let window = dueHot(state, now, last_run, settings, settings.overlap.hot); window !== undefined;) {
    state = finished(state, window, settings)
    scans.push({ ...window, at: now })
    last_run = now
    window = dueHot(state, now, last_run, settings, settings.overlap.hot)
  }
  for (let window = dueReread(state, now, settings); window !== undefined; window = dueReread(state, now, settings)) {
    state = finished(state, window, settings)
    scans.push({ ...window, at: now })
  }
  return { state, scans }
}

describe('windows', () => {
  it('the first start reads from its floor on, and no mark is behind it', () => {
    const state = firstState(NOW, HOUR_MS)
    const window = dueHot(state, NOW, -Infinity, settings, settings.overlap.hot)
    expect(window).toEqual({ tier: 'hot', from: NOW - HOUR_MS, to: NOW - 1_000 })
    if (window === undefined) return
    expect(finished(state, window, settings)).toMatchObject({ floor: NOW - HOUR_MS, hot_scanned_to: NOW - 1_000, warm_scanned_to: NOW - 1_000, deep_scanned_to: NOW - 1_000 })
  })

  it('begins an overlap before the end of the last, in whole minutes, without a step over it', () => {
    const state = { ...firstState(NOW, 30 * 24 * HOUR_MS), hot_scanned_to: NOW - 16_000, warm_scanned_to: NOW, cold_scanned_to: NOW, deep_scanned_to: NOW }
    expect(dueHot(state, NOW, NOW - 15_000, settings, 120_000)).toEqual({ tier: 'hot', from: NOW - 180_000, to: NOW - 1_000 })
    expect(dueHot(state, NOW, NOW - 14_999, settings, 120_000)).toBe(undefined)
    // Where events are later than that, the window goes back further.
    expect(dueHot(state, NOW, NOW - 15_000, settings, 600_000)?.from).toBe(NOW - 660_000)
  })

  it('catches up hour by hour, and rescans wait for it', () => {
    let state = firstState(NOW, 5 * HOUR_MS)
    const ends: number[] = []
    for (let window = dueHot(state, NOW, -Infinity, settings, 120_000); window !== undefined && ends.length < 5; window = dueHot(state, NOW, NOW, settings, 120_000)) {
      ends.push(window.to)
      if (ends.length < 4) expect(dueReread(state, NOW, settings)).toBe(undefined)
      state = finished(state, window, settings)
    }
    expect(ends).toEqual([1, 2, 3, 4].map((hours) => NOW + (hours - 5) * HOUR_MS))
    // What is left is less than an hour: from here on it is as always.
    expect(dueHot(state, NOW + 15_000, NOW, settings, 120_000)?.to).toBe(NOW)
  })

  it('a rescan for a shortfall that begins later does not count as the scan it is named after', () => {
    const state = { ...firstState(NOW - 100 * HOUR_MS, 0), hot_scanned_to: NOW, warm_scanned_to: NOW - HOUR_MS, cold_scanned_to: NOW - 5 * HOUR_MS, deep_scanned_to: NOW - HOUR_MS }
    const after = finished(state, { tier: 'cold', from: NOW - 26 * HOUR_MS, to: NOW - 1 }, settings)
    expect(after.cold_scanned_to).toBe(state.cold_scanned_to)
    expect(after.warm_scanned_to).toBe(NOW - 1)
    expect(after.hot_scanned_to).toBe(NOW)
  })

  it('is cut at whole hours, without a gap', () => {
    fc.assert(
      fc.property(fc.constantFrom<Tier>('warm', 'cold', 'deep'), fc.integer({ min: 0, max: 400 * 60 }), fc.integer({ min: 1, max: 400 * 60 }), (tier, start, minutes) => {
        const from = NOW + start * MINUTE_MS
        const to = from + minutes * MINUTE_MS - 1
        const slices = slicesOf({ tier, from, to })
        expect(slices[0]?.from).toBe(from)
        expect(slices.at(-1)?.to).toBe(to)
        for (const [index, slice] of slices.entries()) {
          expect(slice.to).toBeGreaterThan(slice.from)
          if (index > 0) expect(slice.from).toBe((slices[index - 1]?.to ?? 0) + 1)
          if (index > 0) expect(slice.from % HOUR_MS).toBe(0)
        }
      }),
    )
  })

  it('no mark ever goes back, whatever the clock does', () => {
    fc.assert(
      fc.property(fc.array(fc.integer({ min: -20 * MINUTE_MS, max: 3 * HOUR_MS }), { maxLength: 60 }), (steps) => {
        let state = firstState(NOW, HOUR_MS)
        let now = NOW
        for (const step of steps) {
          now += step
          const next = scanAll(state, now, -Infinity).state
          for (const tier of TIERS) expect(next[`${tier}_scanned_to`]).toBeGreaterThanOrEqual(state[`${tier}_scanned_to`])
          expect(next.floor).toBe(state.floor)
          state = next
        }
      }),
      { numRuns: 200 },
    )
  })
})

describe('no event slips through', () => {
  it('whenever it becomes visible within 14 days, a scan looks at its time afterwards; within two minutes, the hot one', () => {
    const gaps = fc.array(fc.oneof({ weight: 20, arbitrary: fc.integer({ min: 15_000, max: 90_000 }) }, { weight: 1, arbitrary: fc.integer({ min: 0, max: 30 * HOUR_MS }) }), {
      minLength: 300,
      maxLength: 300,
    })
    fc.assert(
      fc.property(
        gaps,
        fc.array(fc.tuple(fc.double({ min: 0, max: 1, noNaN: true }), fc.double({ min: 0, max: 1, noNaN: true })), { minLength: 20, maxLength: 20 }),
        (steps, events) => {
          let state = firstState(NOW, HOUR_MS)
          let now = NOW
          const scans: { tier: Tier; from: number; to: number; at: number }[] = []
          for (const step of steps) {
            now += step
            const done = scanAll(state, now, now - 15_000)
            state = done.state
            scans.push(...done.scans)
          }
          const end = now - 2 * 24 * HOUR_MS
          for (const [when, how] of events) {
            const time = Math.floor(NOW + when * Math.max(0, end - NOW))
            const late = Math.floor(how ** 6 * 14 * 24 * HOUR_MS)
            const visible = time + late
            if (visible > end) continue
            const looked = scans.filter(({ from, to, at }) => at >= visible && from <= time && time <= to)
            expect(looked.length).toBeGreaterThan(0)
            // A longer scan may do the work of a shorter one, but the newest events are the business of the hot scan.
            if (late <= settings.overlap.hot) expect(looked.some(({ tier }) => tier === 'hot')).toBe(true)
          }
        },
      ),
      { numRuns: 60, endOnFailure: true },
    )
  })
})
