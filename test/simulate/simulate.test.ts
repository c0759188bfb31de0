import { describe, expect, it } from 'vitest'
import { describeFaults, repeatWith, runSeed, runSeeds, type Sum } from './seeds.ts'

const SEEDS = 300
const CHUNK = 50
// Some seconds on a quiet machine.
const timeout = 240_000

/** Readable when it fails: the seed, what is wrong, and how to see it again. */
const failures = (sum: Sum, http = false): string[] => sum.failed.map(({ seed, cloud, faults }) => `seed ${seed}: ${repeatWith(seed, cloud, http)}\n${describeFaults(faults)}`)
const range = (from: number, count: number): number[] => Array.from({ length: count }, (_, index) => from + index)

describe('simulated clouds', () => {
  for (let from = 0; from < SEEDS; from += CHUNK) {
    it(`seeds ${from} to ${from + CHUNK - 1}: nothing lost, nothing counted twice, in time and within the quota`, { timeout }, async () => {
      const sum = await runSeeds(range(from, CHUNK))
      expect(failures(sum)).toEqual([])
      expect([sum.seeds, sum.lost, sum.twice]).toEqual([CHUNK, 0, 0])
      expect(sum.events).toBeGreaterThan(1_000)
    })
  }

  it('the real SDK clients over HTTP see the same', { timeout }, async () => {
    const sum = await runSeeds(range(0, 4), { http: true })
    expect(failures(sum, true)).toEqual([])
    expect(sum.events).toBeGreaterThan(50)
  })

  it('a seed repeats, step by step', async () => {
    for (const seed of [6, 7]) {
      const [first, again] = [await runSeed(seed), await runSeed(seed)]
      expect(again).toEqual(first)
      expect(first.steps).toBeGreaterThan(100)
    }
  })

  for (const [cloud, seed] of [
    ['cloudwatch', 2],
    ['azure', 3],
  ] as const) {
    it(`${cloud}: a process that is killed at any step loses nothing and counts nothing twice`, { timeout }, async () => {
      for (const after_steps of [...range(1, 60), ...range(0, 20).map((n) => 70 + 13 * n)]) {
        const result = await runSeed(seed, {
          cloud,
          change: (plan) => ({
            ...plan,
            count: 40,
            streams: 2,
            longest_delay: 60_000,
            busy: { from: plan.busy.from, to: plan.busy.from + 120_000 },
            ends: [{ after_steps, gently: false, down: 0 }],
          }),
        })
        expect(describeFaults(result.faults), `killed at step ${after_steps}`).toBe('')
        expect(result.lives).toBe(2)
      }
    })
  }
})
