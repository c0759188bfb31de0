/** The file format of a price book: checked in, dated, one entry per set of model names with equal prices. */
import { z } from 'zod'
import { meterNames } from './meters.ts'

/** USD per single unit (token, image, millisecond of audio). "0" is a stated price (free, self-hosted, provisioned); absent is unknown. */
const unitPrice = z.string().regex(/^\d{1,9}(\.\d{1,12})?$/, 'a decimal string of USD per single unit with at most 12 decimals')
const meter = z.enum(meterNames)
const day = z.iso.date().nullable()

export const bookPrice = z
  .strictObject({
    tier: z.string().min(1).describe('default, batch, flex, priority …'),
    ctx: z.enum(['std', 'long']).default('std').describe('long: requests above long_context_above'),
    from: day.default(null).describe('first UTC day, inclusive; null: since ever'),
    until: day.default(null).describe('first UTC day after, exclusive; null: open'),
    usd: z.partialRecord(meter, unitPrice).describe('USD per token, image or millisecond of audio'),
    derived: z.array(meter).optional().describe('meters that no list states, because they are billed as another one'),
  })
  .refine((price) => price.from === null || price.until === null || price.from < price.until, { error: '`from` must be before `until`', path: ['until'] })

export const bookEntry = z.strictObject({
  provider: z.string().min(1).describe('gen_ai.provider.name'),
  models: z.array(z.string().min(1)).min(1).describe('dated snapshots and aliases with these prices'),
  long_context_above: z.int().positive().nullable().default(null).describe('a request with more input tokens than this is priced as `long` as a whole'),
  prices: z.array(bookPrice).min(1),
  source: z.array(z.string()).default([]),
  note: z.string().optional(),
})
export type BookEntry = z.infer<typeof bookEntry>

export const bookFile = z.strictObject({
  version: z.string().min(1),
  currency: z.literal('USD').default('USD'),
  sources: z.array(z.strictObject({ id: z.string(), version: z.string(), licence: z.string(), origin: z.string() })).default([]),
  entries: z.array(bookEntry),
})
export type BookFile = z.infer<typeof bookFile>
