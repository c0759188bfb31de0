import { describe, expect, it } from 'vitest'
import { KeyedFolds } from '../stream/keyed.ts'
import { detectorsConfig } from './config.ts'
import { usageSample } from './detector-case.ts'
import { configuredDetectors } from './index.ts'
import { nextWake } from './wake.ts'

const NOON = Date.UTC(2026, 5, 10, 12)
const MINUTE = 60_000

describe('nextWake', () => {
  it('asks for the moment when the past of a bucket is closed, then for its end', () => {
    expect(nextWake([], 0, 10, 3)).toBeUndefined()
    expect(nextWake([100], -Infinity, 10, 3)).toBe(80)
    expect(nextWake([100], 80, 10, 3)).toBe(110)
    expect(nextWake([130, 100], 95, 10, 3)).toBe(110)
  })
})

describe('a burst that is on the bus before event time is known', () => {
  it('is told as soon as event time is there, not at the end of its bucket', async () => {
    const folds = new KeyedFolds(configuredDetectors(detectorsConfig.parse(undefined)), { lateness: 0, silent_after: Infinity, unpaced_lateness: 0 })
    const run = folds.run(null, NOON)
    for (let n = 0; n < 60; n++) {
      const refused = { outcome: 'client_error', status_code: 404, error_code: 'model_not_found', request_model: `model-${n % 9}`, usage_source: 'absent' } as const
      folds.fold('usage.v1', usageSample(NOON + n * 200, refused), run)
    }
    expect(folds.emitted).toEqual([])
    run.watermark.value = NOON - MINUTE
    await folds.tick(
      run,
      run.watermark.value,
      async () => {},
      async () => {},
    )
    expect(folds.emitted.map(({ spec, finding }) => [spec.id, finding.reason])).toEqual([['invalid-request-burst', 'target-enumeration']])
  })
})
