/** The time of the service. Ours may be minutes off, and a window that ends in a wrong "now" passes over rows or waits for nothing. */
import type { Clock } from '../../../runtime/clock.ts'
import { TransientError } from '../../../runtime/errors.ts'
import { instantOf } from '../../shapes/time.ts'
import type { LogsApi } from './api.ts'
import { nonsense } from './failure.ts'
import { CLOCK_QUERY } from './kql.ts'

const FRESH_MS = 120_000
const DOUBT_MS = 900_000
const DAY_MS = 86_400_000

export class ServiceClock {
  readonly #api: LogsApi
  readonly #workspace: string
  readonly #clock: Clock
  #asked: { at: number; service: number } | undefined

  constructor(api: LogsApi, workspace: string, clock: Clock) {
    this.#api = api
    this.#workspace = workspace
    this.#clock = clock
  }

  /** Epoch ms; never ahead of the service, because the answer is older than its arrival. */
  async now(signal: AbortSignal): Promise<number> {
    const local = this.#clock.now()
    const known = this.#asked
    // A clock that was set meanwhile shows as an age that cannot be.
    if (known !== undefined && local >= known.at && local - known.at < FRESH_MS) return known.service + (local - known.at)
    const answer = await this.#api.queryWindow(this.#workspace, CLOCK_QUERY, { from: local - DAY_MS, to: local + DAY_MS }, signal)
    if (answer.kind === 'partial') throw new TransientError(`the query service does not say its time: ${answer.message}`)
    // A workspace without data need not say the time: then as if our clock were well ahead.
    if (answer.kind === 'empty') return local - DOUBT_MS
    const service = instantOf(answer.rows[0]?.[0])
    if (service === null) throw nonsense('no time in the answer to "now()"')
    this.#asked = { at: this.#clock.now(), service }
    return service
  }
}
