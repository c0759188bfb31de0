/** What a mapping may say. */
import { z } from 'zod'
import { usageOutcome } from '../../../schemas/event.ts'
import { timeFormats } from './time.ts'

const pattern = z
  .string()
  .min(1)
  .max(500)
  .refine((text) => isPattern(text), 'a regular expression')

const pointer = z.string().regex(/^(?:\/(?:[^~/]|~[01])*)+$/, 'a JSON pointer such as /usage/input_tokens')

/** Where a value comes from. Exactly one of column, pointer, constant and origin. */
const from = z.union([
  z.strictObject({ column: z.string().min(1).describe('name of a CSV column, or of a member at the top') }),
  z.strictObject({ pointer: pointer.describe('JSON pointer into the record') }),
  z.strictObject({ constant: z.union([z.string(), z.number(), z.boolean()]) }),
  z.strictObject({
    origin: pattern.describe('regular expression on the name of the file or stream'),
    template: z.string().min(1).describe('value made of the match: $1 is the first group'),
  }),
])
export type FieldSource = z.infer<typeof from>

const time = z.union([
  z.strictObject({ column: z.string().min(1), format: z.enum(timeFormats).default('iso') }),
  z.strictObject({ pointer, format: z.enum(timeFormats).default('iso') }),
])
const scaled = z.union([
  z.strictObject({ column: z.string().min(1), scale: z.number().positive().default(1) }),
  z.strictObject({ pointer, scale: z.number().positive().default(1) }),
])

const texts = [
  'operation',
  'project_id',
  'org_id',
  'account_id',
  'region',
  'api_key_id',
  'user_id',
  'deployment',
  'model',
  'request_model',
  'tier',
  'error_type',
  'error_code',
  'request_id',
  'response_id',
  'service',
  'owner_ref',
  'client_ip',
  'user_agent',
] as const
const counts = [
  'input_tokens',
  'cache_read_input_tokens',
  'cache_write_input_tokens',
  'audio_input_tokens',
  'image_input_tokens',
  'output_tokens',
  'reasoning_output_tokens',
  'audio_output_tokens',
  'image_output_tokens',
  'images',
  'requests',
] as const

const fields = z.strictObject({
  event_time: time.describe("the provider's time; iso without a zone is UTC; up to nanoseconds are kept apart"),
  event_id: from.optional().describe("the provider's own key of the request; without it: time and all mapped values"),
  provider: from.describe('openai, azure.ai.openai, aws.bedrock …'),
  api_key: from.optional().describe('a raw key: only its fingerprint is kept'),
  status_code: from.optional(),
  outcome: from.optional().describe(`one of ${usageOutcome.options.join(', ')}; default: from status_code, else success`),
  duration_ms: scaled.optional().describe('times `scale`: 1000 for seconds'),
  audio_duration_ms: scaled.optional().describe('times `scale`: 1000 for seconds'),
  ...(Object.fromEntries(texts.map((name) => [name, from.optional()])) as Record<(typeof texts)[number], z.ZodOptional<typeof from>>),
  ...(Object.fromEntries(counts.map((name) => [name, from.optional()])) as Record<(typeof counts)[number], z.ZodOptional<typeof from>>),
})

export const mappingConfig = z.strictObject({
  match: z
    .strictObject({
      columns: z.array(z.string().min(1)).min(1).optional().describe('members that must all be there'),
      origin: pattern.optional().describe('regular expression that the name of the file or stream must match'),
      equals: z
        .array(z.strictObject({ pointer, value: z.union([z.string(), z.number(), z.boolean(), z.null()]) }))
        .optional()
        .describe('members that must have a value'),
    })
    .refine((match) => Object.values(match).some((part) => part !== undefined), 'at least one of columns, origin and equals')
    .describe('which records are meant; others are left to the next format'),
  columns: z.array(z.string().min(1)).optional().describe('names of the columns for CSV files without a header (cut behind it)'),
  fields,
})
export type MappingConfig = z.infer<typeof mappingConfig>

function isPattern(text: string): boolean {
  try {
    return new RegExp(text) instanceof RegExp
  } catch {
    return false
  }
}
