/**
 * One set of log records by pull, by push and by file: the same events, the same totals to the last digit, on the real embedded
 * bus and store. Then push into the shipped command while it is killed with -9, by a sender that repeats as Firehose does.
 */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { gzipSync } from 'node:zlib'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { type EmbeddedBus, openEmbeddedBus } from '../../bus/embedded.ts'
import { hasPassed } from '../../commands/drain.ts'
import { runCollector, runIngest } from '../../ingest/collector.ts'
import { createFormats } from '../../ingest/formats/index.ts'
import { heldIn } from '../../ingest/join-held.ts'
import { runJoin } from '../../ingest/join.ts'
import { createPipeline } from '../../ingest/pipeline.ts'
import { receiverRoutes, receiversConfig } from '../../ingest/receivers/index.ts'
import type { RawRecord } from '../../ingest/source.ts'
import { fileSources } from '../../ingest/sources/file/index.ts'
import { loadPriceBook } from '../../pricing/price-book.ts'
import { createRater } from '../../pricing/rate.ts'
import { monotonicMs, systemClock } from '../../runtime/clock.ts'
import type { CrashPoint } from '../../runtime/crash.ts'
import { createHttpServer } from '../../runtime/http.ts'
import { silentLogger } from '../../runtime/log.ts'
import type { Store } from '../../store/store.ts'
import { runWriter } from '../../store/writer.ts'
import { openLedgerStore } from '../support/ledger-store.ts'
import { eventually, runToEnd, runTokenwatch } from '../support/process.ts'
import { chatLine, madeUpKey } from './log-lines.ts'

const TOKEN = 'a-token-for-tests-only'
process.env['PUSH_TEST_TOKEN'] = TOKEN
const AT = systemClock.now() - 3_600_000
const directory = mkdtempSync(path.join(tmpdir(), 'tokenwatch-push-'))
afterAll(() => rmSync(directory, { recursive: true, force: true }))

interface Event {
  id: string
  timestamp: number
  message: string
}
const iso = (ms: number): string => new Date(ms).toISOString()

/** The two rows of a request through API Management. */
function apimRows(n: number): string[] {
  const both = { TimeGenerated: iso(AT + n), CorrelationId: `c0ffee00-0000-4000-8000-${`${n}`.padStart(12, '0')}` }
  const llm = {
    ...both,
    DeploymentName: 'chat',
    ModelName: 'gpt-4o-2024-08-06',
    PromptTokens: 100 + n,
    CompletionTokens: 10,
    TotalTokens: 110 + n,
    SequenceNumber: 0,
    Type: 'ApiManagementGatewayLlmLog',
  }
  const url = 'https://gw.acme.example/openai/deployments/chat/chat/completions'
  const gateway = {
    ...both,
    ApimSubscriptionId: `team-${n % 3}`,
    CallerIpAddress: '52.29.14.9',
    ResponseCode: 200,
    Method: 'POST',
    Url: url,
    TotalTime: 800,
    Type: 'ApiManagementGatewayLogs',
  }
  return n % 2 === 0 ? [JSON.stringify(llm), JSON.stringify(gateway)] : [JSON.stringify(gateway), JSON.stringify(llm)]
}

const secretRead = (n: number): string =>
  JSON.stringify({
    eventVersion: '1.08',
    eventSource: 'secretsmanager.amazonaws.com',
    eventName: 'GetSecretValue',
    eventTime: iso(AT + n * 1000).replace(/\.\d+Z$/, 'Z'),
    awsRegion: 'eu-west-1',
    sourceIPAddress: '52.29.14.9',
    eventID: `e0000000-0000-4000-8000-${`${n}`.padStart(12, '0')}`,
    userIdentity: { type: 'IAMUser', arn: 'arn:aws:iam::123456789012:user/ann', accountId: '123456789012', userName: 'ann', principalId: 'AIDA' },
    requestParameters: { secretId: 'prod/openai' },
    recipientAccountId: '123456789012',
  })

