/** secret-access.v1: somebody read, listed or changed a secret (OCSF API Activity 6003). */
import { z } from 'zod'
import { accessOutcome, eventHeader } from './event.ts'
import { count, label } from './scalars.ts'

export const secretAction = z.enum(['read', 'batch_read', 'list', 'write', 'rotate', 'delete', 'restore', 'decrypt', 'auth'])

export const secretAccessEvent = z
  .object({
    ...eventHeader,
    store: label.describe('aws-secrets-manager, aws-ssm, aws-kms, azure-key-vault …'),
    vault: label.nullable(),
    secret_id: label.nullable().describe('name, ARN or URI of the secret, never its value'),
    secret_ids: z.array(label).max(100).describe('what a batch asked for; empty for a single read'),
    secret_version: label.nullable(),
    action: secretAction,
    provider_operation: label.describe('the name the provider gives the call: GetSecretValue, SecretGet …'),
    actor_type: label,
    actor_id: label.describe('role ARN, user ARN, object id; invokedBy for a service'),
    actor_name: label.nullable(),
    session_name: label.nullable(),
    credential_id: label.nullable().describe('access key id'),
    mfa: z.boolean().nullable(),
    via_service: label.nullable().describe('the service that made the call for the actor'),
    is_child: z.boolean().describe('made by a service for somebody else: stored, never counted as an access'),
    outcome: accessOutcome,
    status_code: z.int().min(0).max(999).nullable(),
    error_code: label.nullable(),
    client_service: label.nullable().describe('set instead of client_ip where a service called'),
    tls_version: label.nullable(),
    vpc_endpoint_id: label.nullable(),
    request_id: label.nullable(),
    duration_ms: count.nullable(),
  })
  .describe('One access to a secret store')
export type SecretAccessEvent = z.infer<typeof secretAccessEvent>
