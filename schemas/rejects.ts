/** rejects.v1: ours but broken. Nothing is lost silently and nothing stops the rest. */
import { z } from 'zod'
import { count, epochMs, label, uuid } from './scalars.ts'

export const reject = z
  .object({
    reject_id: uuid.describe('hash of source, stream, reason and sha256, so a re-read counts once'),
    received_at: epochMs,
    source: label,
    source_stream: label,
    stage: z.enum(['parse', 'bus', 'store', 'detect', 'deliver']).describe('where it was refused'),
    plugin: label.nullable(),
    run_id: label.nullable(),
    reason: label.describe('kebab-case: invalid-json, too-large, bad-time …'),
    detail: z.string().max(2000).describe('what was wrong, redacted'),
    size_bytes: count,
    sha256: z.string().regex(/^[0-9a-f]{64}$/),
    topic: label.nullable().describe('the topic of the refused event, if it was one of ours'),
    payload: z.string().max(65_536).nullable().describe('our own normalised event as JSON, already redacted, so that `rejects retry` can send it again; null for a foreign body'),
  })
  .describe('A record that was refused, with the reason')
export type Reject = z.infer<typeof reject>
