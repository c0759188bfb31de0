/** responses.v1: proposals, decisions, steps and outcomes of shutdowns; hash-chained per target, kept for ever. */
import { z } from 'zod'
import { count, epochMs, label, usd, uuid } from './scalars.ts'

export const target = z.object({
  kind: label.describe('api-key, access-key, project, subscription …'),
  id: label,
  provider: label,
})
export type Target = z.infer<typeof target>

export const responseStep = z.enum(['proposed', 'approved', 'denied', 'expired', 'refused', 'issued', 'intent', 'executed', 'unknown', 'verified', 'failed', 'undone'])

export const response = z
  .object({
    response_id: uuid.describe('hash of alert_id and action: one proposal per alert and action'),
    alert_id: uuid,
    step: responseStep,
    seq: count.describe('position in the chain of this target, from 0'),
    at: epochMs,
    who: label.describe('person, or policy'),
    why: label.nullable(),
    action: label.describe('what would be done: disable-key …'),
    target,
    dry_run: z.boolean(),
    policy: z.enum(['off', 'dry-run', 'approve', 'auto']),
    expires_at: epochMs.nullable(),
    command_id: uuid.nullable(),
    responder: label.nullable(),
    blast_radius: z
      .object({ callers: count.nullable(), services: z.array(label), teams: z.array(label), spend_usd_24h: usd.nullable() })
      .nullable()
      .describe('who else would be cut: shown before anybody approves'),
    detail: z.string().max(2000).nullable(),
    undo_token: z.string().max(4000).optional().describe('what the responder needs to take it back; never a secret'),
    prev: z.string().describe('hash of the record before it in the chain; empty for the first'),
    hash: z.string().describe('SHA-256 over prev and the canonical record'),
  })
  .describe('One step of a response')
export type Response = z.infer<typeof response>
