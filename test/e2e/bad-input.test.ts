/**
 * What people get wrong, on both clouds, through the shipped collector and the real client libraries: each is named once with what
 * to do, the stream is blind, its neighbour goes on, and it heals by itself as soon as somebody has put it right. Nothing is lost.
 */
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { runCollector } from '../../ingest/collector.ts'
import { createLogsApi } from '../../ingest/sources/azure-monitor/adapter.ts'
import { config as azureConfig } from '../../ingest/sources/azure-monitor/config.ts'
import { azureSources } from '../../ingest/sources/azure-monitor/index.ts'
import { cloudwatchLogs, cloudwatchSources } from '../../ingest/sources/cloudwatch-logs/index.ts'
import { createApi } from '../../ingest/sources/cloudwatch-logs/sdk.ts'
import type { Source } from '../../ingest/source.ts'
import { asCollectorSource, type CollectorSource } from '../../ingest/sources/index.ts'
import { systemClock } from '../../runtime/clock.ts'
import { createLogger, silentLogger } from '../../runtime/log.ts'
import { seededRandom } from '../../runtime/random.ts'
import { inProcess } from '../simulate/azure/in-process.ts'
import { type LogsServer, serveLogs } from '../simulate/azure/http.ts'
import { LogAnalytics } from '../simulate/azure/model.ts'
import { callPipeline } from '../simulate/cloudwatch/collect.ts'
import { CloudError, CloudWatchModel } from '../simulate/cloudwatch/model.ts'
import { giveCredentials, serveCloud, type ServedCloud } from '../simulate/cloudwatch/server.ts'
import { MemoryBus, MemoryState } from '../support/ingest.ts'
import { eventually } from '../support/process.ts'

const MINUTE = 60_000
const EVENTS = 40
const context = { clock: systemClock, log: silentLogger }
const call = (name: string, n: number): { at: number; body: string } => {
  const at = systemClock.now() - 40 * MINUTE + n * 1000
  return { at, body: JSON.stringify({ call: `${name}-${n}`, time: at, tokens: 7 }) }
}
const each = <T>(make: (n: number) => T): T[] => Array.from({ length: EVENTS }, (_, n) => make(n))
const named = (id: string, sources: readonly Source<unknown>[]): CollectorSource[] =>
  sources.map((source) => asCollectorSource(source, { id, kind: id, stream: '', read: async function* () {} }))

/** Runs both; `repair` is called when the bad one is blind and was tried again some times. */
async function blindThenHealed(bad: CollectorSource[], good: CollectorSource[], repair: () => void): Promise<{ reasons: (string | null)[]; errors: string[] }> {
  const bus = new MemoryBus()
  const errors: string[] = []
  const log = createLogger({ level: 'error', write: (line) => errors.push((JSON.parse(line) as { error: string }).error) })
  const stop = new AbortController()
  let reads = 0
  const counted = bad.map((source) => ({ ...source, read: (after: unknown, signal: AbortSignal) => (reads++, source.read(after, signal)) }))
  const deps = {
    pipeline: callPipeline,
    bus: bus.bus,
    state: new MemoryState(),
    clock: systemClock,
    log,
    random: seededRandom(1),
    options: { blind_retry: 100, checkpoint_every: 50 },
  }
  const running = runCollector({ ...deps, sources: [...counted, ...good] }, stop.signal)
  const told = () => bus.of('progress.v1').filter(({ source }) => source === 'bad')
  const ids = (source: string) => new Set(bus.of('usage.v1').flatMap((event) => (event.source_stream.includes(source) ? [event.event_id] : [])))
  try {
    await eventually('the stream is blind', () => told().some(({ blind }) => blind), 60_000)
    const before = reads
    await eventually('it is tried again', () => reads >= before + 3, 60_000)
    await eventually('the neighbour is read', () => ids('good').size === EVENTS, 60_000)
    expect(ids('bad').size).toBe(0)
    expect(errors.length, 'named once').toBe(1)
    repair()
    await eventually('it heals', () => told().at(-1)?.blind === false && ids('bad').size === EVENTS, 60_000)
  } finally {
    stop.abort()
    await running
  }
  return { reasons: told().flatMap(({ blind, reason }) => (blind ? [reason] : [])), errors }
}

