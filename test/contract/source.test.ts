import { mkdtemp, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, it } from 'vitest'
import { sources } from '../../ingest/sources/index.ts'
import { seededRandom } from '../../runtime/random.ts'
import { type LogsServer, serveLogs } from '../simulate/azure/http.ts'
import { LogAnalytics } from '../simulate/azure/model.ts'
import { CloudWatchModel } from '../simulate/cloudwatch/model.ts'
import { giveCredentials, serveCloud, type ServedCloud } from '../simulate/cloudwatch/server.ts'
import { ManualClock } from '../support/ingest.ts'
import { type EndlessHarness, endlessSourceContract, type SourceHarness, sourceContract } from './source.ts'

const harnesses: Readonly<Record<string, SourceHarness>> = {
  file: {
    holding: async (bodies) => {
      const path = join(await mkdtemp(join(tmpdir(), 'tokenwatch-')), 'records.jsonl')
      await writeFile(path, bodies.map((body) => `${body}\n`).join(''))
      return { paths: [path] }
    },
    missing: async () => ({ paths: [join(tmpdir(), 'tokenwatch-not-there', 'x.jsonl')] }),
  },
}

const NOW = Date.UTC(2026, 2, 2, 12)
const clouds: ServedCloud[] = []
const serve = async (clock: ManualClock, bodies: readonly string[]): Promise<Record<string, unknown>> => {
  giveCredentials()
  const model = new CloudWatchModel({ clock, random: seededRandom(1), faults: { page_events: 50, empty_page: 0.2, trailing_token: 0.5 } })
  model.createGroup('/app/calls')
  model.put(
    '/app/calls',
    bodies.map((message, index) => ({ message, timestamp: NOW - 600_000 + index * 1_000, ingested_at: NOW - 60_000 })),
  )
  const cloud = await serveCloud({ places: new Map([['000000000000/eu-west-1', model]]) })
  clouds.push(cloud)
  return { regions: ['eu-west-1'], log_groups: ['/app/calls'], endpoint: cloud.url }
}

const WORKSPACE = '11111111-2222-4333-8444-555555555555'
const workspaces: LogsServer[] = []
const serveWorkspace = async (clock: ManualClock, table: string, bodies: readonly string[]): Promise<Record<string, unknown>> => {
  process.env['CONTRACT_AZURE_TOKEN'] = 'a-token-for-tests-only'
  const model = new LogAnalytics({ clock, limits: { rows: 120 } })
  model.workspace(WORKSPACE)
  model.table(WORKSPACE, table)
  const at = (index: number): number => NOW - 1_800_000 + index * 1_000
  model.put(
    WORKSPACE,
    table,
    bodies.map((body, index) => ({ item_id: `item-${index}`, event_time: at(index), ingested_at: at(index), visible_at: at(index), body })),
  )
  const server = await serveLogs(model, { token: 'a-token-for-tests-only' })
  workspaces.push(server)
  const credential = { kind: 'token', token: { env: 'CONTRACT_AZURE_TOKEN' } }
  return { workspaces: [{ id: WORKSPACE, name: 'prod' }], tables: ['AppLogs'], endpoint: server.url, allow_insecure: true, credential, max_rows: 100 }
}

const endless: Readonly<Record<string, EndlessHarness>> = {
  'azure-monitor': {
    holding: async (bodies) => {
      const clock = new ManualClock(NOW)
      return { config: await serveWorkspace(clock, 'AppLogs', bodies), clock }
    },
    missing: () => serveWorkspace(new ManualClock(NOW), 'AnotherTable', []),
    close: async () => void (await Promise.all(workspaces.map((server) => server.close()))),
  },
  'cloudwatch-logs': {
    holding: async (bodies) => {
      const clock = new ManualClock(NOW)
      return { config: await serve(clock, bodies), clock }
    },
    missing: async () => ({ ...(await serve(new ManualClock(NOW), [])), log_groups: ['/not/there'] }),
    close: async () => void (await Promise.all(clouds.map((cloud) => cloud.close()))),
  },
}

it('has a harness for every source of the registry', () => {
  expect([...Object.keys(harnesses), ...Object.keys(endless)].sort()).toEqual(sources.map((source) => source.id).sort())
})

for (const [id, harness] of Object.entries(harnesses)) sourceContract(id, harness)
for (const [id, harness] of Object.entries(endless)) endlessSourceContract(id, harness)
