/** The sections `prices` and `retention` of the config. The section `attribution` is in schemas/attribution.ts: ingest reads it too. */
import { z } from 'zod'
import { priceOverlay } from '../pricing/overlay.ts'
import { parseDuration } from '../runtime/duration.ts'

export const pricesConfig = priceOverlay
  .extend({
    book: z.string().min(1).optional().describe('path of a price book; absent: the dated book that comes with this version'),
    overlay_file: z.string().min(1).optional().describe('path of a YAML or JSON file with the keys list, contract, discounts and deployments; applied before those given here'),
  })
  .prefault({})
  .describe('unit prices: the public book, and what this company pays')
export type PricesConfig = z.infer<typeof pricesConfig>

const age = z
  .union([z.literal('forever'), z.string().refine((text) => (parseDuration(text) ?? 0) >= 86_400_000, 'a duration of at least one day such as 90d, or forever')])
  .transform((text) => (text === 'forever' ? null : (parseDuration(text) ?? null)))

export const retentionConfig = z
  .strictObject({
    events: age.prefault('forever').describe('how long single usage events are kept, counted from their arrival'),
    secret_access: age.prefault('forever').describe('how long secret accesses and credential changes are kept'),
    rollups: age.prefault('forever').describe('how long the sums of 15 minutes are kept; daily sums stay'),
  })
  .prefault({})
  .describe('how long the store keeps what; nothing is removed unless asked for')
export type RetentionConfig = z.infer<typeof retentionConfig>
