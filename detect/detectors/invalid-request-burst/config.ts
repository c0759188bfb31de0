import { z } from 'zod'

export const invalidRequestBurstConfig = z.strictObject({
  min_errors: z.int().min(2).default(10).describe('fewer failed requests than this in ten minutes never alert'),
  min_denied: z.int().min(2).default(5).describe('the same for denied reads of secrets'),
  min_targets: z.int().min(2).default(4).describe('distinct combinations of model, region, operation and error that make it a search instead of a mistake'),
  min_keys: z.int().min(2).default(3).describe('keys that one address must have tried before the address itself is reported'),
  surprise: z.number().positive().max(0.01).default(1e-6).describe("how unlikely the errors must be under the key's own rate"),
  operational: z.boolean().default(true).describe('also report bursts of one plain mistake, with severity low, to the owning team'),
})
export type InvalidRequestBurstConfig = z.infer<typeof invalidRequestBurstConfig>
