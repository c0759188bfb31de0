/**
 * How records lie in the bus file: up to 500 of one partition in one row, as lines of JSON, compressed where it pays. A row for
 * each record cost 20 µs and 4.7 kB for an event of 1.4 kB; this costs 7 µs and 0.1 kB (docs/adr/0006-batches-in-the-bus-file.md).
 */
import { constants, zstdCompressSync, zstdDecompressSync } from 'node:zlib'

/** `key` is kept for compacted topics only. */
export interface NewRecord {
  id: number
  key: string | null
  value: string
}

/** `value`: the records as lines; bytes are the same lines, compressed. A row of one record is that record, whatever is in it. */
export interface Row {
  /** Of the partition. */
  id: number
  key: string | null
  records: number
  value: string | Uint8Array
}

const MOST_RECORDS = 500
// V8 puts longer strings apart, one by one: joining and splitting then costs twice as much.
const MOST_CHARACTERS = 120_000
const COMPRESS_FROM = 16_000 // a call of zstd costs 35 µs before its first byte, and the reader 25

/** The order within each partition is kept. */
export function packRows(records: readonly NewRecord[]): Row[] {
  const rows: Row[] = []
  const open = new Map<number, { lines: string[]; characters: number }>()
  const finish = (id: number) => {
    const lines = open.get(id)?.lines
    if (lines === undefined) return
    open.delete(id)
    rows.push({ id, key: null, records: lines.length, value: compressed(lines.join('\n')) })
  }
  for (const { id, key, value } of records) {
    // Compaction takes single records out; text with a line break is not of our making and cannot be a line.
    if (key !== null || value.includes('\n')) {
      finish(id)
      rows.push({ id, key, records: 1, value: compressed(value) })
      continue
    }
    let pile = open.get(id)
    if (pile !== undefined && pile.characters + value.length > MOST_CHARACTERS) finish(id)
    if (!open.has(id)) open.set(id, (pile = { lines: [], characters: 0 }))
    if (pile === undefined) continue
    pile.lines.push(value)
    pile.characters += value.length
    if (pile.lines.length === MOST_RECORDS) finish(id)
  }
  for (const id of open.keys()) finish(id)
  return rows
}

/** The records of a row in order. Throws when the row is damaged. */
export function unpackRow({ records, value }: { records: number; value: unknown }): string[] {
  const text = value instanceof Uint8Array ? expanded(value) : String(value)
  if (records === 1) return [text]
  const lines = text.split('\n')
  if (lines.length !== records) throw new Error(`a row of ${records} records has ${lines.length} lines`)
  return lines
}

// The checksum finds what the disk did to a row. Level 1: 2 and 3 take longer and gain nothing on records this alike.
const COMPRESSION = { params: { [constants.ZSTD_c_compressionLevel]: 1, [constants.ZSTD_c_checksumFlag]: 1 } }
const EXPANSION = { chunkSize: 131_072 }

const compressed = (text: string): string | Uint8Array => (text.length < COMPRESS_FROM ? text : zstdCompressSync(text, COMPRESSION))
const expanded = (bytes: Uint8Array): string => zstdDecompressSync(bytes, EXPANSION).toString('utf8')
