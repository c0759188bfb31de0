/** credential-change.v1: a key, account or limit was created, changed or removed (OCSF Account Change 3001). */
import { z } from 'zod'
import { accessOutcome, eventHeader } from './event.ts'
import { label } from './scalars.ts'

export const credentialChangeEvent = z
  .object({
    ...eventHeader,
    target_kind: label.describe('access-key, api-key, service-account, rate-limit, spend-limit, logging …'),
    target_id: label.describe('id of the credential or setting, never the credential'),
    change: z.enum(['created', 'updated', 'activated', 'deactivated', 'deleted', 'listed', 'rotated']),
    provider_operation: label,
    actor_type: label,
    actor_id: label,
    actor_name: label.nullable(),
    session_name: label.nullable(),
    credential_id: label.nullable(),
    is_child: z.boolean(),
    client_service: label.nullable(),
    outcome: accessOutcome,
    error_code: label.nullable(),
    request_id: label.nullable(),
  })
  .describe('One change to a credential or to a limit')
export type CredentialChangeEvent = z.infer<typeof credentialChangeEvent>
