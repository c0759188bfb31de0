/** fragments.v1: records that come in parts wait here for their other side (API Management, Bedrock + CloudTrail). */
import { z } from 'zod'
import { epochMs, label } from './scalars.ts'

export const fragment = z
  .object({
    correlation_id: label,
    part: label.describe('which side: gateway, llm …'),
    format: label,
    event_time: epochMs,
    observed_time: epochMs,
    run_id: label.nullable(),
    fields: z.record(z.string(), z.union([z.string(), z.number(), z.boolean(), z.null()])).describe('named fields only, redacted'),
  })
  .describe('One part of a record')
export type Fragment = z.infer<typeof fragment>
