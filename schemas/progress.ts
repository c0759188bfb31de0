/** progress.v1: how far a collector has scanned a stream. Drives the watermark; tells missing from zero. */
import { z } from 'zod'
import { count, epochMs, label } from './scalars.ts'

/** Between the counts of `late_histogram`; the last count is of everything above. */
export const LATE_BOUNDS_MS = [10_000, 60_000, 300_000, 900_000, 3_600_000, 21_600_000, 86_400_000, 604_800_000] as const

export const progress = z
  .object({
    stream: label.describe('source and stream; one compacted value each'),
    source: label,
    source_stream: label,
    run_id: label.nullable(),
    at: epochMs.describe('when the collector said so'),
    scanned_to: epochMs.nullable().describe('every event with an earlier event_time has been published; null: not known yet'),
    last_event_time: epochMs.nullable(),
    completeness: z.number().min(0).max(1).nullable().describe('events held / events the cloud counted; null where it cannot be told'),
    blind: z.boolean().describe('the stream cannot be read now'),
    reason: label.nullable().describe('why it is blind, and what to do'),
    done: z.boolean().describe('a finite stream (an `ingest` run, a closed file) is read to its end'),
    records: count,
    accepted: count,
    skipped: count,
    rejected: count,
    late: count.describe('found behind scanned_to'),
    late_histogram: z
      .array(count)
      .optional()
      .describe(`late events by how long after their event they were found: up to ${LATE_BOUNDS_MS.join(', ')} ms, and longer; empty in a run of \`ingest\``),
    lag_ms: count.nullable().optional().describe('how far scanned_to was behind `at`; null: not known yet, or read to its end'),
    cloud_delay_ms: count
      .nullable()
      .optional()
      .describe('95 of 100 of the newest 1,000 records were made visible by the cloud so long after their own time; null: it does not say'),
    own_delay_ms: count.nullable().optional().describe('… and were durable on the bus so long after that'),
  })
  .describe('How far a stream has been read')
export type Progress = z.infer<typeof progress>
