/** The file of the embedded bus: partitions, records, retention. Synchronous; every transaction is short. */
import { mkdirSync } from 'node:fs'
import { join } from 'node:path'
import { DatabaseSync, type StatementSync } from 'node:sqlite'
import { messageOf, TransientError, UsageError } from '../runtime/errors.ts'
import { type TopicName, topicNames, topics } from '../schemas/topics.ts'

export interface LogPartition {
  id: number
  topic: TopicName
  partition: number
}
/** `key` is kept for compacted topics only. */
export interface NewRecord {
  id: number
  key: string | null
  value: string
}

const SCHEMA_VERSION = 1
const SCHEMA = `
  create table partitions (id integer primary key, topic text not null, partition integer not null, next_offset integer not null default 0, unique (topic, partition));
  create table records (partition_id integer not null, offset integer not null, at integer not null, key text, value text not null, primary key (partition_id, offset)) without rowid;
  create index records_by_key on records (partition_id, key, offset) where key is not null;
  create table groups (name text primary key, epoch integer not null) without rowid;
  create table members (group_name text not null, member text not null, topics text not null, lease_until integer not null, primary key (group_name, member)) without rowid;
  create table claims (group_name text not null, partition_id integer not null, member text, generation integer not null, committed integer, primary key (group_name, partition_id)) without rowid;
  pragma user_version = ${SCHEMA_VERSION};
`

/**
 * Two connections of one thread on one file. `append` syncs every commit to the disk (a publish promises durability);
 * `side` holds offsets, leases and deletions, where losing the last commits in a power cut only repeats work.
 */
export interface LogFile {
  readonly partitions: readonly LogPartition[]
  readonly side: DatabaseSync
  /** One durable transaction; returns the next offset of each partition that was touched. */
  append(records: readonly NewRecord[], at: number): Map<number, number>
  /** Records from `from` on, at most `limit` and about `max_bytes` (at least one record). */
  read(id: number, from: number, limit: number, max_bytes: number): { offset: number; value: string }[]
  /** Next offset per partition id. */
  ends(): Map<number, number>
  firstOffset(id: number): number | undefined
  /** Changes when any other connection committed. */
  version(): number
  /** Deletes at most 1,000 records appended before `before`; returns how many. */
  expire(id: number, before: number): number
  /** Deletes at most 1,000 records that a later one of the same key supersedes; returns how many. */
  compact(id: number): number
  /** Gives freed pages back to the file system, a few at a time; true while there is more to do. */
  shrink(): boolean
  close(): void
}

export function openLogFile(directory: string): LogFile {
  mkdirSync(directory, { recursive: true, mode: 0o700 })
  const path = join(directory, 'bus.sqlite')
  const main = connect(path, 'full')
  const side = connect(path, 'normal')
  const partitions = loadPartitions(main)
  const statements = prepareStatements(main, side)
  return { partitions, side, ...appending(main, statements), ...reading(statements), ...cleaning(side, statements), close: () => (side.close(), main.close()) }
}

/** Runs `work` in a write transaction; a lock or a full disk becomes a TransientError. */
export function writeTransaction<R>(db: DatabaseSync, work: () => R): R {
  try {
    db.exec('begin immediate')
    try {
      const result = work()
      db.exec('commit')
      return result
    } catch (error) {
      if (db.isTransaction) db.exec('rollback')
      throw error
    }
  } catch (error) {
    throw explained(error)
  }
}

const BUSY = 5
const FULL = 13
const codeOf = (error: unknown): number => Number((error as { errcode?: unknown }).errcode ?? 0) & 0xff

function explained(error: unknown): unknown {
  if (codeOf(error) === BUSY) return new TransientError('the bus file is locked by another process for more than 5 s', { cause: error })
  if (codeOf(error) === FULL) return new TransientError('the disk of data_dir is full: free some space, the bus then goes on by itself', { cause: error })
  return error
}

function connect(path: string, synchronous: 'full' | 'normal'): DatabaseSync {
  const db = new DatabaseSync(path, { timeout: 5000 })
  try {
    // Before the first table and before WAL, otherwise it has no effect: without it the file never shrinks.
    patiently(() => db.exec('pragma auto_vacuum = 2; pragma journal_mode = wal;'))
    db.exec(`pragma synchronous = ${synchronous}; pragma wal_autocheckpoint = 4000; pragma journal_size_limit = 67108864; pragma cache_size = -8000;`)
    patiently(() => writeTransaction(db, () => migrate(db, path)))
    return db
  } catch (error) {
    db.close()
    if (error instanceof UsageError) throw error
    throw new UsageError(`the bus file ${path} cannot be opened (${messageOf(error)}): check that the directory is writable and on a local disk, and that the file is whole`)
  }
}

