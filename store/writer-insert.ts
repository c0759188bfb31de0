/** Rows into one table: patient with a store that is away, exact about rows that it refuses. */
import type { Bus } from '../bus/bus.ts'
import { type Clock, monotonicMs } from '../runtime/clock.ts'
import { crashPoint } from '../runtime/crash.ts'
import { PermanentError, UsageError } from '../runtime/errors.ts'
import { nameUuid, sha256Hex } from '../runtime/ids.ts'
import type { Logger } from '../runtime/log.ts'
import { counter, histogram } from '../runtime/metrics.ts'
import { retry } from '../runtime/retry.ts'
import type { Reject } from '../schemas/rejects.ts'
import type { TopicValue } from '../schemas/topics.ts'
import { BadRowError } from './errors.ts'
import type { Store } from './store.ts'
import type { StoredTable, StoredTopic } from './tables.ts'

export interface Row {
  topic: StoredTopic
  value: TopicValue<StoredTopic>
  text: string
  /** Month of the partition. */
  month: number
}

interface InsertDeps {
  bus: Pick<Bus, 'publish'>
  store: Pick<Store, 'insert'>
  clock: Clock
  log: Logger
}

// ClickHouse refuses an insert that touches more than max_partitions_per_insert_block (100) partitions.
const MAX_MONTHS = 90
// After so many refusals the rows are no longer taken out one by one: halving needs fewer inserts when most rows are bad.
const MAX_NAMED = 20
const MAX_PAYLOAD = 65_536

const rowsTotal = counter('tokenwatch_store_rows_total', 'rows that became durable in the store', ['table'])
const insertsTotal = counter('tokenwatch_store_inserts_total', 'inserts that the store acknowledged', ['table'])
const rejectsTotal = counter('tokenwatch_store_rejects_total', 'rows that the store refused', ['table'])
const insertSeconds = histogram('tokenwatch_store_insert_seconds', 'time of one insert', ['table'], [0.01, 0.03, 0.1, 0.3, 1, 3, 10])

/** Resolves when each row is either durable or published as a reject. Throws when waiting cannot help, or at the abort. */
export async function insertRows(table: StoredTable<StoredTopic>, rows: readonly Row[], deps: InsertDeps, signal: AbortSignal): Promise<void> {
  const refused: { row: Row; error: BadRowError }[] = []
  for (const part of byMonths(rows)) await insertOrBisect(table, part, refused, deps, signal)
  if (refused.length === 0) return
  rejectsTotal.inc({ table: table.table }, refused.length)
  deps.log.warn('the store refused rows', { table: table.table, rows: refused.length, error: refused[0]?.error.message })
  const rejects = refused.filter(({ row }) => row.topic !== 'rejects.v1').map(({ row, error }) => rejectOf(row, error, deps.clock))
  // A refused reject would come back here for ever; it is counted and logged above.
  await retry(() => deps.bus.publish('rejects.v1', rejects), { clock: deps.clock, signal, what: 'the bus', log: deps.log })
}

async function insertOrBisect(
  table: StoredTable<StoredTopic>,
  rows: readonly Row[],
  refused: { row: Row; error: BadRowError }[],
  deps: InsertDeps,
  signal: AbortSignal,
): Promise<void> {
  try {
    await insertPatiently(table, rows, deps, signal)
  } catch (error) {
    if (!(error instanceof BadRowError)) throw error
    const [only, ...others] = rows
    if (only === undefined) return
    if (others.length === 0) {
      refused.push({ row: only, error })
      return
    }
    for (const part of split(rows, refused.length < MAX_NAMED ? error.row : undefined)) await insertOrBisect(table, part, refused, deps, signal)
  }
}

async function insertPatiently(table: StoredTable<StoredTopic>, rows: readonly Row[], deps: InsertDeps, signal: AbortSignal): Promise<void> {
  const texts = rows.map((row) => row.text)
  const work = async () => {
    crashPoint('writer.before-insert')
    const start = monotonicMs()
    await deps.store.insert(table.table, table.columns, texts)
    insertSeconds.observe({ table: table.table }, (monotonicMs() - start) / 1000)
  }
  await retry(work, { clock: deps.clock, signal, what: 'the store', log: deps.log, retryable: (error) => !(error instanceof PermanentError || error instanceof UsageError) })
  insertsTotal.inc({ table: table.table })
  rowsTotal.inc({ table: table.table }, rows.length)
}

/** Around the row that the engine named (from 1), else in halves. */
function split(rows: readonly Row[], named: number | undefined): (readonly Row[])[] {
  const at = named === undefined ? -1 : named - 1
  const parts = at >= 0 && at < rows.length ? [rows.slice(0, at), rows.slice(at, at + 1), rows.slice(at + 1)] : [rows.slice(0, rows.length >> 1), rows.slice(rows.length >> 1)]
  return parts.filter((part) => part.length > 0)
}

/** Rows in pieces of at most MAX_MONTHS months; nearly always one piece. */
function byMonths(rows: readonly Row[]): (readonly Row[])[] {
  const months = new Set(rows.map((row) => row.month))
  if (months.size <= MAX_MONTHS) return [rows]
  const place = new Map([...months].sort((a, b) => a - b).map((month, index) => [month, Math.floor(index / MAX_MONTHS)]))
  return [...Map.groupBy(rows, (row) => place.get(row.month) ?? 0).values()]
}

function rejectOf({ topic, value }: Row, error: BadRowError, clock: Clock): Reject {
  const payload = JSON.stringify(value)
  const {
    source = 'store',
    source_stream = topic,
    format = null,
    run_id = null,
  } = value as { source?: string; source_stream?: string; format?: string | null; run_id?: string | null }
  const sha256 = sha256Hex(payload)
  return {
    reject_id: nameUuid(source, source_stream, 'store-refused', sha256),
    received_at: clock.now(),
    source,
    source_stream,
    stage: 'store',
    plugin: format,
    run_id,
    reason: 'store-refused',
    detail: error.message.slice(0, 2000),
    size_bytes: Buffer.byteLength(payload),
    sha256,
    topic,
    payload: payload.length <= MAX_PAYLOAD ? payload : null,
  }
}
