/** ledger-facts.v1: what the ledger knows and the detectors fold: budget states, audit results, residuals. */
import { z } from 'zod'
import { epochMs, label, usd } from './scalars.ts'

export const ledgerFact = z
  .object({
    fact: label.describe('compaction key: budget:<id>:<period>, unpriced-share, audit:<day> …'),
    kind: z.enum(['budget', 'audit', 'residual', 'unpriced-share']),
    at: epochMs,
    scope: label,
    period_start: epochMs.nullable(),
    amount_usd: usd.nullable(),
    spent_usd: usd.nullable(),
    share: z.number().min(0).max(1).nullable(),
    state: label,
  })
  .describe('A fact of the ledger')
export type LedgerFact = z.infer<typeof ledgerFact>