const messages = (() => {
  const lines: string[] = []
  for (let n = 0; n < 300; n++) lines.push(chatLine({ id: `p${n}`, at: AT + n, key: madeUpKey(`svc-${n % 5}`), input_tokens: 500 + n, output_tokens: 50 + (n % 9) }))
  for (let n = 0; n < 60; n++) lines.push(...apimRows(n))
  for (let n = 0; n < 20; n++) lines.push(secretRead(n))
  const gatewayError = JSON.stringify({ time: iso(AT), status: 502, method: 'POST', url: 'https://api.openai.com/v1/chat/completions' })
  lines.push(gatewayError, gatewayError, 'START RequestId: 1', '{"response": {"id": "chatcmpl-cut"')
  return lines
})()
const events: readonly Event[] = messages.map((message, index) => ({ id: `${index}`.padStart(56, '3'), timestamp: AT + index, message }))
const envelope = (part: readonly Event[]): string =>
  JSON.stringify({ messageType: 'DATA_MESSAGE', owner: '123456789012', logGroup: '/app/chat', logStream: 'pod-1', subscriptionFilters: ['t'], logEvents: part })
const slices = (size: number): Event[][] => Array.from({ length: Math.ceil(events.length / size) }, (_, n) => events.slice(n * size, (n + 1) * size))

const push = async (url: string, id: string, part: readonly Event[]): Promise<Response> =>
  fetch(`${url}/receive/cloudwatch`, {
    method: 'POST',
    headers: { 'content-type': 'application/json', 'x-amz-firehose-request-id': id, 'x-amz-firehose-access-key': TOKEN },
    body: JSON.stringify({ requestId: id, timestamp: systemClock.now(), records: [{ data: gzipSync(envelope(part)).toString('base64') }] }),
  })

interface World {
  bus: EmbeddedBus
  store: Store
  pipeline: ReturnType<typeof createPipeline>
  /** What was published has been joined and stored. */
  settled(): Promise<void>
}

async function inWorld<T>(name: string, work: (world: World, signal: AbortSignal) => Promise<T>): Promise<T> {
  const deps = { clock: systemClock, log: silentLogger }
  const stop = new AbortController()
  const bus = openEmbeddedBus({ directory: path.join(directory, name) }, deps)
  const { store, close } = await openLedgerStore()
  const rater = createRater(loadPriceBook())
  const pipeline = createPipeline({ formats: createFormats(), hash_key: 'a-key-for-tests-only', attribution: [], rater, privacy: { truncate_ip: 'none', user_ids: 'keep' } })
  const loops = [runWriter({ bus, store, ...deps }, stop.signal), runJoin({ bus, state: store.state, pipeline, ...deps, options: { save_every: 50 } }, stop.signal)]
  const passed = async (group: string, topics: Parameters<EmbeddedBus['end_offsets']>[0]) => hasPassed(bus, group, await bus.end_offsets(topics))
  const settled = async (): Promise<void> => {
    await eventually('the join', () => passed('join', ['fragments.v1']))
    await eventually('the store', () => passed('store', ['usage.v1', 'secret-access.v1', 'rejects.v1']))
  }
  try {
    return await work({ bus, store, pipeline, settled }, stop.signal)
  } finally {
    stop.abort()
    await Promise.all(loops)
    await bus.close()
    await close()
  }
}

/** Everything but where it came from and when it was read. */
async function totals({ store }: World): Promise<unknown> {
  const sums = await store.query(
    `SELECT format, count() AS events, sum(input_tokens) AS input, sum(output_tokens) AS output, sum(cost_usd) AS cost, uniqExact(owner_ref) AS owners, max(revision) AS revision, countIf(hasAny(flags, ['tokens-missing', 'caller-missing']) AND outcome = 'success') AS halves FROM usage_events FINAL GROUP BY format ORDER BY format`,
  )
  const [ids] = await store.query('SELECT count() AS events, hex(groupBitXor(cityHash64(event_id, event_time))) AS ids FROM usage_events FINAL')
  const [secrets] = await store.query('SELECT count() AS events, hex(groupBitXor(cityHash64(event_id, event_time, actor_id))) AS ids FROM secret_access_events FINAL')
  const rejects = await store.query('SELECT reason, uniqExact(sha256) AS refused FROM rejects GROUP BY reason')
  return { sums, ids, secrets, rejects }
}

