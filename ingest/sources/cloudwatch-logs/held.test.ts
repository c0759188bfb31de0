import * as fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import type { LogEvent } from './api.ts'
import { Comparison, rangesOf } from './compare.ts'
import { Held } from './held.ts'
import { HOUR_MS, MINUTE_MS, minuteOf } from './scan.ts'

const NOW = Date.UTC(2026, 2, 2, 12)
const DAY = 24 * HOUR_MS
const event = (id: number, timestamp: number): LogEvent => ({ eventId: `e${id}`, timestamp, ingestionTime: timestamp + 500, message: '', logStreamName: 's' })

/** What fits into the memory of a test. */
const holding = (options: { ids?: number; parts?: number; keep_minutes?: number; hours?: Record<string, string> } = {}): Held =>
  new Held({ ids: 100_000, parts: 100_000, keep_minutes: 26 * HOUR_MS, ...options })

/** A checkpoint as it is read after a restart. */
const stored = (hours: Record<string, string>): Record<string, string> => JSON.parse(JSON.stringify(hours)) as Record<string, string>

/** A rescan of all these events as group.ts does it, in pages; returns what it publishes. */
function rescan(held: Held, events: readonly LogEvent[], ids_since: number, pages = 1): LogEvent[] {
  const published: LogEvent[] = []
  const read = (within: readonly LogEvent[]): Set<number> => {
    const comparison = new Comparison(held, ids_since, -Infinity)
    const size = Math.max(1, Math.ceil(within.length / pages))
    for (let from = 0; from < within.length; from += size) {
      const page = within.slice(from, from + size)
      comparison.look(page) // the bus refused it
      const look = comparison.look(page)
      published.push(...look.fresh)
      comparison.took(look)
      for (const one of look.by_id) held.add(one)
    }
    return comparison.settle()
  }
  const sorted = [...events].sort((a, b) => a.timestamp - b.timestamp)
  for (const { from, to } of rangesOf(read(sorted))) expect(read(sorted.filter(({ timestamp }) => timestamp >= from && timestamp <= to)).size).toBe(0)
  return published
}

