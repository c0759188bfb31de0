import { spawn } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { describe, expect, it, onTestFinished } from 'vitest'
import { systemClock } from '../runtime/clock.ts'
import { silentLogger } from '../runtime/log.ts'
import { topicNames, topics } from '../schemas/topics.ts'
import { progressOf, usageOf } from '../test/contract/bus-events.ts'
import { openEmbeddedBus } from './embedded.ts'
import { openLogFile } from './embedded-log.ts'

/** The layout of version 1, as it was written then: a row for each record. */
const VERSION_1 = `
  pragma auto_vacuum = 2; pragma journal_mode = wal;
  create table partitions (id integer primary key, topic text not null, partition integer not null, next_offset integer not null default 0, unique (topic, partition));
  create table records (partition_id integer not null, offset integer not null, at integer not null, key text, value text not null, primary key (partition_id, offset)) without rowid;
  create index records_by_key on records (partition_id, key, offset) where key is not null;
  create table groups (name text primary key, epoch integer not null) without rowid;
  create table members (group_name text not null, member text not null, topics text not null, lease_until integer not null, primary key (group_name, member)) without rowid;
  create table claims (group_name text not null, partition_id integer not null, member text, generation integer not null, committed integer, primary key (group_name, partition_id)) without rowid;
  pragma user_version = 1;
`
interface Old {
  directory: string
  path: string
  add(topic: string, offset: number, at: number, key: string | null, value: string): void
  commit(group: string, topic: string, committed: number): void
  close(): void
}

function version1(): Old {
  const directory = mkdtempSync(join(tmpdir(), 'tokenwatch-v1-'))
  onTestFinished(() => rmSync(directory, { recursive: true, force: true }))
  const path = join(directory, 'bus.sqlite')
  const db = new DatabaseSync(path)
  db.exec(VERSION_1)
  db.exec('begin')
  const make = db.prepare('insert into partitions (topic, partition) values (?, ?)')
  for (const topic of topicNames) for (let partition = 0; partition < topics[topic].partitions; partition++) make.run(topic, partition)
  const home = `(select id from partitions where topic = ? and partition = 0)`
  const insert = db.prepare(`insert into records (partition_id, offset, at, key, value) values (${home}, ?, ?, ?, ?)`)
  const claim = db.prepare(`insert into claims (group_name, partition_id, member, generation, committed) values (?, ${home}, null, 3, ?)`)
  return {
    directory,
    path,
    add: (topic, offset, at, key, value) => void insert.run(topic, offset, at, key, value),
    commit: (group, topic, committed) => void claim.run(group, topic, committed),
    close: () => {
      db.exec('update partitions set next_offset = coalesce((select max(offset) + 1 from records where partition_id = partitions.id), 0)')
      db.exec('commit')
      db.close()
    },
  }
}

const usage = (n: number) => JSON.stringify(usageOf('a', n))

