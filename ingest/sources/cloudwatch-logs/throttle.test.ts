import { describe, expect, it } from 'vitest'
import { VirtualClock } from '../../../test/simulate/clock.ts'
import { RequestShare } from './throttle.ts'

const NOW = Date.UTC(2026, 2, 2, 12)
const never = new AbortController().signal

/** Each member asks again as soon as it was served, for `ms`. */
async function contest(share: RequestShare, clock: VirtualClock, members: readonly { name: string; urgent: boolean }[], ms: number): Promise<Map<string, number[]>> {
  const served = new Map<string, number[]>(members.map(({ name }) => [name, []]))
  const stop = new AbortController()
  const end = clock.now() + ms
  const done = Promise.all(
    members.map(async ({ name, urgent }) => {
      while (clock.now() < end) {
        await share.take(name, urgent, stop.signal)
        served.get(name)?.push(clock.now())
      }
    }),
  )
  let ended = false
  void done.then(() => (ended = true))
  await clock.drive(() => ended || clock.now() > end + 60_000)
  return served
}

describe('the share of the quota', () => {
  it('is never more than its rate, and the same for all who wait', async () => {
    const clock = new VirtualClock(NOW)
    const members = Array.from({ length: 7 }, (_, index) => ({ name: `group-${index}`, urgent: true }))
    const served = await contest(new RequestShare({ clock, rate: 3 }), clock, members, 60_000)
    const counts = [...served.values()].map((times) => times.length)
    expect(counts.reduce((sum, n) => sum + n, 0)).toBeLessThanOrEqual(3 * 60 + 8)
    expect(counts.reduce((sum, n) => sum + n, 0)).toBeGreaterThan(3 * 60 - 8)
    expect(Math.max(...counts) - Math.min(...counts)).toBeLessThanOrEqual(1)
  })

  it('serves hot scans first, but leaves rescans every fourth turn', async () => {
    const clock = new VirtualClock(NOW)
    const members = [
      { name: 'hot-1', urgent: true },
      { name: 'hot-2', urgent: true },
      { name: 'rescan', urgent: false },
    ]
    const served = await contest(new RequestShare({ clock, rate: 3 }), clock, members, 60_000)
    const total = [...served.values()].reduce((sum, times) => sum + times.length, 0)
    expect((served.get('rescan')?.length ?? 0) / total).toBeCloseTo(0.25, 1)
  })

  it('halves its pace when the cloud says that it is too much, and comes back slowly', async () => {
    const clock = new VirtualClock(NOW)
    const share = new RequestShare({ clock, rate: 3 })
    share.throttled()
    share.throttled() // an answer of the same moment
    expect(share.rate).toBe(1.5)
    clock.jump(5_000)
    share.throttled()
    expect(share.rate).toBe(0.75)
    clock.jump(5_000)
    share.succeeded()
    expect(share.rate).toBe(0.75)
    for (let quiet = 0; quiet < 30; quiet++) {
      clock.jump(10_000)
      share.succeeded()
    }
    expect(share.rate).toBe(3)
  })

  it('lets go of whoever gave up, and does not stall when the clock is set back', async () => {
    const clock = new VirtualClock(NOW)
    let back = 0
    const share = new RequestShare({ clock: { now: () => clock.now() - back, sleep: (ms, signal) => clock.sleep(ms, signal) }, rate: 3 })
    await share.take('a', true, never)
    const stop = new AbortController()
    const waiting = share.take('b', true, stop.signal)
    stop.abort()
    await waiting
    back = 600_000
    let served = false
    void share.take('a', true, never).then(() => (served = true))
    await clock.drive(() => served)
    expect(clock.now() - NOW).toBeLessThanOrEqual(2_000)
    expect(share.waiting).toBe(0)
  })
})
