/** The KQL of a table is changed while rows of the last days are still on their way. */
import { expect, it } from 'vitest'
import { silentLogger } from '../../../runtime/log.ts'
import { inProcess } from '../../../test/simulate/azure/in-process.ts'
import { LogAnalytics } from '../../../test/simulate/azure/model.ts'
import { ManualClock } from '../../../test/support/ingest.ts'
import { config } from './config.ts'
import { azureSources } from './index.ts'

const WORKSPACE = '11111111-2222-4333-8444-555555555555'
const START = Date.UTC(2026, 2, 2, 12)
const [MINUTE, HOUR, DAY] = [60_000, 3_600_000, 86_400_000]
const ALL = '| where OperationName != ""'
const SECRETS = '| where OperationName startswith "Secret"'

const row = (id: string, at: number, operation: string, visible_at = at) => ({
  item_id: id,
  event_time: at - MINUTE,
  ingested_at: at,
  visible_at,
  body: JSON.stringify({ id, OperationName: operation }),
})

function world() {
  const clock = new ManualClock(START)
  const model = new LogAnalytics({ clock })
  model.workspace(WORKSPACE)
  model.table(WORKSPACE, 'Audit')
  const read = async (kql: string, ms: number, after?: unknown) => {
    const options = config.parse({ workspaces: [{ id: WORKSPACE, name: 'prod' }], tables: [{ table: 'Audit', kql }] })
    const [source] = azureSources(inProcess(model), options, { clock, log: silentLogger })
    const until = clock.now() + ms
    const ids: string[] = []
    let next = after
    for await (const page of source?.read(next, new AbortController().signal) ?? []) {
      ids.push(...page.records.map(({ id }) => id))
      next = JSON.parse(JSON.stringify(page.next))
      if (clock.now() >= until) break
    }
    return { ids, next }
  }
  return { clock, model, read }
}

it.each([
  ['minutes ago', 10 * MINUTE, 20 * MINUTE],
  ['hours ago', 5 * HOUR, 2 * HOUR],
  ['days ago', 4 * DAY, 26 * HOUR],
])('a late row of %s is found though fewer rows are asked for than before', async (_name, ago, wait) => {
  const { clock, model, read } = world()
  const at = START + MINUTE
  model.put(
    WORKSPACE,
    'Audit',
    Array.from({ length: 20 }, (_, n) => row(`row-${n}`, at + n, n % 2 === 0 ? 'KeyGet' : 'SecretGet')),
  )
  const first = await read(ALL, ago)
  expect(first.ids.length).toBe(20)
  model.put(WORKSPACE, 'Audit', [row('late', at + 500, 'SecretGet', clock.now() + MINUTE)])
  const second = await read(SECRETS, wait, first.next)
  expect(second.ids.filter((id) => id === 'late')).toEqual(['late'])
  // Counted anew once: from then on nothing is read again.
  expect((await read(SECRETS, wait, second.next)).ids).toEqual([])
})

it('nothing is read again while the KQL stays the same, also from a version that did not name it', async () => {
  const { model, read } = world()
  model.put(
    WORKSPACE,
    'Audit',
    Array.from({ length: 20 }, (_, n) => row(`row-${n}`, START - HOUR + n * MINUTE, 'SecretGet')),
  )
  const { next } = await read(SECRETS, 2 * HOUR)
  const { selection: _, ...old } = next as { selection: string }
  expect((await read(`\n${SECRETS}  `, 25 * HOUR, next)).ids).toEqual([])
  expect((await read(SECRETS, HOUR, old)).ids).toEqual([])
})
