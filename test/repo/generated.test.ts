import { describe, expect, it } from 'vitest'
import { staleFiles } from '../../scripts/generate.ts'

describe('generated documents', () => {
  it('are those of this code (npm run generate)', () => {
    expect(staleFiles()).toEqual([])
  })
})
