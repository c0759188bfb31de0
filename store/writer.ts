/**
 * The writer: copies the stored topics into their tables. A batch of the bus is handled when its rows are durable, so an offset
 * never runs ahead of the store. Batches that wait at the same time share one insert per table: few large inserts under load
 * (each insert makes a part that merges pay for later), small ones within a quarter of a second when little happens.
 *
 * A replay is harmless, because every table collapses rows of the same key; nothing here remembers what was written.
 */
import type { Batch, Bus } from '../bus/bus.ts'
import { type Clock, yieldToEventLoop } from '../runtime/clock.ts'
import { crashPoint } from '../runtime/crash.ts'
import { messageOf, PermanentError } from '../runtime/errors.ts'
import type { Logger } from '../runtime/log.ts'
import { gauge } from '../runtime/metrics.ts'
import type { Store } from './store.ts'
import { type StoredTable, type StoredTopic, storedTables, storedTopics } from './tables.ts'
import { insertRows, type Row } from './writer-insert.ts'

export interface WriterDeps {
  bus: Bus
  store: Store
  clock: Clock
  log: Logger
  options?: WriterOptions
}

export interface WriterOptions {
  /** An insert starts when so many rows wait. */
  max_rows?: number
  /** … or so many bytes of text. */
  max_bytes?: number
  /** … or when the first row has waited so long. */
  max_wait_ms?: number
}

/** Rows of one batch of the bus on their way. */
interface Waiting {
  table: StoredTable<StoredTopic>
  rows: Row[]
  bytes: number
  signal: AbortSignal
  done: () => void
  failed: (error: unknown) => void
}

// One batch of the bus. Four to six partitions of usage together fill one insert. Twice as many rows cost a tenth less CPU a row, but
// what waits is a few kilobytes each for V8 to copy about, and the engine takes some 10 kB a row while it inserts.
const MAX_RECORDS = 1_500
// While one waits for its insert the other reads and checks.
const MEMBERS = 2
// Batches come in bursts, one per partition: when enough waits and this long nothing was added, the others wait for us.
const QUIET_MS = 25
const ENOUGH_ROWS = 1_000
const YIELD_EVERY = 500

const waitingRows = gauge('tokenwatch_store_waiting_rows', 'rows that wait for the next insert')

/**
 * Resolves when the signal aborts. A store that is away is waited for without end (said once, nothing is lost). Rejects when
 * the store refuses for a reason that waiting does not cure (a missing table, a refused login): the role then stops with
 * uncommitted offsets. Rows that the store refuses one by one go to rejects.v1, the rest is stored.
 */
export async function runWriter(deps: WriterDeps, signal: AbortSignal): Promise<void> {
  const { bus, clock } = deps
  const { max_rows = 5_000, max_bytes = 8_000_000, max_wait_ms = 250 } = deps.options ?? {}
  const broken = new AbortController()
  const stop = AbortSignal.any([signal, broken.signal])
  const queue = createQueue()

  const handle = async (batch: Batch<StoredTopic>, batchSignal: AbortSignal): Promise<void> => {
    if (batch.records.length === 0) return
    await queue.room(max_rows * 2, batchSignal)
    const table = storedTables[batch.topic] as unknown as StoredTable<StoredTopic>
    const rows = await toRows(batch, table)
    if (stop.aborted || batchSignal.aborted) throw new Error('stopping')
    const bytes = rows.reduce((sum, row) => sum + row.text.length, 0)
    await durable({ table, rows, bytes }, batchSignal)
  }

  /** Resolves when the rows are durable. A rebalance must not wait for a store that is away: what is inserted after it comes again. */
  const durable = (batch: Pick<Waiting, 'table' | 'rows' | 'bytes'>, batchSignal: AbortSignal): Promise<void> => {
    const { promise, resolve, reject } = Promise.withResolvers<void>()
    const revoked = () => reject(new Error('revoked'))
    batchSignal.addEventListener('abort', revoked, { once: true })
    queue.add({ ...batch, signal: batchSignal, done: resolve, failed: reject }, clock.now())
    return promise.finally(() => batchSignal.removeEventListener('abort', revoked))
  }

  const flush = async (): Promise<void> => {
    const taken = queue.take(max_rows, max_bytes)
    const live = taken.filter((waiting) => !waiting.signal.aborted)
    try {
      for (const [table, rows] of byTable(live)) await insertRows(table, rows, deps, stop)
      if (live.length > 0) crashPoint('writer.after-insert')
      for (const waiting of live) waiting.done()
    } catch (error) {
      for (const waiting of live) waiting.failed(error)
      if (!stop.aborted) throw error
    }
    for (const waiting of taken) if (!live.includes(waiting)) waiting.failed(new Error('revoked'))
  }

  const loop = async (): Promise<void> => {
    while (!stop.aborted) {
      await queue.filled(stop)
      while (!stop.aborted && queue.rows < max_rows && queue.bytes < max_bytes) {
        const age = clock.now() - queue.since
        const quiet = clock.now() - queue.newest
        // Below zero the clock was set back while rows waited: they must not wait until it has caught up.
        if (age < 0 || quiet < 0 || age >= max_wait_ms || (queue.rows >= ENOUGH_ROWS && quiet >= QUIET_MS)) break
        await clock.sleep(queue.rows >= ENOUGH_ROWS ? QUIET_MS : Math.min(QUIET_MS * 2, max_wait_ms - age), stop)
      }
      if (!stop.aborted) await flush()
    }
    queue.close(new Error('stopping'))
  }

  const running = loop().catch((error: unknown) => {
    broken.abort()
    queue.close(error)
    throw error
  })
  const consuming = bus.consume(storedTopics, 'store', { handle }, stop, { max_records: MAX_RECORDS, members: MEMBERS }).finally(() => broken.abort())
  const [written, consumed] = await Promise.allSettled([running, consuming])
  if (written.status === 'rejected') throw new PermanentError(`the store writer stopped: ${messageOf(written.reason)}`, { cause: written.reason })
  if (consumed.status === 'rejected') throw consumed.reason
}

