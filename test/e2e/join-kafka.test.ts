/**
 * Requests through API Management on real Kafka: the two rows of each arrive one after the other, either side first, with the
 * collector killed by -9 between them and while it tells the joined events. Each request is told once, whole, with exact tokens.
 */
import { appendFileSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { busConfig } from '../../bus/config.ts'
import { createBus } from '../../bus/index.ts'
import { systemClock } from '../../runtime/clock.ts'
import type { CrashPoint } from '../../runtime/crash.ts'
import { silentLogger } from '../../runtime/log.ts'
import type { UsageEvent } from '../../schemas/usage.ts'
import { startClickHouseFront } from '../support/clickhouse-front/index.ts'
import { ensureKafka } from '../support/kafka/kafka.ts'
import { needs } from '../support/needs.ts'
import { eventually, runTokenwatch, type Running } from '../support/process.ts'

const has_kafka = needs('kafka')
const AT = systemClock.now() - 600_000
const tokensOf = (n: number): number => 100 + 7 * n

function rowsOf(n: number): { llm: string; gateway: string } {
  const both = { TimeGenerated: new Date(AT + n).toISOString(), CorrelationId: `c0ffee00-0000-4000-8000-${`${n}`.padStart(12, '0')}` }
  const llm = { ...both, DeploymentName: 'chat', ModelName: 'gpt-4o-2024-08-06', PromptTokens: tokensOf(n), CompletionTokens: 10, TotalTokens: tokensOf(n) + 10, SequenceNumber: 0 }
  const gateway = { ...both, ApimSubscriptionId: `team-${n % 3}`, CallerIpAddress: '52.29.14.9', ResponseCode: 200, Method: 'POST', TotalTime: 800 }
  return {
    llm: JSON.stringify({ ...llm, Type: 'ApiManagementGatewayLlmLog' }),
    gateway: JSON.stringify({ ...gateway, Url: 'https://gw.acme.example/openai/deployments/chat/chat/completions', Type: 'ApiManagementGatewayLogs' }),
  }
}

describe.skipIf(!has_kafka)('halves of requests on real Kafka', () => {
  const directory = mkdtempSync(path.join(tmpdir(), 'tokenwatch-join-kafka-'))
  const config = path.join(directory, 'config.json')
  const prefix = `j${process.pid}.`
  const logs = { llm: path.join(directory, 'llm.jsonl'), gateway: path.join(directory, 'gateway.jsonl') }
  let brokers: string[]
  let front: Awaited<ReturnType<typeof startClickHouseFront>>
  let store: Running | undefined
  let collector: Running | undefined

  const configure = (wait: string): void =>
    writeFileSync(
      config,
      JSON.stringify({
        data_dir: path.join(directory, 'data'),
        bus: { kind: 'kafka', brokers, topics: { prefix, replication: 1, min_insync_replicas: 1 }, session_timeout: '6s' },
        store: { kind: 'clickhouse', url: front.url },
        sources: [{ id: 'apim', kind: 'file', paths: Object.values(logs), follow: true }],
        join: { wait, max_requests: 1_000 },
      }),
    )
  const collect = (crash_at?: CrashPoint): Running =>
    (collector = runTokenwatch(['start', '--role', 'collect', '--config', config], { env: crash_at === undefined ? {} : { TOKENWATCH_CRASH_AT: crash_at } }))
  const ask = async (sql: string): Promise<string> => {
    const answer = await fetch(front.url, { method: 'POST', body: sql })
    if (!answer.ok) throw new Error(await answer.text())
    return (await answer.text()).trim()
  }
  /** One side of the requests [from, to): that which an even number has first, or the other. */
  const write = (from: number, to: number, side: 'first' | 'second'): void => {
    for (let n = from; n < to; n++) {
      const kind = (n % 2 === 0) === (side === 'first') ? 'llm' : 'gateway'
      appendFileSync(logs[kind], `${rowsOf(n)[kind]}\n`)
    }
  }
  /** Halves that wait, as the store has them. */
  const waiting = async (): Promise<number> =>
    Number(await ask(`SELECT count() FROM tokenwatch.state FINAL WHERE scope = 'join' AND JSONExtractRaw(base64Decode(value), 'revision') = 'null'`).catch(() => '0'))

  async function usageOnTheBus(): Promise<UsageEvent[]> {
    const kafka = busConfig.parse({ kind: 'kafka', brokers, topics: { prefix, replication: 1, min_insync_replicas: 1 } })
    const bus = createBus(kafka, { data_dir: directory, clock: systemClock, log: silentLogger })
    const events: UsageEvent[] = []
    try {
      await bus.replay('usage.v1', ({ records }) => void events.push(...records), new AbortController().signal)
    } finally {
      await bus.close()
    }
    return events
  }

  beforeAll(async () => {
    brokers = (await ensureKafka()).brokers
    front = await startClickHouseFront({ directory: path.join(directory, 'clickhouse') })
    for (const file of Object.values(logs)) writeFileSync(file, '')
    configure('10m')
  }, 180_000)

  afterAll(async () => {
    await collector?.stop('SIGKILL')
    await store?.stop('SIGKILL')
    await front?.stop()
    rmSync(directory, { recursive: true, force: true })
  })

  it('are joined once, whichever came first and whenever the collector was killed', { timeout: 120_000 }, async ({ onTestFailed }) => {
    onTestFailed(() => console.error(`--- collect\n${collector?.output().slice(-4000)}\n--- store\n${store?.output().slice(-2000)}`))
    store = runTokenwatch(['start', '--role', 'store', '--config', config])
    collect()
    write(0, 120, 'first')
    await eventually('the halves wait in the store', async () => (await waiting()) === 120)
    expect(await ask('SELECT count() FROM tokenwatch.usage')).toBe('0')
    expect(await collector?.stop('SIGKILL')).toBe('SIGKILL')

    // More halves meanwhile; the next process dies when the first events are on the bus and nobody has noted it.
    write(0, 60, 'second')
    write(120, 150, 'first')
    expect(await collect('join.after-publish').exited).toBe('SIGKILL')
    write(60, 150, 'second')
    collect()

    const sums = `count(), sum(input_tokens), sum(output_tokens), uniqExact(owner_ref), max(revision), countIf(hasAny(flags, ['tokens-missing', 'caller-missing']))`
    const tokens = Array.from({ length: 150 }, (_, n) => tokensOf(n)).reduce((sum, one) => sum + one, 0)
    const wanted = `150\t${tokens}\t1500\t3\t0\t0`
    let found = ''
    await eventually('every request, whole', async () => (found = await ask(`SELECT ${sums} FROM tokenwatch.usage_events FINAL FORMAT TSV`)) === wanted, 40_000).catch(() => {})
    expect(found).toBe(wanted)
    expect(await waiting()).toBe(0)

    const events = await usageOnTheBus()
    expect(new Set(events.map(({ event_id }) => event_id)).size).toBe(150)
    // What was told before the second kill is told again, the same; nothing else is.
    expect(events.length).toBeGreaterThan(150)
    expect(events.length).toBeLessThanOrEqual(150 + 60)
    expect(new Set(events.map(({ event_id, revision, input_tokens }) => `${event_id} ${revision} ${input_tokens}`)).size).toBe(150)
    expect(await collector?.stop()).toBe(0)

    // A half that stays alone is told when it has waited as long as the config says.
    write(150, 151, 'first')
    configure('2s')
    collect()
    await eventually('the half', async () => (await ask(`SELECT ${sums} FROM tokenwatch.usage_events FINAL FORMAT TSV`)).startsWith('151\t'), 30_000)
    expect(await ask("SELECT flags FROM tokenwatch.usage_events FINAL WHERE has(flags, 'caller-missing') FORMAT TSV")).toContain('caller-missing')
  })
})
