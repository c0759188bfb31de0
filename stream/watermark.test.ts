import { describe, expect, it } from 'vitest'
import type { Progress } from '../schemas/progress.ts'
import { Watermark } from './watermark.ts'

const T = Date.UTC(2026, 5, 10, 12)
const MINUTE = 60_000
const options = { lateness: 0, silent_after: 5 * MINUTE, unpaced_lateness: 0 }
const said = (stream: string, scanned_to: number, change: Partial<Progress> = {}): Progress => ({
  stream,
  source: 'case',
  source_stream: stream,
  run_id: null,
  at: scanned_to,
  scanned_to,
  last_event_time: null,
  completeness: null,
  blind: false,
  reason: null,
  done: false,
  records: 0,
  accepted: 0,
  skipped: 0,
  rejected: 0,
  late: 0,
  ...change,
})

describe('gaps', () => {
  it('are the times that the watermark passed while a stream was blind or silent', () => {
    const watermark = new Watermark(true, options, T)
    for (const stream of ['a', 'b']) watermark.observe(said(stream, T), T)
    watermark.advance(T)
    expect(watermark.gaps).toEqual([])
    watermark.observe(said('b', T, { blind: true }), T + 10 * MINUTE)
    for (const minutes of [10, 20]) {
      watermark.observe(said('a', T + minutes * MINUTE), T + minutes * MINUTE)
      watermark.advance(T + minutes * MINUTE)
    }
    expect(watermark.gaps).toEqual([[T, T + 20 * MINUTE]])
    // Back again: what comes now was seen by all.
    for (const stream of ['a', 'b']) watermark.observe(said(stream, T + 60 * MINUTE), T + 60 * MINUTE)
    watermark.advance(T + 60 * MINUTE)
    expect(watermark.gaps).toEqual([[T, T + 20 * MINUTE]])
    expect(Watermark.decode(watermark.encode(), true, options, T).gaps).toEqual(watermark.gaps)
  })

  it('end when a stream has been away for a day: it is gone', () => {
    const watermark = new Watermark(true, options, T)
    watermark.observe(said('gone', T), T)
    for (let minutes = 10; minutes <= 3 * 1440; minutes += 10) {
      watermark.observe(said('a', T + minutes * MINUTE), T + minutes * MINUTE)
      watermark.advance(T + minutes * MINUTE)
    }
    expect(watermark.gaps).toEqual([[T, T + 1440 * MINUTE]])
  })
})