async function toRows(batch: Batch<StoredTopic>, table: StoredTable<StoredTopic>): Promise<Row[]> {
  const rows: Row[] = []
  for (const value of batch.records) {
    rows.push({ topic: batch.topic, value, text: table.toRow(value), month: monthOf(table.partitionTime?.(value)) })
    if (rows.length % YIELD_EVERY === 0) await yieldToEventLoop()
  }
  return rows
}

/** The number of the month, for partitions by toYYYYMM; 0 for tables without partitions. */
function monthOf(epoch_ms: number | undefined): number {
  if (epoch_ms === undefined) return 0
  const date = new Date(epoch_ms)
  return date.getUTCFullYear() * 12 + date.getUTCMonth()
}

function byTable(all: readonly Waiting[]): Map<StoredTable<StoredTopic>, Row[]> {
  const tables = new Map<StoredTable<StoredTopic>, Row[]>()
  for (const { table, rows } of all) {
    const known = tables.get(table)
    if (known === undefined) tables.set(table, [...rows])
    else for (const row of rows) known.push(row)
  }
  return tables
}

/** What waits for the next insert: a list with its sums, a door bell for the loop, and a gate for batches when it is full. */
function createQueue() {
  let list: Waiting[] = []
  let bell = Promise.withResolvers<void>()
  let gate = Promise.withResolvers<void>()
  let closed: { reason: unknown } | undefined
  const queue = {
    rows: 0,
    bytes: 0,
    since: 0,
    newest: 0,
    add(waiting: Waiting, now: number) {
      if (closed !== undefined) return waiting.failed(closed.reason)
      if (list.length === 0) queue.since = now
      list.push(waiting)
      queue.newest = now
      count(waiting.rows.length, waiting.bytes)
      bell.resolve()
    },
    /** The oldest entries up to the limits, at least one. */
    take(max_rows: number, max_bytes: number): Waiting[] {
      let end = 0
      for (let rows = 0, bytes = 0; end < list.length && (end === 0 || (rows < max_rows && bytes < max_bytes)); end++) {
        rows += list[end]?.rows.length ?? 0
        bytes += list[end]?.bytes ?? 0
      }
      const taken = list.slice(0, end)
      list = list.slice(end)
      for (const waiting of taken) count(-waiting.rows.length, -waiting.bytes)
      if (list.length === 0) bell = Promise.withResolvers()
      gate.resolve()
      gate = Promise.withResolvers()
      return taken
    },
    filled: (signal: AbortSignal): Promise<void> => unlessAborted(bell.promise, signal),
    async room(limit: number, signal: AbortSignal): Promise<void> {
      while (queue.rows >= limit && !signal.aborted) await unlessAborted(gate.promise, signal)
    },
    close(reason: unknown) {
      closed = { reason }
      for (const waiting of list.splice(0)) waiting.failed(reason)
      count(-queue.rows, -queue.bytes)
      gate.resolve()
    },
  }
  const count = (rows: number, bytes: number) => {
    queue.rows += rows
    queue.bytes += bytes
    waitingRows.set(queue.rows)
  }
  return queue
}

/** Resolves with the promise or with the abort, whichever is first. */
function unlessAborted(promise: Promise<void>, signal: AbortSignal): Promise<void> {
  if (signal.aborted) return Promise.resolve()
  return new Promise((resolve) => {
    const done = () => {
      signal.removeEventListener('abort', done)
      resolve()
    }
    signal.addEventListener('abort', done, { once: true })
    void promise.then(done)
  })
}
