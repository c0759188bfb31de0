/** What a company adds to the public book: contract prices, discounts, prices of its own, Azure deployments. */
import { z } from 'zod'
import { bookEntry } from './book-file.ts'

const day = z.iso.date().nullable()

export const discount = z
  .strictObject({
    provider: z.string().min(1),
    models: z.array(z.string().min(1)).min(1).optional().describe('absent: every model of the provider'),
    tiers: z.array(z.string().min(1)).min(1).optional().describe('absent: every tier'),
    percent: z
      .string()
      .regex(/^\d{1,2}(\.\d{1,4})?$|^100$/, 'a percentage as text: "12.5"')
      .describe('off the list price'),
    from: day.default(null).describe('first UTC day, inclusive'),
    until: day.default(null).describe('first UTC day after, exclusive'),
  })
  .describe('A negotiated discount on list prices')

export const priceOverlay = z.strictObject({
  list: z.array(bookEntry).default([]).describe('list prices that the book lacks or has wrong: own models, regional prices, provisioned units at "0"'),
  contract: z.array(bookEntry).default([]).describe('negotiated unit prices; they win over discounts'),
  discounts: z.array(discount).default([]).describe('percentages off the list price'),
  deployments: z.record(z.string().min(1), z.string().min(1)).default({}).describe('Azure OpenAI deployment name → model, for logs that do not tell the model'),
})
export type PriceOverlay = z.infer<typeof priceOverlay>
