import * as fc from 'fast-check'
import { mean, poissonDistribution, quantileSorted } from 'simple-statistics'
import { describe, expect, it } from 'vitest'
import { seededRandom } from '../../runtime/random.ts'
import { Ewma } from './ewma.ts'
import { LogHistogram } from './log-histogram.ts'
import { SeasonalEnvelope } from './seasonal-envelope.ts'
import { gammaPoissonBound, gammaPoissonTail, logGamma, poissonTail } from './tails.ts'

const values = fc.array(fc.double({ min: -1e8, max: 1e8, noNaN: true }), { minLength: 1, maxLength: 300 })
const p = fc.double({ min: 0.001, max: 0.999, noNaN: true })

describe('LogHistogram', () => {
  it('gives a quantile within 3 % of a value of the same rank (oracle: simple-statistics)', () => {
    fc.assert(
      fc.property(values, p, (list, at) => {
        const sketch = new LogHistogram(1e9)
        for (const value of list) sketch.add(value)
        const sorted = [...list].sort((a, b) => a - b)
        // Half a rank to each side: the sketch and the oracle may round differently.
        const low = quantileSorted(sorted, Math.max(0, at - 1 / sorted.length))
        const high = quantileSorted(sorted, Math.min(1, at + 1 / sorted.length))
        const slack = (value: number) => Math.abs(value) * 0.031 + 1
        const got = sketch.quantile(at)
        expect(got).toBeGreaterThanOrEqual(low - slack(low))
        expect(got).toBeLessThanOrEqual(high + slack(high))
      }),
    )
  })

  it('forgets with its half-life', () => {
    const sketch = new LogHistogram(100)
    for (let i = 0; i < 1000; i++) {
      sketch.decay()
      sketch.add(1000)
    }
    for (let i = 0; i < 1000; i++) {
      sketch.decay()
      sketch.add(10)
    }
    expect(sketch.quantile(0.5)).toBeCloseTo(10, -0.5)
    expect(sketch.quantile(0.9985)).toBeLessThan(11)
    expect(sketch.weight).toBeCloseTo(1 / (1 - 2 ** -0.01), 0)
  })

  it('survives JSON to the last bit, rescaling included', () => {
    const random = seededRandom(4)
    const sketch = new LogHistogram(20)
    for (let i = 0; i < 5000; i++) {
      sketch.decay()
      sketch.add((random() - 0.4) * 10 ** (random() * 8))
    }
    const copy = LogHistogram.fromJSON(JSON.parse(JSON.stringify(sketch)) as [number, number, number, string], 20)
    for (const at of [0.001, 0.01, 0.5, 0.99, 0.999]) expect(copy.quantile(at)).toBe(sketch.quantile(at))
    expect(JSON.stringify(copy)).toBe(JSON.stringify(sketch))
  })
})

describe('tails', () => {
  it('agree with the Poisson distribution of simple-statistics', () => {
    for (const lambda of [0.2, 1, 3.5, 12]) {
      const table = poissonDistribution(lambda)
      if (table === undefined) throw new Error('no table')
      for (let k = 0; k < Math.min(table.length, 20); k++) {
        const below = table.slice(0, k).reduce((sum, value) => sum + value, 0)
        expect(poissonTail(k, lambda)).toBeCloseTo(1 - below, 3)
      }
    }
  })

  it('fall with the count, and the sum over all counts is one', () => {
    fc.assert(
      fc.property(fc.double({ min: 0.05, max: 500, noNaN: true }), fc.double({ min: 0.05, max: 50, noNaN: true }), fc.integer({ min: 1, max: 400 }), (shape, rate, k) => {
        expect(gammaPoissonTail(k + 1, shape, rate)).toBeLessThanOrEqual(gammaPoissonTail(k, shape, rate) * (1 + 1e-9))
        expect(gammaPoissonTail(1, shape, rate)).toBeCloseTo(1 - (rate / (rate + 1)) ** shape, 9)
      }),
    )
  })

  it('become Poisson when the rate is well known', () => {
    expect(gammaPoissonTail(20, 5e6, 1e6) / poissonTail(20, 5)).toBeCloseTo(1, 3)
  })

  it('give a bound that is the smallest of its kind', () => {
    fc.assert(
      fc.property(fc.double({ min: 0.5, max: 2000, noNaN: true }), fc.double({ min: 0.5, max: 2000, noNaN: true }), (shape, rate) => {
        const bound = gammaPoissonBound(1e-9, shape, rate)
        expect(gammaPoissonTail(bound, shape, rate)).toBeLessThan(1e-9)
        expect(gammaPoissonTail(bound - 1, shape, rate)).toBeGreaterThanOrEqual(1e-9)
      }),
      { numRuns: 50 },
    )
  })

  it('know the Gamma function', () => {
    expect(logGamma(1)).toBeCloseTo(0, 12)
    expect(logGamma(0.5)).toBeCloseTo(Math.log(Math.sqrt(Math.PI)), 11)
    expect(logGamma(11)).toBeCloseTo(Math.log(3_628_800), 10)
  })
})

describe('Ewma', () => {
  it('begins as a plain mean (oracle: simple-statistics)', () => {
    fc.assert(
      fc.property(fc.array(fc.double({ min: -1e6, max: 1e6, noNaN: true }), { minLength: 1, maxLength: 90 }), (list) => {
        const average = new Ewma(0.01)
        for (const value of list) average.add(value)
        expect(average.mean).toBeCloseTo(mean(list), 3)
      }),
    )
  })
})

describe('SeasonalEnvelope', () => {
  const month = (value: (start: number) => number) => {
    const envelope = new SeasonalEnvelope()
    for (let start = 0; start < 30 * 86_400_000; start += 300_000) envelope.learn(start, value(start))
    return envelope
  }
  const hourOf = (start: number) => Math.floor(start / 3_600_000) % 24

  it('expects the day at noon and the night at night', () => {
    const envelope = month((start) => (hourOf(start) === 12 ? 1000 : 10))
    const next = 30 * 86_400_000
    expect(envelope.expect(next + 12 * 3_600_000).expected).toBeCloseTo(1000, 3)
    expect(envelope.expect(next).expected).toBeCloseTo(10, 3)
    expect(envelope.expect(next).upper).toBeLessThan(1500)
  })

  it('bounds heavy tails from above and forty times the usual from below', () => {
    const random = seededRandom(7)
    const draw = () => Math.exp(5 + Math.sqrt(-2 * Math.log(1 - random())) * Math.cos(2 * Math.PI * random()) * 0.5)
    const envelope = month(draw)
    const { expected, upper } = envelope.expect(30 * 86_400_000)
    let above = 0
    for (let i = 0; i < 100_000; i++) if (draw() > upper) above++
    expect(above).toBe(0)
    expect(upper).toBeLessThan(40 * expected)
  })
})
