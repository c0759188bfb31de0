/** The file of the embedded bus: partitions, records, retention. Synchronous; every transaction is short. */
import { mkdirSync } from 'node:fs'
import { join } from 'node:path'
import type { DatabaseSync, StatementSync } from 'node:sqlite'
import { messageOf } from '../runtime/errors.ts'
import { type TopicName, topicNames } from '../schemas/topics.ts'
import { connect, writeTransaction } from './embedded-file.ts'
import { type NewRecord, packRows, unpackRow } from './embedded-rows.ts'
import { prepareSchema } from './embedded-schema.ts'

export interface LogPartition {
  id: number
  topic: TopicName
  partition: number
}

/**
 * Two connections of one thread on one file. `append` syncs every commit to the disk (a publish promises durability);
 * `side` holds offsets, leases and deletions, where losing the last commits in a power cut only repeats work.
 */
export interface LogFile {
  readonly partitions: readonly LogPartition[]
  readonly side: DatabaseSync
  /** One durable transaction; returns the next offset of each partition that was touched. */
  append(records: readonly NewRecord[], at: number): Map<number, number>
  /** Records from `from` on, at most `limit` and about `max_bytes` (at least one record). Throws when the file is damaged. */
  read(id: number, from: number, limit: number, max_bytes: number): { offset: number; value: string }[]
  /** Next offset per partition id. */
  ends(): Map<number, number>
  /** Changes when any other connection committed. */
  version(): number
  /** Deletes some of the records appended before `before`; true while there may be more. */
  expire(id: number, before: number): boolean
  /** Deletes some of the records that a later one of the same key supersedes; true while there may be more. */
  compact(id: number): boolean
  /** Gives freed pages back to the file system, a few at a time; true while there is more to do. */
  shrink(): boolean
  close(): void
}

/** A file of an older layout is rewritten first. Throws UsageError when the file cannot be opened. */
export function openLogFile(directory: string): LogFile {
  mkdirSync(directory, { recursive: true, mode: 0o700 })
  const path = join(directory, 'bus.sqlite')
  const main = connect(path, 'full', (db) => prepareSchema(db, path))
  const side = connect(path, 'normal', () => {})
  const partitions = loadPartitions(main)
  const statements = prepareStatements(main, side)
  return { partitions, side, ...appending(main, statements), ...reading(path, statements), ...cleaning(side, statements), close: () => (side.close(), main.close()) }
}

function loadPartitions(db: DatabaseSync): LogPartition[] {
  const rows = db.prepare('select id, topic, partition from partitions order by topic, partition').all()
  const known = new Set<string>(topicNames)
  return rows.filter((row) => known.has(String(row['topic']))).map((row) => ({ id: Number(row['id']), topic: row['topic'] as TopicName, partition: Number(row['partition']) }))
}

function prepareStatements(main: DatabaseSync, side: DatabaseSync) {
  return {
    next: main.prepare('select next_offset from partitions where id = ?'),
    move: main.prepare('update partitions set next_offset = ? where id = ?'),
    insert: main.prepare('insert into batches (partition_id, base_offset, records, at, key, value) values (?, ?, ?, ?, ?, ?)'),
    // The last condition keeps SQLite from loading a value that ends before `from`.
    read: main.prepare(`select base_offset, records, value from batches where partition_id = ?1
      and base_offset >= coalesce((select max(base_offset) from batches where partition_id = ?1 and base_offset <= ?2), 0) and base_offset + records > ?2 order by base_offset`),
    has: main.prepare('select 1 from batches where partition_id = ? and base_offset = ?'),
    ends: main.prepare('select id, next_offset from partitions'),
    version: main.prepare('pragma data_version'),
    oldest: side.prepare(`select base_offset, octet_length(value) as bytes from batches where partition_id = ? order by base_offset limit ${STEP_ROWS}`),
    expire: side.prepare('delete from batches where partition_id = ? and base_offset <= ? and at < ?'),
    compact: side.prepare(`delete from batches where partition_id = ?1 and base_offset in (
      select old.base_offset from batches old indexed by batches_by_key where old.partition_id = ?1 and old.key is not null
        and exists (select 1 from batches newer indexed by batches_by_key where newer.partition_id = ?1 and newer.key = old.key and newer.base_offset > old.base_offset) limit ${STEP_ROWS})`),
    free: side.prepare('pragma freelist_count'),
  }
}
type Statements = Record<keyof ReturnType<typeof prepareStatements>, StatementSync>

