import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { sourcesConfig } from '../ingest/sources/index.ts'
import { systemClock } from '../runtime/clock.ts'
import { silentLogger } from '../runtime/log.ts'
import { type LogsServer, serveLogs } from '../test/simulate/azure/http.ts'
import { LogAnalytics } from '../test/simulate/azure/model.ts'
import { sourceChecks } from './check-sources.ts'

const WORKSPACE = '11111111-2222-4333-8444-555555555555'
const TOKEN = 'a-token-for-tests-only'
const model = new LogAnalytics({ clock: systemClock })
let server: LogsServer

beforeAll(async () => {
  process.env['TW_CHECK_TOKEN'] = TOKEN
  model.workspace(WORKSPACE)
  for (const table of ['Hangs', 'Fine', 'AlsoFine']) model.table(WORKSPACE, table)
  model.table(WORKSPACE, 'Basic', { plan: 'basic' })
  model.fault = ({ query }) => (query.startsWith('Hangs') ? { kind: 'hang' } : undefined)
  server = await serveLogs(model, { token: TOKEN })
})
afterAll(() => server.close())

const azure = (id: string, tables: string[], more: object = {}) => ({
  id,
  kind: 'azure-monitor',
  workspaces: [{ id: WORKSPACE, name: id }],
  tables,
  endpoint: server.url,
  allow_insecure: true,
  credential: { kind: 'token', token: { env: 'TW_CHECK_TOKEN' } },
  ...more,
})

describe('check --probe on sources', () => {
  it('asks each stream for itself: one that never answers, or cannot be opened, makes no other look broken', async () => {
    const configs = sourcesConfig.parse([
      azure('prod', ['Hangs', 'Fine', 'Basic', 'AlsoFine']),
      azure('staging', ['Fine'], { credential: { kind: 'token', token: { env: 'TW_NO_SUCH_VARIABLE' } } }),
      azure('test', ['Fine']),
    ])
    const found = await sourceChecks(configs, { clock: systemClock, log: silentLogger, file: null }, 1_500)
    expect(found.map(({ part, ok }) => [part, ok])).toEqual([
      ['source prod/Hangs', false],
      ['source prod/Fine', true],
      ['source prod/Basic', false],
      ['source prod/AlsoFine', true],
      ['source staging', false],
      ['source test/Fine', true],
    ])
    expect(found[0]?.detail).toContain('no answer within 1.5 s')
    expect(found[2]?.detail).toContain('Basic or Auxiliary plan')
    expect(found[4]?.detail).toContain('TW_NO_SUCH_VARIABLE')
  })
})
