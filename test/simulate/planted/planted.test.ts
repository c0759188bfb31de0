import { describe, expect, it } from 'vitest'
import { plants } from './plants.ts'
import { tryPlant } from './run.ts'

// All of them: npm run simulate -- --planted. Here those that fall first, of each kind one.
const SAMPLE = ['first-page-only', 'read-again-is-another', 'quota-ignored', 'azure-no-recount']

describe('planted bugs', () => {
  it('are many, and many of them were somebody’s', () => {
    expect(plants.length).toBeGreaterThanOrEqual(12)
    expect(plants.filter(({ after }) => after !== null).length).toBeGreaterThanOrEqual(plants.length / 2)
    expect(new Set(plants.map(({ id }) => id)).size).toBe(plants.length)
  })

  for (const plant of plants.filter(({ id }) => SAMPLE.includes(id))) {
    it(`${plant.id} is caught`, { timeout: 240_000 }, async () => {
      const { after, by } = await tryPlant(plant)
      expect(after, by).not.toBeNull()
    })
  }
})
