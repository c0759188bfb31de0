/** Puts concurrent publishes into shared transactions: each costs one sync of the disk, whoever and however many wait for it. */
import { type Clock, yieldToEventLoop } from '../runtime/clock.ts'
import type { Changes } from './embedded-changes.ts'
import type { LogFile } from './embedded-log.ts'
import type { NewRecord } from './embedded-rows.ts'

const RECORDS = 2_000 // packing and writing so many blocks the main thread for about 7 ms, and for as long as the disk syncs
const CHARACTERS = 4_000_000

interface Waiting {
  records: readonly NewRecord[]
  resolve: () => void
  reject: (error: unknown) => void
}

export interface Appender {
  /** One chunk (see `chunks`); resolves when it is on the disk. Appends keep their order. */
  append(records: readonly NewRecord[]): Promise<void>
  /** Resolves when nothing waits. */
  idle(): Promise<void>
}

export function createAppender(file: LogFile, changes: Changes, clock: Clock): Appender {
  let queue: Waiting[] = []
  let draining: Promise<void> | undefined
  const drain = async () => {
    // Others of this turn of the event loop join the transaction.
    for (await yieldToEventLoop(); queue.length > 0; await yieldToEventLoop()) {
      const taken = queue.slice(0, countFitting(queue))
      queue = queue.slice(taken.length)
      try {
        changes.appended(file.append(taken.length === 1 ? (taken[0]?.records ?? []) : taken.flatMap(({ records }) => records), clock.now()))
        for (const { resolve } of taken) resolve()
      } catch (error) {
        for (const { reject } of taken) reject(error)
      }
    }
    draining = undefined
  }
  return {
    append: (records) =>
      new Promise((resolve, reject) => {
        queue.push({ records, resolve, reject })
        draining ??= drain()
      }),
    idle: async () => draining,
  }
}

/** How many of the first entries go into one transaction; at least one. */
function countFitting(queue: readonly Waiting[]): number {
  let sum = 0
  let characters = 0
  let count = 0
  for (const { records } of queue) {
    sum += records.length
    for (const { value } of records) characters += value.length
    if (count > 0 && (sum > RECORDS || characters > CHARACTERS)) break
    count += 1
  }
  return count
}

/** Cuts a publish into pieces that fit into one transaction each, encoding as it goes. */
export function* chunks<V>(values: readonly V[], encoded: (value: V) => NewRecord): Generator<NewRecord[]> {
  let chunk: NewRecord[] = []
  let characters = 0
  for (const value of values) {
    const record = encoded(value)
    chunk.push(record)
    characters += record.value.length
    if (chunk.length < RECORDS && characters < CHARACTERS) continue
    yield chunk
    chunk = []
    characters = 0
  }
  if (chunk.length > 0) yield chunk
}
