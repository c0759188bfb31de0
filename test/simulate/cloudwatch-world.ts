/** CloudWatch: log groups of one account and region, read by the shipped source through the model or through the real SDK. */
import { createGroupSource, type GroupSettings } from '../../ingest/sources/cloudwatch-logs/group.ts'
import { type CloudWatchConfig, cloudwatchLogs, cloudwatchSources, settingsOf } from '../../ingest/sources/cloudwatch-logs/index.ts'
import { createApi } from '../../ingest/sources/cloudwatch-logs/sdk.ts'
import { RequestShare } from '../../ingest/sources/cloudwatch-logs/throttle.ts'
import type { CloudWatchApi } from '../../ingest/sources/cloudwatch-logs/api.ts'
import { type Random, seededRandom } from '../../runtime/random.ts'
import { CloudWatchModel, type Faults, NO_FAULTS } from './cloudwatch/model.ts'
import { serveCloud } from './cloudwatch/server.ts'
import type { CollectorSource } from '../../ingest/sources/index.ts'
import type { Logger } from '../../runtime/log.ts'
import type { Life } from './life.ts'
import { streamName } from './oracle.ts'
import { DAY, HOUR, lastTrouble, MINUTE, type Plan } from './plan.ts'
import type { World, WorldContext } from './run.ts'
import { checkRate, checkTimes, type Tier } from './timing.ts'
import { createTruth, type TrueRecord } from './truth.ts'
import { between, chance, pick, whole, within } from './weather.ts'

// The collector lets other work run every 200 records of a page; to the virtual clock that looks as if nobody had anything to do.
const LARGEST_PAGE = 190
// Where every tenth request is refused the pace falls to a request in some seconds, and a scan has hundreds.
const THROTTLED_SLACK = 3 * HOUR
const REGION = 'eu-central-1'
const groupName = (stream: number): string => `/app/${streamName(stream)}calls`

function fill(model: CloudWatchModel, records: readonly TrueRecord[], streams: number, random: Random): void {
  for (let stream = 0; stream < streams; stream++) {
    model.createGroup(groupName(stream))
    const own = records.filter((record) => record.stream === stream)
    model.put(
      groupName(stream),
      own.map(({ time, visible_at, body }) => {
        // Most of a long delay lies in front of CloudWatch, where an agent was away; the last part behind it, in its index. Now and then all of it.
        const lot = random()
        const behind = lot < 0.8 ? between(random, 0, 2_000) : lot < 0.9 ? between(random, 0, 2 * MINUTE) : Math.max(0, visible_at - time - between(random, 0, 10_000))
        const lag = Math.floor(Math.min(visible_at - Math.max(time - 2 * HOUR, 0), behind))
        return { timestamp: time, message: body, stream: pick(random, ['a', 'b']), ingested_at: visible_at - Math.max(0, lag), visible_at }
      }),
    )
  }
}

/** What the model does wrong, until the trouble is over; pages stay small and may be empty for ever. */
function faultsOf(plan: Plan, random: Random): Partial<Faults> {
  const shape = {
    page_events: plan.calm ? LARGEST_PAGE : whole(random, 3, LARGEST_PAGE),
    page_bytes: plan.calm ? 1_048_576 : pick(random, [2_000, 20_000, 1_048_576]),
    empty_page: pick(random, plan.calm ? [0, 0.05] : [0, 0.05, 0.3]),
    short_page: pick(random, [0, 0.1]),
    trailing_token: pick(random, [0, 0.5]),
    metric_delay_ms: pick(random, [0, MINUTE, 5 * MINUTE]),
    metrics_denied: chance(random, 0.2),
  }
  if (plan.calm) return shape
  if (plan.throttled) return { ...shape, page_events: whole(random, 3, 6), empty_page: 0.05, metrics_denied: chance(random, 0.5), throttle: pick(random, [0.05, 0.1, 0.2]) }
  return {
    ...shape,
    throttle: pick(random, [0, 0.02, 0.1]),
    server_error: pick(random, [0, 0.01, 0.05]),
    reset: pick(random, [0, 0.01]),
    token_lives_ms: chance(random, 0.2) ? 30_000 : DAY,
    storms: plan.cloud.map(({ from, to }) => ({
      from,
      to,
      name: pick(random, ['ThrottlingException', 'ServiceUnavailableException', 'AccessDeniedException', 'ExpiredTokenException'] as const),
    })),
  }
}

function calmDown(model: CloudWatchModel): void {
  Object.assign(model.faults, { throttle: 0, server_error: 0, reset: 0, storms: [], token_lives_ms: NO_FAULTS.token_lives_ms })
}

/** What one process of the collector asks of CloudWatch. It goes through `life`, so that the process can die around each call. */
function apiOf(context: WorldContext, life: Life, model: CloudWatchModel, real: CloudWatchApi, calls: number[]): CloudWatchApi {
  const { clock, plan } = context
  const latency = seededRandom(plan.seed ^ life.id ^ 0x1f3d)
  const call = <T>(name: string, signal: AbortSignal, work: () => Promise<T>): Promise<T> =>
    life.step(name, async () => {
      if (name !== 'GetMetricData') calls.push(clock.now())
      await clock.sleep(between(latency, 5, 80), signal)
      weather(model, plan, clock.now())
      const answer = await clock.outside(work)
      await clock.sleep(between(latency, 5, chance(latency, 0.05) ? 3_000 : 80), signal)
      return answer
    })
  return {
    filterLogEvents: (request, signal) => call('FilterLogEvents', signal, () => real.filterLogEvents(request, signal)),
    describeLogGroups: (request, signal) => call('DescribeLogGroups', signal, () => real.describeLogGroups(request, signal)),
    incomingLogEvents: (request, signal) => call('GetMetricData', signal, () => real.incomingLogEvents(request, signal)),
  }
}