/** Two processes may create the file at the same moment; switching to WAL then fails at once whatever the timeout says. */
function patiently(work: () => void): void {
  for (let attempt = 1; ; attempt++) {
    try {
      return work()
    } catch (error) {
      const busy = codeOf(error) === BUSY || error instanceof TransientError
      if (!busy || attempt >= 100) throw error
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 20)
    }
  }
}

function migrate(db: DatabaseSync, path: string): void {
  const version = Number(db.prepare('pragma user_version').get()?.['user_version'] ?? 0)
  if (version > SCHEMA_VERSION) throw new UsageError(`the bus file ${path} was written by a newer version of Tokenwatch: update, or take another data_dir`)
  if (version === 0) db.exec(SCHEMA)
  const has = db.prepare('select 1 from partitions where topic = ? limit 1')
  const add = db.prepare('insert into partitions (topic, partition) values (?, ?)')
  for (const topic of topicNames) {
    // The number of partitions is fixed when a topic is made: another number would send keys elsewhere.
    if (has.get(topic) === undefined) for (let partition = 0; partition < topics[topic].partitions; partition++) add.run(topic, partition)
  }
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
    insert: main.prepare('insert into records (partition_id, offset, at, key, value) values (?, ?, ?, ?, ?)'),
    read: main.prepare('select offset, value from records where partition_id = ? and offset >= ? order by offset limit ?'),
    ends: main.prepare('select id, next_offset from partitions'),
    first: main.prepare('select min(offset) as first from records where partition_id = ?'),
    version: main.prepare('pragma data_version'),
    expire: side.prepare('delete from records where partition_id = ?1 and at < ?2 and offset in (select offset from records where partition_id = ?1 order by offset limit 1000)'),
    compact: side.prepare(`delete from records where partition_id = ?1 and offset in (
      select old.offset from records old indexed by records_by_key where old.partition_id = ?1 and old.key is not null
        and exists (select 1 from records newer indexed by records_by_key where newer.partition_id = ?1 and newer.key = old.key and newer.offset > old.offset) limit 1000)`),
    free: side.prepare('pragma freelist_count'),
  }
}
type Statements = Record<keyof ReturnType<typeof prepareStatements>, StatementSync>

function appending(main: DatabaseSync, { next, move, insert }: Statements): Pick<LogFile, 'append'> {
  return {
    append: (records, at) =>
      writeTransaction(main, () => {
        const ends = new Map<number, number>()
        for (const { id, key, value } of records) {
          const offset = ends.get(id) ?? Number(next.get(id)?.['next_offset'] ?? 0)
          insert.run(id, offset, at, key, value)
          ends.set(id, offset + 1)
        }
        for (const [id, end] of ends) move.run(end, id)
        return ends
      }),
  }
}

function reading({ read, ends, first, version }: Statements): Pick<LogFile, 'read' | 'ends' | 'firstOffset' | 'version'> {
  return {
    read: (id, from, limit, max_bytes) => {
      const found: { offset: number; value: string }[] = []
      let bytes = 0
      for (const row of read.iterate(id, from, limit)) {
        const value = String(row['value'])
        found.push({ offset: Number(row['offset']), value })
        bytes += value.length
        if (bytes >= max_bytes) break
      }
      return found
    },
    ends: () => new Map(ends.all().map((row) => [Number(row['id']), Number(row['next_offset'])])),
    firstOffset: (id) => {
      const found = first.get(id)?.['first']
      return found === null || found === undefined ? undefined : Number(found)
    },
    version: () => Number(version.get()?.['data_version'] ?? 0),
  }
}

const VACUUM_PAGES = 500 // steps of about 10 to 50 ms

function cleaning(side: DatabaseSync, { expire, compact, free }: Statements): Pick<LogFile, 'expire' | 'compact' | 'shrink'> {
  return {
    expire: (id, before) => writeTransaction(side, () => Number(expire.run(id, before).changes)),
    compact: (id) => writeTransaction(side, () => Number(compact.run(id).changes)),
    shrink: () => {
      const pages = Number(free.get()?.['freelist_count'] ?? 0)
      // A few free pages are kept: they are reused by the next append.
      if (pages <= VACUUM_PAGES) return false
      side.exec(`pragma incremental_vacuum(${VACUUM_PAGES})`)
      return true
    },
  }
}
