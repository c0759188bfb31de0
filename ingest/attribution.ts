/** Who pays: `owner_ref` from what the event says, team and service from the dated entries of the config. */
import { basename } from 'node:path'
import type { AttributionEntry } from '../schemas/attribution.ts'

export interface Attribution {
  /** The entry that owns `owner_ref` at `event_time` (epoch ms); undefined: nobody does. */
  lookup(owner_ref: string, event_time: number): AttributionEntry | undefined
}

/** Where two entries cover the same day, the later in the list wins, so that a correction can be appended. */
export function createAttribution(entries: readonly AttributionEntry[]): Attribution {
  const by_owner = new Map<string, { from: number; until: number; entry: AttributionEntry }[]>()
  for (const entry of entries) {
    const span = { from: entry.from === null ? -Infinity : Date.parse(entry.from), until: entry.until === null ? Infinity : Date.parse(entry.until), entry }
    by_owner.set(entry.owner, [span, ...(by_owner.get(entry.owner) ?? [])])
  }
  return { lookup: (owner_ref, event_time) => by_owner.get(owner_ref)?.find((span) => span.from <= event_time && event_time < span.until)?.entry }
}

/** Parts of an event that can say who pays. A missing field is the same as null. */
export interface OwnerHints {
  api_key_id?: string | null
  project_id?: string | null
  account_id?: string | null
  provider?: string | null
  actor_id?: string | null
  credential_id?: string | null
}

/**
 * The narrowest thing that pays, in the order key, role, project, subscription, file. A file has no owner of its own: its name
 * stands for it, so that its spend can be attributed at all.
 */
export function ownerRef(event: OwnerHints, origin: { source: string; stream: string }): string {
  if (event.api_key_id) return `key:${event.api_key_id}`
  if (event.actor_id) return `role:${event.actor_id}`
  if (event.credential_id) return `key:${event.credential_id}`
  if (event.project_id) return `project:${event.project_id}`
  if (event.account_id) return `${event.provider?.startsWith('aws') ? 'account' : 'subscription'}:${event.account_id}`
  return origin.source === 'file' ? `file:${basename(origin.stream)}` : `stream:${origin.stream}`
}
