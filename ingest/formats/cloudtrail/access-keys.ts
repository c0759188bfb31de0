/** IAM access keys and service-specific credentials (Bedrock API keys are of the second kind) as credential-change.v1. */
import { asLabel, objectAt } from '../../shapes/json.ts'
import type { Call, Outcome } from './call.ts'
import { credentialChange } from './credential-change.ts'

type Change = 'created' | 'updated' | 'deleted' | 'listed' | 'rotated'
const CALLS: Record<string, { target_kind: string; change: Change }> = {
  CreateAccessKey: { target_kind: 'access-key', change: 'created' },
  UpdateAccessKey: { target_kind: 'access-key', change: 'updated' },
  DeleteAccessKey: { target_kind: 'access-key', change: 'deleted' },
  ListAccessKeys: { target_kind: 'access-key', change: 'listed' },
  CreateServiceSpecificCredential: { target_kind: 'service-specific-credential', change: 'created' },
  UpdateServiceSpecificCredential: { target_kind: 'service-specific-credential', change: 'updated' },
  ResetServiceSpecificCredential: { target_kind: 'service-specific-credential', change: 'rotated' },
  DeleteServiceSpecificCredential: { target_kind: 'service-specific-credential', change: 'deleted' },
  ListServiceSpecificCredentials: { target_kind: 'service-specific-credential', change: 'listed' },
}

export function accessKeyEvent(call: Call): Outcome {
  const known = Object.hasOwn(CALLS, call.name) ? CALLS[call.name] : undefined
  if (known === undefined) return { kind: 'skip', why: 'not-watched' }
  const { parameters, response, identity } = call
  const made = objectAt(response, 'accessKey') ?? objectAt(response, 'serviceSpecificCredential')
  const key =
    asLabel(parameters['accessKeyId'] ?? parameters['serviceSpecificCredentialId'], 128) ??
    (made === null ? null : asLabel(made['accessKeyId'] ?? made['serviceSpecificCredentialId'], 128))
  // A refused creation has no key yet, and without a user name the call is about the caller's own keys.
  const user = asLabel(parameters['userName']) ?? (made === null ? null : asLabel(made['userName'])) ?? identity.actor_name ?? identity.actor_id
  return credentialChange(call, {
    target_kind: known.target_kind,
    target_id: key ?? `user:${user}`,
    change: known.change === 'updated' ? changeOf(parameters['status']) : known.change,
  })
}

const changeOf = (status: unknown): 'activated' | 'deactivated' | 'updated' => (status === 'Active' ? 'activated' : status === 'Inactive' ? 'deactivated' : 'updated')
