/** commands.v1: approved shutdowns only: unexpired, young, never a dry run. Also the webhook body and the file a responder reads. */
import { z } from 'zod'
import { target } from './responses.ts'
import { epochMs, label, uuid } from './scalars.ts'

export const command = z
  .object({
    command_id: uuid,
    alert_id: uuid,
    action: label,
    target,
    reason: label,
    evidence_url: z.string().max(2000).nullable(),
    dry_run: z.literal(false),
    expires_at: epochMs,
    issued_at: epochMs,
  })
  .describe('An approved shutdown command')
export type Command = z.infer<typeof command>