async function pushed(world: World, signal: AbortSignal): Promise<void> {
  const config = receiversConfig.parse([{ id: 'cloudwatch', kind: 'firehose', token: { env: 'PUSH_TEST_TOKEN' } }])
  const server = await createHttpServer({ listen: '127.0.0.1:0', clock: systemClock, log: silentLogger })
  server.routes(receiverRoutes(config, { pipeline: world.pipeline, bus: world.bus, clock: systemClock, log: silentLogger }))
  const took: number[] = []
  for (const [index, part] of slices(80).entries()) {
    const started = monotonicMs()
    const answer = await push(server.url, `r-${index}`, part)
    // 200 means durable on the bus.
    expect([answer.status, await answer.json()]).toMatchObject([200, { requestId: `r-${index}` }])
    took.push(monotonicMs() - started)
    // Firehose repeats what it believes to be lost.
    if (index % 2 === 0) expect((await push(server.url, `r-${index}`, part)).status).toBe(200)
  }
  // The median: the first push opens the databases of addresses, and any one may stand behind a busy machine.
  expect(took.sort((a, b) => a - b)[took.length >> 1]).toBeLessThan(2_000)
  await server.close()
  expect(signal.aborted).toBe(false)
  await world.settled()
}

async function pulled(world: World, signal: AbortSignal): Promise<void> {
  const origin = { source: 'cloudwatch-logs', stream: '123456789012/eu-west-1//app/chat' }
  const raw = events.map(({ id, timestamp, message }): RawRecord => ({ id, at: timestamp, ingested_at: timestamp + 3_000, body: message, origin }))
  const source = {
    id: 'aws',
    kind: 'cloudwatch-logs',
    stream: origin.stream,
    async *read() {
      // Rescans give what was given before, in another order and cut.
      for (const from of [0, 150, 100]) yield { records: raw.slice(from, from + 250), next: from }
      yield { records: raw.slice(240).toReversed(), next: 1_000, done: true }
    },
  }
  await runCollector({ sources: [source], pipeline: world.pipeline, bus: world.bus, state: world.store.state, clock: systemClock, log: silentLogger }, signal)
  await world.settled()
}

async function filed(world: World, signal: AbortSignal): Promise<void> {
  const file = path.join(directory, 'export.jsonl.gz')
  writeFileSync(file, gzipSync(slices(90).map(envelope).join('\n')))
  const sources = await fileSources([file], { clock: systemClock, log: silentLogger })
  const summary = await runIngest({ sources, pipeline: world.pipeline, bus: world.bus, run_id: 'run', clock: systemClock, log: silentLogger }, signal)
  expect(summary).toMatchObject({ records: events.length, events: { usage: 362, secret_access: 20 }, rejected: { 'invalid-json': 1 } })
  await world.settled()
}

/** One table alone, exported again: the store has more than that. */
async function halves(world: World, signal: AbortSignal): Promise<void> {
  const file = path.join(directory, 'gateway.jsonl')
  writeFileSync(file, messages.filter((line) => line.includes('ApiManagementGatewayLogs')).join('\n'))
  const sources = await fileSources([file], { clock: systemClock, log: silentLogger })
  const held = heldIn((sql) => world.store.query(sql))
  const summary = await runIngest({ sources, pipeline: world.pipeline, bus: world.bus, run_id: 'again', held, clock: systemClock, log: silentLogger }, signal)
  expect(summary).toMatchObject({ accepted: 60, events: { usage: 0 } })
  await world.settled()
}