/** The SDK looks for credentials where everybody puts them; the server takes any. */
function clientOf(endpoint: string): CloudWatchApi {
  process.env['AWS_ACCESS_KEY_ID'] ??= 'AKIATESTTESTTEST'
  process.env['AWS_SECRET_ACCESS_KEY'] ??= 'not-a-secret'
  return createApi({ region: REGION, endpoint })
}

/** Groups come and go; when the trouble is over nothing fails any more. */
function weather(model: CloudWatchModel, plan: Plan, now: number): void {
  for (let stream = 0; stream < plan.streams; stream++) {
    if (plan.gone.some((gone) => gone.stream === stream && within(gone, now))) model.deleteGroup(groupName(stream))
    else model.createGroup(groupName(stream))
  }
  if (now > lastTrouble(plan) && !plan.throttled) calmDown(model)
}

/** The config of the source; the intervals are the shipped ones. */
const configOf = (groups: readonly string[], random: Random): CloudWatchConfig =>
  cloudwatchLogs.config.parse({
    regions: [REGION],
    ...(chance(random, 0.3) ? { log_group_prefixes: ['/app/'], discover_every: pick(random, ['1m', '5m']) } : { log_groups: groups }),
    start: pick(random, ['30m', '3h']),
    hot: { every: pick(random, ['15s', '30s']) },
    reconcile: chance(random, 0.8),
  })

/** The shipped sources on the given client; with few ids they are opened one by one, for no config can make the memory so small. */
function openShipped(config: CloudWatchConfig, few_ids: number | undefined, api: CloudWatchApi, life: Life, log: Logger): CollectorSource[] {
  const { clock } = life
  const share = new RequestShare({ clock, rate: config.quota * config.quota_share })
  const sources =
    few_ids === undefined || config.log_groups.length === 0
      ? cloudwatchSources(config, { clock, log }, () => api)
      : config.log_groups.map((group) =>
          createGroupSource({
            stream: `default/${REGION}/${group}`,
            group,
            region: REGION,
            identity: 'nobody',
            api,
            share,
            clock,
            log,
            settings: { ...settingsOf(config), ids: few_ids },
          }),
        )
  return sources.map((source) => ({ id: 'cw', kind: 'cloudwatch-logs', stream: source.stream, read: (after, signal) => source.read(after, signal) }))
}

/** `more`: what everything may take longer than by itself. */
const tiers = ({ every, overlap }: GroupSettings, more: number): Tier[] => [
  { name: 'hot', reach: overlap.hot, every: every.hot, slack: MINUTE + more },
  { name: 'warm', reach: overlap.warm, every: every.warm, slack: 3 * MINUTE + more },
  { name: 'cold', reach: overlap.cold, every: every.cold, slack: 10 * MINUTE + more },
  { name: 'deep', reach: overlap.deep, every: every.deep, slack: 20 * MINUTE + more },
]

export async function createCloudWatchWorld(context: WorldContext, http: boolean): Promise<World> {
  const { plan, clock, random } = context
  const records = createTruth(random, plan)
  const model = new CloudWatchModel({ clock, random: seededRandom(plan.seed ^ 0x77), faults: faultsOf(plan, random) })
  fill(model, records, plan.streams, random)
  const groups = Array.from({ length: plan.streams }, (_, stream) => groupName(stream))
  const config = configOf(groups, random)
  const few_ids = chance(random, 0.4) ? whole(random, 5, 100) : undefined
  const served = http ? await serveCloud({ places: new Map([[`000000000000/${REGION}`, model]]) }) : undefined
  const real = served === undefined ? model : clientOf(served.url)
  const calls: number[][] = []
  const leaps = plan.skew.map(({ from }) => from)
  const last = Math.max(lastTrouble(plan), ...records.map(({ visible_at }) => visible_at))
  return {
    records,
    end: last + (plan.throttled ? 12 : 26) * HOUR,
    start: config.start,
    honest_within: 25 * MINUTE,
    marks: marksOf,
    open: async (life, log) => {
      const own: number[] = []
      calls.push(own)
      return openShipped(config, few_ids, apiOf(context, life, model, real, own), life, log)
    },
    check: (oracle, awake) => {
      for (const own of calls) checkRate(oracle, own, 0.6 * NO_FAULTS.quota * 10, 10_000, leaps)
      if (plan.skew.length > 0 || plan.collectors > 1) return
      // What is dated ahead is looked for when its time has come, and what could not be had when it can.
      const better = plan.calm ? 0 : lastTrouble(plan) + 3 * MINUTE
      const timed = records.map((record) => ({ record, late: record.visible_at - record.time, from: Math.max(record.visible_at, record.time, better) }))
      checkTimes(oracle, timed, tiers(settingsOf(config), plan.throttled ? THROTTLED_SLACK : 0), awake, plan.calm)
    },
    close: async () => served?.close(),
  }
}

const marksOf = (checkpoint: unknown): Record<string, number> =>
  Object.fromEntries(
    Object.entries(checkpoint as Record<string, unknown>).filter((entry): entry is [string, number] => /(floor|_to|_minute)$/.test(entry[0]) && typeof entry[1] === 'number'),
  )
