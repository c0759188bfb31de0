import * as fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { type Bin, exceeds, planReads, SECOND, split, type Window } from './planner.ts'

const MINUTE = 60 * SECOND
const bin = (n: number, rows: number, bytes = rows): Bin => ({ from: n * MINUTE, to: (n + 1) * MINUTE, rows, bytes })
const caps = { rows: 100, bytes: 1000 }

describe('which windows are read', () => {
  it('joins neighbours below the caps and starts anew above them', () => {
    const reads = planReads([bin(0, 40), bin(1, 50), bin(2, 20), bin(3, 5, 990)], () => true, caps)
    expect(reads.map(({ window, rows }) => [window.from / MINUTE, window.to / MINUTE, rows])).toEqual([
      [0, 2, 90],
      [2, 3, 20],
      [3, 4, 5],
    ])
  })

  it('never reads again what did not change, and an empty minute does not part its neighbours', () => {
    const reads = planReads([bin(0, 10), bin(1, 0), bin(2, 10), bin(3, 10), bin(4, 10)], ({ from }) => from !== 3 * MINUTE, caps)
    expect(reads.map(({ window }) => [window.from / MINUTE, window.to / MINUTE])).toEqual([
      [0, 3],
      [4, 5],
    ])
  })

  it('gives a bin above the caps alone, to be split', () => {
    const [first, second] = planReads([bin(0, 250), bin(1, 1)], () => true, caps)
    expect(first).toMatchObject({ rows: 250, window: { from: 0, to: MINUTE } })
    expect(second).toMatchObject({ rows: 1 })
  })
})

describe('splitting', () => {
  it('halves by time down to a second, then by hash, and says when there is an end', () => {
    expect(split({ from: 0, to: 4 * SECOND })).toEqual([
      { from: 0, to: 2 * SECOND },
      { from: 2 * SECOND, to: 4 * SECOND },
    ])
    expect(split({ from: 0, to: SECOND })).toEqual([
      { from: 0, to: SECOND, part: { of: 2, index: 0 } },
      { from: 0, to: SECOND, part: { of: 2, index: 1 } },
    ])
    expect(split({ from: 0, to: SECOND, part: { of: 2, index: 1 } })).toEqual([
      { from: 0, to: SECOND, part: { of: 4, index: 1 } },
      { from: 0, to: SECOND, part: { of: 4, index: 3 } },
    ])
    expect(split({ from: 0, to: SECOND, part: { of: 4096, index: 1 } })).toBeUndefined()
  })

  it('reads every row exactly once, with as few halvings as the logarithm allows', () => {
    const row = fc.record({ at: fc.nat(30 * MINUTE - 1), hash: fc.nat(0xffff_ffff) })
    // Bursts, too: many rows in one millisecond, told apart by their hash alone.
    const burst = fc.tuple(fc.nat(30 * MINUTE - 1), fc.array(fc.nat(0xffff_ffff), { maxLength: 60 })).map(([at, hashes]) => hashes.map((hash) => ({ at, hash })))
    fc.assert(
      fc.property(fc.array(row, { maxLength: 300 }), fc.array(burst, { maxLength: 3 }), fc.integer({ min: 5, max: 50 }), (single, bursts, most) => {
        const rows = [...new Map([...single, ...bursts.flat()].map((one) => [`${one.at} ${one.hash}`, one])).values()]
        const world = new World(rows, most)
        const bins = Array.from({ length: 30 }, (_, n) => bin(n, rows.filter(({ at }) => Math.floor(at / MINUTE) === n).length))
        for (const { window } of planReads(bins, () => true, { rows: most, bytes: Infinity })) world.read(window, 0)
        expect(world.read_rows.sort(order)).toEqual([...rows].sort(order))
        // A minute has 64 > 60 seconds: 6 halvings. By hash at most as many as tell the rows of one second apart.
        expect(world.deepest).toBeLessThanOrEqual(6 + 12)
      }),
      { numRuns: 200 },
    )
  })

  it('halves evenly spread rows only log2(rows / cap) times', () => {
    const rows = Array.from({ length: 6000 }, (_, n) => ({ at: n * 10, hash: n * 2_654_435_761 }))
    const world = new World(rows, 400)
    world.read({ from: 0, to: MINUTE }, 0)
    expect(world.deepest).toBeLessThanOrEqual(Math.ceil(Math.log2(6000 / 400)))
    expect(world.read_rows.length).toBe(6000)
  })
})

interface Row {
  at: number
  hash: number
}
const order = (a: Row, b: Row): number => a.at - b.at || a.hash - b.hash

/** Answers as the service does: whole below its cap, refused above. */
class World {
  readonly read_rows: Row[] = []
  deepest = 0
  readonly #rows: readonly Row[]
  readonly #most: number

  constructor(rows: readonly Row[], most: number) {
    this.#rows = rows
    this.#most = most
  }

  read(window: Window, depth: number): void {
    this.deepest = Math.max(this.deepest, depth)
    const found = this.#rows.filter(({ at, hash }) => at >= window.from && at < window.to && (window.part === undefined || hash % window.part.of === window.part.index))
    if (!exceeds({ rows: found.length, bytes: 0 }, { rows: this.#most, bytes: 1 })) {
      this.read_rows.push(...found)
      return
    }
    const halves = split(window)
    if (halves === undefined) throw new Error('cannot be split')
    for (const half of halves) this.read(half, depth + 1)
  }
}