describe('pull, push and file', { timeout: 120_000 }, () => {
  const seen = new Map<string, unknown>()
  it.each([
    ['push', [pushed]],
    ['pull', [pulled]],
    ['file', [filed]],
    ['all three together', [pulled, pushed, filed, halves]],
  ] as const)('%s', async (name, paths) => {
    const found = await inWorld(name, async (world, signal) => {
      for (const one of paths) await one(world, signal)
      return totals(world)
    })
    seen.set(name, found)
    expect(found).toMatchObject({
      sums: [
        { format: 'azure-apim', events: '60', input: `${60 * 100 + (59 * 60) / 2}`, output: '600', owners: '3', revision: 0, halves: '0' },
        { format: 'openai-http', events: '302', input: `${300 * 500 + (299 * 300) / 2}` },
      ],
      secrets: { events: '20' },
      rejects: [{ reason: 'invalid-json', refused: '1' }],
    })
    expect(found).toEqual(seen.get('push'))
  })
})

describe('push into the shipped command, killed with -9', { timeout: 180_000 }, () => {
  const config = path.join(directory, 'push.yaml')
  const PORT = 20_000 + (process.pid % 20_000)
  const url = `http://127.0.0.1:${PORT}`
  const env = { PUSH_TEST_TOKEN: TOKEN }
  const start = (crash_at?: CrashPoint) => runTokenwatch(['start', '--config', config], { env: { ...env, ...(crash_at === undefined ? {} : { TOKENWATCH_CRASH_AT: crash_at }) } })
  let running: ReturnType<typeof start> | undefined

  beforeAll(() =>
    writeFileSync(
      config,
      JSON.stringify({
        data_dir: path.join(directory, 'data'),
        receivers: [{ id: 'cloudwatch', kind: 'firehose', token: { env: 'PUSH_TEST_TOKEN' } }],
        console: { listen: `127.0.0.1:${PORT}` },
      }),
    ),
  )
  afterAll(() => running?.stop('SIGKILL'))

  it('loses nothing and counts nothing twice', async () => {
    running = start('join.after-publish')
    const restarted = running.exited.then((exit) => {
      running = start()
      return exit
    })
    const deadline = systemClock.now() + 60_000
    const deliver = async (id: string, part: readonly Event[]): Promise<void> => {
      while ((await push(url, id, part).catch(() => undefined))?.status !== 200) {
        if (systemClock.now() > deadline) throw new Error(`never taken: ${running?.output().slice(-2000)}`)
        await systemClock.sleep(100)
      }
    }
    // Rows of API Management first: the kill comes while the rest is pushed.
    for (const [index, part] of slices(30).toReversed().entries()) await deliver(`k-${index}`, part)
    expect(await restarted).toBe('SIGKILL')
    await eventually('the second start', async () => (await fetch(`${url}/healthz`).catch(() => undefined))?.ok === true)
    const query = async (sql: string) => {
      const { code, stdout, stderr } = await runToEnd(['query', sql, '--format', 'TSV', '--config', config], { env })
      return code === 0 ? stdout.trim() : stderr
    }
    const half = "hasAny(flags, ['tokens-missing', 'caller-missing']) AND outcome = 'success'"
    const sums =
      "countIf(format = 'openai-http'), countIf(format = 'azure-apim' AND input_tokens < 1000 AND output_tokens = 10 AND startsWith(owner_ref, 'subscription:team-')), countIf(HALF)"
    let found = ''
    await eventually('every request, whole', async () => (found = await query(`SELECT ${sums.replace('HALF', half)} FROM usage_events FINAL`)) === '302\t60\t0', 30_000).catch(
      () => {},
    )
    expect(found, running?.output()).toBe('302\t60\t0')
    const tokens = "sumIf(input_tokens, format = 'openai-http'), sumIf(input_tokens, format = 'azure-apim'), (SELECT count() FROM secret_access)"
    expect(await query(`SELECT ${tokens} FROM usage_events FINAL`)).toBe(`${300 * 500 + (299 * 300) / 2}\t${60 * 100 + (59 * 60) / 2}\t20`)
    expect(await running?.stop()).toBe(0)
  })
})
