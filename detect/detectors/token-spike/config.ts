import { z } from 'zod'
import { duration } from '../../../runtime/duration.ts'
import { usd } from '../../../schemas/scalars.ts'

export const tokenSpikeConfig = z.strictObject({
  min_usd_per_bucket: usd.default('0.50').describe('five minutes that cost less than this never alert, whatever the baseline says'),
  min_tokens_per_bucket: z.int().positive().default(200_000).describe('the same for tokens, where no price is known'),
  min_requests_per_minute: z.int().positive().default(60).describe('the busiest minute must have at least this many requests for an alert on requests alone'),
  cold_start: duration.prefault('3d').describe('a key younger than this, or used in fewer than two hours of it, is judged by its team and by the cap'),
  cold_start_cap_usd: usd.nullable().default('50').describe('a young key that spends more than this in five minutes alerts without any baseline; null: never'),
})
export type TokenSpikeConfig = z.infer<typeof tokenSpikeConfig>
