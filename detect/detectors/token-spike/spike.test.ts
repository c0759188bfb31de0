import { describe, expect, it } from 'vitest'
import { configuredDetectors } from '../../index.ts'
import { detectorsConfig } from '../../config.ts'
import { KeyedFolds } from '../../../stream/keyed.ts'
import type { FoldedFinding } from '../../../stream/fold.ts'
import { SpikeState } from './state.ts'
import type { UsageEvent } from '../../../schemas/usage.ts'
import { CASE_DAY, CASE_MINUTE, CASE_START, past, usageSample } from '../../detector-case.ts'

const spike = configuredDetectors(detectorsConfig.parse(undefined)).filter(({ spec }) => spec.id === 'token-spike')
const expensive = { model: 'o1-2024-12-17', request_model: 'o1', input_tokens: 4000, output_tokens: 1000 }
const keyed = (name: string) => ({ api_key_id: name, owner_ref: `key:${name}` })

/** Key states and pools together, event time two minutes behind. */
async function told(events: readonly UsageEvent[], gaps: [number, number][] = []): Promise<FoldedFinding[]> {
  const folds = new KeyedFolds(spike, { lateness: 0, silent_after: Infinity, unpaced_lateness: 0 })
  const run = folds.run(null, 0)
  run.watermark.gaps = gaps
  const advance = async (to: number) => {
    run.watermark.value = to
    await folds.tick(
      run,
      to,
      async () => {},
      async () => {},
    )
  }
  const sorted = [...events].sort((a, b) => a.event_time - b.event_time)
  let next = 0
  for (const event of sorted) {
    if (event.event_time >= next) {
      await advance(event.event_time - 120_000)
      next = event.event_time + CASE_MINUTE
    }
    folds.fold('usage.v1', event, run)
  }
  await advance((sorted.at(-1)?.event_time ?? 0) + CASE_DAY)
  expect(folds.failures).toEqual([])
  return folds.emitted.map(({ finding }) => finding)
}

const burn = (at: number, minutes: number, usd_per_minute: number, change: Partial<UsageEvent> = {}) =>
  Array.from({ length: minutes * 60 }, (_, n) => usageSample(at + n * 1000, { ...expensive, cost_usd: (usd_per_minute / 60).toFixed(6), ...change }, n + 1))

const then = CASE_START + 6 * CASE_DAY + 10 * 60 * CASE_MINUTE
const quiet = past(8, CASE_MINUTE, (at) => usageSample(at))

describe('a new key', () => {
  it('has one judge: what its team and the cap say is one finding with one count of revisions', async () => {
    const found = await told([...quiet, ...burn(then, 5, 40, keyed('fp_new'))])
    expect(found.map(({ entity }) => entity)).toEqual(found.map(() => 'key:fp_new'))
    expect(found.map(({ revision }) => revision)).toEqual(found.map((_, n) => n + 1))
    const alone = await told(burn(then, 5, 40, keyed('fp_new')))
    expect([...new Set(alone.map(({ reason }) => reason))]).toEqual(['cold-start-cap'])
  })

  it('is still seen after another key of its team was on fire', async () => {
    const found = await told([...quiet, ...burn(then, 60, 70), ...burn(then + 12 * 60 * CASE_MINUTE, 5, 3, keyed('fp_new'))])
    expect(found.filter(({ entity }) => entity === 'key:fp_new').map(({ reason }) => reason)).toContain('new-key-spike')
  })
})

describe('a large pool', () => {
  it('forgets the longest unused key, not the oldest', () => {
    const state = new SpikeState(true)
    const add = (name: string, at: number) => state.add(usageSample(at, keyed(name)), `key:${name}`)
    for (let bucket = 0; bucket < 20; bucket++) {
      const at = CASE_START + bucket * 5 * CASE_MINUTE
      add('fp_old', at)
      for (let n = 0; n < 300; n++) add(`fp_${bucket}_${n}`, at + n)
      state.close(at + 5 * CASE_MINUTE, () => false)
    }
    expect(state.members.size).toBeLessThan(5000)
    expect(state.members.get('key:fp_old')?.since).toBe(CASE_START)
  })
})

