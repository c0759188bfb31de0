/** Virtual time: nobody waits. Sleepers lie in a queue; when all code is quiet the clock jumps to the first of them. */
import { type Clock, yieldToEventLoop } from '../../runtime/clock.ts'

interface Sleeper {
  at: number
  order: number
  wake: () => void
  gone: boolean
}

// The collector lets the event loop run every 200 records of a page: code that only yields is not idle. Pages of up to 600 records.
const QUIET_TURNS = 4

/**
 * Deterministic as long as all waiting goes through `sleep` and all real input and output through `outside`: sleepers of one
 * instant wake in the order in which they lay down, one at a time, and everything that follows from one by promises happens
 * before the next. Code that waits for the event loop itself must not do so: nothing tells it from code that is done.
 */
export class VirtualClock implements Clock {
  readonly #queue = new Heap()
  #now: number
  #order = 0
  #outside = 0
  #line: Promise<unknown> = Promise.resolve()

  constructor(now: number) {
    this.#now = now
  }

  now(): number {
    return this.#now
  }

  sleep(ms: number, signal?: AbortSignal): Promise<void> {
    return new Promise((resolve) => {
      if (signal?.aborted) return resolve()
      const sleeper: Sleeper = { at: this.#now + Math.max(0, Math.ceil(ms)), order: this.#order++, gone: false, wake: resolve }
      if (signal !== undefined) {
        const abort = (): void => {
          sleeper.gone = true
          resolve()
        }
        sleeper.wake = () => {
          signal.removeEventListener('abort', abort)
          resolve()
        }
        signal.addEventListener('abort', abort, { once: true })
      }
      this.#queue.push(sleeper)
    })
  }

  /** Real input and output: time stands still until it is done, as if it took none. One after the other, so that the order repeats. */
  outside<T>(work: () => Promise<T>): Promise<T> {
    this.#outside++
    const result = this.#line.then(work)
    this.#line = result.then(
      () => void this.#outside--,
      () => void this.#outside--,
    )
    return result
  }

  /** The machine was asleep: all sleepers that are due wake late. */
  jump(ms: number): void {
    this.#now += Math.max(0, Math.ceil(ms))
  }

  /** Runs until `done`, or until nobody sleeps any more. Returns whether `done` was reached. */
  async drive(done: () => boolean): Promise<boolean> {
    for (;;) {
      for (let turn = 0; turn < QUIET_TURNS; turn++) await yieldToEventLoop()
      while (this.#outside > 0) await yieldToEventLoop()
      if (done()) return true
      const next = this.#queue.pop()
      if (next === undefined) return false
      if (next.gone) continue
      if (next.at > this.#now) this.#now = next.at
      next.wake()
    }
  }
}

class Heap {
  readonly #list: Sleeper[] = []

  push(sleeper: Sleeper): void {
    const list = this.#list
    let at = list.length
    list.push(sleeper)
    while (at > 0) {
      const up = (at - 1) >> 1
      const parent = list[up]
      if (parent === undefined || !before(sleeper, parent)) break
      list[at] = parent
      at = up
    }
    list[at] = sleeper
  }

  pop(): Sleeper | undefined {
    const list = this.#list
    const top = list[0]
    const last = list.pop()
    if (last === undefined || top === last) return top
    let at = 0
    for (;;) {
      let down = 2 * at + 1
      const [left, right] = [list[down], list[down + 1]]
      if (left === undefined) break
      const child = right !== undefined && before(right, left) ? (down++, right) : left
      if (!before(child, last)) break
      list[at] = child
      at = down
    }
    list[at] = last
    return top
  }
}

const before = (a: Sleeper, b: Sleeper): boolean => a.at < b.at || (a.at === b.at && a.order < b.order)
