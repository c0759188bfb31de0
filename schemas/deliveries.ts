/** deliveries.v1: every attempt to tell somebody, so that retries are scheduled from here and nothing is told from memory. */
import { z } from 'zod'
import { count, epochMs, label, uuid } from './scalars.ts'

export const delivery = z
  .object({
    notification_id: uuid.describe('the idempotency id of one message: Message-ID, webhook-id'),
    alert_id: uuid,
    sink: label.describe('name of the sink in the config'),
    kind: label,
    attempt: count,
    outcome: z.enum(['attempting', 'accepted', 'retry', 'permanent', 'disabled', 'unknown', 'suppressed']),
    at: epochMs,
    next_attempt_at: epochMs.nullable(),
    receipt: label.nullable(),
    error: label.nullable(),
    duration_ms: count.nullable(),
  })
  .describe('One attempt to deliver one notification to one sink')
export type Delivery = z.infer<typeof delivery>
