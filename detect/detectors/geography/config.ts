import { z } from 'zod'
import { duration } from '../../../runtime/duration.ts'

const allow = z
  .strictObject({
    asns: z.array(z.int().positive()).default([]).describe('autonomous systems that are ours: offices, VPN, CI'),
    countries: z.array(z.string().length(2).toUpperCase()).default([]).describe('ISO 3166-1 alpha-2'),
    cidrs: z
      .array(z.union([z.cidrv4(), z.cidrv6()]))
      .default([])
      .describe('address ranges'),
  })
  .prefault({})
  .describe('known places: findings there get severity info; they are never hidden')

export const geographyConfig = z.strictObject({
  min_history: duration.prefault('5d').describe('a key or actor is judged only after this much time'),
  min_events: z.int().positive().default(100).describe('… and this many located calls'),
  min_new: z.int().positive().default(3).describe('calls from a new place before it is reported (secret reads: 1)'),
  surprise: z.number().positive().default(2).describe('-ln of the chance per day that this key shows a new network; 2 is 1 in 7'),
  allow,
})
export type GeographyConfig = z.infer<typeof geographyConfig>
