import { describe, expect, it } from 'vitest'
import { VirtualClock } from './clock.ts'

describe('the virtual clock', () => {
  it('wakes in the order of time, then of lying down, and skips what lies between', async () => {
    const clock = new VirtualClock(1_000)
    const woken: string[] = []
    const sleep = async (name: string, ms: number): Promise<void> => {
      await clock.sleep(ms)
      woken.push(`${name} ${clock.now()}`)
    }
    void sleep('c', 86_400_000)
    void sleep('b', 20)
    void sleep('a', 10)
    void sleep('b2', 20)
    expect(await clock.drive(() => woken.length === 4)).toBe(true)
    expect(woken).toEqual(['a 1010', 'b 1020', 'b2 1020', 'c 86401000'])
  })

  it('lets everything that follows from one sleeper happen before the next', async () => {
    const clock = new VirtualClock(0)
    const order: string[] = []
    void clock.sleep(1).then(async () => {
      for (let step = 0; step < 50; step++) await Promise.resolve()
      order.push('followed')
    })
    void clock.sleep(1).then(() => order.push('next'))
    await clock.drive(() => order.length === 2)
    expect(order).toEqual(['followed', 'next'])
  })

  it('does not wait for a sleeper that was aborted, and says when nobody sleeps', async () => {
    const clock = new VirtualClock(0)
    const stop = new AbortController()
    let woken = false
    void clock.sleep(5_000, stop.signal).then(() => (woken = true))
    stop.abort()
    expect(await clock.drive(() => false)).toBe(false)
    expect([woken, clock.now()]).toEqual([true, 0])
  })

  it('stands still while something real happens', async () => {
    const clock = new VirtualClock(0)
    let answer: number | undefined
    let slept = false
    void clock.outside(async () => fetch('data:text/plain,7').then(async (response) => Number(await response.text()))).then((value) => (answer = value))
    void clock.sleep(1).then(() => (slept = true))
    await clock.drive(() => slept)
    expect(answer).toBe(7)
  })

  it('wakes late whoever slept while the machine did', async () => {
    const clock = new VirtualClock(0)
    let at = -1
    void clock.sleep(10).then(() => (at = clock.now()))
    clock.jump(3_600_000)
    await clock.drive(() => at >= 0)
    expect(at).toBe(3_600_000)
  })
})
