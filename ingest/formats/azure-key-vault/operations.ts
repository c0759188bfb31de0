/** Key Vault names its operations noun + verb. What each means for a watch over secrets. */
import type { ParsedSecretAccess } from '../../format.ts'

type Action = ParsedSecretAccess['event']['action']

/** A backup holds the secret itself, sealed for another vault of the same owner: a read. */
const SECRET: Record<string, Action> = {
  Get: 'read',
  Backup: 'read',
  List: 'list',
  ListVersions: 'list',
  GetDeleted: 'list',
  ListDeleted: 'list',
  Set: 'write',
  Update: 'write',
  Delete: 'delete',
  Purge: 'delete',
  Restore: 'restore',
  Recover: 'restore',
}
const KEY: Record<string, Action> = {
  ...SECRET,
  // The public half: the private one never leaves.
  Get: 'list',
  Create: 'write',
  Import: 'write',
  Release: 'read',
  Rotate: 'rotate',
  RotateIfDue: 'rotate',
  Decrypt: 'decrypt',
  Unwrap: 'decrypt',
}
const CERTIFICATE: Record<string, Action> = { ...SECRET, Get: 'list', Create: 'write', Import: 'write', PolicySet: 'write', PolicyUpdate: 'write' }
const VAULT: Record<string, Action> = {
  Get: 'list',
  List: 'list',
  Put: 'write',
  Patch: 'write',
  Delete: 'delete',
  Purge: 'delete',
  Recover: 'restore',
  ListDeleted: 'list',
  GetDeleted: 'list',
}

const NOUNS: readonly (readonly [string, Readonly<Record<string, Action>>])[] = [
  ['Secret', SECRET],
  ['Key', KEY],
  ['Certificate', CERTIFICATE],
  ['Vault', VAULT],
]

/** The action, or why the operation is not kept: notifications are no calls, signing and encrypting show no secret. */
export function actionOf(operation: string): Action | { why: string } {
  if (operation.endsWith('EventGridNotification')) return { why: 'event-grid-notification' }
  if (operation === 'Authentication') return 'auth'
  for (const [noun, verbs] of NOUNS) {
    const verb = operation.slice(noun.length)
    if (operation.startsWith(noun) && Object.hasOwn(verbs, verb)) return verbs[verb] ?? { why: 'not-watched' }
  }
  return { why: 'not-watched' }
}
