/** Opening the SQLite file of the embedded bus, and writing to it while others do. */
import { DatabaseSync } from 'node:sqlite'
import { messageOf, TransientError, UsageError } from '../runtime/errors.ts'

/** Opens the file and lets `prepare` bring it up to date. Throws UsageError when that does not work. */
export function connect(path: string, synchronous: 'full' | 'normal', prepare: (db: DatabaseSync) => void): DatabaseSync {
  const db = new DatabaseSync(path, { timeout: 5000 })
  try {
    // Before the first table and before WAL, otherwise it has no effect: without it the file never shrinks.
    patiently(() => db.exec('pragma auto_vacuum = 2; pragma journal_mode = wal;'))
    db.exec(`pragma synchronous = ${synchronous}; pragma wal_autocheckpoint = 4000; pragma journal_size_limit = 67108864; pragma cache_size = -8000;`)
    prepare(db)
    return db
  } catch (error) {
    db.close()
    if (error instanceof UsageError) throw error
    throw new UsageError(`the bus file ${path} cannot be opened (${messageOf(error)}): check that the directory is writable and on a local disk, and that the file is whole`)
  }
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

/** Two processes may create the file at the same moment; switching to WAL then fails at once whatever the timeout says. */
export function patiently<R>(work: () => R): R {
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

const BUSY = 5
const FULL = 13
const codeOf = (error: unknown): number => Number((error as { errcode?: unknown }).errcode ?? 0) & 0xff

function explained(error: unknown): unknown {
  if (codeOf(error) === BUSY) return new TransientError('the bus file is locked by another process for more than 5 s', { cause: error })
  if (codeOf(error) === FULL) return new TransientError('the disk of data_dir is full: free some space, the bus then goes on by itself', { cause: error })
  return error
}
