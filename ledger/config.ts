/** The sections `prices` and `retention` of the config. The section `attribution` is in schemas/attribution.ts: ingest reads it too. */
import { z } from 'zod'
import { priceOverlay } from '../pricing/overlay.ts'

export const pricesConfig = priceOverlay
  .extend({
    book: z.string().min(1).optional().describe('path of a price book; absent: the dated book that comes with this version'),
    overlay_file: z.string().min(1).optional().describe('path of a YAML or JSON file with the keys list, contract, discounts and deployments; applied before those given here'),
  })
  .prefault({})
  .describe('unit prices: the public book, and what this company pays')
export type PricesConfig = z.infer<typeof pricesConfig>

// A partition is rebuilt from its events: deleting events would let a late one wipe the sums of its day. Until days can be sealed
// nothing is deleted, and a config that asks for it must not be believed silently.
const forever = z.literal('forever', { error: 'only "forever" is possible in this version: nothing is deleted yet' }).default('forever')

export const retentionConfig = z
  .strictObject({
    events: forever.describe('how long single usage events are kept'),
    secret_access: forever.describe('how long secret accesses and credential changes are kept'),
    rollups: forever.describe('how long the sums of 15 minutes are kept'),
  })
  .prefault({})
  .describe('how long the store keeps what; nothing is removed')
export type RetentionConfig = z.infer<typeof retentionConfig>
