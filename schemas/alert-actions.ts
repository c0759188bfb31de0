/** alert-actions.v1: what people did: who, why, when. */
import { z } from 'zod'
import { epochMs, label, uuid } from './scalars.ts'

export const alertAction = z
  .object({
    action_id: uuid,
    act: z.enum(['ack', 'silence', 'approve', 'deny', 'undo']),
    alert_id: uuid.nullable().describe('for ack and silence'),
    response_id: uuid.nullable().describe('for approve, deny and undo'),
    who: label,
    why: label.nullable(),
    at: epochMs,
    until: epochMs.nullable().describe('end of a silence'),
  })
  .describe("A person's act")
export type AlertAction = z.infer<typeof alertAction>
