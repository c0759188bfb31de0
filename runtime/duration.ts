/** Durations as people write them: 90s, 15m, 6h, 30d, 500ms. */
import { z } from 'zod'

const UNIT_MS: Record<string, number> = { ms: 1, s: 1000, m: 60_000, h: 3_600_000, d: 86_400_000 }

/** Milliseconds, or undefined for a text that is no duration. */
export function parseDuration(text: string): number | undefined {
  const match = /^(\d+(?:\.\d+)?)(ms|s|m|h|d)$/.exec(text.trim())
  const unit = match?.[2] === undefined ? undefined : UNIT_MS[match[2]]
  return match && unit !== undefined ? Math.round(Number(match[1]) * unit) : undefined
}

/** Config scalar: accepts "15m", gives milliseconds. */
export const duration = z
  .string()
  .refine((text) => parseDuration(text) !== undefined, 'a duration such as 90s, 15m, 6h or 30d')
  .transform((text) => parseDuration(text) ?? 0)
  .describe('a duration such as 90s, 15m, 6h or 30d')
