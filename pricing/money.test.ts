import * as fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { picoToUsd, scalePico, usdToPico } from './money.ts'

describe('money', () => {
  it('is exact in both directions', () => {
    fc.assert(fc.property(fc.bigInt(-(10n ** 30n), 10n ** 30n), (pico) => usdToPico(picoToUsd(pico)) === pico))
  })

  it.each([
    [0n, '0'],
    [1n, '0.000000000001'],
    [4_200_000_000_000n, '4.2'],
    [-500_000_000_000n, '-0.5'],
    [1_000_000_000_000n, '1'],
  ])('writes %s as %s', (pico, text) => expect(picoToUsd(pico)).toBe(text))

  it.each(['1e-7', '.5', '1.', '', '0.0000000000001', 'NaN'])('refuses %s', (text) => expect(() => usdToPico(text)).toThrow(RangeError))

  it('rounds a discount half to even', () => {
    expect([scalePico(1n, 1n, 2n), scalePico(3n, 1n, 2n), scalePico(5n, 1n, 2n), scalePico(7n, 1n, 3n)]).toEqual([0n, 2n, 2n, 2n])
  })
})
