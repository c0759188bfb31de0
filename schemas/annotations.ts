/** annotations.v1: deploys, rotations and other facts that explain a change of behaviour. */
import { z } from 'zod'
import { epochMs, label } from './scalars.ts'

export const annotation = z
  .object({
    scope: label.describe('owner_ref, team:…, service:… or organisation'),
    kind: z.enum(['deploy', 'rotation', 'load-test', 'maintenance', 'other']),
    from: epochMs,
    until: epochMs.nullable(),
    text: label,
    who: label.nullable(),
  })
  .describe('A known reason for a change of behaviour')
export type Annotation = z.infer<typeof annotation>
