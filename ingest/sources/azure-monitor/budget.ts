/** The share of the service's request limits that this collector takes. One budget for everything that one identity asks. */
import type { Clock } from '../../../runtime/clock.ts'
import type { Answer, LogsApi, Span } from './api.ts'
import { ThrottledError } from './failure.ts'

export interface BudgetOptions {
  clock: Clock
  /** Requests in any 30 s; the service allows an identity 200. */
  requests: number
  /** At the same time; the service runs 5 of an identity and queues the others. */
  concurrent: number
}

const PERIOD_MS = 30_000

export class Budget {
  readonly #options: BudgetOptions
  /** Times of the last requests, oldest first. */
  readonly #starts: number[] = []
  #running = 0
  #paused_until = 0
  /** The longest rest that was asked for since the last one was over, ms. */
  #pause = 0
  #waiting: (() => void)[] = []
  #turn: Promise<void> = Promise.resolve()

  constructor(options: BudgetOptions) {
    this.#options = options
  }

  /** Waits for its turn, first come first served: a busy table cannot starve the others. Throws when the signal aborts. */
  async run<T>(signal: AbortSignal, work: () => Promise<T>): Promise<T> {
    const before = this.#turn
    let done: () => void = () => undefined
    this.#turn = new Promise((resolve) => (done = resolve))
    try {
      await before
      await this.#place(signal)
      signal.throwIfAborted()
      this.#running++
      this.#starts.push(this.#options.clock.now())
    } finally {
      done()
    }
    try {
      return await work()
    } finally {
      this.#running--
      this.#waiting.shift()?.()
    }
  }

  /** The service asked for a rest: nobody asks it before. */
  pause(ms: number): void {
    const now = this.#options.clock.now()
    if (this.#paused_until <= now) this.#pause = 0
    this.#pause = Math.max(this.#pause, ms)
    this.#paused_until = Math.max(this.#paused_until, now + ms)
  }

  async #place(signal: AbortSignal): Promise<void> {
    const { clock, requests, concurrent } = this.#options
    while (!signal.aborted) {
      const now = clock.now()
      // A clock that was set back must not hold everybody up for hours: no wait is longer than it was asked for.
      this.#paused_until = Math.min(this.#paused_until, now + this.#pause)
      while (this.#starts.length > 0 && ((this.#starts[0] ?? 0) <= now - PERIOD_MS || (this.#starts[0] ?? 0) > now)) this.#starts.shift()
      const wait = Math.max(this.#paused_until - now, this.#starts.length >= requests ? (this.#starts[0] ?? now) + PERIOD_MS - now : 0)
      if (wait > 0) await clock.sleep(wait, signal)
      else if (this.#running >= concurrent) await new Promise<void>((resolve) => this.#waiting.push(resolve))
      else return
    }
  }
}

/** At most so many at once of one workspace; first come first served. */
class Places {
  #free: number
  #waiting: (() => void)[] = []

  constructor(most: number) {
    this.#free = most
  }

  async run<T>(signal: AbortSignal, work: () => Promise<T>): Promise<T> {
    while (this.#free === 0 && !signal.aborted) await this.#wake(signal)
    signal.throwIfAborted()
    this.#free--
    try {
      return await work()
    } finally {
      this.#free++
      // All of them look again, in their order: one that has given up meanwhile must not take the place of the next.
      for (const wake of this.#waiting.splice(0)) wake()
    }
  }

  #wake(signal: AbortSignal): Promise<void> {
    return new Promise((resolve) => {
      const wake = (): void => {
        signal.removeEventListener('abort', wake)
        resolve()
      }
      signal.addEventListener('abort', wake)
      this.#waiting.push(wake)
    })
  }
}

/**
 * The same API within a budget. `each`: how many queries of one workspace may run at once: a workspace that never answers holds
 * its queries until their time-out, minutes long, and must leave a place for the others.
 */
export function limited(api: LogsApi, budget: Budget, each = Infinity): LogsApi {
  const places = new Map<string, Places>()
  const placesOf = (workspace: string): Places => {
    const known = places.get(workspace) ?? new Places(each)
    places.set(workspace, known)
    return known
  }
  const ask = async (workspace: string, kql: string, timespan: Span, signal: AbortSignal): Promise<Answer> => {
    try {
      return await api.queryWindow(workspace, kql, timespan, signal)
    } catch (error) {
      if (error instanceof ThrottledError) budget.pause(error.retry_after_ms ?? 5_000)
      throw error
    }
  }
  return { queryWindow: (workspace, kql, timespan, signal) => placesOf(workspace).run(signal, () => budget.run(signal, () => ask(workspace, kql, timespan, signal))) }
}
