/** The log groups behind a prefix, looked up now and then: each one that appears becomes a stream of its own. */
import type { Clock } from '../../../runtime/clock.ts'
import { PermanentError } from '../../../runtime/errors.ts'
import type { Page, Source } from '../../source.ts'
import type { CloudWatchApi } from './api.ts'
import { ThrottledError, translate } from './failures.ts'
import type { RequestShare } from './throttle.ts'

export interface DiscoverOptions {
  stream: string
  prefix: string
  region: string
  identity: string
  api: CloudWatchApi
  share: RequestShare
  clock: Clock
  /** Milliseconds between two looks. */
  every: number
  /** Makes the source of a group that was found; undefined: it is collected already. */
  open(group: string): Source<unknown> | undefined
  /** Asks whether this group can be read. */
  probe(group: string, signal: AbortSignal): Promise<void>
}

/** Its pages hold no records, only streams. A group that disappears goes on as a blind stream of its own, until it is back. */
export function createDiscoverSource(options: DiscoverOptions): Source<unknown> {
  const { stream, clock, every, prefix, region } = options
  return {
    stream,
    read: async function* (_after, signal): AsyncGenerator<Page<unknown>> {
      while (!signal.aborted) {
        const looked_at = clock.now()
        const found = (await groupNames(options, signal)).flatMap((group) => options.open(group) ?? [])
        yield { records: [], next: {}, found, scanned_to: looked_at }
        await clock.sleep(every, signal)
      }
    },
    probe: async (signal) => {
      const [first] = await groupNames(options, signal)
      if (first === undefined) throw new PermanentError(`no log group in ${region} begins with ${prefix}: correct log_group_prefixes, the region or the account`)
      await options.probe(first, signal)
    },
  }
}

async function groupNames({ api, prefix, region, identity, share, stream }: DiscoverOptions, signal: AbortSignal): Promise<string[]> {
  const names: string[] = []
  let token: string | undefined
  do {
    await share.take(stream, false, signal)
    signal.throwIfAborted()
    try {
      const page = await api.describeLogGroups({ prefix, ...(token === undefined ? {} : { token }) }, signal)
      names.push(...page.names)
      token = page.token
      share.succeeded()
    } catch (error) {
      try {
        translate(error, { action: 'logs:DescribeLogGroups', resource: `${prefix}*`, region, identity, token: token !== undefined }, signal)
      } catch (translated) {
        if (translated instanceof ThrottledError) share.throttled()
        throw translated
      }
    }
  } while (token !== undefined)
  return names
}