describe('CloudWatch Logs', { timeout: 240_000 }, () => {
  const ROLE = 'arn:aws:iam::111122223333:role/tokenwatch'
  const QUICK = { hot: { every: '100ms' }, quota: 1_000, quota_share: 1, reconcile: false }
  const roles = new Map<string, string | undefined>()
  const places = new Map<string, CloudWatchModel>()
  let model: CloudWatchModel
  let cloud: ServedCloud
  let proxy: Server
  let nonsense = false

  beforeAll(() => giveCredentials())
  beforeEach(async () => {
    model = new CloudWatchModel({ clock: systemClock, random: seededRandom(1) })
    fill(model, '/bad')
    roles.clear()
    places.clear()
    places.set('000000000000/eu-west-1', model)
    places.set('111122223333/eu-west-1', model)
    cloud = await serveCloud({ places, roles })
    nonsense = false
    // A portal that wants people to sign in answers for everybody.
    proxy = createServer((request, response) => {
      if (nonsense) response.writeHead(200, { 'content-type': 'text/html' }).end('<html>Sign in</html>')
      else passOn(cloud.url, request, response).catch(() => response.destroy())
    })
    await new Promise<void>((resolve) => proxy.listen(0, '127.0.0.1', resolve))
  })
  afterEach(async () => {
    proxy.closeAllConnections()
    proxy.close()
    await cloud.close()
  })

  function fill(into: CloudWatchModel, group: string): void {
    into.createGroup(group)
    into.put(
      group,
      each((n) => {
        const { at, body } = call(group, n)
        return { timestamp: at, ingested_at: at, visible_at: at, stream: 'main', message: body }
      }),
    )
  }

  /** Another account, which nothing is wrong with. */
  function neighbour(): CollectorSource[] {
    const theirs = new CloudWatchModel({ clock: systemClock, random: seededRandom(2) })
    fill(theirs, '/good')
    return named(
      'good',
      cloudwatchSources(cloudwatchLogs.config.parse({ regions: ['eu-west-1'], log_groups: ['/good'], ...QUICK }), context, () => theirs),
    )
  }

  const withEnvironment = (changes: Record<string, string | undefined>): (() => void) => {
    const kept = Object.keys(changes).map((name) => [name, process.env[name]] as const)
    const set = (name: string, value: string | undefined): void => {
      if (value === undefined) delete process.env[name]
      else process.env[name] = value
    }
    for (const [name, value] of Object.entries(changes)) set(name, value)
    return () => kept.forEach(([name, value]) => set(name, value))
  }
  const answers = (name: string, message: string): (() => void) => {
    model.intercept = () => {
      throw new CloudError(name, message, 400)
    }
    return () => (model.intercept = undefined)
  }

  it.each<[string, () => () => void, RegExp, Record<string, unknown>?]>([
    [
      'no credentials',
      () =>
        withEnvironment({
          AWS_ACCESS_KEY_ID: undefined,
          AWS_SECRET_ACCESS_KEY: undefined,
          AWS_EC2_METADATA_DISABLED: 'true',
          AWS_CONFIG_FILE: '/nowhere',
          AWS_SHARED_CREDENTIALS_FILE: '/nowhere',
        }),
      /no AWS credentials for eu-west-1: give them by/,
    ],
    ['a region that the account has not enabled', () => (places.delete('000000000000/eu-west-1'), () => places.set('000000000000/eu-west-1', model)), /region is enabled/],
    ['a group that was deleted', () => (model.deleteGroup('/bad'), () => fill(model, '/bad')), /there is no log group \/bad in eu-west-1.*create it, or correct/],
    ['a role that was revoked', () => () => roles.set(ROLE, 'word'), /may not be assumed: allow sts:AssumeRole/, { accounts: [{ role_arn: ROLE, external_id: 'word' }] }],
    ['a policy that was taken away', () => answers('AccessDeniedException', 'not authorized'), /allow logs:FilterLogEvents in its IAM policy/],
    ['credentials that have expired', () => answers('ExpiredTokenException', 'expired'), /have expired: renew them/],
    ['a class of log group that cannot be filtered', () => answers('ValidationException', 'this log group class'), /refuses logs:FilterLogEvents on \/bad.*this log group class/],
    [
      'an endpoint that answers nonsense',
      () => ((nonsense = true), () => (nonsense = false)),
      /eu-west-1 answered nonsense to logs:FilterLogEvents on \/bad: check `endpoint`.*proxy/,
    ],
  ])('%s', async (_name, spoil, message, more = {}) => {
    const repair = spoil()
    const endpoint = `http://127.0.0.1:${(proxy.address() as AddressInfo).port}`
    const options = cloudwatchLogs.config.parse({ regions: ['eu-west-1'], log_groups: ['/bad'], endpoint, ...QUICK, ...more })
    try {
      const { reasons, errors } = await blindThenHealed(
        named(
          'bad',
          cloudwatchSources(options, context, (given) => createApi({ ...given, timeout_ms: 2_000 })),
        ),
        neighbour(),
        repair,
      )
      expect([reasons.length, errors.length]).toEqual([1, 1])
      expect(reasons[0]).toMatch(message)
    } finally {
      repair()
    }
  })
})

