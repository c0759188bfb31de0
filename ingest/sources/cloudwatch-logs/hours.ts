/** Hours of event time that are known as a whole: digests apart by the ten minutes in which CloudWatch took the events. */
import { addDigest, decodeDigest, type Digest, emptyDigest, encodeDigest } from './digest.ts'

export interface Hour {
  /** Ingestion time in ten minutes since 1970 → events that CloudWatch took then. */
  parts: Map<number, Digest>
  /** What was taken in these ten minutes or before is one part. */
  upto: number
  /** Ingestion time in minutes since 1970 → events, for completeness; only the last day. */
  by: Map<number, number>
}

// What was taken long ago does not change any more: the oldest parts become one.
const MOST_PARTS = 32
const PARTS_LEFT = 16
const MINUTES = 10
const IN_AN_HOUR = 6

export const emptyHour = (): Hour => ({ parts: new Map(), upto: -Infinity, by: new Map() })

/** The part of an hour to which an ingestion time (in minutes) belongs. */
export const hourBucket = ({ upto }: Pick<Hour, 'upto'>, minutes: number): number => Math.max(upto, Math.floor(minutes / MINUTES))

/** Takes a minute of the hour in: ingestion time in minutes → events. */
export function foldCell(hour: Hour, cell: ReadonlyMap<number, Digest>): void {
  for (const [minutes, digest] of cell) {
    addDigest(partOf(hour, hourBucket(hour, minutes)), digest)
    hour.by.set(minutes, (hour.by.get(minutes) ?? 0) + digest.n)
  }
  merge(hour)
}

/**
 * `upto.digest` or `upto.digest,bucket.digest`, buckets in ten minutes after `number` (the hour since 1970), in base 36: what
 * CloudWatch took last stays apart, for what comes after a restart is taken later still. About 25 bytes, 45 with late events.
 */
export function encodeHour(number: number, { parts, upto }: Hour): string {
  const first = number * IN_AN_HOUR
  const buckets = [...parts.keys()].sort((a, b) => a - b)
  const last = buckets.at(-1) ?? first
  // Taken in its hour or the next: nobody was late.
  const in_time = first + 2 * IN_AN_HOUR - 1
  const until = last <= in_time ? in_time : Math.max(upto, last - 1)
  const sum = emptyDigest()
  for (const [bucket, digest] of parts) if (bucket <= until) addDigest(sum, digest)
  const late = last > until ? parts.get(last) : undefined
  const text = (bucket: number, digest: Digest): string => `${(bucket - first).toString(36)}.${encodeDigest(digest)}`
  return late === undefined ? text(until, sum) : `${text(until, sum)},${text(last, late)}`
}

/** undefined for a text of another kind. */
export function decodeHour(number: number, text: string): Hour | undefined {
  const hour = emptyHour()
  for (const part of text.split(',')) {
    const dot = part.indexOf('.')
    const bucket = number * IN_AN_HOUR + Number.parseInt(part.slice(0, dot), 36)
    const digest = decodeDigest(part.slice(dot + 1))
    if (digest === undefined || Number.isNaN(bucket)) return undefined
    if (hour.upto === -Infinity) hour.upto = bucket
    if (digest.n > 0) hour.parts.set(bucket, digest)
  }
  return hour
}

function partOf({ parts }: Hour, bucket: number): Digest {
  let part = parts.get(bucket)
  if (part === undefined) parts.set(bucket, (part = emptyDigest()))
  return part
}

function merge(hour: Hour): void {
  if (hour.parts.size <= MOST_PARTS) return
  const buckets = [...hour.parts.keys()].sort((a, b) => a - b)
  hour.upto = buckets[buckets.length - PARTS_LEFT] ?? hour.upto
  const sum = emptyDigest()
  for (const bucket of buckets) {
    if (bucket > hour.upto) break
    addDigest(sum, hour.parts.get(bucket) ?? emptyDigest())
    hour.parts.delete(bucket)
  }
  hour.parts.set(hour.upto, sum)
}
