import { expect, it } from 'vitest'
import { canonicalJson } from './canonical-json.ts'

it('sorts keys by UTF-16 code units and writes numbers as ECMAScript does', () => {
  // The sorting example of RFC 8785, section 3.2.3.
  const sorted = canonicalJson({ '€': 1, '\r': 2, '\ufb33': 3, '1': 4, '😀': 5, '\u0080': 6, ö: 7 })
  expect(sorted).toBe('{"\\r":2,"1":4,"\u0080":6,"ö":7,"€":1,"😀":5,"\ufb33":3}')
  expect(canonicalJson([1e30, 4.5, 0.002, 1e-27, -0])).toBe('[1e+30,4.5,0.002,1e-27,0]')
})

it('does not depend on the order in which members were set and leaves undefined out', () => {
  expect(canonicalJson({ b: { d: null, c: [true] }, a: undefined })).toBe(canonicalJson({ b: { c: [true], d: null } }))
})

it('refuses what JSON cannot hold', () => {
  expect(() => canonicalJson({ a: Number.NaN })).toThrow(/NaN/)
  expect(() => canonicalJson({ a: 1n })).toThrow(/bigint/)
})
