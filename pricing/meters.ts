/**
 * Token counts as disjoint integer meters: each token is counted in exactly one of them, so cost = sum(meter x unit price) and
 * can be redone from rollups. The store writer and the rating engine both use this function, so they cannot disagree.
 */
import type { UsageEvent } from '../schemas/usage.ts'

/** Units: tokens, but `images` (pieces) and `audio_duration_ms` (milliseconds). null = the source cannot know it. */
export interface Meters {
  in_uncached: number | null
  in_cache_read: number | null
  in_cache_write: number | null
  in_audio: number | null
  in_image: number | null
  out_text: number | null
  out_audio: number | null
  out_image: number | null
  images: number | null
  audio_duration_ms: number | null
}

export const meterNames = [
  'in_uncached',
  'in_cache_read',
  'in_cache_write',
  'in_audio',
  'in_image',
  'out_text',
  'out_audio',
  'out_image',
  'images',
  'audio_duration_ms',
] as const satisfies readonly (keyof Meters)[]
export type MeterName = (typeof meterNames)[number]

type Counts = Pick<
  UsageEvent,
  | 'input_tokens'
  | 'output_tokens'
  | 'cache_read_input_tokens'
  | 'cache_write_input_tokens'
  | 'audio_input_tokens'
  | 'image_input_tokens'
  | 'audio_output_tokens'
  | 'image_output_tokens'
  | 'images'
  | 'audio_duration_ms'
>

/**
 * An unknown part counts as nothing of the whole (so an unknown cache split is priced as uncached: an upper bound). Parts that
 * exceed the whole are cut in the order cache read, cache write, audio, image, so that the parts always sum to the whole.
 */
export function metersOf(counts: Counts): Meters {
  let input = counts.input_tokens
  const takeInput = (part: number | null): number | null => {
    if (part === null || input === null) return null
    const taken = Math.min(part, input)
    input -= taken
    return taken
  }
  const in_cache_read = takeInput(counts.cache_read_input_tokens)
  const in_cache_write = takeInput(counts.cache_write_input_tokens)
  const in_audio = takeInput(counts.audio_input_tokens)
  const in_image = takeInput(counts.image_input_tokens)
  let output = counts.output_tokens
  const takeOutput = (part: number | null): number | null => {
    if (part === null || output === null) return null
    const taken = Math.min(part, output)
    output -= taken
    return taken
  }
  const out_audio = takeOutput(counts.audio_output_tokens)
  const out_image = takeOutput(counts.image_output_tokens)
  return {
    in_uncached: input,
    in_cache_read,
    in_cache_write,
    in_audio,
    in_image,
    out_text: output,
    out_audio,
    out_image,
    images: counts.images,
    audio_duration_ms: counts.audio_duration_ms,
  }
}