function appending(main: DatabaseSync, { next, move, insert }: Statements): Pick<LogFile, 'append'> {
  return {
    append: (records, at) => {
      const rows = packRows(records) // before the transaction: other processes wait for its end
      return writeTransaction(main, () => {
        const ends = new Map<number, number>()
        for (const { id, key, records: count, value } of rows) {
          const base = ends.get(id) ?? Number(next.get(id)?.['next_offset'] ?? 0)
          insert.run(id, base, count, at, key, value)
          ends.set(id, base + count)
        }
        for (const [id, end] of ends) move.run(end, id)
        return ends
      })
    },
  }
}

const CUT_ROWS = 16

function reading(path: string, { read, has, ends, version }: Statements): Pick<LogFile, 'read' | 'ends' | 'version'> {
  /** Rows of which a read took only the first part, by partition and the offset where the next read will go on. */
  const cut = new Map<string, { base: number; values: string[] }>()
  const unpacked = (id: number, base: number, row: Record<string, unknown>): string[] => {
    try {
      return unpackRow({ records: Number(row['records']), value: row['value'] })
    } catch (error) {
      const what = `the bus file ${path} is damaged at offset ${base} of partition ${id} (${messageOf(error)})`
      throw new Error(`${what}: stop Tokenwatch, check the disk, and put back a copy of the file or move it away`, { cause: error })
    }
  }
  return {
    read: (id, from, limit, max_bytes) => {
      const found: { offset: number; value: string }[] = []
      let bytes = 0
      /** False: that is enough. */
      const take = (base: number, values: string[]): boolean => {
        for (let at = Math.max(0, from - base); at < values.length; at++) {
          const value = values[at] ?? ''
          found.push({ offset: base + at, value })
          bytes += value.length
          if (found.length < limit && bytes < max_bytes) continue
          if (at + 1 < values.length) remember(cut, `${id} ${base + at + 1}`, { base, values })
          return false
        }
        return true
      }
      let next = from
      const rest = cut.get(`${id} ${from}`)
      if (rest !== undefined) {
        cut.delete(`${id} ${from}`)
        // It may be expired by now.
        if (has.get(id, rest.base) !== undefined) {
          if (!take(rest.base, rest.values)) return found
          next = rest.base + rest.values.length
        }
      }
      for (const row of read.iterate(id, next)) {
        const base = Number(row['base_offset'])
        if (!take(base, unpacked(id, base, row))) break
      }
      return found
    },
    ends: () => new Map(ends.all().map((row) => [Number(row['id']), Number(row['next_offset'])])),
    version: () => Number(version.get()?.['data_version'] ?? 0),
  }
}

/** Most of them are asked for by the next read; the others are forgotten. */
function remember<V>(entries: Map<string, V>, key: string, value: V): void {
  entries.set(key, value)
  for (const oldest of entries.keys()) {
    if (entries.size <= CUT_ROWS) return
    entries.delete(oldest)
  }
}

const STEP_ROWS = 1_000
const STEP_BYTES = 4_000_000
const VACUUM_PAGES = 500 // steps of about 10 to 50 ms

function cleaning(side: DatabaseSync, { oldest, expire, compact, free }: Statements): Pick<LogFile, 'expire' | 'compact' | 'shrink'> {
  return {
    expire: (id, before) =>
      writeTransaction(side, () => {
        let last = -1
        let bytes = 0
        for (const row of oldest.iterate(id)) {
          last = Number(row['base_offset'])
          bytes += Number(row['bytes'])
          if (bytes >= STEP_BYTES) break
        }
        return last >= 0 && Number(expire.run(id, last, before).changes) > 0
      }),
    compact: (id) => writeTransaction(side, () => Number(compact.run(id).changes) >= STEP_ROWS),
    shrink: () => {
      const pages = Number(free.get()?.['freelist_count'] ?? 0)
      // A few free pages are kept: they are reused by the next append.
      if (pages <= VACUUM_PAGES) return false
      side.exec(`pragma incremental_vacuum(${VACUUM_PAGES})`)
      return true
    },
  }
}