describe('a bus file of version 1', () => {
  it('is rewritten when it is opened, with offsets, times, keys and groups as they were', async () => {
    const old = version1()
    // Half of the records are old enough to be expired; two are missing, one is broken.
    for (let n = 0; n < 5_000; n++) if (n !== 2_100 && n !== 2_101) old.add('usage.v1', n, n < 2_500 ? 1_000 : systemClock.now(), null, n === 3_000 ? 'broken\nrecord' : usage(n))
    for (let n = 0; n < 40; n++) old.add('progress.v1', n, 1_000, `s${n % 4}`, JSON.stringify(progressOf(`s${n % 4}`, n)))
    old.commit('readers', 'usage.v1', 4_000)
    old.close()

    const bus = openEmbeddedBus({ directory: old.directory }, { clock: systemClock, log: silentLogger })
    onTestFinished(() => bus.close())
    const replayed: number[] = []
    await bus.replay('usage.v1', ({ records }) => void replayed.push(...records.map(({ input_tokens }) => input_tokens ?? -1)), new AbortController().signal)
    expect(replayed).toEqual(Array.from({ length: 5_000 }, (_, n) => n).filter((n) => ![2_100, 2_101, 3_000].includes(n)))
    expect((await bus.end_offsets(['usage.v1']))[0]?.offset).toBe(5_000n)
    expect(await bus.lag('readers')).toEqual([{ topic: 'usage.v1', partition: 0, committed: 4_000n, end: 5_000n }])

    // The group goes on where it was, the offsets too.
    const stop = new AbortController()
    const handled: [bigint, number | null][] = []
    await bus.publish('usage.v1', [usageOf('fp_1', 7_777)])
    const consumer = {
      handle: async ({ first, records }: { first: bigint; records: { input_tokens: number | null }[] }) =>
        void handled.push(...records.map(({ input_tokens }, n) => [first + BigInt(n), input_tokens] as [bigint, number | null])),
    }
    const running = bus.consume(['usage.v1'], 'readers', consumer, stop.signal)
    while (handled.length < 1_001) await systemClock.sleep(10)
    stop.abort()
    await running
    expect(handled.filter(([, n]) => n !== 7_777)).toEqual(Array.from({ length: 1_000 }, (_, n) => [BigInt(4_000 + n), 4_000 + n]))

    await bus.sweep()
    const kept: number[] = []
    await bus.replay('progress.v1', ({ records }) => void kept.push(...records.map((record) => record.records)), new AbortController().signal)
    expect(kept).toEqual([36, 37, 38, 39])
    let first = 0n
    await bus.replay('usage.v1', (batch) => void (first ||= batch.first), new AbortController().signal)
    expect(first).toBe(2_500n)
  })

  it('is rewritten once by several processes, also after one was killed at it', async () => {
    const old = version1()
    for (let n = 0; n < 30_000; n++) old.add('usage.v1', n, 1, null, usage(n))
    old.close()
    const code = `import { openLogFile } from ${JSON.stringify(join(import.meta.dirname, 'embedded-log.ts'))}; process.stdout.write('now'); openLogFile(${JSON.stringify(old.directory)}).close()`
    const start = () => spawn(process.execPath, ['--input-type=module', '-e', code], { stdio: ['ignore', 'pipe', 'inherit'] })
    const counts = () => {
      const db = new DatabaseSync(old.path, { timeout: 5_000 })
      const moved = Number(db.prepare(`select sum(records) as n from batches`).get()?.['n'] ?? 0)
      const left = Number(db.prepare('select count(*) as n from records').get()?.['n'])
      db.close()
      return { moved, left }
    }
    const victim = start()
    onTestFinished(() => void victim.kill('SIGKILL'))
    await new Promise((resolve) => victim.stdout.once('data', resolve))
    while (countMoved(old.path) === 0) await systemClock.sleep(1)
    victim.kill('SIGKILL')
    await new Promise((resolve) => victim.on('close', resolve))
    const { moved, left } = counts()
    expect(moved).toBeGreaterThan(0)
    expect(left).toBeGreaterThan(0)
    expect(moved + left).toBe(30_000)

    const codes = await Promise.all([start(), start()].map((child) => new Promise((resolve) => child.on('close', resolve))))
    expect(codes).toEqual([0, 0])
    const file = openLogFile(old.directory)
    const id = file.partitions.find(({ topic }) => topic === 'usage.v1')?.id ?? 0
    expect(file.read(id, 0, 100_000, 1e9)).toEqual(Array.from({ length: 30_000 }, (_, n) => ({ offset: n, value: usage(n) })))
    expect(file.side.prepare(`select name from sqlite_master where name like 'records%'`).all()).toEqual([])
    file.close()
  }, 60_000)
})

/** 0 as long as there is no table for them, or another process holds the file. */
function countMoved(path: string): number {
  const db = new DatabaseSync(path, { readOnly: true })
  try {
    return Number(db.prepare('select count(*) as n from batches').get()?.['n'])
  } catch {
    return 0
  } finally {
    db.close()
  }
}
