/** Azure Monitor: tables of one workspace, read by the shipped source through the model or through Microsoft's clients. */
import { createLogsApi } from '../../ingest/sources/azure-monitor/adapter.ts'
import type { LogsApi } from '../../ingest/sources/azure-monitor/api.ts'
import { type AzureMonitorConfig, config as configSchema } from '../../ingest/sources/azure-monitor/config.ts'
import { azureSources } from '../../ingest/sources/azure-monitor/index.ts'
import { type Random, seededRandom } from '../../runtime/random.ts'
import { serveLogs } from './azure/http.ts'
import { inProcess } from './azure/in-process.ts'
import { type Fault, LogAnalytics, type ModelRow } from './azure/model.ts'
import type { Life } from './life.ts'
import { streamName } from './oracle.ts'
import { HOUR, lastTrouble, MINUTE, type Plan } from './plan.ts'
import type { World, WorldContext } from './run.ts'
import { checkRate, checkTimes, nextAwake, type Tier } from './timing.ts'
import { createTruth, type TrueRecord } from './truth.ts'
import { between, chance, hits, pick, whole, within } from './weather.ts'

const WORKSPACE = '11111111-2222-3333-4444-555555555555'
// The collector lets other work run every 200 records of a page; to the virtual clock that looks as if nobody had anything to do.
const LARGEST_ANSWER = 190
const TOKEN = 'a-token-for-tests-only'
const tableName = (stream: number): string => `${streamName(stream)}CL`

export async function createAzureWorld(context: WorldContext, http: boolean): Promise<World> {
  const { plan, clock, random } = context
  const records = createTruth(random, { ...plan, shape: 'rows' })
  const item_ids = chance(random, 0.8)
  // The caps of the service, made so small that they are hit. Without _ItemId rows of one millisecond cannot be asked for in parts.
  const fewest = Math.max(item_ids ? 5 : 60, Math.ceil(plan.count / 35))
  const limits = { rows: plan.calm ? LARGEST_ANSWER : Math.max(whole(random, 5, 200), fewest), bytes: Math.max(pick(random, [5_000, 100_000]), plan.count * 5, fewest * 200) }
  const model = new LogAnalytics({ clock, limits })
  const rows = fill(model, records, plan, item_ids, random)
  model.fault = faultsOf(plan, random, () => clock.now())
  const config = configOf(plan, limits, random)
  const served = http ? await serveLogs(model, { token: TOKEN }) : undefined
  const real = served === undefined ? inProcess(model) : await clientOf(served.url, pick(random, ['monitor-query', 'monitor-query-logs'] as const), context)
  const calls: number[][] = []
  const leaps = plan.skew.map(({ from }) => from)
  const last = Math.max(lastTrouble(plan), ...records.map(({ visible_at }) => visible_at))
  // What becomes visible days after its ingestion is looked for by the deep re-count alone; and the machine may sleep for a day before anybody looks.
  const deep = records.some(({ n, visible_at }) => visible_at - (rows.get(n)?.ingested_at ?? visible_at) > config.recount_over - 25 * HOUR) ? config.deep_recount : 0
  return {
    records,
    start: config.start,
    end: last + deep + 5 * HOUR,
    honest_within: Math.max(deep, config.recount) + config.settle + 15 * MINUTE,
    marks: (checkpoint) => {
      const { since, scanned_to } = checkpoint as { since: number; scanned_to: number }
      return { since, scanned_to }
    },
    open: async (life, log) => {
      const own: number[] = []
      calls.push(own)
      const api = apiOf(context, life, model, real, item_ids, own)
      return azureSources(api, config, { clock: life.clock, log }).map((source) => ({ id: 'az', kind: 'azure-monitor', stream: source.stream, read: source.read.bind(source) }))
    },
    check: (oracle, awake) => {
      for (const own of calls) checkRate(oracle, own, config.requests_per_30s, 30_000, leaps)
      if (plan.skew.length > 0 || plan.collectors > 1) return
      const better = plan.calm ? 0 : lastTrouble(plan) + 3 * MINUTE
      const timed = records.map((record) => {
        const { ingested_at } = rows.get(record.n) ?? { ingested_at: record.visible_at }
        const late = record.visible_at - ingested_at
        // A row for the re-counts is as late as the machine's sleep makes it: what was two days old by then is left to the deep one.
        const looked_for = nextAwake(awake, record.visible_at + config.recount) - config.recount
        return { record, late: late <= roundReach(config) ? late : looked_for - ingested_at, from: Math.max(record.visible_at, ingested_at + config.settle + MINUTE, better) }
      })
      checkTimes(oracle, timed, tiers(config), awake, plan.calm)
    },
    close: async () => served?.close(),
  }
}

const roundReach = ({ overlap }: Pick<AzureMonitorConfig, 'overlap'>): number => overlap - 2 * MINUTE

const tiers = ({ poll, overlap, recount, recount_over, deep_recount, deep_recount_over }: AzureMonitorConfig): Tier[] => [
  { name: 'round', reach: roundReach({ overlap }), every: poll, slack: 4 * MINUTE },
  { name: 'recount', reach: recount_over - HOUR, every: recount, slack: 5 * MINUTE },
  { name: 'deep', reach: deep_recount_over, every: deep_recount, slack: 5 * MINUTE },
]

