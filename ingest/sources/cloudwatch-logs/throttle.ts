/**
 * The requests that an account and region allow (5 a second for FilterLogEvents, not raisable, shared with everybody in the
 * account), given out one by one: in turn to the groups that wait, so that a busy one cannot starve the others.
 */
import type { Clock } from '../../../runtime/clock.ts'

export interface ShareOptions {
  clock: Clock
  /** Requests per second that are ours. */
  rate: number
}

interface Waiter {
  member: string
  urgent: boolean
  go: () => void
  gone: boolean
}

// Rescans get every fourth request while hot scans wait: late finds are late anyhow, but must not wait for ever.
const PATIENT_TURN = 4
// After "Rate exceeded" half the pace, then a tenth more every ten quiet seconds: somebody else uses the quota, too.
const BACK_OFF = 0.5
const SLOWEST = 0.05
const RECOVERY = 1.1
const RECOVERY_MS = 10_000
const PAUSE_MS = 1_000

export class RequestShare {
  readonly #clock: Clock
  readonly #rate: number
  readonly #waiting: Waiter[] = []
  readonly #served = new Map<string, number>()
  #factor = 1
  #changed_at = -Infinity
  #next_at = -Infinity
  #turn = 0
  #serving = false

  constructor({ clock, rate }: ShareOptions) {
    this.#clock = clock
    this.#rate = rate
  }

  /** Requests per second at the moment. */
  get rate(): number {
    return this.#rate * this.#factor
  }

  get waiting(): number {
    return this.#waiting.length
  }

  /** Resolves when the member may send one request, or at once on abort. */
  take(member: string, urgent: boolean, signal: AbortSignal): Promise<void> {
    return new Promise((resolve) => {
      if (signal.aborted) return resolve()
      const waiter: Waiter = { member, urgent, gone: false, go: resolve }
      const abort = (): void => {
        waiter.gone = true
        resolve()
      }
      waiter.go = () => {
        signal.removeEventListener('abort', abort)
        resolve()
      }
      signal.addEventListener('abort', abort, { once: true })
      this.#waiting.push(waiter)
      if (!this.#serving) void this.#serve()
    })
  }

  /** The cloud said that there were too many requests. */
  throttled(): void {
    // Several answers of one moment are one event.
    if (Math.abs(this.#clock.now() - this.#changed_at) < PAUSE_MS && this.#factor < 1) return
    this.#factor = Math.max(SLOWEST, this.#factor * BACK_OFF)
    this.#changed_at = this.#clock.now()
    this.#next_at = Math.max(this.#next_at, this.#clock.now() + PAUSE_MS)
  }

  succeeded(): void {
    if (this.#factor === 1 || Math.abs(this.#clock.now() - this.#changed_at) < RECOVERY_MS) return
    this.#factor = Math.min(1, this.#factor * RECOVERY)
    this.#changed_at = this.#clock.now()
  }

  async #serve(): Promise<void> {
    this.#serving = true
    while (this.#waiting.length > 0) {
      // Never longer than one turn takes: the clock may have been set back.
      const pause = Math.min(this.#next_at - this.#clock.now(), Math.max(PAUSE_MS, 1_000 / this.rate))
      if (pause > 0) await this.#clock.sleep(pause)
      const waiter = this.#pick()
      if (waiter === undefined) break
      this.#next_at = this.#clock.now() + 1_000 / this.rate
      this.#served.set(waiter.member, ++this.#turn)
      waiter.go()
    }
    this.#serving = false
  }

  /** Whoever had no turn for longest; the urgent first, but for every fourth turn. */
  #pick(): Waiter | undefined {
    for (let index = this.#waiting.length - 1; index >= 0; index--) if (this.#waiting[index]?.gone === true) this.#waiting.splice(index, 1)
    const patient = this.#turn % PATIENT_TURN === PATIENT_TURN - 1
    let best: Waiter | undefined
    for (const waiter of this.#waiting) {
      if (best === undefined || this.#before(waiter, best, patient)) best = waiter
    }
    if (best !== undefined) this.#waiting.splice(this.#waiting.indexOf(best), 1)
    return best
  }

  #before(one: Waiter, other: Waiter, patient: boolean): boolean {
    if (one.urgent !== other.urgent) return one.urgent !== patient
    return (this.#served.get(one.member) ?? 0) < (this.#served.get(other.member) ?? 0)
  }
}
