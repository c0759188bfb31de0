/**
 * The `usage` object of OpenAI's APIs as counts. Facts: OpenAPI 2.3.0 of openai/openai-openapi. Cached, audio, image and reasoning
 * tokens are subsets of input or output, never added to them; a missing count is null, a written 0 is 0.
 */
import type { UsageEvent } from '../../schemas/usage.ts'
import { asObject, objectAt } from './json.ts'
import type { Json } from './json.ts'

export type UsageCounts = Pick<
  UsageEvent,
  | 'input_tokens'
  | 'cache_read_input_tokens'
  | 'cache_write_input_tokens'
  | 'audio_input_tokens'
  | 'image_input_tokens'
  | 'output_tokens'
  | 'reasoning_output_tokens'
  | 'audio_output_tokens'
  | 'image_output_tokens'
  | 'audio_duration_ms'
>

export type UsageReading =
  | { kind: 'counts'; counts: UsageCounts; flags: string[] }
  /** No usage object, or one that holds no count. */
  | { kind: 'absent' }
  /** A count that cannot be one (negative, fraction, text, beyond 2^53); `field` names it, its value is not repeated. */
  | { kind: 'broken'; field: string }

export const noCounts: UsageCounts = {
  input_tokens: null,
  cache_read_input_tokens: null,
  cache_write_input_tokens: null,
  audio_input_tokens: null,
  image_input_tokens: null,
  output_tokens: null,
  reasoning_output_tokens: null,
  audio_output_tokens: null,
  image_output_tokens: null,
  audio_duration_ms: null,
}

const none: Json = {}

export function readUsage(value: unknown): UsageReading {
  if (value === undefined || value === null) return { kind: 'absent' }
  const usage = asObject(value)
  if (usage === null) return { kind: 'broken', field: 'usage' }
  if (usage['type'] === 'duration') return readDuration(usage)
  const input =
    objectAt(usage, 'prompt_tokens_details') ?? objectAt(usage, 'input_tokens_details') ?? objectAt(usage, 'prompt_token_details') ?? objectAt(usage, 'input_token_details') ?? none
  const output = objectAt(usage, 'completion_tokens_details') ?? objectAt(usage, 'output_tokens_details') ?? objectAt(usage, 'output_token_details') ?? none
  const broken = firstBroken(usage, TOTALS) ?? firstBroken(input, PARTS) ?? firstBroken(output, PARTS)
  if (broken !== null) return { kind: 'broken', field: broken }
  const inputTokens = count(usage, 'prompt_tokens') ?? count(usage, 'input_tokens')
  const total = count(usage, 'total_tokens')
  let outputTokens = count(usage, 'completion_tokens') ?? count(usage, 'output_tokens')
  if (inputTokens === null && outputTokens === null) return { kind: 'absent' }
  // Embeddings write a total and no output: the difference is a count that the provider gave, not a guess.
  if (outputTokens === null && inputTokens !== null && total !== null && total >= inputTokens) outputTokens = total - inputTokens
  const counts: UsageCounts = {
    input_tokens: inputTokens,
    cache_read_input_tokens: count(input, 'cached_tokens'),
    cache_write_input_tokens: count(input, 'cache_write_tokens'),
    audio_input_tokens: count(input, 'audio_tokens'),
    image_input_tokens: count(input, 'image_tokens'),
    output_tokens: outputTokens,
    reasoning_output_tokens: count(output, 'reasoning_tokens'),
    audio_output_tokens: count(output, 'audio_tokens'),
    image_output_tokens: count(output, 'image_tokens'),
    audio_duration_ms: null,
  }
  return { kind: 'counts', counts, flags: flagsOf(counts, total) }
}

const TOTALS = ['prompt_tokens', 'completion_tokens', 'input_tokens', 'output_tokens', 'total_tokens'] as const
const PARTS = ['cached_tokens', 'cache_write_tokens', 'audio_tokens', 'image_tokens', 'reasoning_tokens'] as const

function readDuration(usage: Json): UsageReading {
  const seconds = usage['seconds']
  if (seconds === undefined || seconds === null) return { kind: 'absent' }
  if (typeof seconds !== 'number' || !(seconds >= 0) || seconds > 1e9) return { kind: 'broken', field: 'seconds' }
  return { kind: 'counts', counts: { ...noCounts, audio_duration_ms: Math.round(seconds * 1000) }, flags: [] }
}

function firstBroken(from: Json, keys: readonly string[]): string | null {
  for (const key of keys) {
    const value = from[key]
    if (value !== undefined && value !== null && Object.hasOwn(from, key) && !isCount(value)) return key
  }
  return null
}

const isCount = (value: unknown): value is number => Number.isSafeInteger(value) && (value as number) >= 0

function count(from: Json, key: string): number | null {
  const value = from[key]
  return isCount(value) && Object.hasOwn(from, key) ? value : null
}

function flagsOf(counts: UsageCounts, total: number | null): string[] {
  const { input_tokens: input, output_tokens: output } = counts
  const flags: string[] = []
  if (input === null || output === null) flags.push('tokens-missing')
  const sumWrong = total !== null && input !== null && output !== null && total !== input + output
  if (sumWrong || hasPartAboveWhole(counts)) flags.push('tokens-inconsistent')
  return flags
}

export function hasPartAboveWhole(counts: Omit<UsageCounts, 'audio_duration_ms'>): boolean {
  const inputParts = [counts.cache_read_input_tokens, counts.cache_write_input_tokens, counts.audio_input_tokens, counts.image_input_tokens]
  const outputParts = [counts.reasoning_output_tokens, counts.audio_output_tokens, counts.image_output_tokens]
  return exceeds(inputParts, counts.input_tokens) || exceeds(outputParts, counts.output_tokens)
}

/** Any single part above its whole is wrong. Sums are not asked for: cached audio is in two parts at once. */
const exceeds = (parts: readonly (number | null)[], whole: number | null): boolean => whole !== null && parts.some((part) => part !== null && part > whole)
