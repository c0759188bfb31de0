import { describe, expect, it } from 'vitest'
import { ManualClock } from '../../../test/support/ingest.ts'
import { Budget, limited } from './budget.ts'
import { ThrottledError } from './failure.ts'

const HOUR = 3_600_000
const never = new AbortController().signal

describe('the budget of one identity', () => {
  it('lets no more through in any 30 s than its share', async () => {
    const clock = new ManualClock(0)
    const budget = new Budget({ clock, requests: 10, concurrent: 3 })
    const starts: number[] = []
    await Promise.all(Array.from({ length: 35 }, () => budget.run(never, async () => void starts.push(clock.now()))))
    expect(starts.length).toBe(35)
    for (const from of starts) expect(starts.filter((at) => at >= from && at < from + 30_000).length).toBeLessThanOrEqual(10)
  })

  it('runs no more at the same time than asked, first come first served', async () => {
    const budget = new Budget({ clock: new ManualClock(0), requests: 100, concurrent: 2 })
    let [running, most] = [0, 0]
    const order: number[] = []
    await Promise.all(
      Array.from({ length: 9 }, (_, n) =>
        budget.run(never, async () => {
          order.push(n)
          most = Math.max(most, ++running)
          await new Promise((resolve) => setImmediate(resolve))
          running--
        }),
      ),
    )
    expect(most).toBe(2)
    expect(order).toEqual([0, 1, 2, 3, 4, 5, 6, 7, 8])
  })

  it('rests for everybody when the service asks one of them to', async () => {
    const clock = new ManualClock(0)
    const budget = new Budget({ clock, requests: 100, concurrent: 2 })
    let calls = 0
    const api = limited(
      {
        queryWindow: async () => {
          if (calls++ === 0) throw new ThrottledError('429', { retry_after_ms: 7000 })
          return { kind: 'empty' }
        },
      },
      budget,
    )
    const ask = () => api.queryWindow('w', 'q', { from: 0, to: 1 }, never)
    await expect(ask()).rejects.toThrow('429')
    await ask()
    expect(clock.now()).toBeGreaterThanOrEqual(7000)
  })

  it('waits no longer than it was asked to when the clock is set back', async () => {
    const clock = new ManualClock(HOUR)
    const budget = new Budget({ clock, requests: 3, concurrent: 2 })
    const ask = () => budget.run(never, () => Promise.resolve(clock.now()))
    for (let n = 0; n < 3; n++) await ask()
    clock.advance(-HOUR / 2)
    // What was asked an hour ahead is forgotten …
    expect(await ask()).toBe(HOUR / 2)
    budget.pause(7_000)
    budget.pause(2_000)
    clock.advance(-HOUR / 4)
    // … and a rest is as long as the service said.
    expect((await ask()) - HOUR / 4).toBe(7_000)
    budget.pause(1_000)
    clock.advance(-HOUR / 8)
    const again = clock.now()
    expect((await ask()) - again).toBeLessThanOrEqual(7_000)
    await ask()
    const full = clock.now()
    await ask()
    expect(clock.now() - full).toBeLessThanOrEqual(30_000)
  })

  it('ends when the signal aborts, and lets the others go on', async () => {
    const clock = new ManualClock(0)
    const budget = new Budget({ clock, requests: 1, concurrent: 1 })
    const stop = new AbortController()
    stop.abort()
    await expect(budget.run(stop.signal, () => Promise.resolve(1))).rejects.toThrow()
    await expect(budget.run(never, () => Promise.resolve(2))).resolves.toBe(2)
  })
})
