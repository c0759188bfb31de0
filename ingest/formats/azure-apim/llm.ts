/** ApiManagementGatewayLlmLog: tokens and model of a call. No status, no caller: those are in the gateway's row. */
import type { Fragment } from '../../../schemas/fragments.ts'
import { countOf, flagOf, type Row, textOf } from './row.ts'

export type Fields = Fragment['fields']

/**
 * One request gives several rows: the one with a DeploymentName has the tokens, the others carry pieces of the messages, which
 * are never looked at.
 */
export function llmFields({ scopes, account_id, region }: Row): { fields: Fields } | { skip: string } | { broken: string } {
  const deployment = textOf(scopes, 'DeploymentName', 200)
  if (deployment === null) return { skip: 'message-row' }
  const input = countOf(scopes, 'PromptTokens')
  const output = countOf(scopes, 'CompletionTokens')
  const total = countOf(scopes, 'TotalTokens')
  for (const [column, value] of Object.entries({ PromptTokens: input, CompletionTokens: output, TotalTokens: total })) if (value === 'broken') return { broken: column }
  const counts = { input: input as number | null, output: output as number | null, total: total as number | null }
  // No call has an empty prompt: zeros all over mean that the gateway saw no usage (a stream that was not asked for it).
  const is_counted = (counts.input ?? 0) + (counts.output ?? 0) + (counts.total ?? 0) > 0
  // A later row that repeats the deployment without counts must not take the place of the first, which has them.
  const sequence = countOf(scopes, 'SequenceNumber')
  if (!is_counted && typeof sequence === 'number' && sequence > 0) return { skip: 'message-row' }
  return {
    fields: present({
      account_id,
      region,
      deployment,
      model: textOf(scopes, 'ModelName', 200),
      operation: operationOf(textOf(scopes, 'OperationName', 200)),
      stream: flagOf(scopes, 'IsStreamCompletion'),
      input_tokens: is_counted ? counts.input : null,
      output_tokens: is_counted ? outputOf(counts) : null,
      inconsistent: is_counted && counts.total !== null && counts.input !== null && counts.output !== null && counts.total !== counts.input + counts.output ? true : null,
    }),
  }
}

/** Embeddings have a total and no output: the difference is the gateway's own figure. */
const outputOf = ({ input, output, total }: Record<'input' | 'output' | 'total', number | null>): number | null =>
  output ?? (input !== null && total !== null && total >= input ? total - input : null)

/** OperationName is the operation of the API definition, which people may rename: only what is clear is taken. */
function operationOf(name: string | null): string | null {
  if (name === null) return null
  if (/embedding/i.test(name)) return 'embeddings'
  if (/image/i.test(name)) return 'image_generation'
  if (/chat/i.test(name)) return 'chat'
  if (/response/i.test(name)) return 'responses'
  return /^(create)?completions?(_create)?$/i.test(name) ? 'text_completion' : null
}

export const present = (fields: Fields): Fields => Object.fromEntries(Object.entries(fields).filter(([, value]) => value !== null))
