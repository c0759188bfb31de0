/** usage.v1: one call to a model. Names after OpenTelemetry GenAI; facts in docs/formats.md. */
import { z } from 'zod'
import { eventHeader, usageOutcome } from './event.ts'
import { count, label, usd } from './scalars.ts'

const tokens = count.nullable()

export const usageEvent = z
  .object({
    ...eventHeader,
    provider: label.describe('gen_ai.provider.name: openai, azure.ai.openai, aws.bedrock …'),
    operation: label.nullable().describe('chat, responses, text_completion, embeddings, image_generation, transcription, speech …'),
    project_id: label.nullable(),
    org_id: label.nullable(),
    api_key_id: label.nullable().describe("the provider's tracking id (key_…) or our HMAC fingerprint (fp_…); never the key"),
    user_id: label.nullable(),
    deployment: label.nullable().describe('Azure OpenAI deployment name'),
    model: label.nullable().describe('gen_ai.response.model: the dated model that answered'),
    request_model: label.nullable().describe('gen_ai.request.model: the alias or deployment that was asked for'),
    tier: z.string().max(32).describe('default, batch, flex, priority, scale, ptu: the tier of the response where it is known'),
    ctx: z.enum(['std', 'long']).describe('long: the request crossed the long-context threshold of its model'),
    stream: z.boolean().nullable(),
    input_tokens: tokens.describe('all input, cached, audio and image included; the parts below are its subsets'),
    cache_read_input_tokens: tokens,
    cache_write_input_tokens: tokens,
    audio_input_tokens: tokens,
    image_input_tokens: tokens,
    output_tokens: tokens.describe('all output, reasoning, audio and image included'),
    reasoning_output_tokens: tokens,
    audio_output_tokens: tokens,
    image_output_tokens: tokens,
    images: tokens.describe('images made, where the price is per image'),
    audio_duration_ms: tokens.describe('audio seen, where the price is per time'),
    requests: count.describe('1 for a request; more for a sampled or bucketed record'),
    usage_source: z.enum(['provider', 'log', 'estimated', 'absent']).describe('absent: the log carries no usage, the request is unmetered'),
    cost_usd: usd.nullable().describe('contract price of the priced meters; null: nothing could be priced'),
    list_cost_usd: usd.nullable(),
    cost_source: z.enum(['priced', 'reported', 'none']),
    price_version: label.nullable(),
    status_code: z.int().min(0).max(999).nullable(),
    outcome: usageOutcome,
    error_type: label.nullable(),
    error_code: label.nullable(),
    duration_ms: count.nullable(),
    request_id: label.nullable(),
    response_id: label.nullable(),
  })
  .describe('One call to a model: who, with which key, from where, how many tokens, what it cost and how it ended')
export type UsageEvent = z.infer<typeof usageEvent>
