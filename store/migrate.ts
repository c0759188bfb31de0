/**
 * Migrations: numbered SQL files, `<room>-NNNN-<what>.sql`, applied once each and recorded with a checksum.
 *
 * Two processes may start at once without a lock, because every statement must be repeatable: CREATE … IF NOT EXISTS,
 * CREATE OR REPLACE, ADD COLUMN IF NOT EXISTS and so on (a test in store/ checks every file for that). Both may run the same
 * statement; the second is a no-op, and both write the same row into schema_migrations, which is keyed by the file's name.
 * The record is written after the last statement of a file, so a crash in the middle repeats the whole file.
 */
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import type { Clock } from '../runtime/clock.ts'
import { PermanentError, TransientError } from '../runtime/errors.ts'
import { sha256Hex } from '../runtime/ids.ts'
import type { Logger } from '../runtime/log.ts'
import { retry } from '../runtime/retry.ts'
import { codeOfError } from './errors.ts'
import { splitStatements } from './sql.ts'
import type { Store } from './store.ts'

export interface MigrateDeps {
  clock: Clock
  log: Logger
  signal?: AbortSignal
}

export interface MigrateOptions {
  /** Default: the folder migrations beside this file. */
  directory?: string
  /** Creates tables on every node, with replicated engines. */
  cluster?: string
}

const ROOMS = ['store', 'ledger']
const NAME = /^([a-z]+)-(\d{4})-[a-z0-9-]+\.sql$/

/**
 * Brings the database up to date and gives the names of the files that it applied. Throws PermanentError for a file that was
 * changed after it had been applied, and with the file and the statement for one that fails.
 */
export async function migrate(store: Store, options: MigrateOptions, deps: MigrateDeps): Promise<string[]> {
  const { directory = join(import.meta.dirname, 'migrations'), cluster } = options
  const files = readMigrations(directory)
  const run = (sql: string) => store.command(onCluster(sql.replaceAll('{database}', store.database), cluster))
  const patient = <T>(work: () => Promise<T>) =>
    retry(work, {
      clock: deps.clock,
      signal: deps.signal ?? new AbortController().signal,
      what: 'the store',
      log: deps.log,
      max_tries: 20,
      retryable: (error) => error instanceof TransientError || isRace(error),
    })

  await patient(() => run(JOURNAL))
  const rows = await store.query<{ name: string; checksum: string }>(`SELECT name, checksum FROM ${store.database}.schema_migrations FINAL`)
  const applied = new Map(rows.map((row) => [row.name, row.checksum]))
  const fresh: string[] = []
  for (const file of files) {
    const known = applied.get(file.name)
    if (known === file.checksum) continue
    if (known !== undefined)
      throw new PermanentError(
        `the migration ${file.name} was changed after it had been applied to the database ${store.database}: put the old text back and write the change as a new file`,
      )
    for (const [index, statement] of splitStatements(file.sql).entries()) {
      await patient(() => run(statement)).catch((error: unknown) => {
        throw new PermanentError(`the migration ${file.name}, statement ${index + 1} failed: ${(error as Error).message}`, { cause: error })
      })
    }
    await patient(() => store.insert('schema_migrations', ['name', 'checksum', 'applied_at'], [JSON.stringify([file.name, file.checksum, deps.clock.now()])]))
    fresh.push(file.name)
  }
  if (fresh.length > 0) deps.log.info('the database is up to date', { database: store.database, applied: fresh.length })
  return fresh
}

export interface Migration {
  name: string
  sql: string
  checksum: string
}

/** In the order in which they are applied: by room, then by number. Throws for names that do not fit and for equal numbers. */
export function readMigrations(directory: string): Migration[] {
  const seen = new Set<string>()
  const found = readdirSync(directory)
    .filter((name) => name.endsWith('.sql'))
    .map((name) => {
      const [, room = '', number = ''] = NAME.exec(name) ?? []
      const rank = ROOMS.indexOf(room)
      if (rank < 0) throw new PermanentError(`${name} in ${directory} is no migration: call it <${ROOMS.join('|')}>-NNNN-<what>.sql`)
      if (seen.has(room + number)) throw new PermanentError(`two migrations in ${directory} have the number ${room}-${number}`)
      seen.add(room + number)
      return { name, order: rank * 10_000 + Number(number) }
    })
  return found
    .sort((a, b) => a.order - b.order)
    .map(({ name }) => {
      const sql = readFileSync(join(directory, name), 'utf8')
      return { name, sql, checksum: sha256Hex(sql) }
    })
}

const JOURNAL = `CREATE TABLE IF NOT EXISTS {database}.schema_migrations
(
    name String COMMENT 'file name of the migration',
    checksum String COMMENT 'SHA-256 of the file',
    applied_at DateTime64(3, 'UTC') COMMENT 'when the last statement had run'
)
ENGINE = ReplacingMergeTree(applied_at) ORDER BY name
COMMENT 'migrations that were applied'`

// Two processes in the same DDL at once: exists already, is gone already, is being changed. The repeat finds it done.
const RACES = new Set([57, 82, 253, 342, 473, 517, 579])
const isRace = (error: unknown): boolean => RACES.has(codeOfError((error as Error).cause ?? error) ?? 0)

/** The statement for every node of a cluster, with engines that replicate. Statements that create nothing stay as they are. */
export function onCluster(sql: string, cluster: string | undefined): string {
  if (cluster === undefined) return sql
  const named = sql.replace(
    /^(\s*(?:--[^\n]*\n\s*)*(?:CREATE\s+(?:OR\s+REPLACE\s+)?|ALTER\s+|DROP\s+)(?:MATERIALIZED\s+VIEW|VIEW|TABLE|DICTIONARY|DATABASE)\s+(?:IF\s+(?:NOT\s+)?EXISTS\s+)?)([\w`.]+)/i,
    (_, head: string, name: string) => `${head}${name} ON CLUSTER \`${cluster}\``,
  )
  return named.replace(/\bENGINE\s*=\s*(?!Replicated)((?:Replacing|Aggregating|Summing|Collapsing)?MergeTree)\b/gi, 'ENGINE = Replicated$1')
}
