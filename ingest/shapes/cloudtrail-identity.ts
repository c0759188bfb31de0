/** Who made an AWS call. `userIdentity` has ten variants and is missing altogether from one record in seventy (service events). */
import { asLabel, objectAt } from './json.ts'
import type { Json } from './json.ts'

export interface Identity {
  actor_type: string
  /** What stays the same over sessions: role ARN, user ARN, account of root, name of a service. */
  actor_id: string
  actor_name: string | null
  session_name: string | null
  /** Access key id (AKIA… long-lived, ASIA… of a session). */
  credential_id: string | null
  account_id: string | null
  mfa: boolean | null
  /** The service that made the call for the actor; null where the actor called. */
  invoked_by: string | null
}

/** Total. `identity` null: the record has none. */
export function readIdentity(identity: Json | null): Identity {
  const from = identity ?? {}
  const session = objectAt(from, 'sessionContext')
  const issuer = session === null ? null : objectAt(session, 'sessionIssuer')
  const type = asLabel(from['type'], 64)
  const arn = asLabel(from['arn'], 512)
  const account = asLabel(from['accountId'], 32)
  const invokedBy = asLabel(from['invokedBy'])
  const isService = type === 'AWSService' || (type === null && invokedBy !== null)
  return {
    actor_type: type ?? (isService ? 'AWSService' : 'Unknown'),
    actor_id: actorId(from, type, { arn, account, invokedBy, issuerArn: issuer === null ? null : asLabel(issuer['arn'], 512) }),
    actor_name: asLabel(from['userName']) ?? (issuer === null ? null : asLabel(issuer['userName'])) ?? onBehalfOf(from),
    session_name: type === 'AssumedRole' && arn !== null && arn.split('/').length > 2 ? asLabel(arn.slice(arn.lastIndexOf('/') + 1)) : null,
    credential_id: asLabel(from['accessKeyId'], 128),
    account_id: account,
    mfa: mfaOf(session),
    invoked_by: isService ? null : invokedBy,
  }
}

interface Names {
  arn: string | null
  account: string | null
  invokedBy: string | null
  issuerArn: string | null
}

function actorId(from: Json, type: string | null, { arn, account, invokedBy, issuerArn }: Names): string {
  const principal = asLabel(from['principalId'])
  if (type === 'Root') return account ?? arn ?? 'root'
  if (type === 'AWSService') return invokedBy ?? account ?? 'aws'
  // Two sessions of one role are one actor; a role behind another account is known by its principal only.
  return issuerArn ?? arn ?? (type === null ? null : (principal ?? onBehalfOf(from) ?? asLabel(from['userName']))) ?? invokedBy ?? account ?? 'unknown'
}

function onBehalfOf(from: Json): string | null {
  const person = objectAt(from, 'onBehalfOf')
  return person === null ? null : asLabel(person['userId'])
}

/** A text in the record: "true" or "false". */
function mfaOf(session: Json | null): boolean | null {
  const value = session === null ? undefined : objectAt(session, 'attributes')?.['mfaAuthenticated']
  if (value === 'true' || value === true) return true
  return value === 'false' || value === false ? false : null
}
