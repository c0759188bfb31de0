/** The shipped command on a stand-in of Azure Monitor: killed at every step of the collector, and asked what is missing. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest'
import { openEmbeddedBus } from '../../bus/embedded.ts'
import { systemClock } from '../../runtime/clock.ts'
import type { CrashPoint } from '../../runtime/crash.ts'
import { silentLogger } from '../../runtime/log.ts'
import type { TopicName, TopicValue } from '../../schemas/topics.ts'
import { type LogsServer, serveLogs } from '../simulate/azure/http.ts'
import { LogAnalytics, type ModelRow } from '../simulate/azure/model.ts'
import { eventually, type Running, runToEnd, runTokenwatch } from '../support/process.ts'

const WORKSPACE = '11111111-2222-4333-8444-555555555555'
const MINUTE = 60_000
const env = { TW_AZURE_TOKEN: 'a-token-for-tests-only' }
const directory = mkdtempSync(path.join(tmpdir(), 'tokenwatch-azure-'))
const started = systemClock.now()

let model: LogAnalytics
let server: LogsServer
let running: Running | undefined

beforeAll(async () => {
  model = new LogAnalytics({ clock: systemClock })
  model.workspace(WORKSPACE)
  model.table(WORKSPACE, 'AZKVAuditLogs')
  model.put(
    WORKSPACE,
    'AZKVAuditLogs',
    Array.from({ length: 120 }, (_, n) => secretGet(n)),
  )
  server = await serveLogs(model, { token: env.TW_AZURE_TOKEN })
})
afterEach(async () => {
  await running?.stop('SIGKILL')
})
afterAll(async () => {
  await server.close()
  rmSync(directory, { recursive: true, force: true })
})

/** Reads of two secrets in the last two hours, each row its own event. */
function secretGet(n: number): ModelRow {
  const at = started - 150 * MINUTE + n * MINUTE
  const uri = `https://acme.vault.azure.net/secrets/openai-${n % 2}`
  const body = {
    TimeGenerated: new Date(at).toISOString(),
    OperationName: 'SecretGet',
    ResultType: 'Success',
    ResultSignature: 'OK',
    HttpStatusCode: 200,
    DurationMs: 20,
    CallerIpAddress: '52.29.14.9',
    Identity: { claim: { oid: '11111111-aaaa-4bbb-8ccc-000000000001', appid: '22222222-aaaa-4bbb-8ccc-000000000002', idtyp: 'app' } },
    Id: `${uri}/1`,
    RequestUri: `${uri}?api-version=7.5`,
    Type: 'AZKVAuditLogs',
    _ResourceId: '/subscriptions/0a/resourcegroups/llm/providers/microsoft.keyvault/vaults/acme',
  }
  // The last ten become visible behind minutes that were read.
  return { item_id: `item-${n}`, event_time: at, ingested_at: at + 2 * MINUTE, visible_at: n < 110 ? 0 : started + 6_000, body: JSON.stringify(body) }
}

function configure(name: string, tables: string[]): { config: string; data: string } {
  const config = path.join(directory, `${name}.json`)
  const data = path.join(directory, name)
  const azure = {
    id: 'azure',
    kind: 'azure-monitor',
    workspaces: [{ id: WORKSPACE, name: 'prod' }],
    tables,
    endpoint: server.url,
    allow_insecure: true,
    credential: { kind: 'token', token: { env: 'TW_AZURE_TOKEN' } },
    start: '4h',
    poll: '500ms',
    overlap: '60m',
    max_rows: 40,
    requests_per_30s: 190,
  }
  writeFileSync(config, JSON.stringify({ data_dir: data, sources: [azure], console: { listen: '127.0.0.1:0' } }))
  return { config, data }
}

async function recordsOf<T extends TopicName>(data: string, topic: T): Promise<TopicValue<T>[]> {
  const bus = openEmbeddedBus({ directory: path.join(data, 'bus') }, { clock: systemClock, log: silentLogger })
  const records: TopicValue<T>[] = []
  const signal = new AbortController().signal
  try {
    await bus.prepare(signal)
    await bus.replay(topic, (batch) => void records.push(...(batch.records as TopicValue<T>[])), signal)
  } finally {
    await bus.close()
  }
  return records
}

describe('a collector of Azure Monitor', () => {
  it('loses nothing and counts nothing twice when it is killed at each step', { timeout: 120_000 }, async ({ onTestFailed }) => {
    onTestFailed(() => console.error(running?.output().slice(-4000)))
    const { config, data } = configure('crash', ['AZKVAuditLogs'])
    const points: CrashPoint[] = ['collector.before-publish', 'collector.after-publish', 'collector.after-checkpoint']
    for (const [n, point] of points.entries()) {
      running = runTokenwatch(['start', '--config', config], { env: { ...env, TOKENWATCH_CRASH_AT: `${point}:${n + 1}` } })
      expect(await running.exited).toBe('SIGKILL')
    }
    const asked = model.requests.length
    running = runTokenwatch(['start', '--config', config], { env })
    await eventually('the late rows are visible and asked for', () => systemClock.now() > started + 8_000 && model.requests.length > asked + 8)
    expect(await running.stop()).toBe(0)
    const accesses = await recordsOf(data, 'secret-access.v1')
    expect(new Set(accesses.map(({ event_id }) => event_id)).size).toBe(120)
    // What a kill repeats is a window at most, under the same ids.
    expect(accesses.length).toBeLessThanOrEqual(120 + points.length * 40)
    expect(accesses[0]).toMatchObject({ format: 'azure-key-vault', source: 'azure-monitor', source_stream: 'prod/AZKVAuditLogs', client_country: 'DE' })
    expect((await recordsOf(data, 'rejects.v1')).length).toBe(0)
  })

  it('is told what is missing by check --probe', { timeout: 60_000 }, async () => {
    const { config } = configure('probe', ['AZKVAuditLogs', 'ApiManagementGatewayLogs'])
    model.workspace(WORKSPACE, { access: 'denied' })
    const denied = await runToEnd(['check', '--probe', '--config', config], { env })
    model.workspace(WORKSPACE, {})
    expect(denied.code).not.toBe(0)
    expect(denied.stdout + denied.stderr).toMatch(/Log Analytics Data Reader/)
    model.table(WORKSPACE, 'ApiManagementGatewayLogs', { plan: 'basic' })
    const basic = await runToEnd(['check', '--probe', '--config', config], { env })
    expect(basic.stdout + basic.stderr).toMatch(/ApiManagementGatewayLogs.*Basic or Auxiliary plan/)
  })
})
