/** progress.v1: how far a collector has scanned a stream. Drives the watermark; tells missing from zero. */
import { z } from 'zod'
import { count, epochMs, label } from './scalars.ts'

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
  })
  .describe('How far a stream has been read')
export type Progress = z.infer<typeof progress>
