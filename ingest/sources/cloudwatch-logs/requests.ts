/** The requests of one log group: within the share of the quota, counted, and what AWS throws translated. */
import type { Clock } from '../../../runtime/clock.ts'
import type { CloudWatchApi, LogPage } from './api.ts'
import { ThrottledError, translate } from './failures.ts'
import { cloudwatchMetrics as metrics } from './metrics.ts'
import type { Tier } from './scan.ts'
import type { RequestShare } from './throttle.ts'

export interface RequestOptions {
  /** Name of the stream: account, region and group. */
  stream: string
  group: string
  region: string
  /** For messages: the role, or the default credentials. */
  identity: string
  api: CloudWatchApi
  share: RequestShare
  clock: Clock
  pattern?: string | undefined
}

export class Requests {
  readonly #options: RequestOptions
  #failed = false

  constructor(options: RequestOptions) {
    this.#options = options
  }

  /** One page. Both ends are inclusive; `scan` is for the metric, and hot scans go first. */
  async filter({ from, to }: { from: number; to: number }, token: string | undefined, scan: Tier | 'republish', signal: AbortSignal): Promise<LogPage> {
    const { api, group, pattern, share, stream } = this.#options
    await share.take(stream, scan === 'hot', signal)
    signal.throwIfAborted()
    const count = (outcome: string): void => metrics.requests.inc({ stream, scan, outcome })
    const query = { group, from, to, ...(token === undefined ? {} : { token }), ...(pattern === undefined ? {} : { pattern }) }
    try {
      const page = await api.filterLogEvents(query, signal)
      share.succeeded()
      count('ok')
      return page
    } catch (error) {
      count('failed')
      this.#failed = true
      return this.#translate(error, 'logs:FilterLogEvents', signal, token !== undefined)
    } finally {
      metrics.share.set({ stream }, share.rate)
    }
  }

  /** IncomingLogEvents of the minutes in [from, to). */
  async counts(minutes: { from: number; to: number }, signal: AbortSignal): Promise<Map<number, number>> {
    const { api, group } = this.#options
    try {
      return await api.incomingLogEvents({ group, ...minutes }, signal)
    } catch (error) {
      return this.#translate(error, 'cloudwatch:GetMetricData', signal)
    }
  }

  /** True once after a page that had failed before: whoever waits wants to hear that it goes on. */
  recovered(): boolean {
    const failed = this.#failed
    this.#failed = false
    return failed
  }

  #translate(error: unknown, action: string, signal: AbortSignal, token = false): never {
    const { group, region, identity, share, stream } = this.#options
    try {
      return translate(error, { action, resource: group, region, identity, token }, signal)
    } catch (translated) {
      if (translated instanceof ThrottledError) {
        share.throttled()
        metrics.throttled.inc({ stream })
      }
      throw translated
    }
  }
}
