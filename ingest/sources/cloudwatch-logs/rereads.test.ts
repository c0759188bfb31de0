import { describe, expect, it } from 'vitest'
import { Rereads } from './rereads.ts'
import { firstState, HOUR_MS, MINUTE_MS, type ScanSettings, type ScanState } from './scan.ts'

const NOW = Date.UTC(2026, 2, 2, 12)
const settings: ScanSettings = {
  every: { hot: 15_000, warm: 10 * MINUTE_MS, cold: 6 * HOUR_MS, deep: 24 * HOUR_MS },
  overlap: { hot: 2 * MINUTE_MS, warm: HOUR_MS, cold: 25 * HOUR_MS, deep: 15 * 24 * HOUR_MS },
  holdback: 1_000,
}
/** Everything was read up to `hours` before now, the newest by the hot scan. */
const state = (warm: number, cold: number, deep: number): ScanState => ({
  ...firstState(NOW, 400 * HOUR_MS),
  hot_scanned_to: NOW,
  warm_scanned_to: NOW - warm * HOUR_MS,
  cold_scanned_to: NOW - cold * HOUR_MS,
  deep_scanned_to: NOW - deep * HOUR_MS,
})

describe('rescans', () => {
  it('the longest that is due comes first, and a shorter one waits for it until it is overdue', () => {
    const rereads = new Rereads()
    const deep = rereads.next(state(0.18, 1, 25), NOW, settings)
    expect(deep?.window.tier).toBe('deep')
    expect(rereads.next(state(0.18, 1, 25), NOW, settings)).toBe(deep)
    const warm = rereads.next(state(0.21, 1, 25), NOW, settings)
    expect(warm?.window.tier).toBe('warm')
    expect(rereads.next(state(0.21, 8, 25), NOW, settings)).toBe(warm)
    rereads.end()
    expect(rereads.next(state(0, 1, 25), NOW, settings)).toBe(deep)
  })

  it('a longer one gets as many pages as the shorter ones took', () => {
    const rereads = new Rereads()
    const deep = rereads.next(state(0, 1, 25), NOW, settings)
    const cold = rereads.next(state(0, 8, 25), NOW, settings)
    const warm = rereads.next(state(1, 8, 25), NOW, settings)
    if (deep === undefined || cold === undefined || warm === undefined) throw new Error('three are due')
    for (let page = 0; page < 3; page++) rereads.readPage(warm)
    rereads.end()
    for (let page = 0; page < 3; page++) {
      expect(rereads.next(state(1, 8, 25), NOW, settings)).toBe(cold)
      rereads.readPage(cold)
    }
    rereads.end()
    for (let page = 0; page < 6; page++) {
      expect(rereads.next(state(1, 0, 25), NOW, settings)).toBe(deep)
      rereads.readPage(deep)
    }
    expect(rereads.next(state(1, 0, 25), NOW, settings)?.window.tier).toBe('warm')
  })

  it('keeps apart the minutes that are to be read again', () => {
    const rereads = new Rereads()
    expect(rereads.apart_from).toBe(Infinity)
    const deep = rereads.next(state(0, 1, 25), NOW, settings)
    expect(rereads.apart_from).toBe(Infinity)
    deep?.left.unshift({ from: NOW - 9 * HOUR_MS, to: NOW - 8 * HOUR_MS, again: true }, { from: NOW - 7 * HOUR_MS, to: NOW - 6 * HOUR_MS, again: true })
    rereads.next(state(1, 1, 25), NOW, settings)
    expect(rereads.apart_from).toBe(NOW - 9 * HOUR_MS)
  })
})
