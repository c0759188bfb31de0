/** A workspace that takes every query and answers none, beside one that is well. */
import { expect, it } from 'vitest'
import { silentLogger } from '../../../runtime/log.ts'
import { inProcess } from '../../../test/simulate/azure/in-process.ts'
import { LogAnalytics } from '../../../test/simulate/azure/model.ts'
import { ManualClock } from '../../../test/support/ingest.ts'
import { config } from './config.ts'
import { azureSources } from './index.ts'

const [HANGS, WELL] = ['11111111-2222-4333-8444-555555555551', '11111111-2222-4333-8444-555555555552']
const START = Date.UTC(2026, 2, 2, 12)
const MINUTE = 60_000

it('does not stop the others, however many tables of it are read', { timeout: 20_000 }, async () => {
  const clock = new ManualClock(START)
  const model = new LogAnalytics({ clock })
  for (const workspace of [HANGS, WELL]) {
    model.workspace(workspace)
    for (const table of ['A', 'B', 'C', 'D', 'E']) model.table(workspace, table)
  }
  const rows = Array.from({ length: 50 }, (_, n) => ({ item_id: `row-${n}`, event_time: START, ingested_at: START - 20 * MINUTE, visible_at: 0, body: JSON.stringify({ n }) }))
  model.put(WELL, 'A', rows)
  model.fault = ({ workspace }) => (workspace === HANGS ? { kind: 'hang' } : undefined)
  const options = config.parse({
    workspaces: [
      { id: HANGS, name: 'hangs' },
      { id: WELL, name: 'well', tables: ['A'] },
    ],
    tables: ['A', 'B', 'C', 'D', 'E'],
  })
  const stop = new AbortController()
  const sources = azureSources(inProcess(model), options, { clock, log: silentLogger })
  const hanging = sources.filter(({ stream }) => stream.startsWith('hangs/')).map((source) => source.read(undefined, stop.signal)[Symbol.asyncIterator]().next())
  const well = sources.find(({ stream }) => stream === 'well/A')
  const ids: string[] = []
  for await (const page of well?.read(undefined, stop.signal) ?? []) {
    ids.push(...page.records.map(({ id }) => id))
    if (ids.length === 50) break
  }
  stop.abort()
  const ended = await Promise.allSettled(hanging)
  expect(ended.map(({ status }) => status)).toEqual(Array.from({ length: 5 }, () => 'rejected'))
})
