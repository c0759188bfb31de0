/** The tables of the bus file, and how a file of an older layout becomes one of this. */
import type { DatabaseSync } from 'node:sqlite'
import { UsageError } from '../runtime/errors.ts'
import { topicNames, topics } from '../schemas/topics.ts'
import { patiently, writeTransaction } from './embedded-file.ts'
import { packRows } from './embedded-rows.ts'

const SCHEMA_VERSION = 2

/** A row holds the records `base_offset` … `base_offset + records - 1`; see embedded-rows.ts for its value. `key`: compacted topics only. */
const BATCHES = `
  create table batches (partition_id integer not null, base_offset integer not null, records integer not null, at integer not null, key text, value blob not null, unique (partition_id, base_offset));
  create index batches_by_key on batches (partition_id, key, base_offset) where key is not null;
`
const SCHEMA = `
  create table partitions (id integer primary key, topic text not null, partition integer not null, next_offset integer not null default 0, unique (topic, partition));
  ${BATCHES}
  create table groups (name text primary key, epoch integer not null) without rowid;
  create table members (group_name text not null, member text not null, topics text not null, lease_until integer not null, primary key (group_name, member)) without rowid;
  create table claims (group_name text not null, partition_id integer not null, member text, generation integer not null, committed integer, primary key (group_name, partition_id)) without rowid;
`

/** Makes the tables and the partitions of new topics. Safe in several processes at once, and after a crash in the middle. */
export function prepareSchema(db: DatabaseSync, path: string): void {
  patiently(() => writeTransaction(db, () => bringUpToDate(db, path)))
  while (patiently(() => writeTransaction(db, () => moveRecords(db))));
}

function bringUpToDate(db: DatabaseSync, path: string): void {
  const version = Number(db.prepare('pragma user_version').get()?.['user_version'] ?? 0)
  if (version > SCHEMA_VERSION) throw new UsageError(`the bus file ${path} was written by a newer version of Tokenwatch: update, or take another data_dir`)
  if (version === 0) db.exec(SCHEMA)
  if (version === 1) db.exec(BATCHES)
  if (version < SCHEMA_VERSION) db.exec(`pragma user_version = ${SCHEMA_VERSION}`)
  const has = db.prepare('select 1 from partitions where topic = ? limit 1')
  const add = db.prepare('insert into partitions (topic, partition) values (?, ?)')
  for (const topic of topicNames) {
    // The number of partitions is fixed when a topic is made: another number would send keys elsewhere.
    if (has.get(topic) === undefined) for (let partition = 0; partition < topics[topic].partitions; partition++) add.run(topic, partition)
  }
}

interface OldRecord {
  partition_id: number
  offset: number
  at: number
  key: string | null
  value: string
}
const MOVE_RECORDS = 2_000
const MOVE_CHARACTERS = 4_000_000

/** Version 1 had one row for each record. Moves some of them; true while there are more. */
function moveRecords(db: DatabaseSync): boolean {
  if (db.prepare(`select 1 from sqlite_master where type = 'table' and name = 'records'`).get() === undefined) return false
  const lot = oldestRecords(db)
  if (lot.length === 0) {
    db.exec('drop table records')
    return false
  }
  const insert = db.prepare('insert into batches (partition_id, base_offset, records, at, key, value) values (?, ?, ?, ?, ?, ?)')
  const forget = db.prepare('delete from records where partition_id = ? and offset <= ?')
  for (const run of unbrokenRuns(lot)) {
    let { offset } = run[0] as OldRecord
    for (const row of packRows(run.map(({ partition_id, key, value }) => ({ id: partition_id, key, value })))) {
      insert.run(row.id, offset, row.records, run[0]?.at ?? 0, row.key, row.value)
      offset += row.records
    }
    forget.run(run[0]?.partition_id ?? 0, offset - 1)
  }
  return true
}

function oldestRecords(db: DatabaseSync): OldRecord[] {
  const lot: OldRecord[] = []
  let characters = 0
  for (const row of db.prepare('select partition_id, offset, at, key, value from records order by partition_id, offset limit ?').iterate(MOVE_RECORDS)) {
    lot.push(row as unknown as OldRecord)
    characters += String(row['value']).length
    if (characters >= MOVE_CHARACTERS) break
  }
  return lot
}

/** Cut where an offset is missing or the time of the append changes: what shares a row shares both. */
function unbrokenRuns(lot: readonly OldRecord[]): OldRecord[][] {
  const runs: OldRecord[][] = []
  for (const record of lot) {
    const run = runs.at(-1)
    const last = run?.at(-1)
    if (run !== undefined && last?.partition_id === record.partition_id && last.offset + 1 === record.offset && last.at === record.at) run.push(record)
    else runs.push([record])
  }
  return runs
}