describe.each(['monitor-query', 'monitor-query-logs'] as const)('Azure Monitor, %s', { timeout: 240_000 }, (client) => {
  const WORKSPACE = '11111111-2222-4333-8444-555555555555'
  const TOKEN = 'a-token-for-tests-only'
  let model: LogAnalytics
  let server: LogsServer
  let credential: () => Promise<{ token: string; expiresOnTimestamp: number }>

  /** The client libraries keep a token until it expires. */
  const soon = () => systemClock.now() + 300
  const right = () => Promise.resolve({ token: TOKEN, expiresOnTimestamp: soon() })
  const withToken = (getToken: typeof credential) => (): (() => void) => {
    credential = getToken
    return () => (credential = right)
  }
  const refused = (name: string, message: string, statusCode?: number) => withToken(() => Promise.reject(Object.assign(new Error(message), { name, statusCode })))

  beforeEach(async () => {
    model = new LogAnalytics({ clock: systemClock, limits: { requests: Infinity } })
    fill(model, 'Bad')
    credential = right
    server = await serveLogs(model, { token: TOKEN })
  })
  afterEach(() => server.close())

  function fill(into: LogAnalytics, table: string): void {
    into.workspace(WORKSPACE)
    into.table(WORKSPACE, table)
    into.put(
      WORKSPACE,
      table,
      each((n) => {
        const { at, body } = call(table, n)
        return { item_id: `${table}-${n}`, event_time: at, ingested_at: at, visible_at: at, body }
      }),
    )
  }

  const options = (name: string, table: string) => azureConfig.parse({ workspaces: [{ id: WORKSPACE, name }], tables: [table], poll: '100ms', start: '2h', requests_per_30s: 200 })
  function neighbour(): CollectorSource[] {
    const theirs = new LogAnalytics({ clock: systemClock, limits: { requests: Infinity } })
    fill(theirs, 'Good')
    return named('good', azureSources(inProcess(theirs), options('good', 'Good'), context))
  }

  it.each<[string, () => () => void, RegExp]>([
    ['no credentials', refused('CredentialUnavailableError', 'no identity found'), /no identity found.*check `credential`/],
    ['a secret that has expired', refused('AuthenticationError', 'AADSTS7000222: The provided client secret keys are expired.', 401), /expired.*check `credential`/],
    [
      'the cloud of another region',
      withToken(() => Promise.resolve({ token: 'of-another-cloud', expiresOnTimestamp: soon() })),
      /check `credential`, and that `cloud` is that of the workspace/,
    ],
    ['a role that was revoked', () => (model.workspace(WORKSPACE, { access: 'denied' }), () => model.workspace(WORKSPACE)), /no permission to query.*"Log Analytics Data Reader"/],
    [
      'a table that was deleted',
      () => (model.dropTable(WORKSPACE, 'Bad'), model.table(WORKSPACE, 'Other'), () => fill(model, 'Bad')),
      /does not have the table.*diagnostic setting/,
    ],
    ['a workspace that was deleted', () => (model.workspace(WORKSPACE, { answers: 'not-found' }), () => model.workspace(WORKSPACE)), /no such workspace.*Workspace ID/],
    [
      'a table on the Basic plan',
      () => (model.table(WORKSPACE, 'Bad', { plan: 'basic' }), () => model.table(WORKSPACE, 'Bad')),
      /Basic or Auxiliary plan.*set the table's plan to Analytics/,
    ],
    ['a workspace that answers nonsense', () => (model.workspace(WORKSPACE, { answers: 'nonsense' }), () => model.workspace(WORKSPACE)), /nonsense.*check `endpoint` and `cloud`/],
  ])('%s', async (_name, spoil, message) => {
    const repair = spoil()
    const api = await createLogsApi({
      client,
      credential: { getToken: () => credential() },
      endpoint: server.url,
      audience: server.url,
      query_timeout_s: 60,
      allow_insecure: true,
      clock: systemClock,
    })
    const { reasons, errors } = await blindThenHealed(named('bad', azureSources(api, options('bad', 'Bad'), context)), neighbour(), repair)
    expect([reasons.length, errors.length]).toEqual([1, 1])
    expect(reasons[0]).toMatch(message)
  })
})

async function passOn(to: string, request: IncomingMessage, response: ServerResponse): Promise<void> {
  const chunks: Buffer[] = []
  for await (const chunk of request) chunks.push(chunk as Buffer)
  const headers = Object.entries(request.headers).filter(([name]) => !['host', 'connection', 'content-length'].includes(name)) as [string, string][]
  const answer = await fetch(`${to}${request.url}`, { method: request.method ?? 'POST', headers, body: Buffer.concat(chunks) })
  response.writeHead(answer.status, { 'content-type': answer.headers.get('content-type') ?? '' }).end(await answer.text())
}
