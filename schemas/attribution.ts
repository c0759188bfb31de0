/** Attribution config: which team, service and cost centre an owner belongs to, dated. Ingest and ledger both read it. */
import { z } from 'zod'
import { label } from './scalars.ts'

/** YYYY-MM-DD: ownership changes take effect at UTC midnight. */
export const utcDay = z.iso.date().describe('a UTC day, YYYY-MM-DD')

export const attributionEntry = z
  .strictObject({
    owner: label.min(1).describe('owner_ref of events: key:…, role:…, project:…, subscription:…, file:…'),
    team: label.min(1),
    service: label.min(1).nullable().default(null),
    cost_centre: label.min(1).nullable().default(null),
    contacts: z.array(label).default([]).describe('mail addresses or handles to ask'),
    from: utcDay.nullable().default(null).describe('first day, inclusive; null: since ever'),
    until: utcDay.nullable().default(null).describe('first day after the ownership, exclusive; null: open'),
  })
  .refine((entry) => entry.from === null || entry.until === null || entry.from < entry.until, { error: '`from` must be before `until`', path: ['until'] })
  .describe('Who owns a key, role, project or subscription, and since when')
export type AttributionEntry = z.infer<typeof attributionEntry>

const entries = z.array(attributionEntry).describe('owners and their teams')

/** A list of entries, or a CSV file (columns as the fields, contacts split by ";") plus entries that are added to it. */
export const attributionConfig = z
  .union([entries, z.strictObject({ csv: z.string().min(1).optional().describe('path of a CSV file with a header'), entries: entries.default([]) })])
  .default([])
  .describe('owner → team, service, cost centre, contacts; dated')
export type AttributionConfig = z.infer<typeof attributionConfig>
