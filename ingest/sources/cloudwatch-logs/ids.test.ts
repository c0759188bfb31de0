import { describe, expect, it } from 'vitest'
import { seededRandom } from '../../../runtime/random.ts'
import { hashId } from './digest.ts'
import { IdSet } from './ids.ts'

// As CloudWatch gives them: 56 digits, of which the last differ.
const idOf = (n: number): string => `3883926182471934872${String(1_772_452_800_000 + n * 37)}${String(n).padStart(24, '0')}`

describe('a set of ids', () => {
  it('holds what was added and nothing else, as a Set does', () => {
    const [ids, truth] = [new IdSet(), new Set<string>()]
    const random = seededRandom(5)
    for (let step = 0; step < 50_000; step++) {
      const id = idOf(Math.floor(random() * 60_000))
      expect(ids.has(id)).toBe(truth.has(id))
      ids.add(id)
      truth.add(id)
    }
    expect(ids.size).toBe(truth.size)
  })

  it('tells a million ids apart that differ in a digit or two', () => {
    const ids = new IdSet()
    for (let n = 0; n < 1_000_000; n++) ids.add(idOf(n))
    expect(ids.size).toBe(1_000_000)
  })

  it('spreads them: each half of the hash alone collides as often as chance wants', () => {
    const count = 200_000
    const halves = [new Set<number>(), new Set<number>()]
    const hashes = new Int32Array(2)
    for (let n = 0; n < count; n++) {
      hashId(idOf(n), hashes)
      for (const [index, half] of halves.entries()) half.add(hashes[index] ?? 0)
    }
    const expected = (count * count) / 2 / 2 ** 32
    for (const half of halves) expect(count - half.size).toBeLessThan(3 * expected + 10)
  })
})