describe('what was published', () => {
  it('whatever is forgotten and restarted, a rescan publishes everything that is new', () => {
    // Minutes before now, and minutes that CloudWatch took it later.
    const line = fc.tuple(fc.integer({ min: 0, max: 5 * 60 - 1 }), fc.oneof(fc.constant(0), fc.integer({ min: 0, max: 300 })))
    const step = fc.record({
      add: fc.array(line, { maxLength: 30 }),
      act: fc.constantFrom('rescan', 'compact', 'restart', 'hot'),
      pages: fc.integer({ min: 1, max: 5 }),
    })
    fc.assert(
      fc.property(fc.array(step, { maxLength: 12 }), fc.integer({ min: 0, max: 40 }), fc.integer({ min: 0, max: 40 }), (steps, ids, parts) => {
        const options = { ids, parts, keep_minutes: 2 * HOUR_MS }
        let held = holding(options)
        const all: LogEvent[] = []
        const published = new Set<string>()
        const ids_since = NOW - HOUR_MS
        for (const { add, act, pages } of steps) {
          for (const [minute, late] of add) {
            const time = NOW - minute * MINUTE_MS
            all.push({ ...event(all.length, time), ingestionTime: time + late * MINUTE_MS })
          }
          if (act === 'compact') held.compact(NOW, ids_since, ids_since)
          if (act === 'restart') held = holding({ ...options, hours: stored(held.encode(NOW - DAY, NOW - 70 * MINUTE_MS)) })
          if (act === 'hot') {
            for (const one of all.filter(({ timestamp }) => timestamp > NOW - 10 * MINUTE_MS)) {
              if (held.has(one)) continue
              published.add(one.eventId)
              held.add(one)
            }
          }
          if (act !== 'rescan') continue
          for (const { eventId } of rescan(held, all, ids_since, pages)) published.add(eventId)
          expect(published.size).toBe(all.length)
        }
      }),
      { numRuns: 500 },
    )
  })

  it('publishes nothing again where nothing is new: by ids, by minutes, by hours after a restart', () => {
    const all = Array.from({ length: 2_000 }, (_, index) => event(index, NOW - index * 17_000))
    let held = holding()
    expect(rescan(held, all, NOW - HOUR_MS).length).toBe(2_000)
    expect(rescan(held, all, NOW - HOUR_MS)).toEqual([])
    held.compact(NOW, NOW, NOW)
    expect(held.ids).toBe(1) // the one of this very moment
    expect(rescan(held, all, NOW - HOUR_MS)).toEqual([])
    const before = NOW - 2 * HOUR_MS
    held = holding({ hours: stored(held.encode(NOW - DAY, before)) })
    const again = rescan(held, all, NOW - HOUR_MS)
    expect(again.every(({ timestamp }) => timestamp >= before)).toBe(true)
  })

  it('a late event in an old minute publishes that minute, after a restart that hour', () => {
    const all = Array.from({ length: 600 }, (_, index) => event(index, NOW - 9 * HOUR_MS + index * 30_000))
    const held = holding({ ids: 0 })
    rescan(held, all, NOW)
    const late = event(9_999, NOW - 6.5 * HOUR_MS)
    expect(rescan(held, [...all, late], NOW).map(({ timestamp }) => minuteOf(timestamp))).toEqual([late, late, late].map(({ timestamp }) => minuteOf(timestamp)))
    const restarted = holding({ ids: 0, hours: stored(held.encode(NOW - DAY, NOW)) })
    const later = event(10_000, NOW - 6.4 * HOUR_MS)
    const again = rescan(restarted, [...all, late, later], NOW)
    expect(again.length).toBe(122)
    expect(rescan(restarted, [...all, late, later], NOW)).toEqual([])
  })

  it('an event that CloudWatch took later is published alone: in an old minute, in an old hour, after a restart', () => {
    const all = Array.from({ length: 1_200 }, (_, index) => event(index, NOW - 40 * HOUR_MS + index * 60_000))
    let held = holding({ ids: 0 })
    rescan(held, all, NOW)
    const find = (time: number, taken: number): void => {
      const one = { ...event(all.length, time), ingestionTime: taken }
      all.push(one)
      expect(rescan(held, all, NOW)).toEqual([one])
      expect(rescan(held, all, NOW)).toEqual([])
    }
    find(NOW - 39.5 * HOUR_MS, NOW - 2 * HOUR_MS)
    held.compact(NOW, NOW, NOW)
    expect(held.parts).toBeLessThan(1_200)
    find(NOW - 39.4 * HOUR_MS, NOW - HOUR_MS)
    held.compact(NOW, NOW, NOW)
    held = holding({ ids: 0, hours: stored(held.encode(NOW - 2 * DAY, NOW)) })
    find(NOW - 39.3 * HOUR_MS, NOW)
    held.compact(NOW, NOW, NOW)
    // More late parts of one hour than are told apart.
    for (let hour = 1; hour < 50; hour++) {
      find(NOW - 39.2 * HOUR_MS, NOW + hour * HOUR_MS)
      held.compact(NOW, NOW, NOW)
    }
    expect(Math.max(...Object.values(held.encode(NOW - 2 * DAY, NOW)).map((text) => text.length))).toBeLessThan(60)
  })

  it('tells the minutes of the oldest hours no longer apart where there are too many parts', () => {
    const held = holding({ parts: 300 })
    const all = Array.from({ length: 600 }, (_, index) => event(index, NOW - index * MINUTE_MS))
    rescan(held, all, NOW)
    expect(held.parts).toBe(600)
    held.compact(NOW, NOW, NOW - 2 * HOUR_MS)
    expect(held.parts).toBeLessThanOrEqual(300)
    held.compact(NOW, NOW, NOW - 9 * HOUR_MS)
    expect(rescan(held, all, NOW)).toEqual([])
  })

  it('counts by minute of ingestion, also what is no longer told apart', () => {
    const held = holding({ keep_minutes: HOUR_MS })
    for (let index = 0; index < 10; index++) held.add({ ...event(index, NOW - 5 * HOUR_MS - index), ingestionTime: NOW })
    held.add(event(10, NOW))
    held.compact(NOW, NOW - HOUR_MS, NOW)
    expect(held.ingested().get(NOW)).toBe(11)
  })

  it('joins minutes that are close to each other', () => {
    expect(rangesOf(new Set([NOW + MINUTE_MS, NOW, NOW + 25 * MINUTE_MS, NOW + 30 * MINUTE_MS]))).toEqual([
      { from: NOW, to: NOW + 2 * MINUTE_MS - 1 },
      { from: NOW + 25 * MINUTE_MS, to: NOW + 31 * MINUTE_MS - 1 },
    ])
  })
})
