/** spend-report.v1: a bucket of usage or cost as the provider itself counts it; revised until settled, so versioned. */
import { z } from 'zod'
import { count, epochMs, label, usd, uuid } from './scalars.ts'

export const spendReport = z
  .object({
    report_id: uuid.describe('hash of endpoint, bucket and group keys'),
    provider: label,
    kind: z.enum(['usage', 'cost']),
    bucket_start: epochMs,
    bucket_end: epochMs,
    collected_at: epochMs.describe('the newest collection of a bucket wins'),
    project_id: label.nullable(),
    api_key_id: label.nullable(),
    user_id: label.nullable(),
    model: label.nullable(),
    tier: label.nullable(),
    line_item: label.nullable(),
    requests: count.nullable(),
    input_tokens: count.nullable(),
    cache_read_input_tokens: count.nullable(),
    output_tokens: count.nullable(),
    cost_usd: usd.nullable(),
  })
  .describe('A bucket of usage or cost reported by the provider')
export type SpendReport = z.infer<typeof spendReport>
