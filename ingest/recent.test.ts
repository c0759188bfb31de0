import { describe, expect, it } from 'vitest'
import { createRecent } from './recent.ts'

describe('recent', () => {
  it('keeps the newest and what is asked for, and stays bounded', () => {
    const recent = createRecent<number, string>(100)
    recent.set(-1, 'asked')
    for (let n = 0; n < 10_000; n++) {
      recent.set(n, `v${n}`)
      expect(recent.get(-1)).toBe('asked')
      if (n >= 45) expect(recent.get(n - 45)).toBe(`v${n - 45}`)
    }
    const held = Array.from({ length: 10_000 }, (_, n) => n).filter((n) => recent.get(n) !== undefined)
    expect(held.length).toBeLessThanOrEqual(200)
  })

  it('gives the newest value of a key', () => {
    const recent = createRecent<string, number>(2)
    recent.set('a', 1)
    recent.set('b', 1)
    recent.set('c', 1)
    recent.set('a', 2)
    expect([recent.get('a'), recent.get('b'), recent.get('d')]).toEqual([2, 1, undefined])
  })
})
