import { expect, it } from 'vitest'
import { addUsd, showUsd } from './money.ts'

it('adds decimal strings exactly and keeps unknown apart from zero', () => {
  expect(addUsd(['0.1', '0.2', null])).toBe('0.300000000000')
  expect(addUsd(['99999999999999.999999999999', '0.000000000001'])).toBe('100000000000000.000000000000')
  expect(addUsd(['-1.5', '0.25'])).toBe('-1.250000000000')
  expect(addUsd([null, null])).toBeNull()
})

it('shows amounts as people read them', () => {
  expect(showUsd('1234.565')).toBe('$1,234.57')
  expect(showUsd('0.000420000000')).toBe('$0.00042')
  expect(showUsd('0')).toBe('$0.00')
  expect(showUsd('-12')).toBe('-$12.00')
  expect(showUsd('1234567.8')).toBe('$1,234,567.80')
  expect(showUsd(null)).toBe('unknown')
})
