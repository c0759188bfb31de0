/** findings.v1: what a detector saw in one grid-aligned window. Revised while it grows, never renamed. */
import { z } from 'zod'
import { count, epochMs, label, severity, usd, uuid } from './scalars.ts'

const plain = z.union([z.string(), z.number(), z.boolean(), z.null()])

/** Evidence is shown to people and sent to machines: scalars, lists of scalars, and flat rows. */
export const evidence = z.record(z.string(), z.union([plain, z.array(plain), z.array(z.record(z.string(), plain)), z.record(z.string(), plain)]))
export type Evidence = z.infer<typeof evidence>

export const finding = z
  .object({
    finding_id: uuid.describe('hash of detector, entity and window_start'),
    revision: count.describe('counts the emissions of this finding; the highest wins'),
    detector: label,
    detector_version: label,
    entity: label.describe('what misbehaves: key:fp_…, actor:arn…, address:…'),
    window_start: epochMs,
    window_end: epochMs,
    first_event_time: epochMs,
    last_event_time: epochMs,
    detected_at: epochMs.describe('wall time of this emission'),
    severity,
    reason: label.describe('kebab-case: which rule decided'),
    title: label,
    summary: z.string().max(2000).describe('one sentence that a person understands without a dashboard'),
    attack: z.array(z.string().max(32)).describe('MITRE ATT&CK / ATLAS / OWASP ids'),
    team_id: label.nullable(),
    service: label.nullable(),
    owner_ref: label.nullable(),
    api_key_id: label.nullable(),
    provider: label.nullable(),
    spend_usd_per_minute: usd.nullable().describe('what one more minute costs'),
    spend_usd: usd.nullable().describe('spent inside the window'),
    evidence,
    baseline: z.object({ buckets: count, from: epochMs.nullable(), note: label }).describe('what the judgement rests on'),
    freshness: z.object({ watermark: epochMs.nullable(), completeness: z.number().nullable(), late: count }),
    run_id: label.nullable(),
    backfill: z.boolean().describe('from an `ingest` run or older than detectors.backfill_after: stored, never pages, never acts'),
  })
  .describe('What a detector found')
export type Finding = z.infer<typeof finding>