const configOf = (plan: Plan, limits: { rows: number; bytes: number }, random: Random): AzureMonitorConfig =>
  configSchema.parse({
    workspaces: [{ id: WORKSPACE, name: 'prod' }],
    tables: Array.from({ length: plan.streams }, (_, stream) => tableName(stream)),
    start: '24h',
    settle: pick(random, ['1m', '5m']),
    recount: pick(random, ['15m', '1h']),
    deep_recount: pick(random, ['6h', '24h']),
    max_rows: Math.ceil(limits.rows * 0.8),
    max_bytes: Math.ceil(limits.bytes * 0.7),
    requests_per_30s: plan.calm ? 120 : pick(random, [40, 120]),
  })

function fill(model: LogAnalytics, records: readonly TrueRecord[], plan: Plan, item_ids: boolean, random: Random): Map<number, ModelRow> {
  model.workspace(WORKSPACE)
  const rows = new Map<number, ModelRow>()
  const twins = new Map<string, ModelRow>()
  for (const record of records) {
    const row = twins.get(record.identity) ?? rowOf(record, random)
    if (record.kind === 'twin') twins.set(record.identity, row)
    rows.set(record.n, { ...row, item_id: `item-${record.n}` })
  }
  for (let stream = 0; stream < plan.streams; stream++) {
    model.table(WORKSPACE, tableName(stream), { item_ids })
    model.put(
      WORKSPACE,
      tableName(stream),
      records.flatMap((record) => (record.stream === stream ? (rows.get(record.n) ?? []) : [])),
    )
  }
  return rows
}

/** The service takes a row, and some time later it can be seen, in any order: some take as long as the longest delay. */
function rowOf({ time, visible_at, body }: TrueRecord, random: Random): ModelRow {
  const lot = random()
  const longest = visible_at - time > 2 * HOUR && chance(random, 0.4) ? visible_at - time : HOUR
  const lag = Math.floor(lot < 0.7 && longest === HOUR ? between(random, 0, 5_000) : lot < 0.98 && longest === HOUR ? between(random, 0, 3 * MINUTE) : between(random, 0, longest))
  const ingested_at = Math.max(visible_at - lag, Math.min(time, visible_at))
  return { item_id: '', event_time: time, ingested_at, ticks: whole(random, 0, 9_999), visible_at, body }
}

/** What the service does wrong where the plan has a storm, one thing a storm. */
function faultsOf(plan: Plan, random: Random, now: () => number): () => Fault | undefined {
  const kinds = plan.cloud.map(() => pick(random, ['throttle', 'busy', 'slow', 'partial', 'short', 'nonsense'] as const))
  const lots = seededRandom(plan.seed ^ 0x5151)
  return () => {
    const index = plan.cloud.findIndex((storm) => hits([storm], now(), lots))
    const kind = kinds[index]
    if (kind === undefined) return undefined
    if (kind === 'throttle') return { kind: 'status', status: 429, ...(chance(lots, 0.5) ? { retry_after: whole(lots, 1, 60) } : {}) }
    if (kind === 'busy') return { kind: 'status', status: pick(lots, [500, 502, 503]) }
    if (kind === 'slow') return { kind: 'status', status: 504 }
    if (kind === 'nonsense') return { kind: 'nonsense', body: pick(lots, ['', '<html>', '{"tables":[]}', '{"tables":[{"columns":[],"rows":[]}]}']) }
    return { kind, keep: lots() }
  }
}

async function clientOf(url: string, client: 'monitor-query' | 'monitor-query-logs', { clock }: WorldContext): Promise<LogsApi> {
  const credential = { getToken: () => Promise.resolve({ token: TOKEN, expiresOnTimestamp: Number.MAX_SAFE_INTEGER }) }
  return createLogsApi({ client, credential, endpoint: url, audience: 'https://api.loganalytics.io', query_timeout_s: 180, allow_insecure: true, clock })
}

/** What one process asks. It goes through `life`, so that the process can die around each call. */
function apiOf({ clock, plan }: WorldContext, life: Life, model: LogAnalytics, real: LogsApi, item_ids: boolean, calls: number[]): LogsApi {
  const latency = seededRandom(plan.seed ^ life.id ^ 0x2f3d)
  return {
    queryWindow: (workspace, kql, timespan, signal) =>
      life.step('query', async () => {
        calls.push(clock.now())
        await clock.sleep(between(latency, 20, 300), signal)
        weather(model, plan, item_ids, clock.now())
        const answer = await clock.outside(() => real.queryWindow(workspace, kql, timespan, signal)).catch((error: unknown) => error as Error)
        await clock.sleep(between(latency, 20, chance(latency, 0.05) ? 20_000 : 300), signal)
        if (answer instanceof Error) throw answer
        return answer
      }),
  }
}

/** A table that cannot be queried for a while: somebody put it on another plan. */
function weather(model: LogAnalytics, plan: Plan, item_ids: boolean, now: number): void {
  if (plan.gone.length === 0) return
  for (let stream = 0; stream < plan.streams; stream++) {
    const basic = plan.gone.some((gone) => gone.stream === stream && within(gone, now))
    model.table(WORKSPACE, tableName(stream), { item_ids, plan: basic ? 'basic' : 'analytics' })
  }
}
