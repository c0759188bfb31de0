/** What the collector says of an Azure stream: never more than the source knows. */
import { describe, expect, it } from 'vitest'
import { silentLogger } from '../../../runtime/log.ts'
import { seededRandom } from '../../../runtime/random.ts'
import { inProcess } from '../../../test/simulate/azure/in-process.ts'
import { LogAnalytics } from '../../../test/simulate/azure/model.ts'
import { ManualClock, MemoryBus, MemoryState, noPrices } from '../../../test/support/ingest.ts'
import { runCollector } from '../../collector.ts'
import { createFormats } from '../../formats/index.ts'
import { createPipeline } from '../../pipeline.ts'
import { config } from './config.ts'
import { azureSources } from './index.ts'

const WORKSPACE = '11111111-2222-4333-8444-555555555555'
const START = Date.UTC(2026, 2, 2, 12)
const MINUTE = 60_000
const pipeline = createPipeline({
  formats: createFormats(),
  hash_key: 'a-key-for-tests-only',
  attribution: [],
  rater: noPrices,
  privacy: { truncate_ip: 'none', user_ids: 'keep' },
})

const secretGet = (n: number, event_time: number, ingested_at: number) => ({
  item_id: `item-${n}`,
  event_time,
  ingested_at,
  visible_at: ingested_at,
  body: JSON.stringify({
    TimeGenerated: new Date(event_time).toISOString(),
    OperationName: 'SecretGet',
    HttpStatusCode: 200,
    Identity: { claim: { oid: `oid-${n}` } },
    RequestUri: 'https://acme.vault.azure.net/secrets/openai',
    Type: 'AZKVAuditLogs',
    _ResourceId: '/subscriptions/0a/resourcegroups/llm/providers/microsoft.keyvault/vaults/acme',
  }),
})

describe('the progress of an Azure stream', () => {
  it('is what the source knows, not the newest event: the cloud takes seconds for one row and nine minutes for the next', async () => {
    const clock = new ManualClock(START)
    const model = new LogAnalytics({ clock })
    model.workspace(WORKSPACE)
    model.table(WORKSPACE, 'AZKVAuditLogs')
    model.put(
      WORKSPACE,
      'AZKVAuditLogs',
      Array.from({ length: 240 }, (_, n) => {
        const time = START - 30 * MINUTE + n * 30_000
        return secretGet(n, time, time + (n % 3 === 0 ? 9 * MINUTE : 5_000))
      }),
    )
    const options = config.parse({ workspaces: [{ id: WORKSPACE, name: 'prod' }], tables: ['AZKVAuditLogs'], start: '4h' })
    const stop = new AbortController()
    const bus = new MemoryBus()
    bus.onPublish = () => void (clock.now() > START + 3 * 60 * MINUTE && stop.abort())
    const sources = azureSources(inProcess(model), options, { clock, log: silentLogger }).map((source) => ({ id: 'azure', kind: 'azure-monitor', ...source }))
    await runCollector({ sources, pipeline, bus: bus.bus, state: new MemoryState(), clock, log: silentLogger, random: seededRandom(1) }, stop.signal)
    expect(bus.of('secret-access.v1').length).toBe(240)
    const told = bus.of('progress.v1').filter(({ scanned_to }) => scanned_to !== null)
    expect(Math.min(...told.map(({ at, scanned_to }) => at - (scanned_to ?? 0)))).toBeGreaterThanOrEqual(options.settle + options.event_delay)
    // Nothing came later than event_delay allows, so nothing was late.
    expect(told.at(-1)).toMatchObject({ late: 0, records: 240 })
  })
})
