import * as fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import type { LogEvent } from './api.ts'
import { Comparison, rangesOf } from './compare.ts'
import { addToCell, type Cell, emptyCell, Held } from './held.ts'
import { HOUR_MS, MINUTE_MS, minuteOf } from './scan.ts'

const NOW = Date.UTC(2026, 2, 2, 12)
const DAY = 24 * HOUR_MS
const event = (id: number, timestamp: number): LogEvent => ({ eventId: `e${id}`, timestamp, ingestionTime: timestamp + 500, message: '', logStreamName: 's' })

/** A rescan of all these events as group.ts does it; returns what it publishes. */
function rescan(held: Held, events: readonly LogEvent[], ids_since: number): LogEvent[] {
  const comparison = new Comparison(held, ids_since, -Infinity)
  const { fresh } = comparison.take([...events].sort((a, b) => a.timestamp - b.timestamp))
  for (const one of fresh) if (comparison.byId(one)) held.add(one, ids_since)
  const differing = comparison.settle()
  const again = events.filter(({ timestamp }) => differing.has(minuteOf(timestamp)))
  const cells = new Map<number, Cell>()
  for (const one of again) {
    const cell = cells.get(minuteOf(one.timestamp)) ?? emptyCell()
    addToCell(cell, one)
    cells.set(minuteOf(one.timestamp), cell)
  }
  for (const [minute, cell] of cells) held.set(minute, cell)
  return [...fresh, ...again]
}

describe('what was published', () => {
  it('whatever is forgotten and restarted, a rescan publishes everything that is new', () => {
    const step = fc.record({
      add: fc.array(fc.integer({ min: 0, max: 5 * 60 - 1 }), { maxLength: 30 }),
      act: fc.constantFrom('rescan', 'compact', 'restart', 'hot'),
    })
    fc.assert(
      fc.property(fc.array(step, { maxLength: 12 }), fc.integer({ min: 0, max: 40 }), (steps, limit) => {
        let held = new Held(limit, 2 * HOUR_MS)
        const all: LogEvent[] = []
        const published = new Set<string>()
        const ids_since = NOW - HOUR_MS
        for (const { add, act } of steps) {
          for (const minute of add) all.push(event(all.length, NOW - minute * MINUTE_MS))
          if (act === 'compact') held.compact(NOW, ids_since)
          if (act === 'restart') held = new Held(limit, 2 * HOUR_MS, held.encode(NOW - DAY, NOW - 70 * MINUTE_MS))
          if (act === 'hot') {
            for (const one of all.filter(({ timestamp }) => timestamp > NOW - 10 * MINUTE_MS)) {
              if (held.has(one)) continue
              published.add(one.eventId)
              held.add(one, ids_since)
            }
          }
          if (act !== 'rescan') continue
          for (const { eventId } of rescan(held, all, ids_since)) published.add(eventId)
          expect(published.size).toBe(all.length)
        }
      }),
      { numRuns: 500 },
    )
  })

  it('publishes nothing again where nothing is new: by ids, by minutes, by hours after a restart', () => {
    const all = Array.from({ length: 2_000 }, (_, index) => event(index, NOW - index * 17_000))
    let held = new Held(100_000, 26 * HOUR_MS)
    expect(rescan(held, all, NOW - HOUR_MS).length).toBe(2_000)
    expect(rescan(held, all, NOW - HOUR_MS)).toEqual([])
    held.compact(NOW, NOW)
    expect(held.ids).toBe(1) // the one of this very moment
    expect(rescan(held, all, NOW - HOUR_MS)).toEqual([])
    const before = NOW - 2 * HOUR_MS
    held = new Held(100_000, 26 * HOUR_MS, JSON.parse(JSON.stringify(held.encode(NOW - DAY, before))) as Record<string, string>)
    const again = rescan(held, all, NOW - HOUR_MS)
    expect(again.every(({ timestamp }) => timestamp >= before)).toBe(true)
  })

  it('a late event in an old minute publishes that minute, after a restart that hour', () => {
    const all = Array.from({ length: 600 }, (_, index) => event(index, NOW - 9 * HOUR_MS + index * 30_000))
    const held = new Held(0, 26 * HOUR_MS)
    rescan(held, all, NOW)
    const late = event(9_999, NOW - 6.5 * HOUR_MS)
    expect(rescan(held, [...all, late], NOW).map(({ timestamp }) => minuteOf(timestamp))).toEqual([late, late, late].map(({ timestamp }) => minuteOf(timestamp)))
    const restarted = new Held(0, 26 * HOUR_MS, held.encode(NOW - DAY, NOW))
    const later = event(10_000, NOW - 6.4 * HOUR_MS)
    const again = rescan(restarted, [...all, late, later], NOW)
    expect(again.length).toBe(122)
    expect(rescan(restarted, [...all, late, later], NOW)).toEqual([])
  })

  it('counts by minute of ingestion, also what is no longer told apart', () => {
    const held = new Held(1_000, HOUR_MS)
    for (let index = 0; index < 10; index++) held.add({ ...event(index, NOW - 5 * HOUR_MS - index), ingestionTime: NOW }, NOW)
    held.add(event(10, NOW), NOW)
    held.compact(NOW, NOW - HOUR_MS)
    expect(held.ingested().get(NOW)).toBe(11)
  })

  it('joins neighbouring minutes', () => {
    expect(rangesOf(new Set([NOW + MINUTE_MS, NOW, NOW + 5 * MINUTE_MS]))).toEqual([
      { from: NOW, to: NOW + 2 * MINUTE_MS - 1 },
      { from: NOW + 5 * MINUTE_MS, to: NOW + 6 * MINUTE_MS - 1 },
    ])
  })
})