describe('an open bucket', () => {
  it('is told again as soon as it gets worse, not when it has twice the requests', async () => {
    const start = then - (then % 300_000)
    const gentle = Array.from({ length: 1000 }, (_, n) => usageSample(start + n * 100, { cost_usd: '0.0012' }, n + 1))
    const worse = Array.from({ length: 180 }, (_, n) => usageSample(start + 110_000 + n * 1000, { ...expensive, cost_usd: '1' }, n + 2000))
    const found = await told([...quiet, ...gentle, ...worse])
    const critical = found.find(({ severity }) => severity === 'critical')
    expect((critical?.last_event_time ?? Infinity) - (start + 110_000)).toBeLessThan(30_000)
  })
})

describe('a clock that was ten years off', () => {
  it('does not hold the others up', async () => {
    const [first = usageSample(0)] = quiet
    const started = performance.now()
    await told([{ ...first, event_time: first.event_time - 3650 * CASE_DAY }, ...quiet.slice(0, 100)])
    expect(performance.now() - started).toBeLessThan(2000)
  })
})

describe('what is not learnt', () => {
  it('silence while the collector could not look: it is missing, not zero', async () => {
    const away = [then - 30 * 3_600_000, then - 3 * 3_600_000] as [number, number]
    const steady = past(9, CASE_MINUTE, (at) => usageSample(at, { cost_usd: '0.20' }))
    const seen = steady.filter(({ event_time }) => event_time < away[0] || event_time >= away[1])
    const expected = async (events: readonly UsageEvent[], gaps: [number, number][]) =>
      Number((await told([...events, ...burn(then, 5, 60)], gaps)).find(({ reason }) => reason === 'cost-spike')?.evidence['expected_usd'])
    expect(await expected(steady, [])).toBeCloseTo(1, 2)
    expect(await expected(seen, [])).toBeLessThan(0.95)
    expect(await expected(seen, [away])).toBeCloseTo(1, 2)
  })

  it('a burn of twelve hours does not hide the next one', async () => {
    const found = await told([...past(14, CASE_MINUTE, (at) => usageSample(at)), ...burn(then, 720, 20), ...burn(then + 6 * CASE_DAY, 10, 20)])
    const days = new Set(found.map(({ window_start }) => Math.floor((window_start - then) / CASE_DAY)))
    expect([...days]).toEqual([0, 6])
    // … and the first one fires to its end.
    expect(found.filter(({ window_start }) => window_start < then + CASE_DAY).at(-1)?.last_event_time).toBeGreaterThan(then + 719 * CASE_MINUTE)
  })

  it('a new nightly job is normal after three nights', async () => {
    const nights = Array.from({ length: 7 }, (_, night) => burn(CASE_START + (6 + night) * CASE_DAY + 2 * 60 * CASE_MINUTE, 30, 2)).flat()
    const found = await told([...past(14, CASE_MINUTE, (at) => usageSample(at)), ...nights])
    expect(new Set(found.map(({ window_start }) => Math.floor((window_start - CASE_START) / CASE_DAY) - 6))).toEqual(new Set([0, 1, 2, 3]))
  })
})

describe('a slow ramp', () => {
  // A public case: the stolen key was used gently for three weeks, then ramped up to three million tokens a minute.
  it.each([
    [1, 10],
    [6, 10],
    [24, 30],
    [96, 100],
  ])('to three million tokens a minute that takes %i h is told before %i USD are gone', { timeout: 60_000 }, async (hours, usd) => {
    const gentle = past(21, 2 * CASE_MINUTE, (at) => usageSample(at, { cost_usd: '0.004' }))
    const from = CASE_START + 21 * CASE_DAY
    const top = 3_000_000
    const ramp = Array.from({ length: (hours + 1) * 60 }, (_, minute) => {
      const tokens = Math.round(500 * (top / 500) ** Math.min(1, minute / (hours * 60)))
      return usageSample(from + minute * CASE_MINUTE, { input_tokens: tokens, output_tokens: 0, cost_usd: ((tokens * 2.5) / 1e6).toFixed(6) }, minute)
    })
    const [first] = await told([...gentle, ...ramp])
    const at = first?.first_event_time ?? Infinity
    const lost = ramp.filter(({ event_time }) => event_time <= at).reduce((sum, { cost_usd }) => sum + Number(cost_usd), 0)
    expect(lost).toBeLessThan(usd)
  })
})
