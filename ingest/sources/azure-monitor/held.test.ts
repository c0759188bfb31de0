import * as fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { Held, HOUR, MINUTE, TEN_MINUTES } from './held.ts'

const NOON = Date.UTC(2026, 2, 2, 12)
const at = (minute: number, rows: number): number[] => Array.from({ length: rows }, (_, n) => NOON + minute * MINUTE + n)
const minute = (n: number): number => NOON + n * MINUTE

describe('how many rows of each minute are held', () => {
  it('counts a window anew when it is read again', () => {
    const held = new Held()
    held.replace(minute(0), minute(3), [...at(0, 2), ...at(2, 5)])
    held.replace(minute(2), minute(4), [...at(2, 6), ...at(3, 1)])
    expect([0, 1, 2, 3].map((n) => held.minute(minute(n)))).toEqual([2, 0, 6, 1])
    expect(held.ten(NOON)).toBe(9)
  })

  it('folds old minutes into tens, and reads a ten anew as a whole', () => {
    const held = new Held()
    held.replace(minute(0), minute(20), [...at(1, 2), ...at(11, 3)])
    held.age({ tens: minute(10), hours: NOON })
    expect(held.minute(minute(1))).toBeUndefined()
    expect([held.ten(minute(0)), held.ten(minute(10)), held.minute(minute(11))]).toEqual([2, 3, 3])
    held.replace(minute(0), minute(10), [...at(1, 2), ...at(9, 1)])
    expect(held.ten(minute(0))).toBe(3)
  })

  it('folds old tens into hours, reads an hour anew as a whole or from where it began, and forgets older ones', () => {
    const held = new Held()
    held.replace(minute(-60), minute(70), [...at(-30, 4), ...at(1, 2), ...at(11, 3), ...at(65, 7)])
    held.age({ tens: minute(60), hours: NOON + HOUR })
    expect([held.hour(NOON - HOUR), held.hour(NOON), held.hour(NOON + HOUR)]).toEqual([4, 5, 7])
    expect([held.ten(minute(10)), held.minute(minute(11)), held.ten(minute(60))]).toEqual([undefined, undefined, 7])
    held.replace(minute(-45), NOON + HOUR, [...at(-30, 4), ...at(1, 2), ...at(11, 3), ...at(30, 1)])
    expect([held.hour(NOON - HOUR), held.hour(NOON)]).toEqual([4, 6])
    // Nothing was there: what appears is counted, and folded with the others the next time.
    held.replace(NOON - 2 * HOUR, NOON - HOUR, at(-100, 3))
    expect(held.hour(NOON - 2 * HOUR)).toBe(3)
    held.age({ tens: minute(60), hours: NOON + HOUR })
    expect([held.hour(NOON - 2 * HOUR), held.ten(minute(-110))]).toEqual([3, undefined])
    held.forget(NOON)
    expect([held.hour(NOON - HOUR), held.hour(NOON)]).toEqual([0, 6])
  })

  it('is the same after a restart, and small', () => {
    const step = fc.record({ from: fc.nat(60), length: fc.integer({ min: 1, max: 10 }), rows: fc.array(fc.nat(9), { maxLength: 20 }), fold: fc.nat(6) })
    fc.assert(
      fc.property(fc.array(step, { maxLength: 12 }), (steps) => {
        const held = new Held()
        for (const { from, length, rows, fold } of steps) {
          const whole = Math.floor(from / 10) * 10
          held.replace(
            minute(whole),
            minute(whole + 10),
            rows.map((row) => minute(whole) + (row % length) * MINUTE),
          )
          held.age({ tens: NOON + fold * TEN_MINUTES, hours: fold < 6 ? NOON : NOON + HOUR })
        }
        const again = new Held(JSON.parse(JSON.stringify(held.encode())) as ReturnType<Held['encode']>)
        expect(again.encode()).toEqual(held.encode())
        for (let n = 0; n < 70; n += 10) expect(again.ten(minute(n))).toBe(held.ten(minute(n)))
      }),
    )
    const full = new Held()
    for (let n = 0; n < 15 * 24 * 60; n++) full.replace(minute(n), minute(n + 1), at(n, 99))
    full.age({ tens: minute(359 * 60), hours: minute(13 * 24 * 60) })
    expect(JSON.stringify(full.encode()).length).toBeLessThan(6000)
  })
})
